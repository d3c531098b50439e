"""Images with their classes as examples of the training loop."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from elman.data.epochs import Epochs
from elman.data.images import Augmentation, colour_spread
from elman.models.image_classifier import ImageClassifier
from elman.training.epoch_task import EpochTask
from elman.training.evaluate import Evaluation
from elman.training.settings import Settings
from elman.training.systems.image.data import ImagePart, Images

# of 32 x 32 images; larger ones are judged in smaller batches
_JUDGED_PIXELS = 256 * 32 * 32
_SAMPLES = 6
TOP = 5


class Judged(NamedTuple):
    """A model's opinion of a part.

    Attributes:
        scores: [N, K] before the softmax.
        labels: [N] true classes.
        seconds: time taken.
    """

    scores: Tensor
    labels: Tensor
    seconds: float

    @property
    def nats(self) -> float:
        """Mean loss."""
        return float(functional.cross_entropy(self.scores, self.labels))

    def top(self, count: int) -> float:
        """Share of the images whose class is among the ``count`` with the highest scores; ties count against it."""
        own = self.scores.gather(1, self.labels[:, None])
        above = (self.scores >= own).sum(1) - 1
        return float((above < count).float().mean())


class ImageExamples:
    """A part to train on and one to judge by.

    Args:
        model: on its device.
        images: the parts.
        augmentation: of the training images.
        settings: batch, device.
    """

    unit = "image"
    lengths = None

    def __init__(self, model: ImageClassifier, images: Images, augmentation: Augmentation, settings: Settings) -> None:
        self.model, self.augmentation, self.settings = model, augmentation, settings
        self.train_part, self.valid_part = images.parts["train"], images.parts["valid"]
        self.spread = colour_spread(self.train_part.each()) if augmentation.colours else None

    def __len__(self) -> int:
        return len(self.train_part)

    def describe(self) -> str:
        side = self.model.side
        return f"{self.model.net.name}, {self.settings.batch} images of {side} x {side} a step"

    def batch(self, rows: NDArray[np.int64], generator: Generator) -> tuple[tuple[Tensor, Tensor], int]:
        images = self.augmentation(self.train_part.take(rows), generator, self.spread)
        labels = torch.from_numpy(self.train_part.labels[rows])
        return (images.to(self.settings.device), labels.to(self.settings.device)), len(rows)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return functional.cross_entropy(self.model(images).float(), labels, reduction="sum")

    def evaluate(self) -> Evaluation | None:
        if not len(self.valid_part):
            return None
        judged = judge(self.model, self.valid_part)
        scores = {"accuracy": judged.top(1)}
        if len(self.model.classes) > TOP:
            scores[f"top{TOP}"] = judged.top(TOP)
        return Evaluation(
            judged.nats, len(self.valid_part), judged.seconds, scores=scores, criterion=1.0 - scores["accuracy"]
        )

    def sample(self, seed: int, length: int) -> str:
        """What the model says of some validation images, in as many lines as there is room for."""
        part = self.valid_part if len(self.valid_part) else self.train_part
        rows = np.random.default_rng(seed).permutation(len(part))[:_SAMPLES]
        lines = []
        probabilities = scores_of(self.model, part, rows).softmax(1)
        for row, shares in zip(rows.tolist(), probabilities, strict=True):
            best = shares.topk(min(3, len(shares)))
            said = ", ".join(
                f"{self.model.classes[k]} {share:.2f}"
                for k, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            )
            lines.append(f"{part.name(row)}: {said}")
        return "\n".join(lines)


class ImageTask(EpochTask):
    """Passes over images; those of the next step are read while the present one is computed."""

    examples: ImageExamples

    def advance(self) -> int:
        predicted = super().advance()
        part = self.examples.train_part
        if not part.squares.kept:
            ahead = Epochs(len(part), self.settings.batch, self.settings.seed)
            ahead.load_state_dict(self.epochs.state_dict())
            part.announce(self.groups_of(ahead.next()))
        return predicted


@torch.inference_mode()
def scores_of(model: ImageClassifier, part: ImagePart, rows: NDArray[np.integer]) -> Tensor:
    """Scores [B, K] of some images of a part, on the CPU; the model must be in evaluation mode."""
    place = next(model.net.parameters()).device
    return model(part.take(rows).to(place)).float().cpu()


def judge(model: ImageClassifier, part: ImagePart) -> Judged:
    """What a model in evaluation mode says of all images of a part."""
    started = time.monotonic()
    batch = max(1, min(256, math.ceil(_JUDGED_PIXELS / model.side**2)))
    everything = np.arange(len(part))
    scores = [scores_of(model, part, everything[at : at + batch]) for at in range(0, len(part), batch)]
    return Judged(torch.cat(scores), torch.from_numpy(part.labels), time.monotonic() - started)
