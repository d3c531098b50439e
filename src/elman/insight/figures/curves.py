"""Trainings side by side as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elman.insight.figures.sheet import SERIES, plain, sheet, shown, write
from elman.training.curves import AXES, Curve

MOST_MARKS = 60


def curves_figure(curves: Sequence[Curve], over: str, picture: Path, title: str = "") -> None:
    """Draw curves, a panel for each measure.

    Args:
        curves: at least one; those of one label have one colour.
        over: the horizontal axis, one of :data:`elman.training.curves.AXES`.
        picture: the file to write.
        title: above it.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    keys = list(dict.fromkeys(curve.key for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    figure = sheet(6.2 * len(keys), 4)
    panels = figure.subplots(1, len(keys), squeeze=False)[0]
    for axes, key in zip(panels, keys, strict=True):
        for curve in curves:
            if curve.key == key:
                at = labels.index(curve.label)
                # more runs than colours are told apart by their lines
                style = ("-", "--", ":")[at // len(SERIES) % 3]
                colour = SERIES[at % len(SERIES)]
                # marks show where evaluations were; of a loss at every step they would hide the line
                marker = "o" if len(curve.points) <= MOST_MARKS else ""
                axes.plot(*zip(*curve.points, strict=True), style, marker=marker, ms=2.5, lw=1.2, color=colour)
                axes.lines[-1].set_label(shown(curve.label))
        plain(axes, "", AXES[over], key.replace("_", " "))
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    write(figure, picture, title)
