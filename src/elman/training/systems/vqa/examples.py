"""Questions about images made ready for a model: batches, losses, answers."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from elman.data.questions import Question
from elman.data.words import Words
from elman.metrics.answers import soft_accuracy
from elman.models.questions.network import Choices, VisualQA
from elman.training.evaluate import Evaluation
from elman.training.settings import Settings

# images of a batch in evaluation
_IMAGES = 64
_SHOWN = 6
_UNKNOWN_ID = 0


class Batch(NamedTuple):
    """Questions put together.

    Attributes:
        tokens: [T, B].
        lengths: [B].
        images: [N, ...] as the model takes them; None for a model that does not see.
        which: [B] the image of each question.
        targets: [B, K] share of people with each answer (or choice).
        choices: for a model with head "choices".
    """

    tokens: Tensor
    lengths: Tensor
    images: Tensor | None
    which: Tensor
    targets: Tensor
    choices: Choices | None


@dataclass(frozen=True)
class Answered:
    """What a model says to a question.

    Attributes:
        answer: its choice.
        probability: of it.
        nats: -log of the probability of what people answered; None where none of that is known to the model.
        score: soft accuracy; of one given answer 0 or 1.
    """

    answer: str
    probability: float
    nats: float | None
    score: float


class QuestionSet:
    """Questions of one part, encoded.

    Args:
        questions: in any order.
        rows: by index of an image its row among what is seen.
        words: the vocabulary.
        answers: the known answers; empty for a model that compares choices.
        only_known: leave out questions that have no known answer, from which nothing can be learned.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        rows: dict[int, int],
        words: Words,
        answers: Sequence[str],
        *,
        only_known: bool = False,
    ) -> None:
        self.words, self.answers = words, tuple(answers)
        number = {answer: place for place, answer in enumerate(self.answers)}
        self.questions: list[Question] = []
        self.tokens: list[NDArray[np.int64]] = []
        # of each question the numbers of answers (choices) with the share of people who gave them
        self.shares: list[list[tuple[int, float]]] = []
        for question in questions:
            table = number if answers else {choice: place for place, choice in enumerate(question.choices)}
            times = Counter(table[answer] for answer in question.answers if answer in table)
            if only_known and not times:
                continue
            self.questions.append(question)
            self.tokens.append(encode(words, question.text))
            self.shares.append([(place, count / times.total()) for place, count in times.items()])
        self.rows = np.array([rows[question.image] for question in self.questions], dtype=np.int64)
        order = np.argsort(self.rows, kind="stable")
        begins = np.flatnonzero(np.diff(self.rows[order], prepend=-1))
        # the questions of each image
        self.by_image: list[NDArray[np.int64]] = np.split(order, begins[1:]) if len(order) else []

    def __len__(self) -> int:
        return len(self.questions)

    def collate(self, positions: NDArray[np.int64], seen: Tensor | None, rows: NDArray[np.int64]) -> Batch:
        """Put questions together.

        Args:
            positions: [B] which ones.
            seen: all images or features; None for a model that does not see.
            rows: [B] the row of ``seen`` for each of them.
        """
        used, which = np.unique(rows, return_inverse=True)
        choices = None if self.answers else self._choices(positions)
        width = len(self.answers) or max(len(self.questions[place].choices) for place in positions)
        targets = torch.zeros(len(positions), width)
        for row, place in enumerate(positions):
            for number, share in self.shares[place]:
                targets[row, number] = share
        return Batch(
            pad_sequence([torch.from_numpy(self.tokens[place]) for place in positions]),
            torch.tensor([len(self.tokens[place]) for place in positions]),
            None if seen is None else seen[torch.from_numpy(used)],
            torch.from_numpy(which.reshape(-1)),
            targets,
            choices,
        )

    def _choices(self, positions: NDArray[np.int64]) -> Choices:
        return encode_choices(self.words, [self.questions[place].choices for place in positions])


def encode(words: Words, text: str) -> NDArray[np.int64]:
    """A question as ids, the start symbol first."""
    return words.encode(" ".join(text.split())).ids.astype(np.int64) if text.split() else np.array([words.start])


