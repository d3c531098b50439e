"""What a model thinks of a clip while it goes on: a curve for each label below moments of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.figures.sheet import GREY, SERIES, plain, sheet, shown, write

WIDTH, CURVES, STRIP = 7.2, 2.9, 1.1


@dataclass(frozen=True)
class Moment:
    """Something to see at a place of a clip.

    Attributes:
        place: on the axis of the curves.
        lines: each [n, 2], x to the right and y downwards; empty where there is an image.
        image: [H, W, 3], uint8; None where there are lines.
    """

    place: float
    lines: Sequence[NDArray[np.floating]] = ()
    image: NDArray[np.uint8] | None = None


def watch_figure(
    places: NDArray[np.floating],
    names: Sequence[str],
    each: NDArray[np.floating],
    so_far: NDArray[np.floating],
    moments: Sequence[Moment],
    picture: Path,
    *,
    axis: str,
    title: str = "",
) -> None:
    """Draw probabilities over the course of a clip.

    Args:
        places: [T] of the frames: seconds, or numbers.
        names: [N] the labels that are drawn, at most as many as there are colours.
        each: [T, N] after each frame.
        so_far: [T, N] of the clip if it ended there.
        moments: what is shown above, in order.
        picture: the file to write: .png, .svg or .pdf.
        axis: name and unit of the places.
        title: above everything.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    strip = STRIP if moments else 0.0
    figure = sheet(WIDTH, CURVES + strip)
    if moments:
        grid = figure.add_gridspec(2, len(moments), height_ratios=(strip, CURVES))
        for column, moment in enumerate(moments):
            _draw(figure.add_subplot(grid[0, column]), moment)
        axes = figure.add_subplot(grid[1, :])
    else:
        axes = figure.add_subplot()
    plain(axes, "", axis, "probability")
    for column, name in enumerate(names[: len(SERIES)]):
        axes.plot(places, each[:, column], color=SERIES[column], lw=1.8, label=shown(name))
        axes.plot(places, so_far[:, column], color=SERIES[column], lw=1.0, ls=(0, (2, 2)))
    axes.plot([], [], color=GREY, lw=1.0, ls=(0, (2, 2)), label="clip so far")
    axes.set_ylim(0, 1.02)
    axes.margins(x=0.01)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write(figure, picture, title)


def _draw(axes: Any, moment: Moment) -> None:
    axes.set_axis_off()
    axes.set_title(f"{moment.place:g}", fontsize=7, color=GREY, pad=2)
    if moment.image is not None:
        axes.imshow(moment.image)
        return
    for line in moment.lines:
        axes.plot(line[:, 0], line[:, 1], color="#222222", lw=1.0, solid_capstyle="round")
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()
