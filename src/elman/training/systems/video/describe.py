"""Describing clips: words with their loss, and whole sentences beside those of shuffled and of other clips."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.data.batches import IGNORED
from elman.data.vocabulary import from_json
from elman.data.words import Words
from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.generate.beam import beam_search
from elman.generate.sampling import Sample
from elman.metrics.bleu import bleu
from elman.models.video.describer import Telling, VideoDescriber
from elman.runs import LoadedRun
from elman.training.evaluate import Evaluation
from elman.training.scores import Scores, check_options
from elman.training.settings import Settings
from elman.training.systems.video.data import Footage, all_frames, judged_clips

BATCH = 64
#: validation clips that are described at every evaluation of a training
SCORED = 100
LONGEST = 60
SAMPLES = 4


class DescribedExamples:
    """Described clips as examples of the training loop; a clip with several sentences is shown with one at a time.

    Args:
        model: on its device.
        vocabulary: of the sentences.
        footage: the clips.
        settings: batch, device.
    """

    unit = "word"

    def __init__(self, model: VideoDescriber, vocabulary: Words, footage: Footage, settings: Settings) -> None:
        self.model, self.vocabulary, self.footage, self.settings = model, vocabulary, footage, settings
        self.rows = footage.parts["train"]
        self.lengths: NDArray[np.integer] | None = footage.clips.lengths[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self) -> str:
        name = self.model.recurrence.name or "own recurrence"
        return f"{self.model.way} of 2 x {self.model.hidden} {name}, {self.settings.batch} clips a step"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[tuple[Tensor, ...], int]:
        chosen = self.rows[rows]
        frames, lengths = self.footage.frames(chosen, generator)
        told = []
        for row in chosen:
            sentences = self.footage.clips.descriptions[row]
            told.append(sentences[int(torch.randint(len(sentences), (), generator=generator))])
        words = padded(self.vocabulary, told)
        parts = tuple(tensor.to(self.settings.device) for tensor in (frames, lengths, words))
        return parts, int((words[1:] != IGNORED).sum())

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        return summed_nats(self.model, *batch)

    def evaluate(self) -> Evaluation | None:
        rows = self.footage.parts["valid"]
        if not len(rows):
            return None
        started = time.monotonic()
        nats, words = loss_of(self.model, self.vocabulary, self.footage, rows)
        some = rows[:SCORED]
        written = [found.text for found in described(self.model, self.vocabulary, self.footage, some, width=1)]
        scores = {"exact": exact_share(written, [self.footage.clips.descriptions[row] for row in some])}
        return Evaluation(nats / words, words, time.monotonic() - started, scores=scores)

    def sample(self, seed: int, length: int) -> str:
        rows = np.random.default_rng(seed).permutation(self.footage.parts["valid"])[:SAMPLES]
        found = described(self.model, self.vocabulary, self.footage, rows, width=1)
        told = self.footage.clips.descriptions
        return "\n".join(f"{told[row][0]}\n  > {sample.text}" for row, sample in zip(rows, found, strict=True))


def described_examples(
    footage: Footage, recurrence: Recurrence | None, way: str, shape: Mapping[str, Any], settings: Settings
) -> DescribedExamples:
    """A fresh describer with its clips.

    Raises:
        MisuseError: there is no recurrence that could write.
    """
    if recurrence is None:
        raise MisuseError("Sentences are written by a recurrence; --model frames cannot. Take --model lstm.")
    clips = footage.clips
    lines = [line for row in footage.parts["train"] for line in clips.descriptions[row]]
    vocabulary = Words.build([line + "\n" for line in lines], lower=True)
    some, _ = footage.frames(footage.parts["train"][:1])
    model = VideoDescriber(recurrence, way, some.shape[-1], vocabulary.size, backend=settings.backend, **shape)
    model.standardise.fit(all_frames(footage))
    return DescribedExamples(model.to(settings.device), vocabulary, footage, settings)


def rebuilt_examples(config: Mapping[str, Any], footage: Footage, settings: Settings) -> DescribedExamples:
    """The examples of a stored run, the model with fresh weights."""
    model = VideoDescriber.from_configuration(config["model"], settings.backend).to(settings.device)
    vocabulary = from_json(config["vocabulary"])
    assert isinstance(vocabulary, Words)
    return DescribedExamples(model, vocabulary, footage, settings)


def padded(vocabulary: Words, sentences: Sequence[str]) -> Tensor:
    """Sentences as ids [1 + N, B], each ``<S> w1 ... <E>``; :data:`IGNORED` beyond the end."""
    ids = [vocabulary.encode(" ".join(sentence.split()) + "\n").ids.astype(np.int64) for sentence in sentences]
    words = torch.full((max(map(len, ids)), len(ids)), IGNORED, dtype=torch.long)
    for column, own in enumerate(ids):
        words[: len(own), column] = torch.from_numpy(own)
    return words


def summed_nats(model: VideoDescriber, frames: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
    """Negative log-likelihood of sentences [1 + N, B] given their clips, summed over their words."""
    # what is fed where a sentence has ended is not looked at
    scores = model(frames, lengths, words[:-1].clamp(min=0))
    targets = words[1:].flatten()
    return functional.cross_entropy(scores.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum")


@torch.inference_mode()
def loss_of(
    model: VideoDescriber, vocabulary: Words, footage: Footage, rows: NDArray[np.int64], *, shuffle: bool = False
) -> tuple[float, int]:
    """Negative log-likelihood of the first sentence of each clip, and of how many words it is the sum."""
    device = next(model.parameters()).device
    nats, count = 0.0, 0
    for begin in range(0, len(rows), BATCH):
        some = rows[begin : begin + BATCH]
        frames, lengths = footage.frames(some, shuffle=shuffle)
        words = padded(vocabulary, [footage.clips.descriptions[row][0] for row in some])
        nats += float(summed_nats(model, frames.to(device), lengths.to(device), words.to(device)))
        count += int((words[1:] != IGNORED).sum())
    return nats, count


@torch.inference_mode()
def described(
    model: VideoDescriber,
    vocabulary: Words,
    footage: Footage,
    rows: NDArray[np.int64],
    *,
    width: int = 3,
    shuffle: bool = False,
) -> list[Sample]:
    """The likeliest sentence about each clip that a beam of so many finds."""
    device = next(model.parameters()).device
    found = []
    for row in rows:
        frames, _ = footage.frames([row], shuffle=shuffle)
        telling = Telling(model, frames[:, 0].to(device))
        found.append(beam_search(telling, vocabulary, length=LONGEST, width=width, until_end=True)[0])
    return found


def exact_share(written: Sequence[str], told: Sequence[Sequence[str]]) -> float:
    """The share of sentences that equal one of their clip's, letter case aside."""
    return float(np.mean([text in {line.lower() for line in lines} for text, lines in zip(written, told, strict=True)]))


