"""Cells and labels whose truth is known, as recordings.

from insight.ranking.made_cells import markov_labels, prose, recording_of, smooth_cells
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses import Hypothesis, from_function
from elman.insight.recording import Recording, write_recording


def markov_labels(length: int, rate: float, run: float, generator: np.random.Generator) -> NDArray[np.int32]:
    """Labels that stay on for ``run`` tokens on average, and are on at a share ``rate`` of them."""
    off = run * (1 - rate) / rate
    pieces, total, on = [], 0, generator.random() < rate
    while total < length:
        piece = int(generator.geometric(1 / (run if on else off)))
        pieces.append(np.full(piece, on, dtype=np.int32))
        total += piece
        on = not on
    return np.concatenate(pieces)[:length]


def smooth_cells(count: int, length: int, generator: np.random.Generator) -> NDArray[np.int8]:
    """Cells that know nothing: running means of noise over 1 to 300 tokens, through tanh."""
    cells = np.empty((count, length), dtype=np.int8)
    for cell in range(count):
        width = int(10 ** generator.uniform(0, 2.5))
        total = np.cumsum(generator.standard_normal(length + width))
        smooth = (total[width:] - total[:-width]) / np.sqrt(width)
        cells[cell] = np.rint(127 * np.tanh(smooth * generator.uniform(0.3, 2)))
    return cells


def noisy_cell(
    labels: NDArray[np.integer], wrong: float, generator: np.random.Generator, sign: int = 1
) -> NDArray[np.int8]:
    """A cell at +-100 by the label, with a share ``wrong`` of it turned over, and a little noise."""
    told = labels ^ (generator.random(len(labels)) < wrong)
    return (sign * np.where(told, 100, -100) + generator.integers(-20, 21, len(labels))).astype(np.int8)


def prose(length: int, generator: np.random.Generator) -> str:
    """Words of small letters, in lines."""
    return "".join(generator.choice(list("etaoin shrdlu\n"), length).tolist())


def given(name: str, labels: NDArray[np.integer]) -> Hypothesis:
    """A hypothesis whose labels are known, graded where they go beyond 1."""
    return from_function(name, lambda text: labels, "graded" if labels.max() > 1 else "binary")


def recording_of(folder: Path, values: NDArray[np.int8], text: str) -> Recording:
    """The recording of cells over a text of as many characters."""
    return write_recording(folder, np.ascontiguousarray(values), text)
