"""The training loop: steps, evaluations, checkpoints, and the way back when the loss explodes."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import nn

from elman.errors import FailureError
from elman.runs import RunFolder
from elman.training import distributed
from elman.training.averaging import WeightAverage
from elman.training.display import Display
from elman.training.guard import Guard
from elman.training.interrupts import StopRequest, stop_on_signals
from elman.training.keeper import Keeper
from elman.training.optimisers import optimiser_of
from elman.training.progress import Outcome, Progress
from elman.training.reports import Reporter
from elman.training.schedules import Plan, most_steps, next_snapshot, rate_factor
from elman.training.settings import SEEDS, Settings
from elman.training.snapshot import capture, give_back
from elman.training.task import Task
from elman.training.watch import present

CHECKPOINT_SECONDS = 30.0

# a limit in minutes is compared with the speed so often; long enough that an evaluation does not pass for slowness
FIT_SHARE = 0.1

# so many lines of training loss stand in the journal for one of validation loss
RECORDS_AN_EVALUATION = 20

# where the lecture's slide on War and Peace shows what the model writes
EARLY_SAMPLES = frozenset({100, 300, 500, 700, 1200, 2000})


class Trainer:
    """Trains a task into a run folder; for a resume it is made anew and then given :meth:`restore`.

    Args:
        task: model and data.
        settings: all that decides the course.
        plan: how many steps.
        folder: the run, locked by the caller.
        display: who is told.
        tensorboard: also write TensorBoard's event files.
        spent: seconds of a limit in minutes that were used before this object was made.
        after_evaluation: called with False after each evaluation, with True at the end; draws the plot.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        plan: Plan,
        folder: RunFolder,
        display: Display,
        *,
        tensorboard: bool = False,
        spent: float = 0.0,
        after_evaluation: Callable[[bool], None] = lambda final: None,
    ) -> None:
        self.task, self.settings, self.plan = task, settings, plan
        self.folder, self.keeper, self.display = folder, Keeper(folder), display
        self.after_evaluation = after_evaluation
        self.progress = Progress(seconds=spent)
        distributed.share_weights(task.model)
        self.optimiser = optimiser_of(task.model, settings)
        self.average = WeightAverage(task.model, settings.averaging) if settings.averaging else None
        self.guard = Guard()
        self.reporter = Reporter(folder, display, tensorboard)
        self.lr = settings.lr
        self._unwanted = False
        self._stopped = 0
        self._saved_step = -1
        self._norm: torch.Tensor | None = None
        self._parameters: list[torch.Tensor] = [p for p in task.model.parameters() if p.requires_grad]
        self._start_clocks()

    # ---------------------------------------------------------------- running

    def run(self) -> Outcome:
        """Train until the plan is done, patience is at its end, or somebody asks to stop.

        Returns:
            How it ended; in each case a checkpoint of the last step is on the disk.

        Raises:
            FailureError: the loss exploded again after three returns, or the disk refused a checkpoint.
        """
        self.keeper.make_room()
        self._start_clocks()
        try:
            with stop_on_signals() as stop:
                if not self.reporter.opened:
                    self.reporter.open_again(self.progress.step)
                    self._checkpoint()
                reason = self._steps(stop)
                if self._saved_step != self.progress.step:
                    self._checkpoint()
            self._keep_something()
            self.after_evaluation(True)
            if reason == "interrupted":
                name = signal.Signals(self._stopped).name
                self.display.warn(f"Stopped by {name} at step {self.progress.step}; nothing is lost.")
            return Outcome(reason, self.progress)
        finally:
            self.reporter.close()

    def _steps(self, stop: StopRequest) -> str:
        """All steps that are left; returns why they ended."""
        settings = self.settings
        record_every = max(1, settings.eval_every // RECORDS_AN_EVALUATION)
        while self.progress.step < self.plan.total:
            if self._stopped:
                return "interrupted"
            fault = self.guard.check(self._step())
            now, self._stopped = distributed.pulse(stop.signal)
            if not fault:
                self._keep_time(now)
                step = self.progress.step
                if step % record_every == 0:
                    self._record()
                self.reporter.show(self.progress, self.plan, self.task, self.lr)
                evaluation_due = step % settings.eval_every == 0 or step >= self.plan.total
                sample_due, checkpoint_due = step in EARLY_SAMPLES, self._checkpoint_due(now)
                snapshot_due = step >= next_snapshot(self.progress.snapshots, settings.snapshots, self.plan.total)
                # the loss was that of the weights before the step; what is kept or shown must be sound after it
                if (evaluation_due or sample_due or checkpoint_due or snapshot_due) and not self._is_sound():
                    fault = "the weights were no longer numbers"
                elif evaluation_due:
                    fault = self._evaluate()
                elif sample_due:
                    fault = self._sample()
            if fault:
                self._go_back(fault)
                continue
            stopping = settings.patience and self.progress.without_gain >= settings.patience
            if snapshot_due or (stopping and settings.snapshots):
                self._keep_snapshot()
            if checkpoint_due:
                self._checkpoint()
            if stopping:
                return "early stop"
            if self._unwanted:
                return "pruned"
        return "done"

    def _is_sound(self) -> bool:
        """Whether all weights are finite numbers."""
        return bool(torch.isfinite(torch.stack(torch._foreach_norm(self._parameters))).all())

    def _step(self) -> float:
        """One optimiser step; returns its loss, nats a token."""
        settings, progress = self.settings, self.progress
        self._predictions = self.task.advance()
        factor = rate_factor(settings, progress.step, self.plan.progress(progress.step), self.task.epoch)
        self.lr = settings.lr * factor * progress.rate_scale
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * group["rate_scale"]
        if isinstance(self.optimiser, torch.optim.LBFGS):
            # its line search asks for loss and gradient again
            loss = float(self.optimiser.step(lambda: float(self._clipped_gradients().loss)))
            tokens = round(distributed.total([self._predictions])[0])
        else:
            mean, tokens = self._clipped_gradients()
            loss = float(mean)
            self.optimiser.step()
        if self.average:
            self.average.update()
        progress.step += 1
        progress.tokens += tokens
        self.reporter.add(loss, tokens)
        return loss

    def _clipped_gradients(self) -> distributed.Step:
        settings = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        own = self.task.gradients()
        together = distributed.combine(self.task.model, self._parameters, own, self._predictions, self.progress.step)
        if settings.clip and settings.clip_by == "norm":
            self._norm = nn.utils.clip_grad_norm_(self._parameters, settings.clip)
        elif settings.clip:
            nn.utils.clip_grad_value_(self._parameters, settings.clip)
        return together

    # ---------------------------------------------------------------- the clock

    def _start_clocks(self) -> None:
        self._ticked = self._saved_at = self._fitted_at = distributed.clock()
        self._fitted_step = self.progress.step
        self.reporter.restart_clock()

    def _elapse(self, now: float) -> None:
        """Add the time since the last call to the training's."""
        self.progress.seconds += now - self._ticked
        self._ticked = now

    def _keep_time(self, now: float) -> None:
        """Correct the plan now and then so that a limit in minutes is met."""
        settings, progress = self.settings, self.progress
        self._elapse(now)
        if settings.minutes is None:
            return
        if now - self._fitted_at < FIT_SHARE * settings.minutes * 60:
            return
        pace = (now - self._fitted_at) / max(1, progress.step - self._fitted_step)
        if self.plan.fit(
            progress.step,
            settings.minutes * 60 - progress.seconds,
            pace,
            most_steps(settings, self.task.steps_an_epoch),
        ):
            self.reporter.write(progress, self.task, {"event": "plan", "steps": self.plan.total})
        self._fitted_at, self._fitted_step = now, progress.step

    def _checkpoint_due(self, now: float) -> bool:
        if self.settings.checkpoint_every:
            return self.progress.step % self.settings.checkpoint_every == 0
        return now - self._saved_at >= CHECKPOINT_SECONDS

    # ---------------------------------------------------------------- evaluation

    def _record(self) -> None:
        norm = None if self._norm is None else float(self._norm)
        self.reporter.record(self.progress, self.task, self.lr, norm)

    def _evaluate(self) -> str:
        """Measure the validation loss, keep the weights if they are the best so far, draw a sample.

        Returns:
            What is wrong, as the end of a sentence; empty if nothing is.
        """
        progress, reporter = self.progress, self.reporter
        self._record()
        reporter.show(progress, self.plan, self.task, self.lr, at_once=True)
        with self._averaged():
            evaluation = self.task.evaluate()
            if evaluation and not (math.isfinite(evaluation.nats) and math.isfinite(evaluation.criterion or 0.0)):
                return "the validation loss was no longer a number"
            criterion = None
            if evaluation:
                progress.valid_nats, progress.valid_scores = evaluation.nats, dict(evaluation.scores)
                criterion = evaluation.nats if evaluation.criterion is None else evaluation.criterion
            # without a validation part the last weights are the best there are
            best = criterion is None or progress.best_criterion is None or criterion < progress.best_criterion
            if best:
                progress.best_nats, progress.best_scores = progress.valid_nats, progress.valid_scores
                progress.best_criterion, progress.best_step = criterion, progress.step
                progress.without_gain = 0
                self._save()
            else:
                progress.without_gain += 1
                if self.settings.schedule == "plateau":
                    progress.rate_scale *= self.settings.decay
            self._elapse(distributed.clock())
            if evaluation:
                reporter.evaluated(progress, self.task, evaluation)
            self.display.evaluation(reporter.standing(progress, self.plan, self.task, self.lr), best)
            fault = self._sample()
        self.after_evaluation(False)
        if watch := present():
            self._unwanted = watch.evaluated(self.plan.progress(progress.step), progress.best_criterion)
        self._elapse(distributed.clock())
        reporter.restart_clock()
        return fault

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self.average.applied() if self.average else contextlib.nullcontext()

    def _save(self) -> None:
        self.keeper.save(self.task.model, self.progress.step, self.progress.valid_nats)

    def _keep_something(self) -> None:
        """Leave weights that can be used, even where the training was stopped before its first evaluation."""
        if not self.keeper.has_weights:
            with self._averaged():
                self._save()

    def _keep_snapshot(self) -> None:
        with self._averaged():
            self.keeper.snapshot(self.task.model, self.progress.step)
        self.progress.snapshots.append(self.progress.step)

    def _sample(self) -> str:
        """Draw a text and keep it; returns what is wrong with the model's scores, if anything."""
        if not self.settings.sample_length:
            return ""
        return distributed.agreed(self._draw)

    def _draw(self) -> str:
        step = self.progress.step
        try:
            text = self.task.sample((self.settings.seed + step) % SEEDS, self.settings.sample_length)
        except FailureError:
            return "the model's scores were no longer numbers"
        self.keeper.sample(step, text)
        self.display.sample(step, text)
        return ""

    # ---------------------------------------------------------------- checkpoints

    def _checkpoint(self) -> None:
        """Write everything that :meth:`restore` needs."""
        reporter = self.reporter
        tensors, facts = capture(self.task, self.optimiser, self.average, self.settings.device)
        facts |= {
            "progress": asdict(self.progress),
            "plan": self.plan.to_json(),
            "journal_length": reporter.synced(),
            "unreported": [reporter.loss_sum, reporter.tokens],
            "guard": self.guard.to_json(),
        }
        self.keeper.checkpoint(self.progress.step, tensors, facts)
        self._saved_at, self._saved_step = distributed.clock(), self.progress.step

    def restore(self) -> list[str]:
        """Take the newest whole checkpoint of the folder.

        Returns:
            A sentence for everything that was damaged: checkpoints that were passed over, a journal that was cut.

        Raises:
            FailureError: no checkpoint can be read, or it does not fit the configuration.
        """
        checkpoint, broken = self.keeper.latest()
        damaged = [f"Passed over a damaged checkpoint. {sentence}" for sentence in broken]
        facts = checkpoint.facts
        try:
            give_back(self.task, self.optimiser, self.average, checkpoint.tensors, facts)
            self.progress = Progress(**facts["progress"])
            self.plan = Plan(**facts["plan"])
            self.guard = Guard(**facts["guard"])
            self.reporter.loss_sum, self.reporter.tokens = facts["unreported"]
            length = int(facts["journal_length"])
        except (KeyError, TypeError, ValueError) as error:
            raise FailureError(f"The checkpoint of {self.folder.path} does not fit this run ({error!r}).") from error
        if self.reporter.open(length, self.progress.step):
            damaged.append(
                f"{self.folder.metrics} lacks lines that were there at the checkpoint; it goes on without them."
            )
        self.keeper.keep_snapshots(self.progress.snapshots)
        self._saved_step = self.progress.step
        self._start_clocks()
        return damaged

    def extend(self) -> None:
        """Draw the plan anew for limits that were changed at a resume, from the first step to the new last one."""
        settings, progress = self.settings, self.progress
        total = most_steps(settings, self.task.steps_an_epoch)
        if settings.minutes is not None:
            pace = progress.seconds / max(1, progress.step)
            left = max(0.0, settings.minutes * 60 - progress.seconds)
            possible = progress.step + round(left / max(pace, 1e-9))
            total = possible if total is None else min(total, possible)
        assert total is not None, "an extension has a limit"
        self.plan = Plan(total)
        progress.without_gain = 0
        # a kill must not bring the old plan back
        self._checkpoint()

    def _go_back(self, fault: str) -> None:
        """Return to the last checkpoint with half the rate; after three returns give up and tell the story."""
        self._elapse(distributed.clock())
        before, rate = self.progress, self.lr
        # the very first loss after a checkpoint is that of its weights: they were already broken
        self.keeper.drop_broken(before.step - 1)
        self.restore()
        progress = self.progress
        progress.seconds = before.seconds
        # the weights on the disk are those of the best evaluation, also if it was after the checkpoint
        progress.best_nats, progress.best_scores = before.best_nats, before.best_scores
        progress.best_criterion, progress.best_step = before.best_criterion, before.best_step
        tale = (
            f"At step {before.step} {fault} (learning rate {rate:.3g}); "
            f"the last good checkpoint is of step {progress.step}."
        )
        if before.returns >= Guard.MOST_RETURNS:
            raise FailureError(
                " ".join([*before.story, tale])
                + f" Stopped after {before.returns} returns, each with half the rate. {self.folder.path} keeps the "
                "checkpoint; start anew with a lower --lr or a smaller --clip."
            )
        progress.story = [*before.story, tale]
        progress.returns = before.returns + 1
        progress.rate_scale = min(progress.rate_scale, 0.5**before.returns) / 2
        self.display.warn(f"{tale} Going on from there with half the rate.")
        event = {"event": "return", "fault": fault, "failed_at": before.step, "rate_scale": progress.rate_scale}
        self.reporter.write(progress, self.task, event)
        self._checkpoint()
