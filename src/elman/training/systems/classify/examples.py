"""Labelled texts as examples of the training loop, and what a classifier says of many texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.data.labelled import Labelled, padded, unknown_id
from elman.data.vocabulary import Vocabulary
from elman.errors import FailureError, MisuseError
from elman.metrics.classification import (
    accuracy,
    class_scores,
    confusion_matrix,
    fit_temperature,
    macro_f1,
    softmax,
)
from elman.models.classifier import Classifier
from elman.training.evaluate import Evaluation
from elman.training.systems.classify.data import Coded

BATCH = 128
CRITERIA = ("accuracy", "macro-f1", "nats")
WEIGHTS = ("none", "balanced")
# of equal scores the weights with the better loss are kept
TIE = 1e-6
SAMPLES, SHOWN = 4, 100


@dataclass(frozen=True)
class Learning:
    """How a classifier learns, beyond the loop's settings; stored with the run.

    Attributes:
        word_dropout: share of the tokens that training reads as ``<unk>``, anew each time.
        class_weights: "none", or "balanced": the loss of a text counts N / (K N_class).
        best_by: one of ``CRITERIA``, on the validation part: what decides which weights are kept.
    """

    word_dropout: float = 0.0
    class_weights: str = "none"
    best_by: str = "accuracy"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: naming the flag and what it takes.
        """
        if not 0 <= self.word_dropout < 1:
            raise MisuseError(f"--word-dropout is {self.word_dropout}; it takes a share from 0 to below 1.")
        for flag, value, known in (
            ("--class-weights", self.class_weights, WEIGHTS),
            ("--best-by", self.best_by, CRITERIA),
        ):
            if value not in known:
                raise MisuseError(f"{flag} is {value!r}; it takes {', '.join(known)}.")


class TextExamples:
    """Labelled texts as examples of the training loop.

    Args:
        model: on its device.
        vocabulary: of its tokens.
        classes: by number.
        train, valid: the parts as numbers.
        valid_texts: the texts of the validation part.
        learning: how it learns.
        device: of the model.
        batch: texts a step, for the description.
    """

    unit = "text"

    def __init__(
        self,
        model: Classifier,
        vocabulary: Vocabulary,
        classes: Sequence[str],
        train: Coded,
        valid: Coded,
        valid_texts: Labelled,
        learning: Learning,
        device: str,
        batch: int,
    ) -> None:
        self.model, self.vocabulary, self.classes = model, vocabulary, classes
        self.train, self.valid, self.valid_texts = train, valid, valid_texts
        self.learning, self.device, self.batch_size = learning, device, batch
        self.lengths: NDArray[np.integer] | None = train.lengths
        unknown = unknown_id(vocabulary)
        self._unknown = -1 if unknown is None else unknown
        if learning.word_dropout and unknown is None:
            raise MisuseError(f"--word-dropout reads tokens as <unk>, which a vocabulary of {vocabulary.kind} lacks.")
        self._weights: Tensor | None = None
        if learning.class_weights == "balanced":
            # w_k = N / (K N_k), so that the mean weight of the texts is 1
            counts = np.bincount(train.classes, minlength=len(classes))
            self._weights = torch.tensor(len(train) / (len(classes) * counts), dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.train)

    def describe(self) -> str:
        model = self.model
        sides = "bidirectional " if model.bidirectional else ""
        name = model.recurrence.name or "own recurrence"
        return f"{model.layers} x {model.hidden} {sides}{name}, {model.pooling} pooling, {self.batch_size} texts a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
        ids, lengths = padded([self.train.ids[row] for row in rows])
        tokens = torch.from_numpy(ids)
        if self.learning.word_dropout:
            hidden = torch.rand(tokens.shape, generator=generator) < self.learning.word_dropout
            tokens = tokens.masked_fill(hidden, self._unknown)
        classes = torch.from_numpy(self.train.classes[rows])
        moved = [each.to(self.device, non_blocking=True) for each in (tokens, torch.from_numpy(lengths), classes)]
        return (moved[0], moved[1], moved[2]), len(rows)

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        tokens, lengths, classes = batch
        nats = functional.cross_entropy(self.model(tokens, lengths).float(), classes, reduction="none")
        return (nats if self._weights is None else nats * self._weights[classes]).sum()

    def evaluate(self) -> Evaluation | None:
        if not len(self.valid):
            return None
        started = time.monotonic()
        scores = scores_of(self.model, self.valid.ids)
        # kept with the weights, as a buffer of the model
        self.model.temperature.fill_(fit_temperature(scores, self.valid.classes))
        figures = measures(scores, self.valid.classes)
        nats = figures["nats"]
        shown = {"accuracy": figures["accuracy"], "macro-f1": figures["macro_f1"]}
        criterion = None if self.learning.best_by == "nats" else TIE * nats - shown[self.learning.best_by]
        return Evaluation(nats, len(self.valid), time.monotonic() - started, scores=shown, criterion=criterion)

    def sample(self, seed: int, length: int) -> str:
        count = len(self.valid)
        rows = np.random.default_rng(seed).permutation(count)[:SAMPLES]
        if not len(rows):
            return ""
        scores = scores_of(self.model, [self.valid.ids[row] for row in rows])
        lines = []
        for row, chances in zip(rows, softmax(scores, temperature_of(self.model)), strict=True):
            true, guess = self.valid.classes[row], int(chances.argmax())
            verdict = "right" if guess == true else f"not {self.classes[true]}"
            text = " ".join(self.valid_texts.texts[row].split())[:SHOWN]
            lines.append(f"{self.classes[guess]} {chances.max():.2f} ({verdict}): {text}")
        return "\n".join(lines)


@torch.inference_mode()
def scores_of(model: Classifier, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Scores before the softmax of many texts.

    Args:
        model: in evaluation mode.
        rows: ids of each of N texts.

    Returns:
        [N, K], in the order of the rows.

    Raises:
        FailureError: scores that are no numbers.
    """
    scores = np.zeros((len(rows), model.classes))
    device = model.readout.weight.device
    order = np.argsort([len(row) for row in rows], kind="stable")
    for begin in range(0, len(order), BATCH):
        chosen = order[begin : begin + BATCH]
        ids, lengths = padded([rows[row] for row in chosen])
        given = model(torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device))
        scores[chosen] = given.double().cpu().numpy()
    if not np.isfinite(scores).all():
        raise FailureError("The model's scores are no numbers: its weights are damaged or its training diverged.")
    return scores


def temperature_of(model: Classifier) -> float:
    """The temperature that was fitted for a model's weights.

    Raises:
        FailureError: it is no positive number.
    """
    temperature = float(model.temperature)
    if not 0 < temperature < float("inf"):
        raise FailureError(f"The model's temperature is {temperature}: its weights are damaged.")
    return temperature


def measures(scores: NDArray[np.float64], classes: NDArray[np.int64], temperature: float = 1.0) -> dict[str, float]:
    """Accuracy, mean F1 of the classes and the loss, nats a text at a temperature."""
    matrix = confusion_matrix(classes, scores.argmax(1), scores.shape[1])
    own = softmax(scores, temperature)[np.arange(len(classes)), classes]
    return {
        "accuracy": accuracy(matrix),
        "macro_f1": macro_f1(class_scores(matrix)),
        "nats": float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()),
    }
