"""Captioned images as examples of the training loop: an example is an image with all its captions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.captioning import draw, never_written, opening_of, read_opening
from elman.generate.stepping import State, select, single_steps
from elman.metrics.cider import cider_d
from elman.metrics.penn import penn_words
from elman.models.captioning import Captioner
from elman.training.evaluate import Evaluation
from elman.training.settings import Settings
from elman.training.systems.caption.data import IGNORED, CaptionedImages, CaptionOptions, collate, encode_captions

KEPT = ("cider", "nats")
# images at a time where nothing is trained
MANY = 32
SAMPLES = 3
# of equal CIDEr-D, as before anything is right, the weights with the better loss are kept
TIE = 1e-6


@dataclass(frozen=True)
class Teaching:
    """How a captioner is taught, beside the settings.

    Attributes:
        fine_tune: train the encoder too, on the images instead of on stored features.
        scheduled: share of words that are replaced by the model's own (Bengio et al. 2015).
        penalty: lambda of attention's doubly stochastic penalty.
        keep: "cider" (of greedy captions) or "nats": what decides which weights are kept.
        scored: validation images that are captioned at every evaluation.
    """

    fine_tune: bool = False
    scheduled: float = 0.0
    penalty: float = 1.0
    keep: str = "cider"
    scored: int = 500

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: naming the flag.
        """
        if self.keep not in KEPT:
            raise MisuseError(f"--keep is {self.keep!r}; it takes {' or '.join(KEPT)}.")
        if not 0 <= self.scheduled <= 1:
            raise MisuseError(f"--scheduled-sampling is {self.scheduled}; it takes a share from 0 to 1.")
        if self.penalty < 0 or (self.keep == "cider" and self.scored < 1):
            raise MisuseError("--penalty must be 0 or more, and --scored at least 1 where CIDEr-D decides.")


class Batch(NamedTuple):
    """Images with captions.

    Attributes:
        images: features [B, *feature_shape], or prepared images [B, 3, side, side] where the encoder is trained.
        own: [N] the image of each caption.
        tokens, targets: [T, N].
        lengths: [N].
    """

    images: Tensor
    own: Tensor
    tokens: Tensor
    targets: Tensor
    lengths: Tensor


