"""Training a classifier on labelled texts, and measuring it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.embeddings import read_embeddings
from elman.data.splits import part_named
from elman.data.vocabulary import Vocabulary, from_json
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.metrics.classification import calibration, class_scores, confusion_matrix, softmax
from elman.models.classifier import Classifier
from elman.runs import LoadedRun, RunFolder, load, newest_step
from elman.training import machine
from elman.training.corpus import refuse_inside
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, planned
from elman.training.folds import Summary, cross_validate
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, resume, start
from elman.training.systems.classify.data import Reading, check_labels, code, fingerprint, parts_of, read_again
from elman.training.systems.classify.examples import Learning, TextExamples, measures, scores_of, temperature_of
from elman.training.systems.parts import Sources, names_of, options_of
from elman.training.systems.tables import class_table, confusion_table

#: Evaluations of a training, where the user does not say how often.
EVALUATIONS = 16
#: Passes over the texts where the user gives no limit; small sets are learned by heart after these.
EPOCHS = 8.0


@dataclass(frozen=True)
class Wishes:
    """What a classifier shall look like; None is left to be chosen.

    Attributes:
        recurrence: the cell.
        shape: further arguments of :class:`elman.models.classifier.Classifier`, as far as the user gave them.
        settings: of the training.
        given: the names of the settings that are the user's own and not to be chosen: batch, lr, precision, warmup,
            eval_every, limit.
        word_dropout, class_weights, best_by: as in :class:`Learning`.
        embeddings: file of word vectors.
        reports: who is told.
    """

    recurrence: Recurrence
    shape: Mapping[str, Any]
    settings: Settings
    given: frozenset[str] = frozenset()
    word_dropout: float | None = None
    class_weights: str = "none"
    best_by: str = "accuracy"
    embeddings: str | None = None
    reports: Reports = field(default_factory=Reports)


def train(sources: Sources, reading: Reading, wishes: Wishes, out: Path) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a classifier into a new run folder.

    Args:
        sources: the labelled texts.
        reading: how they are read.
        wishes: model, settings, reports.
        out: the run folder to make.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    # what cannot be is said before anything is read
    Learning(wishes.word_dropout or 0.0, wishes.class_weights, wishes.best_by)

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        refuse_inside(out, sources.train)
        notices: list[str] = []
        parts = parts_of(sources, reading, notices)
        settings.check_validation(len(parts["valid"]), "a validation part: --valid or --split.")
        classes = parts["train"].classes
        vocabulary = reading.build(parts["train"].texts)
        coded = {name: code(parts[name], vocabulary, classes, reading.longest) for name in ("train", "valid")}
        reasons: list[str] = []
        shape = _shape(wishes, reading, len(parts["train"]), reasons)
        learning = Learning(_word_dropout(wishes, vocabulary, reasons), wishes.class_weights, wishes.best_by)
        settings = _settings(wishes, settings, len(parts["train"]), reasons)
        vectors = None if wishes.embeddings is None else _vectors(wishes.embeddings, vocabulary, settings.seed)
        torch.manual_seed(settings.seed)
        if vectors is not None:
            shape["embedding"] = vectors[0].shape[1]
        model = Classifier(wishes.recurrence, vocabulary.size, len(classes), backend=settings.backend, **shape)
        if vectors is not None:
            model.embedding.weight.data.copy_(vectors[0])
            covered = np.bincount(np.concatenate(coded["train"].ids), minlength=vocabulary.size)
            notices += [_coverage(vectors[1], covered, vocabulary), *vectors[2]]
        model.to(settings.device)
        if "precision" not in wishes.given:
            settings = replace(settings, precision=machine.usual_precision(settings, wishes.recurrence, model.hidden))
        if cut := coded["train"].cut:
            notices.append(f"{cut:,} texts are read only to token {reading.longest:,}; --longest N reads more.")
        for notice in notices:
            display.warn(notice)
        counts = {name: len(part) for name, part in parts.items()}
        record = sources.record(reading, fingerprint(parts), counts)
        display.note(
            f"{counts['train']:,} texts to train on, {counts['valid']:,} to validate, {counts['test']:,} to test; "
            f"{len(classes)} classes, {vocabulary.size:,} "
            f"{vocabulary.kind}; fingerprint {record['fingerprint'][:12]}"
        )
        examples = TextExamples(
            model, vocabulary, classes, coded["train"], coded["valid"], parts["valid"], learning,
            settings.device, settings.batch,
        )  # fmt: skip
        task, settings, steps = planned(examples, settings, wishes.given, seconds_left, evaluations=EVALUATIONS)
        entries = {
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            "classes": list(classes),
            "data": record,
            "learning": asdict(learning),
            **({} if wishes.embeddings is None else {"embeddings": str(Path(wishes.embeddings).absolute())}),
        }
        return Prepared("classify", task, settings, steps, entries, reasons)

    return start(out, wishes.settings, wishes.reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the training texts lie now; None for the recorded places.

    Raises:
        MisuseError, FailureError: the texts are not there, or not the same any more.
    """
    parts, reading = read_again(config, run, sources)
    classes, vocabulary = names_of(config, "classes", run), from_json(config["vocabulary"])
    try:
        learning = Learning(**config["learning"])
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} lacks what a resume needs ({error!r}).") from error
    torch.manual_seed(settings.seed)
    model = Classifier.from_configuration(config["model"], settings.backend)
    if config.get("embeddings") and newest_step(RunFolder(run)) < 0:
        model.embedding.weight.data.copy_(_vectors(str(config["embeddings"]), vocabulary, settings.seed)[0])
    examples = TextExamples(
        model.to(settings.device),
        vocabulary,
        classes,
        code(parts["train"], vocabulary, classes, reading.longest),
        code(parts["valid"], vocabulary, classes, reading.longest),
        parts["valid"],
        learning,
        settings.device,
        settings.batch,
    )
    return EpochTask(examples, settings)


