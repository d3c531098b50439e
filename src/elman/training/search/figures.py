"""A search as a picture: how the best went down, which flags mattered, and each flag against the result."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.errors import require
from elman.files import write_whole
from elman.training.search.space import Dimension, written
from elman.training.search.study import Trial

COLUMNS = 3
MARKERS: dict[str, dict[str, Any]] = {
    "complete": {"s": 22, "alpha": 0.8},
    "pruned": {"s": 14, "alpha": 0.5, "marker": "x"},
}


def plot_search(
    trials: Sequence[Trial], space: Sequence[Dimension], importances: Mapping[str, float], picture: Path, title: str
) -> None:
    """Draw a search.

    Args:
        trials: those that were begun.
        space: what was varied.
        importances: by flag; empty where there are too few trials to tell.
        picture: the PNG to write.
        title: of the picture.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the picture cannot be written.
    """
    require("matplotlib", "plot")
    figure_module = require("matplotlib.figure", "plot")
    done = [trial for trial in trials if trial.value is not None and trial.finished]
    rows = 1 + math.ceil(len(space) / COLUMNS)
    figure = figure_module.Figure(figsize=(4 * COLUMNS, 3.2 * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    grid = figure.add_gridspec(rows, COLUMNS)
    _progress(figure.add_subplot(grid[0, : COLUMNS - 1]), trials)
    _importances(figure.add_subplot(grid[0, COLUMNS - 1]), importances)
    for place, dimension in enumerate(space):
        axes = figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS])
        _against(axes, dimension, done)
    content = io.BytesIO()
    figure.savefig(content, dpi=110)
    write_whole(picture, content.getvalue())


def _progress(axes: Any, trials: Sequence[Trial]) -> None:
    done = [trial for trial in trials if trial.value is not None and trial.finished]
    best, heights = math.nan, []
    for trial in done:
        # a pruned trial's value is what it had reached when it was ended
        if trial.state == "complete" and trial.value is not None:
            best = trial.value if math.isnan(best) else min(best, trial.value)
        heights.append(best)
    for state, style in MARKERS.items():
        points = [(trial.number + 1, trial.value) for trial in done if trial.state == state]
        if points:
            axes.scatter(*zip(*points, strict=True), label=state, color="tab:blue", **style)
    if done:
        axes.step([trial.number + 1 for trial in done], heights, where="post", color="black", lw=1.2, label="best")
        axes.set_ylim(*_reach(done))
    if failed := [trial.number + 1 for trial in trials if trial.state == "failed"]:
        top = axes.get_ylim()[1]
        axes.plot(failed, [top] * len(failed), "v", color="tab:red", ms=6, label="failed", ls="none")
    if axes.lines:
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("trial")
    _plain(axes, "result of each trial")


def _importances(axes: Any, importances: Mapping[str, float]) -> None:
    names = sorted(importances, key=lambda name: importances[name])
    axes.barh(names, [importances[name] for name in names], color="tab:blue")
    axes.set_xlabel("share")
    if not names:
        axes.text(0.5, 0.5, "too few trials", ha="center", transform=axes.transAxes)
    _plain(axes, "importance")


def _against(axes: Any, dimension: Dimension, done: Sequence[Trial]) -> None:
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in dimension.values)
    places = {value: place for place, value in enumerate(dimension.values)}
    for state, style in MARKERS.items():
        points = [
            (trial.point[dimension.name] if numeric else places[trial.point[dimension.name]], trial.value)
            for trial in done
            if trial.state == state and dimension.name in trial.point
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), color="tab:blue", **style)
    if not numeric:
        axes.set_xticks(range(len(places)), [written(value) for value in places])
    elif dimension.log or (dimension.values and _spreads(dimension)):
        axes.set_xscale("log")
    if dimension.values and numeric:
        axes.set_xticks(list(dimension.values), [written(value) for value in dimension.values])
        axes.minorticks_off()
    if done:
        axes.set_ylim(*_reach(done))
    axes.set_xlabel(dimension.name)
    _plain(axes, "")


def _spreads(dimension: Dimension) -> bool:
    numbers = [float(value) for value in dimension.values]
    return min(numbers) > 0 and max(numbers) / min(numbers) >= 8


def _reach(done: Sequence[Trial]) -> tuple[float, float]:
    """Ends of the axis of results: a few hopeless trials must not flatten all the others."""
    known = sorted(trial.value for trial in done if trial.value is not None)
    low, middle = known[0], known[len(known) // 2]
    top = min(known[-1], middle + 3 * (middle - low)) if middle > low else known[-1]
    margin = 0.06 * (top - low) or 0.5
    return low - margin, top + margin


def _plain(axes: Any, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if title:
        axes.set_title(title, loc="left", fontsize=9)
