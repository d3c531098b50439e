"""A lesion as a picture: its cost on and off the label beside the controls', its doses, and its course in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elman.insight.figures.sheet import BLUE, GREY, ORANGE, plain, sheet, write
from elman.insight.lesions.result import LesionEffect

#: Where the label is on, and where it is off.
ON, OFF, LESS = BLUE, ORANGE, "0.15"
COST = "cost: nats a token"


def lesion_figure(effect: LesionEffect, picture: Path, title: str = "") -> None:
    """Draw the effect of a lesion.

    Args:
        effect: what was measured.
        picture: the file to write: .png, .svg or .pdf.
        title: above the panels; default what was done.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    figure = sheet(12, 4)
    cost, doses, course = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.5))
    _costs(effect, cost)
    _doses(effect, doses)
    _course(effect, course)
    for axes in (cost, doses, course):
        axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    label = f" · {effect.hypothesis}" if effect.hypothesis else ""
    write(figure, picture, title or "; ".join(each.describe() for each in effect.interventions) + label)


def _costs(effect: LesionEffect, axes: Any) -> None:
    for place, (part, colour) in enumerate((("on", ON), ("off", OFF), ("difference", LESS))):
        values = [getattr(control, part) for control in effect.controls]
        # spread in a fixed order, so that the same effect gives the same picture
        spread = [place - 0.12 + 0.06 * (index % 5) for index in range(len(values))]
        label = f"{len(values)} random cells" if place == 0 and values else None
        axes.plot(spread, values, "o", color=GREY, ms=4, alpha=0.6, mec="none", label=label)
        own = getattr(effect, part)
        axes.errorbar(
            place + 0.25,
            own.value,
            [[max(0.0, own.value - own.low)], [max(0.0, own.high - own.value)]],
            fmt="D",
            color=colour,
            capsize=3,
            ms=6,
            label="this lesion, 95 %" if place == 0 else None,
        )
    axes.set_xticks(range(3), ["label on", "label off", "on less off"])
    axes.set_xlim(-0.5, 2.6)
    axes.legend(frameon=False, fontsize=8)
    p = "" if not effect.controls else f", p {effect.p:.3f}"
    plain(axes, f"Cost{p}", "", COST)


def _doses(effect: LesionEffect, axes: Any) -> None:
    plain(axes, "Dose", "strength, at every step", COST)
    places = range(len(effect.doses))
    for part, colour in (("on", ON), ("off", OFF)):
        values = [getattr(dose, part) for dose in effect.doses]
        below = [max(0.0, each.value - each.low) for each in values]
        above = [max(0.0, each.high - each.value) for each in values]
        axes.errorbar(
            places,
            [each.value for each in values],
            [below, above],
            fmt="o-",
            color=colour,
            capsize=3,
            ms=4,
            label=f"label {part}",
        )
    # doses are as uneven as one likes, so they stand at equal distances
    axes.set_xticks(places, [f"{dose.strength:g}" for dose in effect.doses])
    if effect.doses:
        axes.legend(frameon=False, fontsize=8)


def _course(effect: LesionEffect, axes: Any) -> None:
    curve = effect.curve
    plain(axes, "Course", "tokens since the label came on", COST)
    axes.axvline(0, color="0.8", lw=0.8, zorder=0)
    if curve.controls:
        axes.plot(curve.lags, curve.controls, color=GREY, lw=1.2, label="mean of the random cells")
    axes.fill_between(curve.lags, curve.low, curve.high, color=ON, alpha=0.2, lw=0)
    axes.plot(curve.lags, curve.cost, color=ON, lw=1.5, label="this lesion, 95 %")
    axes.legend(frameon=False, fontsize=8)
