"""A hunt as a picture: for every hypothesis how well its best cell tells it, with what it must be compared to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.errors import MisuseError, require
from elman.insight.figures.sheet import BLUE, ORANGE, check_picture, sheet, shown, write
from elman.insight.ranking import Finding, Hunt

COLOURS = {"found": BLUE, "weak": "#7f9fc4", "none": "#b0b0b0"}
ALWAYS = "#555555"
ROW, FRAME, WIDTH = 0.3, 1.5, 9.0


def draw(hunt: Hunt, picture: Path, *, heading: str = "") -> None:
    """Held-out F1 of the best cells with intervals, and magnitudes of rank correlations, a row a hypothesis.

    Beside each stand the untrained network's best cell, the linear probes where there are any, and what saying yes
    everywhere would reach.

    Args:
        hunt: what was found.
        picture: the PNG, SVG or PDF to write.
        heading: over it.

    Raises:
        MisuseError: matplotlib is not installed, another kind of file, or nothing to draw.
        FailureError: the picture cannot be written.
    """
    check_picture(picture)
    kinds = [
        [each for each in hunt.findings.values() if each.kind == kind and each.cells] for kind in ("binary", "graded")
    ]
    panels = [sorted(found, key=_figure, reverse=True) for found in kinds if found]
    if not panels:
        raise MisuseError("None of the hypotheses is common enough in this text to be drawn.")
    height = ROW * sum(map(len, panels)) + FRAME + 0.6 * len(panels)
    figure = sheet(WIDTH, height)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[len(found) + 1 for found in panels])[:, 0]
    for axes, found in zip(grid, panels, strict=True):
        _panel(axes, found)
    _legend(figure, hunt, panels)
    write(figure, picture, heading)


def _figure(finding: Finding) -> float:
    best = finding.cells[0]
    return best.f1 if finding.kind == "binary" else abs(best.spearman)


def _panel(axes: Any, found: Sequence[Finding]) -> None:
    graded = found[0].kind == "graded"
    for row, each in enumerate(found):
        best = each.cells[0]
        low, high = sorted(map(abs, best.spearman_interval)) if graded else best.f1_interval
        axes.plot([low, high], [row, row], color=COLOURS[each.verdict], lw=2, solid_capstyle="butt", zorder=2)
        axes.plot(_figure(each), row, "o", color=COLOURS[each.verdict], ms=6, zorder=3)
        if not graded:
            axes.plot(each.constant_f1, row, "|", color=ALWAYS, ms=9, mew=1.2)
        if each.baseline is not None:
            axes.plot(abs(each.baseline.spearman) if graded else each.baseline.f1, row, "x", color=ORANGE, ms=5)
        if each.probe is not None:
            axes.plot(each.probe.dense_f1, row, "s", mfc="none", mec="black", ms=6)
            axes.plot(each.probe.f1, row, "D", mfc="none", mec="black", ms=4)
        axes.text(1.015, row, shown(best.described), transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(found)), [shown(each.title) for each in found], fontsize=9)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("magnitude of the rank correlation, held out" if graded else "F1, held out", fontsize=9)
    axes.tick_params(labelsize=8, axis="x")
    axes.grid(axis="x", color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _legend(figure: Any, hunt: Hunt, panels: Sequence[Sequence[Finding]]) -> None:
    lines = require("matplotlib.lines", "plot")
    shown = [each for found in panels for each in found]
    marks: list[tuple[str, dict[str, Any]]] = [
        (f"best cell, {verdict}", {"marker": "o", "color": COLOURS[verdict], "lw": 2})
        for verdict in ("found", "weak", "none")
        if any(each.verdict == verdict for each in shown)
    ]
    if any(each.kind == "binary" for each in shown):
        marks.append(("yes everywhere", {"marker": "|", "color": ALWAYS, "lw": 0, "ms": 9}))
    if hunt.untrained_seed is not None:
        marks.append(("untrained network", {"marker": "x", "color": ORANGE, "lw": 0}))
    if any(each.probe for each in shown):
        marks.append(("all cells, linear", {"marker": "s", "mfc": "none", "color": "black", "lw": 0}))
        marks.append(("few cells, linear", {"marker": "D", "mfc": "none", "color": "black", "lw": 0, "ms": 4}))
    handles = [lines.Line2D([], [], label=label, **look) for label, look in marks]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
