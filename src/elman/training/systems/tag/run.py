"""Training a tagger on labelled words, and measuring it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from elman.data.characters import Characters
from elman.data.embeddings import WordVectors, read_embeddings
from elman.data.splits import part_named
from elman.data.vocabulary import from_json
from elman.data.words import Words
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.metrics.entities import entity_scores, scheme_of
from elman.models.tagger import Allowed, Tagger
from elman.runs import LoadedRun, RunFolder, newest_step
from elman.training import machine
from elman.training.corpus import refuse_inside
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, planned
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.parts import Sources, names_of, options_of
from elman.training.systems.tables import score_table
from elman.training.systems.tag.data import (
    Coded,
    Reading,
    allowed_pairs,
    characters_of,
    code,
    fingerprint,
    parts_of,
    read_again,
)
from elman.training.systems.tag.examples import Learning, WordExamples, decode_all, judge, probabilities_of

#: Evaluations and passes over the sentences of a training, where the user does not say how many.
EVALUATIONS, EPOCHS = 16, 15.0


@dataclass(frozen=True)
class Wishes:
    """What a tagger shall look like.

    Attributes:
        recurrence: the cell.
        shape: further arguments of :class:`elman.models.tagger.Tagger`; "characters" says whether words are spelled.
        settings: of the training.
        learning: how it learns.
        given: the names of the settings that are the user's own: precision, warmup, eval_every, limit.
        embeddings: file of word vectors.
        reports: who is told.
    """

    recurrence: Recurrence
    shape: Mapping[str, Any]
    settings: Settings
    learning: Learning = field(default_factory=Learning)
    given: frozenset[str] = frozenset()
    embeddings: str | None = None
    reports: Reports = field(default_factory=Reports)


def train(sources: Sources, reading: Reading, wishes: Wishes, out: Path) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a tagger into a new run folder.

    Args:
        sources: the labelled words.
        reading: how they are read.
        wishes: model, settings, reports.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, sources.train)
        notices: list[str] = []
        reasons: list[str] = []
        parts = parts_of(sources, reading, notices)
        settings.check_validation(len(parts["valid"]), "a validation part: --valid or --split.")
        tags, scheme = parts["train"].tags, scheme_of(parts["train"].labels)
        vocabulary = reading.build(parts["train"].sentences)
        shape = dict(wishes.shape)
        characters = characters_of(parts["train"].sentences) if shape.pop("characters", True) else None
        if "limit" not in wishes.given:
            settings = replace(settings, epochs=EPOCHS)
            reasons.append(f"epochs {EPOCHS:g}, at most {settings.minutes:g} minutes: the usual")
        if "precision" not in wishes.given:
            precision = machine.usual_precision(settings, wishes.recurrence, int(shape["hidden"]))
            settings = replace(settings, precision=precision)
        if wishes.embeddings is not None:
            vectors = _word_vectors(wishes.embeddings, vocabulary, settings)
            covered = f"Word vectors for {int(vectors.found.sum()):,} of {vocabulary.size:,} words."
            notices += [covered, *vectors.notices]
            shape["embedding"] = vectors.matrix.shape[1]
        torch.manual_seed(settings.seed)
        model = Tagger(
            wishes.recurrence,
            vocabulary.size,
            len(tags),
            characters=0 if characters is None else characters.size,
            backend=settings.backend,
            **shape,
        )
        if wishes.embeddings is not None:
            model.embedding.weight.data.copy_(torch.from_numpy(vectors.matrix))
        model.to(settings.device)
        for notice in notices:
            display.warn(notice)
        counts = {name: len(part) for name, part in parts.items()}
        record = sources.record(reading, fingerprint(parts), counts)
        display.note(
            f"{counts['train']:,} sentences ({parts['train'].words:,} words) to train on, {counts['valid']:,} to "
            f"validate, {counts['test']:,} to test; {len(tags)} labels{f' in {scheme}' if scheme else ''}, "
            f"{vocabulary.size:,} words; fingerprint {record['fingerprint'][:12]}"
        )
        coded = {name: code(parts[name].sentences, parts[name].labels, reading, vocabulary, characters, tags)
                 for name in ("train", "valid")}  # fmt: skip
        allowed = _allowed(wishes.learning, tags, scheme)
        examples = WordExamples(
            model, tags, coded["train"], (coded["valid"], parts["valid"]), allowed, scheme is not None,
            wishes.learning, settings,
        )  # fmt: skip
        task, settings, steps = planned(examples, settings, wishes.given, seconds_left, evaluations=EVALUATIONS)
        entries = {
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            **({} if characters is None else {"characters": characters.to_json()}),
            "labels": list(tags),
            "scheme": scheme,
            "data": record,
            "learning": asdict(wishes.learning),
            **({} if wishes.embeddings is None else {"embeddings": str(Path(wishes.embeddings).absolute())}),
        }
        return Prepared("tag", task, settings, steps, entries, reasons)

    return start(out, wishes.settings, wishes.reports, prepare)


@dataclass(frozen=True)
class Decoder:
    """What a run needs beside its model to label words.

    Attributes:
        reading: how words are looked up.
        vocabulary, characters: of the run; characters None for a model without them.
        tags: labels by number.
        scheme: of the labels of entities, or None.
        learning: as trained.
    """

    reading: Reading
    vocabulary: Any
    characters: Characters | None
    tags: tuple[str, ...]
    scheme: str | None
    learning: Learning

    @classmethod
    def of(cls, config: Mapping[str, Any], run: Path) -> Decoder:
        """That of a run.

        Raises:
            FailureError: its configuration is incomplete.
        """
        try:
            spelled = config.get("characters")
            characters = None if spelled is None else Characters.from_json(spelled)
            if (0 if characters is None else characters.size) != config["model"]["characters"]:
                raise FailureError(f"{run} has other characters than its model.")
            scheme = config["scheme"]
            return cls(
                options_of(Reading, config, run),
                from_json(config["vocabulary"]),
                characters,
                names_of(config, "labels", run),
                None if scheme is None else str(scheme),
                Learning(**config["learning"]),
            )
        except (KeyError, TypeError) as error:
            raise FailureError(f"The configuration of {run} is incomplete ({error!r}).") from error

    @property
    def allowed(self) -> Allowed | None:
        """What decoding is held to."""
        return _allowed(self.learning, self.tags, self.scheme)

    def code(self, sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[str]] = ()) -> Coded:
        """Sentences as numbers."""
        return code(sentences, labels, self.reading, self.vocabulary, self.characters, self.tags)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the training sentences lie now; None for the recorded places.

    Raises:
        MisuseError, FailureError: the sentences are not there, or not the same any more.
    """
    parts, _ = read_again(config, run, sources)
    decoder = Decoder.of(config, run)
    torch.manual_seed(settings.seed)
    model = Tagger.from_configuration(config["model"], settings.backend)
    if config.get("embeddings") and newest_step(RunFolder(run)) < 0:
        vectors = _word_vectors(str(config["embeddings"]), decoder.vocabulary, settings)
        model.embedding.weight.data.copy_(torch.from_numpy(vectors.matrix))
    coded = {name: decoder.code(parts[name].sentences, parts[name].labels) for name in ("train", "valid")}
    examples = WordExamples(
        model.to(settings.device), decoder.tags, coded["train"], (coded["valid"], parts["valid"]), decoder.allowed,
        decoder.scheme is not None, decoder.learning, settings,
    )  # fmt: skip
    return EpochTask(examples, settings)