OPTIONS: Mapping[str, type] = {
    "form": str,
    "text_column": str,
    "label_column": str,
    "encoding": str,
    "errors": str,
    "bins": int,
}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Accuracy, loss, calibration, confusion matrix and scores by class of a run.

    Args:
        loaded: the run.
        run: its folder.
        sources: other labelled texts; None for the run's own.
        part: of its own texts: "valid" (default), "test" or "train".
        options: ``bins`` of the calibration (15); of other texts what differs from the run's: ``form``,
            ``text_column``, ``label_column``, ``encoding``, ``errors``.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    asked, chosen = check_options(options, OPTIONS), part_named(part)
    bins = asked.pop("bins", 15)
    classes = names_of(loaded.config, "classes", run)
    if sources:
        reading = replace(options_of(Reading, loaded.config, run), **asked)
        texts = reading.read(sources)
        check_labels(texts, set(classes))
    else:
        if asked:
            raise MisuseError(f"--option {min(asked)} is for files; the run's own texts are read as in training.")
        parts, reading = read_again(loaded.config, run)
        if not len(texts := parts[chosen]):
            raise MisuseError(f"{run} has no texts in its {chosen} part; name files.")
    started = time.monotonic()
    coded = code(texts, loaded.vocabulary, classes, reading.longest)
    scores = scores_of(loaded.model, coded.ids)
    seconds = time.monotonic() - started
    temperature = temperature_of(loaded.model)
    figures, calibrated = measures(scores, coded.classes), measures(scores, coded.classes, temperature)
    matrix = confusion_matrix(coded.classes, scores.argmax(1), len(classes))
    by_class = class_scores(matrix)
    fitted = calibration(softmax(scores, temperature), coded.classes, bins)
    rows: dict[str, float | int | str | None] = {
        "texts": len(texts),
        "accuracy": figures["accuracy"],
        "macro_f1": figures["macro_f1"],
        "nats": calibrated["nats"],
        "nats_uncalibrated": figures["nats"],
        "calibration_error": fitted.error,
        "calibration_error_uncalibrated": calibration(softmax(scores), coded.classes, bins).error,
        "temperature": temperature,
        "seconds": round(seconds, 3),
    }
    details = {
        "classes": {name: asdict(score) for name, score in zip(classes, by_class, strict=True)},
        "confusion": matrix.tolist(),
        "calibration": {name: value.tolist() for name, value in asdict(fitted).items() if name != "error"},
    }
    text = f"{class_table(classes, by_class)}\n\n{confusion_table(classes, matrix)}"
    return Scores(rows, text, details)


