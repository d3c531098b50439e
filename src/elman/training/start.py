"""Starting and resuming a training: what every system shares, from limits and flags to a finished run folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman.errors import FailureError, MisuseError
from elman.runs import RunFolder, newest_step, read_config, write_config
from elman.runs.model import check_resumable
from elman.training import distributed, machine
from elman.training.display import Display, choose_display
from elman.training.keeper import locked
from elman.training.launch import launched, leads
from elman.training.loop import Trainer
from elman.training.optimisers import optimiser_of
from elman.training.plot import plot_losses
from elman.training.progress import Outcome
from elman.training.schedules import Plan
from elman.training.settings import Settings
from elman.training.task import Task
from elman.training.watch import present

DEFAULT_MINUTES = 5.0
PROBE_STEPS = 3
# a plot costs a second; the one at the end is always drawn
PLOT_SECONDS = 30.0


@dataclass(frozen=True)
class Reports:
    """How a training tells what it does: only warnings, JSON lines, TensorBoard's files too."""

    quiet: bool = False
    as_json: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Prepared:
    """A training that can begin.

    Attributes:
        system: its name in config.json.
        task: model and data.
        settings: complete.
        steps: optimiser steps of the plan.
        entries: of config.json: "model", "vocabulary", "data" and what else the system keeps.
        chosen: a sentence for each thing that the user left open.
    """

    system: str
    task: Task
    settings: Settings
    steps: int
    entries: Mapping[str, Any]
    chosen: Sequence[str] = ()


# reads the data and builds the model, given settings with device and threads, who is told, and the seconds left, if
# the limit is in minutes (asked for when they are needed, since reading takes time too)
Prepare = Callable[[Settings, Display, Callable[[], float | None]], Prepared]
# the task of a run's configuration with fresh weights: (config, settings, run, places of the data or None)
Rebuild = Callable[[Mapping[str, Any], Settings, Path, Sequence[str] | None], Task]
# by name of a system what makes its tasks again; MisuseError for a system that is not trained step by step
Rebuilders = Callable[[str], Rebuild]


def start(out: Path, settings: Settings, reports: Reports, prepare: Prepare) -> tuple[Outcome, RunFolder, dict]:
    """Train into a new run folder.

    Args:
        out: the run folder to make.
        settings: as the user wants them.
        reports: who is told.
        prepare: reads the data and builds the model.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    started = time.monotonic()
    with (
        distributed.joined(),
        choose_display(str(out), quiet=reports.quiet, as_json=reports.as_json) as display,
    ):
        device, threads = machine.prepare(settings.device, settings.threads)
        if settings.minutes is None and settings.steps is None and settings.epochs is None:
            settings = replace(settings, minutes=DEFAULT_MINUTES)
        settings = replace(settings, device=device, threads=threads)
        minutes = settings.minutes
        if leads():
            RunFolder.vacant(out)

        def seconds_left() -> float | None:
            return None if minutes is None else distributed.agreed(lambda: minutes * 60 - (time.monotonic() - started))

        prepared = prepare(settings, display, seconds_left)
        _check_shared(prepared)
        for reason in prepared.chosen:
            display.note(f"  chose {reason}")
        watch = present()
        config = {
            "system": prepared.system,
            **prepared.entries,
            "training": {
                "settings": prepared.settings.to_json(),
                "steps": prepared.steps,
                "chosen": list(prepared.chosen),
                "tensorboard": reports.tensorboard,
                "processes": launched(),
            },
            "versions": machine.versions(),
            "command": watch.command if watch else machine.command(),
        }
        folder = RunFolder.create(out) if leads() else RunFolder(out)
        with locked(folder):
            if leads():
                RunFolder.vacant(out)
            distributed.part_randomness()
            spent = distributed.agreed(lambda: time.monotonic() - started)
            trainer = _trainer(
                prepared.task, prepared.settings, Plan(prepared.steps), folder, display, reports.tensorboard, spent
            )
            if leads():
                write_config(folder.config, config)
            outcome = _run(trainer)
    return _told(outcome, folder), folder, config


def resume(
    run: Path,
    rebuilders: Rebuilders,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    sources: Sequence[str] | None = None,
    reports: Reports,
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Go on with a stopped training; on the same machine with the same threads, bit for bit as if it had not stopped.

    Args:
        run: the run folder.
        rebuilders: gives what makes a system's task again.
        minutes, steps, epochs: new limits in place of the old one, counted from the very start.
        threads, device: in place of the stored ones.
        sources: where the data lie now, if not where they lay; they must be the same.
        reports: who is told; TensorBoard's files go on where the run had them.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    with (
        distributed.joined(),
        choose_display(str(run), quiet=reports.quiet, as_json=reports.as_json) as display,
    ):
        folder = RunFolder.existing(run) if leads() else RunFolder(run)
        config = distributed.agreed(lambda: read_config(folder.config))
        try:
            rebuild = rebuilders(config["system"])
        except MisuseError as error:
            raise MisuseError(f"{run} cannot be resumed. {error}") from error
        try:
            settings = Settings.from_json(config["training"]["settings"])
            first_plan = Plan(int(config["training"]["steps"]))
            tensorboard = bool(config["training"]["tensorboard"])
            # runs of one process did not say so at first
            processes = int(config["training"].get("processes", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise FailureError(
                f"{folder.config} lacks what a resume needs ({error!r}); it was not made by a training."
            ) from error
        with locked(folder):
            fresh = distributed.agreed(lambda: _is_fresh(folder))
            # threads that were right for some processes are not for others
            usual = settings.threads if processes == launched() else None
            new_device, new_threads = machine.prepare(device or settings.device, threads or usual)
            extended = (minutes, steps, epochs) != (None, None, None)
            if extended:
                settings = replace(settings, minutes=minutes, steps=steps, epochs=epochs)
            settings = replace(settings, device=new_device, threads=new_threads)
            if leads():
                check_resumable(folder, config)
            distributed.check_batch(settings.batch)
            task = rebuild(config, settings, run, sources)
            training = {**config["training"], "settings": settings.to_json(), "processes": launched()}
            if training != config["training"]:
                config["training"] = training
                if leads():
                    write_config(folder.config, config)
            distributed.part_randomness()
            trainer = _trainer(task, settings, first_plan, folder, display, tensorboard)
            # a run that was killed before its first checkpoint starts again from its seed
            if not fresh:
                for sentence in trainer.restore():
                    display.warn(sentence)
            if extended:
                trainer.extend()
            progress = trainer.progress
            gave_up = settings.patience and progress.without_gain >= settings.patience
            if progress.step >= trainer.plan.total or gave_up:
                display.note(
                    f"{run} is finished: {progress.step:,} steps. Extend it with --minutes, --steps or --epochs."
                )
                return _told(Outcome("done", progress), folder), folder, config
            display.note(f"Resuming at step {progress.step:,} of {trainer.plan.total:,}.")
            outcome = _run(trainer)
    return _told(outcome, folder), folder, config


def _is_fresh(folder: RunFolder) -> bool:
    """Whether a run was stopped before its first checkpoint.

    Raises:
        FailureError: it had checkpoints and has none any more.
    """
    fresh = newest_step(folder) < 0
    if fresh and (folder.model.exists() or (folder.metrics.exists() and folder.metrics.stat().st_size)):
        raise FailureError(
            f"{folder.path} has no checkpoint in its folder resume/, which a copy may have left out; "
            "it can be sampled and evaluated, but not resumed."
        )
    return fresh


def _check_shared(prepared: Prepared) -> None:
    """Refuse processes that cannot train together: more than rows of a batch, or with other data or settings.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    distributed.check_batch(prepared.settings.batch)
    # machines may differ in their cores
    settings = {**prepared.settings.to_json(), "threads": None}
    plan = json.dumps([prepared.system, dict(prepared.entries), settings, prepared.steps], sort_keys=True)
    if not distributed.same(hashlib.sha256(plan.encode()).hexdigest()):
        raise FailureError(
            "The processes of this training do not have the same data or settings; give all of them the same files."
        )


