"""Training an encoder-decoder on pairs of sentences, and measuring it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.made_tasks import is_made
from elman.data.parallel import Pairs, build_vocabularies, encode_pairs
from elman.data.vocabulary import Vocabulary, from_json
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.generate.translating import Translators, translate
from elman.models.translator import Translator
from elman.runs import RunFolder
from elman.training import machine
from elman.training.corpus import refuse_inside, unit_of
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, planned
from elman.training.evaluate import Evaluation
from elman.training.progress import Outcome
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.translate.pairs import PairOptions, Sources, parts_of_run, record
from elman.training.systems.translate.scores import evaluate_run, exact_share, moved, summed_nats, word_bleu

__all__ = ["PairExamples", "PairOptions", "Sources", "Wishes", "evaluate_run", "rebuild", "train"]

CRITERIA = ("nats", "bleu", "exact")
#: Evaluations of a training, where the user does not say how often.
EVALUATIONS = 12
SAMPLES = 3
TIE = 1e-6


@dataclass(frozen=True)
class Wishes:
    """What a translator shall look like.

    Attributes:
        encoder, decoder: recurrences.
        shape: further arguments of :class:`elman.models.translator.Translator`; "tied" may be missing.
        settings: of the training.
        best_by: one of ``CRITERIA``: what decides which weights are kept; None for exact of made tasks, nats else.
        scored: validation pairs that are translated at every evaluation; 0 for none.
        given: the names of the settings that are the user's own: precision, warmup, eval_every.
        reports: who is told.
    """

    encoder: Recurrence
    decoder: Recurrence
    shape: Mapping[str, Any]
    settings: Settings
    best_by: str | None = None
    scored: int = 200
    given: frozenset[str] = frozenset()
    reports: Reports = field(default_factory=Reports)


class PairExamples:
    """Pairs of sentences as examples of the training loop.

    Args:
        model: on its device.
        source, target: vocabularies.
        parts: pairs by part; "train" and "valid" are used.
        options: how they are cut.
        settings: batch, device.
        best_by, scored: as in :class:`Wishes`.
        notices: receives a sentence about pairs that were left out.
    """

    def __init__(
        self,
        model: Translator,
        source: Vocabulary,
        target: Vocabulary,
        parts: Mapping[str, Pairs],
        options: PairOptions,
        settings: Settings,
        best_by: str,
        scored: int,
        notices: list[str] | None = None,
    ) -> None:
        self.model, self.source, self.target, self.settings = model, source, target, settings
        self.best_by, self.scored = best_by, scored
        self.unit = unit_of(target)
        self.valid_pairs = parts["valid"]
        self.train = encode_pairs(parts["train"], source, target, longest=options.longest, notices=notices)
        self.valid = encode_pairs(parts["valid"], source, target)
        self.lengths: NDArray[np.integer] | None = self.train.lengths

    def __len__(self) -> int:
        return len(self.train)

    def describe(self) -> str:
        model = self.model
        sides = "bidirectional " if model.encoder.bidirectional else ""
        look = "no attention" if model.look is None else f"{model.attention} attention"
        names = [side.recurrence.name or "own recurrence" for side in (model.encoder, model.decoder)]
        cells = f"{sides}{names[0]} to {names[1]}"
        return f"{model.layers} x {model.hidden} {cells}, {look}, {self.settings.batch} pairs a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[tuple[Tensor, ...], int]:
        parts = self.train.batch(rows)
        return moved(parts, self.settings.device), int(parts[-1].sum())

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        return self.model.nats(*batch)

    def evaluate(self) -> Evaluation | None:
        if not len(self.valid):
            return None
        started = time.monotonic()
        nats, symbols = summed_nats(self.model, self.valid, self.settings.device)
        scores: dict[str, float] = {}
        count = min(self.scored, len(self.valid))
        # of a training that has exploded the loss says so, and the loop goes back
        if count and math.isfinite(nats):
            written = [found[0].text for found in translate(self._translators(), self.valid_pairs.source[:count])]
            references = self.valid_pairs.target[:count]
            scores = {"exact": exact_share(written, references)}
            # BLEU counts four words in a row, which answers of one word never have
            if self.best_by == "bleu" or any(" " in reference for reference in references):
                scores = {"bleu": word_bleu(written, references), **scores}
        # of equal scores, as before anything is right, the one with the better loss is kept
        criterion = -scores[self.best_by] + TIE * nats / symbols if self.best_by in scores else None
        seconds = time.monotonic() - started
        return Evaluation(nats / symbols, symbols, seconds, scores=scores, criterion=criterion)

    def sample(self, seed: int, length: int) -> str:
        count = min(SAMPLES, len(self.valid_pairs))
        sources, targets = self.valid_pairs.source[:count], self.valid_pairs.target[:count]
        written = [found[0].text for found in translate(self._translators(), sources)]
        return "\n".join(f"{s}\n  = {t}\n  > {w}" for s, t, w in zip(sources, targets, written, strict=True))

    def _translators(self) -> Translators:
        return Translators((self.model,), self.source, self.target)


def train(
    sources: Sources, options: PairOptions, wishes: Wishes, out: Path
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a translator into a new run folder.

    Args:
        sources: the pairs.
        options: how they are read and cut.
        wishes: model, settings, reports.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    options = options.settled(sources.train)
    best_by = wishes.best_by or ("exact" if is_made(sources.train[0]) else "nats")
    if best_by not in CRITERIA:
        raise MisuseError(f"--best-by is {best_by!r}; it takes {', '.join(CRITERIA)}.")
    if best_by != "nats" and not wishes.scored:
        raise MisuseError(f"--best-by {best_by} needs --scored, the number of validation pairs that are translated.")

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, [name for name in sources.train if not is_made(name)])
        notices: list[str] = []
        parts = sources.parts(options, notices)
        settings.check_validation(len(parts["valid"]), "validation pairs: --valid or --split.")
        source, target = build_vocabularies(
            parts["train"], str(options.tokens), bool(options.joint), **options.building()
        )
        torch.manual_seed(settings.seed)
        shape = {"tied": "all" if options.joint else "target", **wishes.shape}
        model = Translator(
            wishes.encoder, source.size, target.size, decoder=wishes.decoder, backend=settings.backend, **shape
        ).to(settings.device)
        if "precision" not in wishes.given:
            settings = replace(settings, precision=machine.usual_precision(settings, wishes.decoder, model.hidden))
        examples = PairExamples(model, source, target, parts, options, settings, best_by, wishes.scored, notices)
        for notice in notices:
            display.warn(notice)
        sizes = f"{source.size:,}" if options.joint else f"{source.size:,} and {target.size:,}"
        data = record(sources, options, parts)
        display.note(
            f"{len(examples):,} pairs to train on, {len(parts['valid']):,} to validate; {sizes} {examples.unit}s; "
            f"fingerprint {data['fingerprint'][:12]}"
        )
        task, settings, steps = planned(
            examples, settings, wishes.given, seconds_left, evaluations=EVALUATIONS, warmup=200
        )
        entries = {
            "model": model.configuration(),
            "vocabulary": target.to_json(),
            **({} if options.joint else {"source_vocabulary": source.to_json()}),
            "data": data,
            "translate": {"best_by": best_by, "scored": wishes.scored},
        }
        return Prepared("translate", task, settings, steps, entries)

    return start(out, wishes.settings, wishes.reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the pairs lie now, file for file in the order of the record; None for the recorded places.

    Raises:
        MisuseError, FailureError: the pairs are not there, or not the same any more.
    """
    parts, options = parts_of_run(config, run, sources)
    try:
        facts = config["translate"]
        best_by, scored = str(facts["best_by"]), int(facts["scored"])
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(f"The configuration of {run} lacks what a resume needs ({error!r}).") from error
    torch.manual_seed(settings.seed)
    model = Translator.from_configuration(config["model"], settings.backend).to(settings.device)
    target = from_json(config["vocabulary"])
    source = from_json(config["source_vocabulary"]) if "source_vocabulary" in config else target
    return EpochTask(PairExamples(model, source, target, parts, options, settings, best_by, scored), settings)