def _shape(wishes: Wishes, reading: Reading, texts: int, reasons: list[str]) -> dict[str, Any]:
    shape = {name: value for name, value in wishes.shape.items() if value is not None}
    whole_words = reading.tokens in ("words", "subwords")
    usual = {
        "hidden": (128, "enough for sentences"),
        "embedding": (128, "about as wide as the recurrence") if whole_words else (48, "there are few symbols"),
        "dropout": (0.5, f"{texts:,} texts are few") if texts < 50_000 else (0.3, f"{texts:,} texts"),
        "input_dropout": (0.5, "most words are seen a few times") if whole_words else (0.1, "symbols are seen often"),
    }
    if wishes.embeddings is not None:
        del usual["embedding"]
    for name, (value, why) in usual.items():
        if name not in shape:
            shape[name] = value
            reasons.append(f"{name.replace('_', '-')} {value}: {why}")
    return shape


def _word_dropout(wishes: Wishes, vocabulary: Vocabulary, reasons: list[str]) -> float:
    if wishes.word_dropout is not None:
        return wishes.word_dropout
    if vocabulary.kind != "words":
        return 0.0
    reasons.append("word-dropout 0.1: so that <unk> is learned")
    return 0.1


def _settings(wishes: Wishes, settings: Settings, texts: int, reasons: list[str]) -> Settings:
    if "batch" not in wishes.given:
        settings = replace(settings, batch=min(texts, 32 if texts < 20_000 else 64))
        reasons.append(f"batch {settings.batch}: for {texts:,} texts")
    if "lr" not in wishes.given:
        settings = replace(settings, lr=2e-3)
        reasons.append("lr 0.002: usual for a recurrence of this width")
    if "limit" not in wishes.given:
        settings = replace(settings, epochs=EPOCHS)
        reasons.append(
            f"epochs {EPOCHS:g}, or {settings.minutes:g} minutes: small sets are learned by heart after that"
        )
    return settings


def _vectors(path: str, vocabulary: Vocabulary, seed: int) -> tuple[Tensor, NDArray[np.bool_], tuple[str, ...]]:
    if vocabulary.kind != "words":
        raise MisuseError(f"--embeddings holds vectors of words; --tokens is {vocabulary.kind}.")
    read = read_embeddings(path, [vocabulary.decode([place]) for place in range(vocabulary.size)], seed)
    return torch.from_numpy(read.matrix), read.found, read.notices


def _coverage(found: NDArray[np.bool_], counts: NDArray[np.int64], vocabulary: Vocabulary) -> str:
    share = counts[found].sum() / max(1, counts.sum())
    return (
        f"Word vectors for {int(found.sum()):,} of {vocabulary.size:,} words, {share:.1%} of the running text; "
        "the others are drawn at random."
    )


FOLD_SCORES = ("accuracy", "macro_f1", "nats", "calibration_error")


def cross_validated(
    sources: Sources, reading: Reading, wishes: Wishes, out: Path, told: Callable[[str], None]
) -> Summary:
    """Train and test every fold; see :func:`elman.training.folds.cross_validate`.

    Args:
        sources, wishes: as of :func:`train`.
        reading: with the number of folds.
        out: the folder of all.
        told: receives a line a fold.
    """

    def one(number: int, folder: Path) -> dict[str, float] | None:
        if RunFolder(folder).config.exists():
            outcome, _, _ = resume(folder, lambda system: rebuild, reports=wishes.reports)
        else:
            outcome, _, _ = train(sources, replace(reading, fold=number), wishes, folder)
        if outcome.reason == "interrupted":
            return None
        rows = evaluate_run(load(folder, systems=("classify",)), folder, None, "test", {}).rows
        return {name: float(rows[name] or 0.0) for name in FOLD_SCORES}

    key = {
        "sources": asdict(sources),
        "fingerprint": fingerprint({"all": reading.read(sources.train)}),
        "reading": asdict(reading),
        "settings": wishes.settings.to_json(),
        "recurrence": wishes.recurrence.equations,
        "shape": dict(wishes.shape),
        "given": sorted(wishes.given),
        "learning": [wishes.word_dropout, wishes.class_weights, wishes.best_by, wishes.embeddings],
    }
    return cross_validate(out, reading.folds, key, one, told)
