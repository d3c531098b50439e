"""Reports while a model learns: the mean loss and speed since the last one, to the journal and the display."""

from __future__ import annotations

import time
from typing import Any

from elman.runs import RunFolder
from elman.training.display import Display, Report
from elman.training.journal import Journal
from elman.training.progress import Progress
from elman.training.schedules import Plan
from elman.training.task import Task

SECONDS_BETWEEN = 1.0


class Reporter:
    """Collects what the steps give and tells it.

    Args:
        folder: of the run; its journal is opened by :meth:`open`.
        display: who is told.
        tensorboard: also write TensorBoard's event files.
    """

    def __init__(self, folder: RunFolder, display: Display, tensorboard: bool) -> None:
        self.folder, self.display = folder, display
        self.tensorboard = folder.path / "tensorboard" if tensorboard else None
        self.journal: Journal | None = None
        self.loss_sum, self.tokens = 0.0, 0
        self._rate = 0.0
        self._told_at = time.monotonic()

    def open(self, length: int, step: int) -> None:
        """Open the journal at a length in bytes; what stands behind it was written after the checkpoint."""
        self.close()
        self.journal = Journal(self.folder.metrics, length, self.tensorboard, step)

    def close(self) -> None:
        """Close the journal."""
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def add(self, loss: float, tokens: int) -> None:
        """Take in the mean loss of a step over so many tokens."""
        self.loss_sum += loss * tokens
        self.tokens += tokens

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last report."""
        return time.monotonic() - self._told_at >= SECONDS_BETWEEN

    def restart_clock(self) -> None:
        """Leave out of the speed what was no training: evaluations and samples."""
        self._told_at = time.monotonic()

    def report(self, progress: Progress, plan: Plan, task: Task, lr: float, gradient_norm: float | None) -> None:
        """Write and show the mean loss since the last report; the mean starts anew."""
        if not self.tokens:
            return
        now = time.monotonic()
        progress.train_nats = self.loss_sum / self.tokens
        self._rate = self.tokens / max(1e-9, now - self._told_at)
        self.loss_sum, self.tokens, self._told_at = 0.0, 0, now
        values = {
            "train_nats": progress.train_nats,
            "lr": lr,
            "gradient_norm": gradient_norm,
            "tokens_per_second": round(self._rate),
        }
        self.write(progress, task, values)
        self.display.report(self.standing(progress, plan, task, lr))

    def standing(self, progress: Progress, plan: Plan, task: Task, lr: float) -> Report:
        """Where the training stands, for the display."""
        pace = progress.seconds / max(1, progress.step)
        return Report(
            step=progress.step,
            total=plan.total,
            seconds=progress.seconds,
            eta=pace * (plan.total - progress.step),
            epoch=task.epoch,
            train_nats=progress.train_nats,
            valid_nats=progress.valid_nats,
            best_nats=progress.best_nats,
            lr=lr,
            rate=self._rate,
            unit=task.unit,
        )

    def write(self, progress: Progress, task: Task, values: dict[str, Any]) -> None:
        """Add a line to the journal."""
        assert self.journal is not None, "the journal is opened before the first step"
        head = {"step": progress.step, "seconds": round(progress.seconds, 3), "tokens": progress.tokens}
        self.journal.write({**head, "epoch": task.epoch, **values})