def encode_choices(words: Words, offered: Sequence[Sequence[str]]) -> Choices:
    """What each question offers, as the model takes it.

    Args:
        words: the vocabulary.
        offered: [B] choices of each question, at least one.
    """
    most = max(map(len, offered))
    rows = []
    for choices in offered:
        for place in range(most):
            ids = encode(words, choices[place])[1:] if place < len(choices) else np.zeros(0, dtype=np.int64)
            # what is not offered is masked, but has to have a word
            rows.append(torch.from_numpy(ids if len(ids) else np.array([_UNKNOWN_ID])))
    return Choices(
        pad_sequence(rows),
        torch.tensor([len(row) for row in rows]),
        torch.tensor([len(choices) for choices in offered]),
    )


def to_device(batch: Batch, device: str) -> Batch:
    """The batch where the model is; lengths stay on the CPU."""
    choices = batch.choices and Choices(*(tensor.to(device) for tensor in batch.choices))
    return Batch(
        batch.tokens.to(device),
        batch.lengths,
        None if batch.images is None else batch.images.to(device),
        batch.which.to(device),
        batch.targets.to(device),
        choices,
    )


def scores_of(model: VisualQA, batch: Batch) -> Tensor:
    """Scores of the known answers, or of what each question offers."""
    understood, _ = model.understood(batch.tokens, batch.lengths, batch.images, batch.which)
    return model.scores(understood) if batch.choices is None else model.choice_scores(understood, batch.choices)


def log_likelihood(scores: Tensor, targets: Tensor) -> Tensor:
    """sum_a share_a log P(a), nats, of each question [B]; 0 where no given answer is known."""
    logs = torch.log_softmax(scores.float(), -1)
    return torch.where(targets > 0, targets * logs, 0.0).sum(-1)


@torch.inference_mode()
def answer_all(
    model: VisualQA, questions: QuestionSet, seen: Tensor | None, rows: NDArray[np.int64] | None = None
) -> list[Answered]:
    """Answer every question.

    Args:
        model: in evaluation mode.
        questions: N of them.
        seen: all images or features.
        rows: [N] in place of the questions' own images, for a control.

    Returns:
        [N]. A question with choices is answered by one of them; where the model knows none of them, by any answer.
    """
    device = str(next(model.parameters()).device)
    rows = questions.rows if rows is None else rows
    found: dict[int, Answered] = {}
    for begin in range(0, len(questions.by_image), _IMAGES):
        positions = np.concatenate(questions.by_image[begin : begin + _IMAGES])
        batch = to_device(questions.collate(positions, seen if model.sees else None, rows[positions]), device)
        scores = scores_of(model, batch)
        nats = (-log_likelihood(scores, batch.targets)).tolist()
        known = (batch.targets.sum(-1) > 0).tolist()
        chances = torch.softmax(_offered(scores, questions, positions).float(), -1)
        best = chances.max(-1)
        for place, number, chance, cost, has in zip(
            positions.tolist(), best.indices.tolist(), best.values.tolist(), nats, known, strict=True
        ):
            question = questions.questions[place]
            answer = questions.answers[number] if questions.answers else question.choices[number]
            found[place] = Answered(answer, chance, cost if has else None, soft_accuracy(answer, question.answers))
    return [found[place] for place in range(len(questions))]


def _offered(scores: Tensor, questions: QuestionSet, positions: NDArray[np.int64]) -> Tensor:
    """Scores of known answers with those masked that a multiple-choice question does not offer."""
    if not questions.answers or not any(questions.questions[place].choices for place in positions):
        return scores
    number = {answer: place for place, answer in enumerate(questions.answers)}
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    for row, place in enumerate(positions):
        offered = [number[choice] for choice in questions.questions[place].choices if choice in number]
        if offered:
            mask[row] = True
            mask[row, offered] = False
    return scores.masked_fill(mask.to(scores.device), -torch.inf)


