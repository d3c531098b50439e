"""Gate saturation as the paper draws it: every unit a point, left-saturated to the right, right-saturated upwards."""

from __future__ import annotations

from pathlib import Path

from elman.insight.figures.sheet import GREY, SERIES, plain, sheet, write
from elman.insight.gates import LEFT, RIGHT, GateSaturation

PANEL = 3.1


def gates_figure(saturation: GateSaturation, picture: Path, title: str = "") -> None:
    """Draw a panel for every gate, a colour for every layer.

    Args:
        saturation: what was counted.
        picture: the file to write: .png, .svg or .pdf.
        title: above the panels.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    names = list(dict.fromkeys(gate.name for gate in saturation.gates))
    figure = sheet(PANEL * len(names) + 0.3, PANEL + 0.7)
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for axes, name in zip(panels, names, strict=True):
        plain(axes, f"gate {name}", f"share of steps below {LEFT:g}")
        # no unit can be beyond this line: it is not below one limit and above the other at once
        axes.plot([0, 1], [1, 0], color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=0)
        for gate in saturation.gates:
            if gate.name == name:
                axes.scatter(
                    gate.left,
                    gate.right,
                    s=9,
                    alpha=0.55,
                    color=SERIES[gate.layer % len(SERIES)],
                    edgecolors="none",
                    label=f"layer {gate.layer}",
                    clip_on=False,
                )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
    panels[0].set_ylabel(f"share of steps above {RIGHT:g}", fontsize=9)
    panels[-1].legend(frameon=False, fontsize=8, loc="upper right", markerscale=2)
    write(figure, picture, title or f"Gate saturation over {saturation.tokens:,} steps, a point a unit")
