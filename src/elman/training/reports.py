"""Reports while a model learns: records in the journal at fixed steps, the display about once a second."""

from __future__ import annotations

import time
from typing import Any

from elman.runs import RunFolder
from elman.training.display import Display, Report
from elman.training.evaluate import Evaluation
from elman.training.journal import Journal
from elman.training.launch import leads
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
        self.opened = False
        self.loss_sum, self.tokens = 0.0, 0
        self._rate, self._shown_tokens = 0.0, 0
        self._shown_at = time.monotonic()

    def open(self, length: int, step: int) -> int:
        """Open the journal at a length in bytes; what stands behind it was written after the checkpoint.

        Of several processes the first one keeps it.

        Returns:
            How many of those bytes the file lacks.
        """
        self.close()
        self.opened = True
        if not leads():
            return 0
        self.journal = Journal(self.folder.metrics, length, self.tensorboard, step)
        return self.journal.cut

    def open_again(self, step: int) -> None:
        """Open the journal where it ends, or anew where no step was taken."""
        length = self.folder.metrics.stat().st_size if step and leads() else 0
        self.open(length, step)

    def close(self) -> None:
        """Close the journal."""
        self.opened = False
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def synced(self) -> int:
        """Force the journal to the disk; gives its length in bytes, for a checkpoint."""
        assert self.opened, "the journal is opened before the first checkpoint"
        if self.journal is None:
            return 0
        self.journal.sync()
        return self.journal.length

    def add(self, loss: float, tokens: int) -> None:
        """Take in the mean loss of a step over so many tokens."""
        self.loss_sum += loss * tokens
        self.tokens += tokens
        self._shown_tokens += tokens

    def restart_clock(self) -> None:
        """Leave out of the speed what was no training: evaluations and samples."""
        self._shown_at, self._shown_tokens = time.monotonic(), 0

    def record(self, progress: Progress, task: Task, lr: float, gradient_norm: float | None) -> None:
        """Write the mean loss since the last record; the mean starts anew.

        The caller records at steps that do not depend on the clock, so a resumed run writes what the run that was never
        stopped would have written.
        """
        if not self.tokens:
            return
        self._measure()
        progress.train_nats = self.loss_sum / self.tokens
        self.loss_sum, self.tokens = 0.0, 0
        values = {
            "train_nats": progress.train_nats,
            "lr": lr,
            "gradient_norm": gradient_norm,
            "tokens_per_second": round(self._rate),
        }
        self.write(progress, task, values)

    def show(self, progress: Progress, plan: Plan, task: Task, lr: float, at_once: bool = False) -> None:
        """Show where the training stands, about once a second."""
        if at_once or time.monotonic() - self._shown_at >= SECONDS_BETWEEN:
            self._measure()
            self.display.report(self.standing(progress, plan, task, lr))
            self.restart_clock()

    def evaluated(self, progress: Progress, task: Task, evaluation: Evaluation) -> None:
        """Write an evaluation."""
        values = {
            "train_nats": progress.train_nats,
            "valid_nats": evaluation.nats,
            "valid_bits": evaluation.bits,
            "valid_perplexity": evaluation.perplexity,
            "valid_tokens": evaluation.tokens,
            **{f"valid_{name}": value for name, value in evaluation.scores.items()},
        }
        self.write(progress, task, values)

    def _measure(self) -> None:
        """The speed since it was last shown, where enough was read to tell."""
        if self._shown_tokens:
            self._rate = self._shown_tokens / max(1e-9, time.monotonic() - self._shown_at)

    def standing(self, progress: Progress, plan: Plan, task: Task, lr: float) -> Report:
        """Where the training stands, for the display."""
        pace = progress.seconds / max(1, progress.step)
        return Report(
            step=progress.step,
            total=plan.total,
            seconds=progress.seconds,
            eta=pace * (plan.total - progress.step),
            epoch=task.epoch,
            train_nats=self.loss_sum / self.tokens if self.tokens else progress.train_nats,
            valid_nats=progress.valid_nats,
            best_nats=progress.best_nats,
            valid_scores=progress.valid_scores,
            lr=lr,
            rate=self._rate,
            unit=task.unit,
        )

    def write(self, progress: Progress, task: Task, values: dict[str, Any]) -> None:
        """Add a line to the journal."""
        assert self.opened, "the journal is opened before the first step"
        if self.journal is None:
            return
        head = {"step": progress.step, "seconds": round(progress.seconds, 3), "tokens": progress.tokens}
        self.journal.write({**head, "epoch": task.epoch, "train_nats": progress.train_nats, **values})
