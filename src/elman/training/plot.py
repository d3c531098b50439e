"""The loss over a training as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from elman.errors import require
from elman.files import write_whole
from elman.training.journal import read_metrics

LINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("train_nats", "training", {"lw": 0.8, "alpha": 0.7}),
    ("valid_nats", "validation", {"marker": "o", "ms": 3}),
)


def plot_losses(metrics: Path, picture: Path, unit: str, title: str) -> None:
    """Draw training and validation loss over the tokens read.

    Args:
        metrics: a run's ``metrics.jsonl``.
        picture: the PNG to write.
        unit: what a token is.
        title: of the plot.

    Raises:
        MisuseError: matplotlib is not installed.
        FailureError: the metrics are damaged or the picture cannot be written.
    """
    require("matplotlib", "plot")
    figure_module = require("matplotlib.figure", "plot")
    lines = read_metrics(metrics)
    figure = figure_module.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, label, style in LINES:
        points = [(line["tokens"] / 1e6, line[key]) for line in lines if line.get(key) is not None and "tokens" in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
            if key == "valid_nats":
                best = min(points, key=lambda point: point[1])
                axes.annotate(f"best {best[1]:.4f}", best, (0, 8), textcoords="offset points", ha="right", fontsize=9)
                # the first steps fall from log V so fast that they would flatten all the rest
                axes.set_ylim(top=max(value for _, value in points) + 0.5)
    axes.set_xlabel(f"million {unit}s read")
    axes.set_ylabel(f"nats a {unit}")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, dpi=130)
    write_whole(picture, content.getvalue())
