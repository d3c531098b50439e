"""Which cells are peculiar within a span of the text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elman.errors import MisuseError
from elman.insight.recording import SCALE, Recording

# What is outside is seen in stretches, which touch little of a long recording.
STRETCHES, STRETCH = 64, 256
# a cell that hardly ever moves is not peculiar because it moved by a hair
LEAST_SPREAD = 0.05


@dataclass(frozen=True)
class Match:
    """A cell within a span and outside.

    Attributes:
        cell: number in the recording.
        layer, name, unit: the cell.
        effect: difference of the means in standard deviations of what is outside, at least .05 of the scale.
        inside, outside: mean values, from -1 to 1.
    """

    cell: int
    layer: int
    name: str
    unit: int
    effect: float
    inside: float
    outside: float

    @property
    def described(self) -> str:
        """The cell in words: ``layer 1 c[17]``."""
        return f"layer {self.layer} {self.name}[{self.unit}]"


def match(recording: Recording, begin: int, end: int, *, count: int = 20) -> list[Match]:
    """The cells whose values within a span of tokens differ most from those outside.

    Outside is a sample of up to 16,384 tokens, evenly spread over the text.

    Args:
        recording: cells over a text.
        begin, end: first token of the span, and the token after its last.
        count: how many cells.

    Returns:
        The strongest first, in either direction.

    Raises:
        MisuseError: no such span, or a span of the whole text.
    """
    length = recording.length
    if not 0 <= begin < end <= length or end - begin == length:
        raise MisuseError(f"A span must be a part of the tokens 0 to {length}; {begin} to {end} is none.")
    if count < 1:
        raise MisuseError("At least one cell must be asked for.")
    within = np.asarray(recording.values[:, begin:end]).mean(1, dtype=np.float64) / SCALE
    starts = np.unique(np.linspace(0, max(0, length - STRETCH), STRETCHES).astype(np.int64))
    places = np.unique((starts[:, None] + np.arange(STRETCH)).clip(max=length - 1))
    places = places[(places < begin) | (places >= end)]
    if not len(places):
        places = np.array([place for place in (begin - 1, end) if 0 <= place < length])
    outside = recording.values[:, places].astype(np.float32) / SCALE
    mean, spread = outside.mean(1, dtype=np.float64), outside.std(1, dtype=np.float64)
    effect = (within - mean) / np.maximum(spread, LEAST_SPREAD)
    made = []
    for cell in np.argsort(-np.abs(effect), kind="stable")[:count].tolist():
        group, unit = recording.locate(cell)
        made.append(
            Match(cell, group.layer, group.name, unit, float(effect[cell]), float(within[cell]), float(mean[cell]))
        )
    return made
