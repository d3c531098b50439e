"""Starting and resuming the training of a language model: from sources and flags to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman.data.tokens import Corpus
from elman.data.vocabulary import Vocabulary
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.models.language import LanguageModel
from elman.runs import RunFolder, newest_step, read_config, write_config
from elman.runs.model import check_resumable
from elman.training import machine
from elman.training.choose import Choice, Facts, Request, Sizes, choose
from elman.training.corpus import TextOptions, describe_corpus, describe_data, read_again, refuse_inside, unit_of
from elman.training.display import Display, choose_display
from elman.training.language import LanguageTask
from elman.training.loop import Trainer
from elman.training.optimisers import build_optimiser
from elman.training.plot import plot_losses
from elman.training.progress import Outcome
from elman.training.schedules import Plan
from elman.training.settings import Settings

DEFAULT_MINUTES = 5.0
PROBE_STEPS = 3
PROBE_DROPOUT = 0.2
# a plot costs a second; the one at the end is always drawn
PLOT_SECONDS = 30.0


@dataclass(frozen=True)
class Wishes:
    """What a training shall look like, apart from text and recurrence.

    Attributes:
        request: sizes and settings.
        input_dropout, recurrent_dropout, tied: of the model.
        quiet, as_json, tensorboard: how it reports.
    """

    request: Request
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    tied: bool = False
    quiet: bool = False
    as_json: bool = False
    tensorboard: bool = False


def train_language_model(
    sources: Sequence[str], recurrence: Recurrence, text: TextOptions, wishes: Wishes, out: Path
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a recurrent language model into a new run folder.

    Args:
        sources: files, folders, globs, URLs or ``python:stdlib``.
        recurrence: the cell.
        text: how the text is read.
        wishes: sizes, settings, reports.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    started = time.monotonic()
    settings = wishes.request.settings
    device, threads = machine.prepare(settings.device, settings.threads)
    if settings.minutes is None and settings.steps is None and settings.epochs is None:
        settings = replace(settings, minutes=DEFAULT_MINUTES)
    settings = replace(settings, device=device, threads=threads)
    request = replace(wishes.request, settings=settings)
    RunFolder.vacant(out)
    refuse_inside(out, sources)
    corpus = text.read(sources)
    if not len(corpus.valid) and (settings.patience or settings.schedule == "plateau"):
        raise MisuseError("--patience and --schedule plateau need a validation part; --split leaves none.")
    with choose_display(str(out), quiet=wishes.quiet, as_json=wishes.as_json) as display:
        describe_corpus(corpus, display)
        seconds = None if settings.minutes is None else settings.minutes * 60 - (time.monotonic() - started)
        choice = _choose(corpus, recurrence, wishes, request, seconds)
        model = _build(corpus, recurrence, wishes, settings, choice.sizes)
        # a backend that cannot run this is refused here, before anything is written
        model.eval()(torch.zeros(1, 1, dtype=torch.long, device=device))
        model.train()
        task = LanguageTask(model, corpus.vocabulary, corpus.train, corpus.valid, choice.settings)
        for reason in choice.reasons:
            display.note(f"  chose {reason}")
        for notice in task.streams.notices:
            display.warn(notice)
        # a short text may carry fewer streams or steps than asked for; what runs is what is stored
        chosen = replace(choice.settings, batch=task.streams.batch, unroll=task.streams.unroll)
        config = _config(sources, text, corpus, model, chosen, wishes, choice)
        folder = RunFolder.create(out)
        with folder.locked():
            RunFolder.vacant(out)
            spent = time.monotonic() - started
            trainer = _trainer(task, chosen, Plan(choice.steps), folder, display, wishes.tensorboard, spent)
            write_config(folder.config, config)
            outcome = _run(trainer, model, task.unit)
    return outcome, folder, config


def _choose(corpus: Corpus, recurrence: Recurrence, wishes: Wishes, request: Request, seconds: float | None) -> Choice:
    settings = request.settings
    facts = Facts(
        tokens=len(corpus.train),
        unit=unit_of(corpus.vocabulary),
        seconds=seconds,
        bf16_pays=lambda hidden: machine.bf16_pays(settings.device, settings.backend, recurrence, hidden),
        products=machine.products(recurrence),
    )

    def probe(sizes: Sizes, probed: Settings) -> float:
        # the rate is chosen later, but dropping units takes time
        dropped = replace(sizes, dropout=PROBE_DROPOUT if request.dropout is None else request.dropout)
        model = _build(corpus, recurrence, wishes, settings, dropped)
        return seconds_a_step(model, corpus.vocabulary, corpus.train, probed)

    return choose(request, facts, probe)


def _build(corpus: Corpus, recurrence: Recurrence, wishes: Wishes, settings: Settings, sizes: Sizes) -> LanguageModel:
    torch.manual_seed(settings.seed)
    model = LanguageModel(
        recurrence,
        corpus.vocabulary.size,
        sizes.hidden,
        sizes.layers,
        embedding=sizes.embedding,
        dropout=sizes.dropout,
        input_dropout=wishes.input_dropout,
        recurrent_dropout=wishes.recurrent_dropout,
        tied=wishes.tied,
        backend=settings.backend,
    )
    return model.to(settings.device)


def resume_language_model(
    run: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    sources: Sequence[str] | None = None,
    quiet: bool = False,
    as_json: bool = False,
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Go on with a stopped training; on the same machine with the same threads, bit for bit as if it had not stopped.

    Args:
        run: the run folder.
        minutes, steps, epochs: new limits in place of the old one, counted from the very start.
        threads, device: in place of the stored ones.
        sources: where the text lies now, if not where it lay; it must be the same text.
        quiet, as_json: how it reports.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    folder = RunFolder.existing(run)
    config = read_config(folder.config)
    if config["system"] != "language":
        raise MisuseError(
            f"{run} holds a {config['system']} model, which is trained in one go: there is nothing to resume."
        )
    try:
        settings = Settings.from_json(config["training"]["settings"])
        first_plan = Plan(int(config["training"]["steps"]))
        tensorboard = bool(config["training"]["tensorboard"])
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(
            f"{folder.config} lacks what a resume needs ({error!r}); it was not made by a training."
        ) from error
    with folder.locked(), choose_display(str(run), quiet=quiet, as_json=as_json) as display:
        fresh = newest_step(folder) < 0
        if fresh and (folder.model.exists() or (folder.metrics.exists() and folder.metrics.stat().st_size)):
            raise FailureError(
                f"{run} has no checkpoint in its folder resume/, which a copy may have left out; "
                "it can be sampled and evaluated, but not resumed."
            )
        new_device, new_threads = machine.prepare(device or settings.device, threads or settings.threads)
        extended = (minutes, steps, epochs) != (None, None, None)
        if extended:
            settings = replace(settings, minutes=minutes, steps=steps, epochs=epochs)
        settings = replace(settings, device=new_device, threads=new_threads)
        check_resumable(folder, config["model"])
        corpus = read_again(config, run, sources=sources)
        torch.manual_seed(settings.seed)
        model = LanguageModel.from_configuration(config["model"], settings.backend).to(settings.device)
        task = LanguageTask(model, corpus.vocabulary, corpus.train, corpus.valid, settings)
        if settings.to_json() != config["training"]["settings"]:
            config["training"]["settings"] = settings.to_json()
            write_config(folder.config, config)
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
            display.note(f"{run} is finished: {progress.step:,} steps. Extend it with --minutes, --steps or --epochs.")
            return Outcome("done", progress), folder, config
        display.note(f"Resuming at step {progress.step:,} of {trainer.plan.total:,}.")
        outcome = _run(trainer, model, task.unit)
    return outcome, folder, config


def seconds_a_step(model: LanguageModel, vocabulary: Vocabulary, train: np.ndarray, settings: Settings) -> float:
    """Measure an optimiser step: the median of a few after two that warm caches and allocators."""
    task = LanguageTask(model, vocabulary, train, train[:0], settings)
    optimiser = build_optimiser(
        model, settings.optimizer, settings.lr, settings.weight_decay, settings.optimizer_options
    )
    times = []
    for _ in range(2 + PROBE_STEPS):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        task.advance()
        if isinstance(optimiser, torch.optim.LBFGS):
            optimiser.step(lambda: float(task.gradients()))
        else:
            float(task.gradients())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        if settings.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return float(np.median(times[2:]))


def _trainer(
    task: LanguageTask,
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
        if missing or (not final and time.monotonic() - drawn_at < PLOT_SECONDS):
            return
        try:
            plot_losses(folder.metrics, folder.loss_plot, task.unit, folder.path.name)
        except MisuseError as error:
            # a missing plotting library must not cost a training; it is said once and the rest goes on
            missing = True
            display.warn(f"No loss plot: {error}")
        drawn_at = time.monotonic()

    return Trainer(
        task,
        settings,
        plan,
        folder,
        display,
        tensorboard=tensorboard,
        spent=spent,
        after_evaluation=draw,
    )


def _run(trainer: Trainer, model: LanguageModel, unit: str) -> Outcome:
    settings = trainer.settings
    trainer.display.note(
        f"{sum(p.numel() for p in model.parameters()):,} weights, {model.layers} x {model.hidden} "
        f"{model.recurrence.name or 'own recurrence'}, {trainer.plan.total:,} steps of "
        f"{settings.batch} x {settings.unroll} {unit}s, {settings.device}, {settings.threads} threads, "
        f"{settings.precision}"
    )
    return trainer.run()


def _config(
    sources: Sequence[str],
    text: TextOptions,
    corpus: Corpus,
    model: LanguageModel,
    settings: Settings,
    wishes: Wishes,
    choice: Choice,
) -> dict[str, Any]:
    return {
        "system": "language",
        "model": model.configuration(),
        "vocabulary": corpus.vocabulary.to_json(),
        "data": describe_data(sources, text, corpus),
        "training": {
            "settings": settings.to_json(),
            "steps": choice.steps,
            "chosen": choice.reasons,
            "tensorboard": wishes.tensorboard,
        },
        "versions": machine.versions(),
        "command": machine.command(),
    }
