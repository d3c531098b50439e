"""A training as its distance from n-gram models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elman.errors import require
from elman.insight.agreement import Agreement
from elman.insight.figures.sheet import GREY, plain, sheet, write


def agreement_figure(found: Agreement, picture: Path, title: str = "") -> None:
    """Draw the symmetric divergence from each n-gram model over the steps, and the loss below it.

    Args:
        found: what was measured.
        picture: the file to write: .png, .svg or .pdf.
        title: above everything.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    figure = sheet(8.2, 6.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    steps = [snapshot.step for snapshot in found.snapshots]
    colours = dict(zip(found.ngrams, _shades(len(found.ngrams)), strict=True))
    plain(above, "Divergence from the n-gram models; the ring marks the nearest", "", "symmetric KL, nats a prediction")
    for order, colour in colours.items():
        values = [snapshot.symmetric[order] for snapshot in found.snapshots]
        above.plot(steps, values, color=colour, lw=1.7, marker="o", ms=2.5)
    for snapshot in found.snapshots:
        nearest = snapshot.nearest
        above.plot(snapshot.step, snapshot.symmetric[nearest], "o", ms=8, mfc="none", mec=colours[nearest], mew=1.4)
    above.set_ylim(bottom=0)
    handles = [
        require("matplotlib.lines", "plot").Line2D([], [], color=colour, lw=2, label=f"n = {order}")
        for order, colour in colours.items()
    ]
    above.legend(handles=handles, frameon=False, fontsize=8, ncols=2, loc="upper right")
    plain(below, "", "optimiser steps", "nats a token")
    below.plot(steps, [snapshot.nats for snapshot in found.snapshots], color="0.15", lw=1.6, label="the network")
    for order, nats in found.ngrams.items():
        below.axhline(nats, color=colours[order], lw=0.8, zorder=0)
    below.annotate(
        "lines: the n-gram models", (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=GREY
    )
    below.set_xscale("log")
    write(figure, picture, title or f"{found.positions:,} held-out predictions")


def _shades(count: int) -> list[Any]:
    """From dark to light, an order a shade."""
    colour_map = require("matplotlib", "plot").colormaps["viridis"]
    return [colour_map(0.9 * place / max(1, count - 1)) for place in range(count)]