def seconds_a_step(task: Task, settings: Settings) -> float:
    """Measure an optimiser step: the median of a few after two that warm caches and allocators."""
    optimiser = optimiser_of(task.model, settings)
    parameters = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    times = []
    for place in range(2 + PROBE_STEPS):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        predictions = task.advance()

        def gradients(count: int = predictions, step: int = place) -> float:
            return float(distributed.combine(task.model, parameters, task.gradients(), count, step).loss)

        if isinstance(optimiser, torch.optim.LBFGS):
            optimiser.step(gradients)
        else:
            gradients()
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
            optimiser.step()
        if settings.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return distributed.agreed(lambda: float(np.median(times[2:])))


def _trainer(
    task: Task,
    settings: Settings,
    plan: Plan,
    folder: RunFolder,
    display: Display,
    tensorboard: bool,
    spent: float = 0.0,
) -> Trainer:
    drawn_at = time.monotonic()
    missing = False

    def draw(final: bool) -> None:
        nonlocal drawn_at, missing
        if missing or not leads() or (not final and time.monotonic() - drawn_at < PLOT_SECONDS):
            return
        try:
            plot_losses(folder.metrics, folder.loss_plot, task.unit, folder.path.name)
        except MisuseError as error:
            # a missing plotting library must not cost a training; it is said once and the rest goes on
            missing = True
            display.warn(f"No loss plot: {error}")
        drawn_at = time.monotonic()

    return Trainer(task, settings, plan, folder, display, tensorboard=tensorboard, spent=spent, after_evaluation=draw)


def _told(outcome: Outcome, folder: RunFolder) -> Outcome:
    """Tell who looks on; gives the outcome back."""
    if watch := present():
        watch.ended(outcome, folder)
    return outcome


def _run(trainer: Trainer) -> Outcome:
    settings, task = trainer.settings, trainer.task
    trainer.display.note(
        f"{sum(p.numel() for p in task.model.parameters()):,} weights, {task.describe()}, "
        f"{trainer.plan.total:,} steps, {settings.device}, {settings.threads} threads, {settings.precision}"
    )
    return trainer.run()