class VqaExamples:
    """The training images with all their questions, and a validation part.

    Args:
        model: on its device.
        seen: all images or features.
        train, valid: the questions.
        settings: for batch and device.
        panels: images are so many squares side by side, whose order is drawn anew each time; 1 for none.
    """

    unit = "question"
    lengths = None

    def __init__(
        self, model: VisualQA, seen: Tensor, train: QuestionSet, valid: QuestionSet, settings: Settings, panels: int = 1
    ) -> None:
        self.model, self.seen, self.train, self.valid = model, seen, train, valid
        self.settings, self.panels = settings, panels

    def __len__(self) -> int:
        return len(self.train.by_image)

    def describe(self) -> str:
        model = self.model
        name = model.recurrence.name or "own recurrence"
        what = f"attention {model.attention}" if model.control == "none" else model.control
        return f"{model.layers} x {model.hidden} {name}, {what}, {self.settings.batch} images a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Batch, int]:
        positions = np.concatenate([self.train.by_image[row] for row in rows])
        seen = self.seen if self.model.sees else None
        batch = self.train.collate(positions, seen, self.train.rows[positions])
        if self.panels > 1 and batch.images is not None:
            batch = batch._replace(images=shuffle_panels(batch.images, self.panels, generator))
        return to_device(batch, self.settings.device), len(positions)

    def loss(self, batch: Batch) -> Tensor:
        return -log_likelihood(scores_of(self.model, batch), batch.targets).sum()

    def evaluate(self) -> Evaluation | None:
        if not len(self.valid):
            return None
        started = time.monotonic()
        answered = answer_all(self.model, self.valid, self.seen)
        nats = [each.nats for each in answered if each.nats is not None]
        accuracy = sum(each.score for each in answered) / len(answered)
        mean = sum(nats) / len(nats) if nats else math.inf
        seconds = time.monotonic() - started
        return Evaluation(mean, len(answered), seconds, scores={"accuracy": accuracy}, criterion=-accuracy)

    def sample(self, seed: int, length: int) -> str:
        if not len(self.valid):
            return ""
        rows = np.random.default_rng(seed).integers(len(self.valid), size=_SHOWN)
        chosen = [self.valid.questions[row] for row in rows]
        images = {question.image: int(self.valid.rows[row]) for question, row in zip(chosen, rows, strict=True)}
        some = QuestionSet(chosen, images, self.valid.words, self.valid.answers)
        lines = []
        for question, each in zip(chosen, answer_all(self.model, some, self.seen), strict=True):
            wrong = "" if each.score else f", not {question.answers[0]}"
            lines.append(f"{question.text}  {each.answer} ({each.probability:.2f}){wrong}")
        return "\n".join(lines)


def shuffle_panels(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Put the panels of each image in a random order; NLVR's sentences are true of any order of their three boxes.

    Args:
        images: [N, 3, H, W], each ``count`` squares of the images' height with equal gaps between them.
        count: of the panels.
        generator: of the orders.

    Returns:
        New images.
    """
    height, width = images.shape[-2:]
    step = (width - height) / (count - 1)
    begins = [round(place * step) for place in range(count)]
    orders = torch.argsort(torch.rand(len(images), count, generator=generator), 1)
    boxes = torch.stack([images[..., begin : begin + height] for begin in begins], 1)
    boxes = boxes[torch.arange(len(images)).unsqueeze(1), orders]
    shuffled = images.clone()
    for place, begin in enumerate(begins):
        shuffled[..., begin : begin + height] = boxes[:, place]
    return shuffled


def shuffled_rows(questions: QuestionSet, seed: int) -> NDArray[np.int64]:
    """For each question the image of others: every image of the part takes the place of another one.

    Args:
        questions: about two or more images.
        seed: of the order.
    """
    used = np.unique(questions.rows)
    order = np.random.default_rng(seed).permutation(used)
    instead = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return np.array([instead[row] for row in questions.rows.tolist()], dtype=np.int64)


def record(examples: VqaExamples) -> dict[str, Any]:
    """Counts for the run's configuration."""
    return {
        "questions": {"train": len(examples.train), "valid": len(examples.valid)},
        "images": {"train": len(examples.train.by_image), "valid": len(examples.valid.by_image)},
    }
