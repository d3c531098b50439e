"""Where a translator looked: the attention's weights as a heat map, target symbols down, source symbols across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elman.insight.figures.sheet import plain, sheet, shown, write

CELL, MARGIN = 0.27, 1.3
#: Pictures grow with the sentence up to this many inches; beyond it the cells shrink.
LARGEST = 14.0


@dataclass(frozen=True)
class Alignment:
    """The weights of one translation.

    Attributes:
        source: [S] symbols, the end symbol last.
        target: [T] symbols.
        weights: [T, S], each row sums to 1.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: np.ndarray


def alignment_figure(alignments: Sequence[Alignment], picture: Path, title: str = "") -> None:
    """Draw a panel for every translation, side by side.

    Args:
        alignments: what was read.
        picture: the file to write: .png, .svg or .pdf.
        title: above the panels.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    widths = [CELL * len(each.source) + MARGIN for each in alignments]
    height = CELL * max(len(each.target) for each in alignments) + MARGIN
    scale = min(1.0, LARGEST / max(*widths, height))
    figure = sheet(min(LARGEST * 2, sum(widths) * scale + 0.3), height * scale + 0.5)
    panels = figure.subplots(1, len(alignments), squeeze=False, width_ratios=widths)[0]
    for axes, each in zip(panels, alignments, strict=True):
        plain(axes)
        axes.imshow(each.weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal", interpolation="nearest")
        size = max(4.0, 8 * scale)
        axes.set_xticks(range(len(each.source)), [shown(symbol) for symbol in each.source], rotation=90, fontsize=size)
        axes.set_yticks(range(len(each.target)), [shown(symbol) for symbol in each.target], fontsize=size)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    write(figure, picture, title)
