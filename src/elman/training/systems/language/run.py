"""Training a recurrent language model: from sources and flags to what the training loop needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from elman.data.tokens import Corpus
from elman.equations import Recurrence
from elman.models.language import LanguageModel
from elman.runs import RunFolder
from elman.training import machine
from elman.training.choose import Choice, Facts, Request, Sizes, choose
from elman.training.corpus import TextOptions, describe_corpus, describe_data, read_again, refuse_inside, unit_of
from elman.training.display import Display
from elman.training.progress import Outcome
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, seconds_a_step, start
from elman.training.systems.language.task import LanguageTask

PROBE_DROPOUT = 0.2


@dataclass(frozen=True)
class Wishes:
    """What a language model shall look like, apart from text and recurrence.

    Attributes:
        request: sizes and settings.
        input_dropout, recurrent_dropout, tied: of the model.
        reports: who is told.
    """

    request: Request
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    tied: bool = False
    reports: Reports = field(default_factory=Reports)


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

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, sources)
        corpus = text.read(sources)
        settings.check_validation(len(corpus.valid), "a validation part; --split leaves none.")
        describe_corpus(corpus, display)
        request = replace(wishes.request, settings=settings)
        choice = _choose(corpus, recurrence, wishes, request, seconds_left())
        model = _build(corpus, recurrence, wishes, settings, choice.sizes)
        # a backend that cannot run this is refused here, before anything is written
        model.eval()(torch.zeros(1, 1, dtype=torch.long, device=settings.device))
        model.train()
        task = LanguageTask(model, corpus.vocabulary, corpus.train, corpus.valid, choice.settings)
        for notice in task.streams.notices:
            display.warn(notice)
        # a short text may carry fewer streams or steps than asked for; what runs is what is stored
        chosen = replace(choice.settings, batch=task.streams.batch, unroll=task.streams.unroll)
        entries = {
            "model": model.configuration(),
            "vocabulary": corpus.vocabulary.to_json(),
            "data": describe_data(sources, text, corpus),
        }
        return Prepared("language", task, chosen, choice.steps, entries, choice.reasons)

    return start(out, wishes.request.settings, wishes.reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> LanguageTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the text lies now; None for the recorded places.

    Raises:
        MisuseError, FailureError: the text is not there, or not the same any more.
    """
    corpus = read_again(config, run, sources=sources)
    torch.manual_seed(settings.seed)
    model = LanguageModel.from_configuration(config["model"], settings.backend).to(settings.device)
    return LanguageTask(model, corpus.vocabulary, corpus.train, corpus.valid, settings)


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
        return seconds_a_step(LanguageTask(model, corpus.vocabulary, corpus.train, corpus.train[:0], probed), probed)

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
