"""Labelled words as examples of the training loop, and what a tagger says of many sentences."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.conll import Tagged
from elman.errors import FailureError, MisuseError
from elman.metrics.entities import entity_scores
from elman.models.tagger import Allowed, Spelling, Tagger
from elman.training.evaluate import Evaluation
from elman.training.settings import Settings
from elman.training.systems.tag.data import Coded

BATCH = 64
# of equal scores the weights with the better loss are kept
TIE = 1e-6
SAMPLES, SHOWN = 2, 16

Batch = tuple[Tensor, Tensor, Spelling | None, Tensor]


@dataclass(frozen=True)
class Learning:
    """How a tagger learns and decodes, beyond the loop's settings; stored with the run.

    Attributes:
        word_dropout: share of the words that training looks up as ``<unk>``, anew each time; their spelling stays.
        constrained: labels that the scheme forbids are never given.
    """

    word_dropout: float = 0.0
    constrained: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: naming the flag and what it takes.
        """
        if not 0 <= self.word_dropout < 1:
            raise MisuseError(f"--word-dropout is {self.word_dropout}; it takes a share from 0 to below 1.")


class WordExamples:
    """Sentences with labels as examples of the training loop.

    Args:
        model: on its device.
        tags: labels by number.
        train: the training part as numbers.
        valid: the validation part as numbers, and its sentences.
        allowed: what decoding is held to, or None.
        entities: whether the labels are of entities, so that F1 is what counts.
        learning: how it learns.
        settings: batch, device.
    """

    unit = "word"

    def __init__(
        self,
        model: Tagger,
        tags: Sequence[str],
        train: Coded,
        valid: tuple[Coded, Tagged],
        allowed: Allowed | None,
        entities: bool,
        learning: Learning,
        settings: Settings,
    ) -> None:
        self.model, self.tags, self.train = model, tags, train
        self.valid, self.valid_sentences = valid
        self.allowed, self.entities, self.learning, self.settings = allowed, entities, learning, settings
        self.lengths: NDArray[np.integer] | None = train.lengths

    def __len__(self) -> int:
        return len(self.train)

    def describe(self) -> str:
        model = self.model
        sides = "bidirectional " if model.bidirectional else ""
        name = model.recurrence.name or "own recurrence"
        spelled = "words and characters" if model.characters else "words"
        head = "CRF" if model.crf is not None else "softmax"
        size = f"{model.layers} x {model.hidden} {sides}{name}"
        return f"{size} over {spelled}, {head}, {self.settings.batch} sentences a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Batch, int]:
        words, lengths, spelling = self.train.batch(rows)
        labels, _ = _padded_labels([self.train.labels[row] for row in rows])
        if self.learning.word_dropout:
            words = words.masked_fill(torch.rand(words.shape, generator=generator) < self.learning.word_dropout, 0)
        device = self.settings.device
        return (words.to(device), lengths.to(device), _moved(spelling, device), labels.to(device)), int(lengths.sum())

    def loss(self, batch: Batch) -> Tensor:
        words, lengths, spelling, labels = batch
        return self.model.loss(self.model(words, lengths, spelling).float(), labels, lengths)

    def evaluate(self) -> Evaluation | None:
        if not len(self.valid):
            return None
        started = time.monotonic()
        decoded, nats = decode_all(self.model, self.valid, self.allowed)
        guessed = [[self.tags[number] for number in row] for row in decoded]
        words = int(self.valid.lengths.sum())
        scores = judge(self.valid_sentences.labels, guessed, self.entities)
        count = scores["f1"] if self.entities else scores["accuracy"]
        criterion = TIE * nats - count
        return Evaluation(nats, words, time.monotonic() - started, scores=scores, criterion=criterion)

    def sample(self, seed: int, length: int) -> str:
        rows = np.random.default_rng(seed).permutation(len(self.valid))[:SAMPLES].tolist()
        if not rows:
            return ""
        few = Coded(
            [self.valid.words[row] for row in rows],
            [],
            [self.valid.spelled[row] for row in rows] if self.valid.letters else [],
            self.valid.letters,
        )
        decoded, _ = decode_all(self.model, few, self.allowed)
        lines = []
        for row, labels in zip(rows, decoded, strict=True):
            pairs = zip(self.valid_sentences.sentences[row], labels, strict=True)
            lines.append(" ".join(f"{word}/{self.tags[number]}" for word, number in list(pairs)[:SHOWN]))
        return "\n".join(lines)


@torch.no_grad()
def decode_all(model: Tagger, coded: Coded, allowed: Allowed | None) -> tuple[list[list[int]], float]:
    """The likeliest labels of many sentences.

    Args:
        model: in evaluation mode.
        coded: N sentences.
        allowed: what decoding is held to, or None.

    Returns:
        The label numbers of each sentence, in their order; the loss, nats a word, of the sentences whose labels the
        model all knows (0 where there are none).

    Raises:
        FailureError: scores that are no numbers.
    """
    device = model.readout.weight.device
    decoded: list[list[int]] = [[] for _ in range(len(coded))]
    order = np.argsort(coded.lengths, kind="stable")
    nats, words = 0.0, 0
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        ids, lengths, spelling = coded.batch(rows)
        lengths = lengths.to(device)
        scores = model(ids.to(device), lengths, _moved(spelling, device)).float()
        if not torch.isfinite(scores).all():
            raise FailureError("The model's scores are no numbers: its weights are damaged or its training diverged.")
        labels = model.decode(scores, lengths, allowed).cpu()
        for place, row in enumerate(rows.tolist()):
            decoded[row] = labels[: len(coded.words[row]), place].tolist()
        known = [place for place, row in enumerate(rows.tolist()) if coded.labels and (coded.labels[row] >= 0).all()]
        if known:
            true, sizes = _padded_labels([coded.labels[int(rows[place])] for place in known])
            nats += float(model.loss(scores[: len(true), known], true.to(device), sizes.to(device)))
            words += int(sizes.sum())
    return decoded, nats / max(1, words)


@torch.no_grad()
def probabilities_of(model: Tagger, coded: Coded, decoded: Sequence[Sequence[int]]) -> list[list[float]]:
    """The probability of each word's given label, whatever the other words' are: its marginal.

    Args:
        model: in evaluation mode.
        coded: N sentences.
        decoded: a label number for each word.
    """
    device = model.readout.weight.device
    found = []
    for row, labels in enumerate(decoded):
        ids, lengths, spelling = coded.batch([row])
        scores = model(ids.to(device), lengths.to(device), _moved(spelling, device)).float()
        chances = model.marginals(scores, lengths.to(device))[:, 0].cpu()
        found.append([float(chances[place, label]) for place, label in enumerate(labels)])
    return found


def judge(truth: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]], entities: bool) -> dict[str, float]:
    """Entity F1 and accuracy of the words, or of labels that are none of entities the accuracy alone."""
    if entities:
        found = entity_scores(truth, guessed)
        return {"f1": found.overall.f1, "accuracy": found.accuracy}
    words = sum(map(len, truth))
    pairs = zip(truth, guessed, strict=True)
    return {"accuracy": sum(a == b for true, guess in pairs for a, b in zip(true, guess, strict=True)) / max(1, words)}


def _padded_labels(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    labels = torch.zeros(int(lengths.max()), len(rows), dtype=torch.long)
    for place, row in enumerate(rows):
        labels[: len(row), place] = torch.from_numpy(row)
    return labels, lengths


def _moved(spelling: Spelling | None, device: Any) -> Spelling | None:
    return None if spelling is None else Spelling(*(each.to(device) for each in spelling))