class CaptionExamples:
    """A captioner with its captioned images.

    Args:
        model: on its device.
        vocabulary: of the captions.
        data: images and captions.
        features: [N, *feature_shape] of all images; None to compute them from the images whenever they are needed.
        options: how captions are read.
        settings: batch (in images) and device.
        teaching: all else.
    """

    unit = "word"
    lengths: NDArray[np.integer] | None = None

    def __init__(
        self,
        model: Captioner,
        vocabulary: Vocabulary,
        data: CaptionedImages,
        features: Tensor | None,
        options: CaptionOptions,
        settings: Settings,
        teaching: Teaching,
    ) -> None:
        assert vocabulary.end is not None
        self.model, self.vocabulary, self.data, self.features = model, vocabulary, data, features
        self.options, self.settings, self.teaching, self.end = options, settings, teaching, vocabulary.end
        self.opening = len(opening_of(vocabulary, data.captions[0][0].tag))
        self.ids = encode_captions(vocabulary, data.captions, options)
        self.banned = never_written(vocabulary)

    def __len__(self) -> int:
        return len(self.data.parts["train"])

    def describe(self) -> str:
        model = self.model
        encoder = f"{model.encoder.net.name}{' fine-tuned' if self.teaching.fine_tune else ''}"
        cell = model.recurrence.name or "own recurrence"
        return f"{encoder}, {model.way}, {model.hidden} {cell}, {self.settings.batch} images a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Batch, int]:
        batch = self.collated(self.data.parts["train"][rows])
        if self.teaching.scheduled:
            batch = self._mixed(batch, generator)
        return batch, int((batch.targets != IGNORED).sum())

    def collated(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Images of these rows with all their captions, on the device."""
        captions = [ids for row in rows for ids in self.ids[row]]
        own = torch.tensor([place for place, row in enumerate(rows) for _ in self.ids[row]])
        tokens, targets, lengths = collate(captions, self.opening, self.end)
        device = self.settings.device
        return Batch(self.seen(rows), own.to(device), tokens.to(device), targets.to(device), lengths)

    def seen(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Features of these rows; the images themselves where the encoder is trained."""
        places = torch.as_tensor(rows, dtype=torch.long)
        if self.features is not None:
            return self.features[places].float().to(self.settings.device)
        source, encoder = self.data.source, self.model.encoder
        images = [encoder.prepare(source.image(self.data.indices[row])) for row in places.tolist()]
        return torch.stack(images).to(self.settings.device)

    def begun(self, seen: Tensor) -> State:
        """The state before the first word of each image."""
        return self.model.begin(seen if self.features is not None else self.model.features(seen))

    def loss(self, batch: Batch) -> Tensor:
        state = select(self.begun(batch.images), batch.own)  # type: ignore[arg-type]
        read, _, weights = self.model.read(batch.tokens, state, batch.lengths)
        wanted = batch.targets != IGNORED
        scores = self.model.softmax(read[wanted])
        loss = functional.cross_entropy(scores.float(), batch.targets[wanted], reduction="sum")
        if weights is not None and self.teaching.penalty:
            # lambda sum_i (1 - sum_t alpha_ti)^2: over a caption every place is looked at alike (equation 14)
            inside = wanted.unsqueeze(-1)
            loss = loss + self.teaching.penalty * ((1 - (weights * inside).sum(0)) ** 2).sum()
        return loss

    def _mixed(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Scheduled sampling: some of the words that are read are what the model would have written there.

        Bengio et al. 2015, Scheduled sampling, arXiv:1506.03099: a coin for each word; the model's word is drawn after
        what it has really read. The gradient does not pass through the drawing.
        """
        tokens = batch.tokens.clone()
        self.model.eval()
        with torch.no_grad(), single_steps():
            state = select(self.begun(batch.images), batch.own)  # type: ignore[arg-type]
            scores, state = read_opening(self.model, state, tokens[: self.opening])
            for step in range(self.opening, len(tokens)):
                shares = torch.softmax(scores.float(), -1).cpu()
                drawn = torch.multinomial(shares, 1, generator=generator).squeeze(1)
                coins = torch.rand(len(drawn), generator=generator) < self.teaching.scheduled
                tokens[step] = torch.where(coins.to(tokens.device), drawn.to(tokens.device), tokens[step])
                scores, state = read_opening(self.model, state, tokens[step : step + 1])
        self.model.train()
        return batch._replace(tokens=tokens)

    def nats(self, rows: NDArray[np.int64]) -> tuple[float, int]:
        """Summed loss of these images' captions, and how many words were predicted."""
        total, count = 0.0, 0
        for part in blocks(rows):
            batch = self.collated(part)
            state = select(self.begun(batch.images), batch.own)  # type: ignore[arg-type]
            total += float(summed_nats(self.model, state, batch).sum().detach())
            count += int((batch.targets != IGNORED).sum())
        return total, count

    def greedy(self, rows: NDArray[np.int64], tag: str) -> list[str]:
        """The likeliest words one by one, for each image."""
        texts: list[str] = []
        for part in blocks(rows):
            opening = opening_of(self.vocabulary, tag)
            drawn = draw(
                self.model,
                self.begun(self.seen(part)),
                opening,
                end=self.end,
                banned=self.banned,
                length=self.options.longest,
                temperature=0,
            )
            texts += [self.vocabulary.decode(ids) for ids in drawn.rows(self.end)]
        return texts

    def evaluate(self) -> Evaluation | None:
        rows = self.data.parts["valid"]
        if not len(rows):
            return None
        started = time.monotonic()
        total, count = self.nats(rows)
        cider = self.cider(rows[: self.teaching.scored]) if self.teaching.scored else None
        criterion = -cider + TIE * total / count if cider is not None and self.teaching.keep == "cider" else None
        return Evaluation(
            total / count,
            count,
            time.monotonic() - started,
            scores={} if cider is None else {"cider": 100 * cider},
            criterion=criterion,
        )

    def cider(self, rows: NDArray[np.int64]) -> float:
        """Mean CIDEr-D of greedy captions, 0 to 10, over all tags."""
        scores = []
        for tag in tags(self.data, rows):
            tagged, references = references_of(self.data, rows, tag)
            candidates = [penn_words(text) for text in self.greedy(tagged, tag)]
            scores.append((len(tagged), cider_d(candidates, references)))
        return sum(count * score for count, score in scores) / sum(count for count, _ in scores)

    def sample(self, seed: int, length: int) -> str:
        rows = self.data.parts["valid"]
        rows = rows if len(rows) else self.data.parts["train"]
        chosen = np.random.default_rng(seed).choice(rows, min(SAMPLES, len(rows)), replace=False)
        lines = []
        for tag in tags(self.data, chosen):
            for row, text in zip(chosen, self.greedy(chosen, tag), strict=True):
                lines.append(f"{self.data.name(int(row))}: {f'<{tag}> ' if tag else ''}{text}")
        return "\n".join(lines)


def summed_nats(model: Captioner, state: State, batch: Batch) -> Tensor:
    """Loss of each caption of a batch [N], nats; ``state`` is that before each one's first word."""
    read, _, _ = model.read(batch.tokens, state, batch.lengths)
    wanted = batch.targets != IGNORED
    nats = torch.zeros_like(batch.targets, dtype=torch.float32)
    nats[wanted] = functional.cross_entropy(
        model.softmax(read[wanted]).float(), batch.targets[wanted], reduction="none"
    )
    return nats.sum(0)


def blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows, ``MANY`` at a time."""
    return np.split(rows, range(MANY, len(rows), MANY)) if len(rows) else []


def tags(data: CaptionedImages, rows: NDArray[np.int64]) -> list[str]:
    """The tags of these images' captions."""
    return sorted({caption.tag for row in rows for caption in data.captions[row]})


def references_of(
    data: CaptionedImages, rows: NDArray[np.int64], tag: str, words: Callable[[str], list[str]] = penn_words
) -> tuple[NDArray[np.int64], list[list[list[str]]]]:
    """Those of the images that have captions with this tag, and the words of these."""
    found = {
        int(row): own
        for row in rows
        if (own := [words(caption.text) for caption in data.captions[row] if caption.tag == tag])
    }
    return np.array([*found], dtype=np.int64), [*found.values()]