def _word_vectors(source: str, vocabulary: Words, settings: Settings) -> WordVectors:
    names = [vocabulary.symbol(place) for place in range(vocabulary.size)]
    return read_embeddings(source, names, settings.seed)


OPTIONS: Mapping[str, type] = {"word_column": str, "tag_column": str, "encoding": str, "errors": str, "constrain": bool}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Entity scores, accuracy and loss of a run.

    Args:
        loaded: the run.
        run: its folder.
        sources: other labelled words; None for the run's own.
        part: of its own sentences: "valid" (default), "test" or "train".
        options: ``constrain`` (true or false, default as trained); of other files what differs from the run's:
            ``word_column``, ``tag_column``, ``encoding``, ``errors``.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    # a column may be named by its number
    chosen = part_named(part)
    asked = check_options({n: str(v) if n.endswith("column") else v for n, v in options.items()}, OPTIONS)
    decoder = Decoder.of(loaded.config, run)
    if (constrain := asked.pop("constrain", None)) is not None:
        decoder = replace(decoder, learning=replace(decoder.learning, constrained=constrain))
    if sources:
        given = replace(decoder.reading, **asked).read(sources)
    else:
        if asked:
            raise MisuseError(f"--option {min(asked)} is for files; the run's own words are read as in training.")
        parts, _ = read_again(loaded.config, run)
        if not len(given := parts[chosen]):
            raise MisuseError(f"{run} has no sentences in its {chosen} part; name files.")
    begun = time.monotonic()
    decoded, nats = decode_all(loaded.model, decoder.code(given.sentences, given.labels), decoder.allowed)
    seconds = time.monotonic() - begun
    guessed = [[decoder.tags[number] for number in row] for row in decoded]
    rows: dict[str, float | int | str | None] = {"sentences": len(given), "words": given.words}
    details: dict[str, Any] = {}
    text = ""
    if decoder.scheme is not None:
        found = entity_scores(given.labels, guessed)
        rows |= {
            "entities": found.overall.support,
            "found": found.found,
            "precision": found.overall.precision,
            "recall": found.overall.recall,
        }
        details["kinds"] = {kind: asdict(score) for kind, score in found.kinds.items()}
        text = score_table(found.kinds, "entity")
    rows |= judge(given.labels, guessed, decoder.scheme is not None)
    rows |= {"nats": nats, "constrained": "yes" if decoder.allowed is not None else "no", "seconds": round(seconds, 3)}
    return Scores(rows, text, details)


def _allowed(learning: Learning, tags: Sequence[str], scheme: str | None) -> Allowed | None:
    if not learning.constrained:
        return None
    if scheme is None:
        raise MisuseError("--constrain is for labels of entities (IOB1, IOB2, IOBES); these are others.")
    return allowed_pairs(tags, scheme)


def label_sentences(
    model: Tagger, decoder: Decoder, sentences: Sequence[Sequence[str]]
) -> Iterator[tuple[list[str], list[float]]]:
    """Label new sentences.

    Args:
        model: in evaluation mode.
        decoder: of its run.
        sentences: words of each.

    Yields:
        The labels of each sentence, and the probability of each label by itself (its marginal).
    """
    coded = decoder.code(sentences)
    decoded, _ = decode_all(model, coded, decoder.allowed)
    chances = probabilities_of(model, coded, decoded)
    for row, own in zip(decoded, chances, strict=True):
        yield [decoder.tags[number] for number in row], own
