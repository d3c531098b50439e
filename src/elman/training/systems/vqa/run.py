"""Training and evaluating models that answer questions about images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman.data.questions import Question, QuestionOptions, Questions, read_questions
from elman.data.splits import part_named
from elman.data.vocabulary import from_json
from elman.data.words import Words
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError
from elman.metrics.answers import by_name, soft_accuracy
from elman.models.questions.network import VisualQA
from elman.models.questions.sight import Sight, encoder_sight, fitting_size, sight_of
from elman.runs import RunFolder
from elman.runs.model import LoadedRun
from elman.training.display import Display
from elman.training.epoch_task import EpochTask, plan_steps
from elman.training.material import absolute, check_same, recorded_data
from elman.training.progress import Outcome
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, start
from elman.training.systems.vqa.examples import QuestionSet, VqaExamples, answer_all, record, shuffled_rows

WARMUP = 100
# so many skipped questions and images are named one by one
NAMED = 20
KINDS_SHOWN, ANSWERS_SHOWN = 15, 20


@dataclass(frozen=True)
class Wishes:
    """What a model of questions shall look like.

    Attributes:
        encoder: name of a ConvNet whose features are taken, with ``weights``; None for a small net trained along.
        weights: file of the encoder's weights.
        size: (height, width) of the images for the net trained along; None to fit the first image.
        channels, halvings: of that net.
        panels: squares side by side whose order is drawn anew in training; 1 for none.
        max_answers: so many answers are known at most, the most frequent ones.
        min_count: words that are rarer become unknown.
        attention, hops, control, head, hidden, layers, embedding, dropout, recurrent_dropout: of
            :class:`elman.models.questions.network.VisualQA`.
    """

    encoder: str | None = None
    weights: str | None = None
    size: tuple[int, int] | None = None
    channels: int = 32
    halvings: int = 3
    panels: int = 1
    max_answers: int = 3000
    min_count: int = 1
    attention: str = "read"
    hops: int = 2
    control: str = "none"
    head: str = "answers"
    hidden: int = 128
    layers: int = 1
    embedding: int | None = None
    dropout: float = 0.0
    recurrent_dropout: float = 0.0


def train(
    data: str,
    options: QuestionOptions,
    recurrence: Recurrence,
    wishes: Wishes,
    settings: Settings,
    reports: Reports,
    out: Path,
    *,
    eval_every: int | None = None,
    warmup: int | None = None,
) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    """Train a model that answers questions about images, into a new run folder.

    Args:
        data: the questions.
        options: how they are read.
        recurrence: the cell that reads them.
        wishes: the model.
        settings: of the training.
        reports: who is told.
        out: the run folder to make.
        eval_every: steps between evaluations; default an epoch.
        warmup: steps of linear warm-up; default a twentieth of the training, at most ``WARMUP``.

    Returns:
        How the training ended, the run folder and its configuration.

    Raises:
        MisuseError, FailureError, EquationError: with the sentence for the user.
    """
    options = replace(options, images=tuple(map(absolute, options.images)))
    options = replace(options, annotations=tuple(map(absolute, options.annotations)))
    options = replace(options, valid=options.valid and absolute(options.valid))
    options = replace(options, test=options.test and absolute(options.test))

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        notices: list[str] = []
        questions = read_questions(data, options, notices)
        sight = _sight(questions, wishes, settings.device)
        questions, seen, rows = _look(questions, sight, options.bad, notices)
        _tell(notices, display)
        words, answers = _known(questions, wishes)
        torch.manual_seed(settings.seed)
        model = VisualQA(
            recurrence,
            words.size,
            max(1, len(answers)),
            images="net" if sight.encoder is None else "features",
            channels=wishes.channels if sight.encoder is None else sight.shape[0],
            height=sight.shape[1],
            width=sight.shape[2],
            halvings=wishes.halvings,
            hidden=wishes.hidden,
            layers=wishes.layers,
            embedding=wishes.embedding,
            attention=wishes.attention,
            hops=wishes.hops,
            control=wishes.control,
            head=wishes.head,
            dropout=wishes.dropout,
            recurrent_dropout=wishes.recurrent_dropout,
            backend=settings.backend,
        ).to(settings.device)
        examples = _examples(model, questions, seen, rows, words, answers, settings, wishes.panels)
        _describe(questions, examples, answers, display)
        task = EpochTask(examples, settings)
        settings = replace(settings, eval_every=eval_every or task.steps_an_epoch)
        settings.check_validation(len(examples.valid), "a validation part; --split leaves none.")
        steps = plan_steps(task, settings, seconds_left)
        settings = replace(settings, warmup=min(WARMUP, steps // 20) if warmup is None else warmup)
        entries = {
            "model": model.configuration(),
            "vocabulary": words.to_json(),
            "answers": list(answers),
            "sight": sight.to_json(),
            "data": {
                "source": absolute(data),
                "options": options.to_json(),
                "fingerprint": questions.fingerprint(),
                "panels": wishes.panels,
                **record(examples),
                "parts": dict(Counter(question.part for question in questions.items)),
            },
        }
        return Prepared("vqa", task, settings, steps, entries)

    return start(out, settings, reports, prepare)


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    """The task of a stored run, with fresh weights.

    Args:
        config: of the run.
        settings: of the training.
        run: its folder, for errors.
        sources: where the questions lie now, and after them the images; None for the recorded places.

    Raises:
        MisuseError, FailureError: the data are not there, or not the same any more.
    """
    questions, seen, rows = _again(config, run, sources, settings.device)
    torch.manual_seed(settings.seed)
    model = VisualQA.from_configuration(config["model"], settings.backend).to(settings.device)
    words, answers = _stored(config, run)
    panels = int(recorded_data(config, run).get("panels", 1))
    return EpochTask(_examples(model, questions, seen, rows, words, answers, settings, panels), settings)


OPTIONS: dict[str, type] = {"images": str, "annotations": str, "bad": str, "seed": int}


def evaluate_run(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Accuracy of a run, by kind of question and by answer, with the free controls beside it.

    Args:
        loaded: the run.
        run: its folder.
        sources: a file of other questions; None for a part of the run's own.
        part: ``valid`` (default), ``test`` or ``train`` of the run's own questions.
        options: ``images``, ``annotations``, ``bad`` of other questions, ``seed`` of the shuffled images.

    Returns:
        ``accuracy`` (of several given answers VQA's soft accuracy) and its standard error, the loss, and as controls
        the accuracy with the images of other questions, of always the most frequent answer of the training part, and of
        its most frequent answer to each kind of question.

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    checked, chosen = check_options(options, OPTIONS), part_named(part)
    device = str(next(loaded.model.parameters()).device)
    words, answers = _stored(loaded.config, run)
    trained_on: tuple[Question, ...] = ()
    if sources:
        read, seen, rows = _others(loaded.config, sources, checked, device)
        asked = read.items
    else:
        read, seen, rows = _again(loaded.config, run, None, device)
        asked, trained_on = read.part(chosen), read.part("train")
    if not asked:
        raise MisuseError(f"The questions of {run} have no {chosen} part.")
    questions = QuestionSet(asked, rows, words, answers)
    answered = answer_all(loaded.model, questions, seen)
    scores = [each.score for each in answered]
    nats = [each.nats for each in answered if each.nats is not None]
    figures: dict[str, float | int | str | None] = {
        "questions": len(scores),
        "accuracy": float(np.mean(scores)),
        "standard_error": float(np.std(scores) / np.sqrt(len(scores))),
        "nats": float(np.mean(nats)) if nats else None,
        "answer_unknown": len(scores) - len(nats),
    }
    if loaded.model.sees and len(np.unique(questions.rows)) > 1:
        instead = shuffled_rows(questions, checked.get("seed", 1))
        figures["shuffled_images"] = float(
            np.mean([each.score for each in answer_all(loaded.model, questions, seen, instead)])
        )
    if trained_on:
        figures |= _priors(trained_on, asked)
    kinds = by_name(scores, [question.kind for question in asked], KINDS_SHOWN)
    given = [Counter(question.answers).most_common(1)[0][0] for question in asked]
    by_answer = by_name(scores, given, ANSWERS_SHOWN)
    text = "\n\n".join(
        f"{title:<28} questions  accuracy\n"
        + "\n".join(f"{row.name[:27]:<28} {row.questions:>9,}  {row.score:>8.3f}" for row in table)
        for title, table in (("question", kinds), ("answer", by_answer))
    )
    details = {
        "by_kind": {row.name: {"questions": row.questions, "accuracy": row.score} for row in kinds},
        "by_answer": {row.name: {"questions": row.questions, "accuracy": row.score} for row in by_answer},
    }
    return Scores(figures, text, details)


def _priors(train: Sequence[Question], asked: Sequence[Question]) -> dict[str, float]:
    """Soft accuracy of answers that nobody looked or read for."""
    overall = Counter(answer for question in train for answer in question.answers)
    by_kind: dict[str, Counter[str]] = {}
    for question in train:
        by_kind.setdefault(question.kind, Counter()).update(question.answers)
    best = overall.most_common(1)[0][0]
    guesses = [by_kind.get(question.kind, overall).most_common(1)[0][0] for question in asked]
    return {
        "most_frequent_answer": float(np.mean([soft_accuracy(best, question.answers) for question in asked])),
        "most_frequent_by_kind": float(
            np.mean([soft_accuracy(guess, question.answers) for guess, question in zip(guesses, asked, strict=True)])
        ),
    }


def _sight(questions: Questions, wishes: Wishes, device: str) -> Sight:
    if wishes.encoder is not None:
        if wishes.weights is None:
            raise MisuseError(f"--encoder {wishes.encoder} needs --weights, a file of its trained weights.")
        if wishes.panels > 1 or wishes.size:
            raise MisuseError("--panels and --size belong to the net that is trained along, not to an --encoder.")
        return encoder_sight(wishes.encoder, wishes.weights, device)
    if wishes.weights is not None:
        raise MisuseError("--weights belong to an --encoder.")
    size = wishes.size
    if size is None:
        _, first = next(iter(questions.images.images(questions.used(), bad="skip")), (0, None))
        if first is None:
            raise MisuseError("None of the images can be used.")
        size = fitting_size(first.shape[1], first.shape[2])
    if wishes.panels > 1 and size[0] * wishes.panels > size[1]:
        raise MisuseError(f"Images of {size[1]}x{size[0]} pixels do not have {wishes.panels} squares side by side.")
    return Sight(size)


def _look(
    questions: Questions, sight: Sight, bad: str, notices: list[str]
) -> tuple[Questions, torch.Tensor, dict[int, int]]:
    seen, rows = sight.see_all(questions.images, questions.used(), bad=bad, notices=notices)
    questions = questions.with_images(rows)
    if not questions.items:
        raise MisuseError("None of the images can be used.")
    return questions, seen, rows


def _known(questions: Questions, wishes: Wishes) -> tuple[Words, tuple[str, ...]]:
    """Words and answers of the training part; no answers for a model that compares choices."""
    train = questions.part("train")
    if not train:
        raise MisuseError("No question is left for training; --split leaves nothing.")
    texts = [question.text for question in train]
    answers: tuple[str, ...] = ()
    if wishes.head == "choices":
        if without := next((question for question in questions.items if not question.choices), None):
            raise MisuseError(f"{without.place}: the question offers no choices, which --head choices needs.")
        texts += [choice for question in train for choice in question.choices]
    else:
        times = Counter(answer for question in train for answer in question.answers)
        answers = tuple(sorted(times, key=lambda answer: (-times[answer], answer))[: wishes.max_answers])
    lines = (f"{' '.join(text.split())}\n" for text in texts)
    return Words.build(lines, lower=True, min_count=wishes.min_count, max_size=None), answers


def _examples(
    model: VisualQA,
    questions: Questions,
    seen: torch.Tensor,
    rows: dict[int, int],
    words: Words,
    answers: Sequence[str],
    settings: Settings,
    panels: int,
) -> VqaExamples:
    train = QuestionSet(questions.part("train"), rows, words, answers, only_known=True)
    valid = QuestionSet(questions.part("valid"), rows, words, answers)
    return VqaExamples(model, seen, train, valid, settings, panels)


def _describe(questions: Questions, examples: VqaExamples, answers: Sequence[str], display: Display) -> None:
    counts = Counter(question.part for question in questions.items)
    parts = ", ".join(f"{counts[part]:,} {part}" for part in ("train", "valid", "test") if counts[part])
    known = f"{len(answers):,} answers" if answers else "choices"
    display.note(
        f"{questions.form}: {len(questions.items):,} questions ({parts}) about {len(questions.used()):,} images, "
        f"{examples.train.words.size:,} words, {known}"
    )
    if lost := counts["train"] - len(examples.train):
        display.note(f"{lost:,} training questions have none of the known answers and are left out.")


def _tell(notices: Sequence[str], display: Display) -> None:
    for notice in notices[:NAMED]:
        display.warn(notice)
    if len(notices) > NAMED:
        display.warn(f"... and {len(notices) - NAMED:,} more.")


def _stored(config: Mapping[str, Any], run: Path) -> tuple[Words, tuple[str, ...]]:
    words, answers = from_json(config["vocabulary"]), config.get("answers")
    if not isinstance(words, Words) or not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise FailureError(f"The configuration of {run} is damaged: its words or answers are none.")
    if len(answers) != (0 if config["model"].get("head") == "choices" else config["model"].get("answers")):
        raise FailureError(f"The configuration of {run} is damaged: its model has another number of answers.")
    return words, tuple(answers)


def _again(
    config: Mapping[str, Any], run: Path, sources: Sequence[str] | None, device: str
) -> tuple[Questions, torch.Tensor, dict[int, int]]:
    """The questions and images of a run, checked to be the same."""
    data = recorded_data(config, run)
    try:
        source, options = str(data["source"]), QuestionOptions.from_json(data["options"])
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its data were read ({error!r}).") from error
    if sources:
        source, *images = sources
        options = replace(options, images=tuple(images)) if images else options
    questions = read_questions(source, options)
    questions, seen, rows = _look(questions, sight_of(config["sight"], device), options.bad, [])
    check_same(questions.fingerprint(), config, run, [source, *options.images])
    return questions, seen, rows


def _others(
    config: Mapping[str, Any], sources: Sequence[str], options: Mapping[str, Any], device: str
) -> tuple[Questions, torch.Tensor, dict[int, int]]:
    if len(sources) > 1:
        raise MisuseError("Questions are one file, folder or archive; their images are --option images=PLACE.")
    read = QuestionOptions(
        images=tuple(options["images"].split(os.pathsep)) if "images" in options else (),
        annotations=(options["annotations"],) if "annotations" in options else (),
        split="100",
        bad=options.get("bad", "refuse"),
    )
    return _look(read_questions(sources[0], read), sight_of(config["sight"], device), read.bad, [])
