"""Gradient flow by lag, of one run or of several, and the singular values of the matrices behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elman.insight.figures.sheet import GREY, SERIES, plain, sheet, shown, write
from elman.insight.gradients import GradientFlow

DECADES = np.log(10)
# what vanishes or explodes beyond these powers of ten leaves the picture
LOWEST, HIGHEST = -20.0, 20.0
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1, 2)))


def gradients_figure(flows: Mapping[str, GradientFlow], picture: Path, title: str = "") -> None:
    """Draw a column for every layer: above the norms by lag, below the singular values.

    A norm is drawn as a share of the same state's at lag 0, so that models of different losses can be compared; the
    band holds the middle half of the positions. Lines are the geometric means.

    Args:
        flows: by the name of the run.
        picture: the file to write: .png, .svg or .pdf.
        title: above everything.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    layers = 1 + max(state.layer for flow in flows.values() for state in flow.states)
    figure = sheet(4.6 * layers + 0.6, 6.6)
    grid = figure.subplots(2, layers, squeeze=False, sharey="row", height_ratios=(1.5, 1))
    for layer in range(layers):
        _norms(grid[0][layer], flows, layer)
        _spectra(grid[1][layer], flows, layer)
    grid[0][0].set_ylabel("‖∂L$_t$ / ∂s$_{t-k}$‖ as a share of that at k = 0", fontsize=9)
    grid[1][0].set_ylabel("singular value", fontsize=9)
    count = max(len(flow.positions) for flow in flows.values())
    write(figure, picture, title or f"How far the gradient of one step's loss reaches back ({count} positions)")


def _norms(axes: Any, flows: Mapping[str, GradientFlow], layer: int) -> None:
    plain(axes, f"layer {layer}", "lag k (steps back)")
    reached = [0.0]
    for colour, (name, flow) in zip(_colours(flows), flows.items(), strict=True):
        states = [state for state in flow.states if state.layer == layer]
        for dash, state in zip(DASHES * len(states), states, strict=False):
            lags = np.arange(flow.lags + 1)
            start = state.log_mean[0] if np.isfinite(state.log_mean[0]) else state.log_mean[1]
            middle, low, high = (
                np.where(np.isfinite(values), (values - start) / DECADES, np.nan)
                for values in (state.log_mean, state.log_quantile(0.25), state.log_quantile(0.75))
            )
            axes.fill_between(lags, low, high, color=colour, alpha=0.13, lw=0)
            label = f"{shown(name)}: {state.state}, ×{state.factor:.3f} a step"
            axes.plot(lags, middle, color=colour, ls=dash, lw=1.6, label=label)
            reached += [float(value) for values in (low, high) for value in values[np.isfinite(values)]]
    axes.axhline(0, color=GREY, lw=0.6, zorder=0)
    axes.set_xlim(left=0)
    bottom, top = max(LOWEST, min(reached)), min(HIGHEST, max(reached))
    axes.set_ylim(bottom - 0.04 * (top - bottom) - 0.1, top + 0.04 * (top - bottom) + 0.1)
    step = max(1, round((top - bottom) / 6))
    marks = [mark for mark in range(int(LOWEST), int(HIGHEST) + 1) if not mark % step and bottom <= mark <= top]
    axes.set_yticks(marks, [f"$10^{{{mark}}}$" if mark else "1" for mark in marks])
    axes.legend(frameon=False, fontsize=8)


def _spectra(axes: Any, flows: Mapping[str, GradientFlow], layer: int) -> None:
    plain(axes, "", "rank among the singular values of a recurrent matrix")
    alone = len(flows) == 1
    for colour, (name, flow) in zip(_colours(flows), flows.items(), strict=True):
        matrices = [matrix for matrix in flow.matrices if matrix.layer == layer]
        for place, matrix in enumerate(matrices):
            values = matrix.singular_values
            own = SERIES[place % len(SERIES)] if alone else colour
            label = (
                f"{matrix.name}, |λ| ≤ {matrix.spectral_radius:.2f}" if alone else shown(name) if not place else None
            )
            axes.plot(np.arange(1, len(values) + 1), np.maximum(values, 1e-6), color=own, lw=1.2, label=label)
    axes.axhline(1, color=GREY, lw=0.6, zorder=0)
    axes.set_yscale("log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _colours(flows: Mapping[str, GradientFlow]) -> list[str]:
    return [SERIES[place % len(SERIES)] for place in range(len(flows))]
