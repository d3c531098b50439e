"""What several runs measured as they learned, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elman.errors import MisuseError
from elman.runs import RunFolder
from elman.training.journal import read_metrics

AXES = {"tokens": "examples or tokens read", "step": "steps", "seconds": "seconds of training", "epoch": "epochs"}
# the losses, where lower is better; of all else more is
LOSSES = ("nats", "bits", "perplexity", "loss")


@dataclass(frozen=True)
class Curve:
    """One measure of a run over its training.

    Attributes:
        label: what the run is called.
        key: of the journal, such as "valid_accuracy".
        points: (place on the axis, value), in order.
    """

    label: str
    key: str
    points: tuple[tuple[float, float], ...]

    @property
    def best(self) -> tuple[float, float]:
        """The point with the best value; the first of equals."""
        lower = self.key.endswith(LOSSES)
        return min(self.points, key=lambda point: point[1] if lower else -point[1])

    @property
    def last(self) -> tuple[float, float]:
        """The end of the training."""
        return self.points[-1]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "best": self.best, "last": self.last}


def read_curve(run: Path, key: str, over: str = "tokens", label: str | None = None) -> Curve:
    """A measure of a run.

    Args:
        run: its folder.
        key: of its ``metrics.jsonl``.
        over: one of :data:`AXES`.
        label: default the folder's name.

    Raises:
        MisuseError: there is no run, or it never measured that; the text names what it measured.
        FailureError: the journal is damaged.
    """
    if over not in AXES:
        raise MisuseError(f"--over is {over!r}; it takes {', '.join(AXES)}.")
    folder = RunFolder.existing(run)
    lines = read_metrics(folder.metrics) if folder.metrics.is_file() else []
    points = tuple(
        (float(line[over]), float(line[key]))
        for line in lines
        if line.get(key) is not None and line.get(over) is not None
    )
    if not points:
        measured = sorted({name for line in lines for name, value in line.items() if isinstance(value, int | float)})
        raise MisuseError(f"{run} has no {key!r}; it measured {', '.join(measured) or 'nothing yet'}.")
    return Curve(label or folder.path.resolve().name, key, points)
