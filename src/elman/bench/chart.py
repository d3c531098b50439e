"""The ratios as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from elman.bench.report import Machine, groups, ratios
from elman.bench.timing import Result
from elman.errors import MisuseError, require
from elman.files import write_whole

FORMATS = ("png", "svg")
BARS = (("torch", "torch.nn as it comes", "#4477aa"), ("torch_best", "torch.nn at its best", "#66ccee"))
EAGER = ("eager", "a plain loop", "#ccbb44")

# inches: of a panel's width, of a bar with its share of the gap, of a panel's title and axis
WIDTH, BAR, FRAME = 5.0, 0.17, 0.9


def check_picture(path: Path) -> None:
    """Refuse a chart that could not be drawn, before anything is measured.

    Raises:
        MisuseError: a file name of another kind, or matplotlib is not installed.
    """
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise MisuseError(f"--chart is {path}; it takes a name that ends in .png or .svg.")
    require("matplotlib", "plot")


def draw(results: Sequence[Result], machine: Machine, picture: Path) -> None:
    """Bars of how many times faster Elman is, a panel for each work, size and precision.

    Args:
        results: what was measured.
        machine: where.
        picture: the PNG or SVG to write.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    module, patches = require("matplotlib.figure", "plot"), require("matplotlib.patches", "plot")
    panels = groups(results)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    tallest = [
        max(len(members) for _, members in panels[row * columns : (row + 1) * columns]) * (len(BARS) + 2) * BAR + FRAME
        for row in range(rows)
    ]
    figure = module.Figure(figsize=(WIDTH * columns, sum(tallest) + FRAME), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, height_ratios=tallest)
    for axes, (heading, members) in zip(grid.flat, panels, strict=False):
        _panel(axes, heading, members)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    _scale(grid.flat[0], results)
    handles = [patches.Patch(color=color, label=label) for _, label, color in (*BARS, EAGER)]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    figure.supxlabel(f"times faster than ...; {machine}", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format=picture.suffix.lower().removeprefix("."))
    write_whole(picture, content.getvalue())


def _panel(axes, heading: str, members: Sequence[Result]) -> None:  # type: ignore[no-untyped-def]
    bars = (*BARS, EAGER)
    for place, result in enumerate(members):
        by_name = ratios(result)
        for number, (name, _, color) in enumerate(bars):
            ratio = by_name[name]
            if ratio is None:
                continue
            at = place + (number - 1) * 0.26
            # a bar begins at 1, where nothing is gained or lost
            axes.barh(at, ratio - 1, left=1, height=0.24, color=color)
            axes.annotate(
                f"{ratio:.2g}",
                (ratio, at),
                xytext=(3 if ratio >= 1 else -3, 0),
                textcoords="offset points",
                ha="left" if ratio >= 1 else "right",
                va="center",
                fontsize=7,
            )
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks(range(len(members)), [result.job.cell for result in members], fontsize=9)
    axes.set_ylim(len(members) - 0.45, -0.55)
    axes.set_title(heading.partition(":")[0], loc="left", fontsize=9)
    axes.tick_params(labelbottom=True, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _scale(axes, results: Sequence[Result]) -> None:  # type: ignore[no-untyped-def]
    """One logarithmic axis for all panels, marked at the powers of two."""
    bars = [name for name, _, _ in (*BARS, EAGER)]
    found = [ratio for result in results for name, ratio in ratios(result).items() if ratio and name in bars]
    low, high = min([*found, 0.7]) / 1.4, max([*found, 1.5]) * 1.5
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    step = max(1, round(math.log2(high / low) / 7))
    marks = [2.0**power for power in range(-20, 21) if power % step == 0 and low <= 2.0**power <= high]
    axes.set_xticks(marks, [f"{mark:g}x" for mark in marks])