def words_share(written: Sequence[str], told: Sequence[Sequence[str]]) -> float:
    """The share of sentences that have the words of one of their clip's, in any order."""
    return float(
        np.mean(
            [
                sorted(text.split()) in [sorted(line.lower().split()) for line in lines]
                for text, lines in zip(written, told, strict=True)
            ]
        )
    )


OPTIONS: Mapping[str, type] = {"beam": int, "clips": int}


def evaluate_describer(
    loaded: LoadedRun, run: Path, sources: Sequence[str] | None, part: str | None, options: Mapping[str, Any]
) -> Scores:
    """Loss, exact sentences and BLEU of a run, beside the same model fed the frames in another order.

    Args:
        loaded, run, sources, part: as for :func:`elman.training.systems.video.run.evaluate_run`.
        options: ``beam`` (default 3), ``clips``: at most so many are described (default all).

    Raises:
        MisuseError, FailureError: with the sentence for the user.
    """
    asked = check_options(options, OPTIONS)
    width = asked.get("beam", 3)
    footage, rows = judged_clips(loaded, run, sources, part)
    rows = rows[: asked.get("clips", len(rows))]
    if not len(rows) or width < 1:
        raise MisuseError("--option clips and beam take whole numbers of at least 1.")
    told = [footage.clips.descriptions[row] for row in rows]
    nats, words = loss_of(loaded.model, loaded.vocabulary, footage, rows)
    found: dict[str, float | int | str | None] = {"clips": len(rows), "nats_a_word": nats / words, "beam": width}
    written: list[str] = []
    for name, shuffle in (("", False), ("_of_shuffled_frames", True)):
        texts = [
            sample.text
            for sample in described(loaded.model, loaded.vocabulary, footage, rows, width=width, shuffle=shuffle)
        ]
        written = written or texts
        found[f"exact{name}"] = exact_share(texts, told)
        found[f"right_words_in_any_order{name}"] = words_share(texts, told)
    references = [[line.lower().split() for line in lines] for lines in told]
    found["bleu_4"] = 100 * bleu([text.split() for text in written], references)[3]
    lines = [f"{lines[0]}\n  > {text}" for lines, text in zip(told[:SAMPLES], written, strict=False)]
    return Scores(found, "\n".join(lines), {"descriptions": written})
