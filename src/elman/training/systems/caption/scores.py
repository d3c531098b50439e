"""What a captioner is measured by: words against people's words, and which image a caption belongs to.

Beside every score stand two controls: the same model that is shown the training images' mean (image-blind), and the
same model that is shown another image of the part (shuffled). What the picture is good for is what it scores above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.generate.captioning import Manner, Written, write
from elman.generate.stepping import select
from elman.metrics.bleu import bleu
from elman.metrics.cider import cider_d
from elman.metrics.penn import penn_words
from elman.metrics.retrieval import Retrieval, retrieval
from elman.metrics.rouge import rouge_l
from elman.training.systems.caption.data import IGNORED, collate
from elman.training.systems.caption.examples import Batch, CaptionExamples, blocks, references_of, summed_nats

VIEWS = ("model", "image-blind", "shuffled")
# captions that are scored at a time
_CAPTIONS = 256
Progress = Callable[[float], None]


@dataclass(frozen=True)
class View:
    """What a model is shown for some rows.

    Attributes:
        name: one of ``VIEWS``.
        features: [n, *feature_shape].
    """

    name: str
    features: Tensor


def views_of(examples: CaptionExamples, rows: NDArray[np.int64], seed: int) -> list[View]:
    """The images as they are, no image, and each another's."""
    assert examples.features is not None
    features = examples.features[torch.as_tensor(rows)].float().to(examples.settings.device)
    blind = examples.model.average_image(len(rows))
    return [
        View("model", features),
        View("image-blind", blind),
        View("shuffled", features[torch.as_tensor(shuffled(len(rows), seed), device=features.device)]),
    ]


def shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """A random order in which nothing stands at its own place (where there are two things or more)."""
    order = np.random.default_rng(seed).permutation(count)
    others = np.empty(count, dtype=np.int64)
    others[order] = np.roll(order, 1)
    return others


def caption_scores(
    examples: CaptionExamples,
    rows: NDArray[np.int64],
    tag: str,
    view: View,
    manner: Manner,
    progress: Progress | None = None,
) -> tuple[dict[str, float], list[Written]]:
    """Write a caption for each image and compare it with people's.

    Args:
        examples: model and captions.
        rows: of the images, each with captions of this tag.
        tag: of the captions.
        view: what the model is shown.
        manner: how it writes.
        progress: called with the share that is done.

    Returns:
        Scores by name, in the order of printing (BLEU, ROUGE-L and CIDEr-D times 100), and the captions.
    """
    written = [found[0] for found in write(examples.model, examples.vocabulary, view.features, tag, manner, progress)]
    candidates = [penn_words(caption.text) for caption in written]
    _, references = references_of(examples.data, rows, tag)
    scores = {f"BLEU-{order}": 100 * value for order, value in enumerate(bleu(candidates, references), 1)}
    scores["ROUGE-L"] = 100 * float(rouge_l(candidates, references).mean())
    scores["CIDEr-D"] = 100 * cider_d(candidates, references)
    scores["distinct captions"] = len({tuple(words) for words in candidates})
    scores["words a caption"] = float(np.mean([len(words) for words in candidates]))
    return scores, written


def log_probabilities(
    examples: CaptionExamples,
    captions: Sequence[Sequence[int]],
    features: Tensor,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """log P(caption | image) for each image and each caption.

    Args:
        examples: the model.
        captions: [m] ids of each.
        features: [n, *feature_shape].
        progress: called with the share that is done.

    Returns:
        [n, m], nats.
    """
    model, device = examples.model, examples.settings.device
    order = np.argsort([len(ids) for ids in captions], kind="stable")
    batches = []
    for part in np.split(order, range(_CAPTIONS, len(order), _CAPTIONS)):
        tokens, targets, lengths = collate([captions[place] for place in part], examples.opening, examples.end)
        own = torch.zeros(len(part), dtype=torch.long)
        batches.append((part, Batch(features, own, tokens.to(device), targets.to(device), lengths)))
    scores = np.empty((len(features), len(captions)))
    for row, one in enumerate(features.split(1)):
        begun = model.begin(one)
        for part, batch in batches:
            scores[row, part] = -summed_nats(model, select(begun, batch.own), batch).double().cpu().numpy()  # type: ignore[arg-type]
        if progress:
            progress((row + 1) / len(features))
    return scores


def retrieval_scores(
    examples: CaptionExamples,
    rows: NDArray[np.int64],
    views: Sequence[View],
    seed: int,
    progress: Progress | None = None,
) -> dict[str, dict[str, Retrieval]]:
    """Which image a caption belongs to, and which captions an image has.

    An image is asked with log P(caption | image), and with log P(caption | image) - log P(caption | no image), which
    takes from a caption what it has from being a common sentence.

    Args:
        examples: model and captions.
        rows: of the images.
        views: as :func:`views_of` gave them.
        seed: of the shuffling, as there.
        progress: called with the share that is done.

    Returns:
        By direction and by view.
    """
    captions = [ids for row in rows for ids in examples.ids[row]]
    own = np.array([place for place, row in enumerate(rows) for _ in examples.ids[row]])
    right = own[None] == np.arange(len(rows))[:, None]
    shown = {view.name: view.features for view in views}
    seen = log_probabilities(examples, captions, shown["model"], progress)
    blind = log_probabilities(examples, captions, shown["image-blind"][:1])
    # another's image gives another's row
    matrices = {
        "model": seen,
        "image-blind": np.broadcast_to(blind, seen.shape),
        "shuffled": seen[shuffled(len(rows), seed)],
    }
    found: dict[str, dict[str, Retrieval]] = {
        "image of a caption": {},
        "caption of an image": {},
        "caption of an image, less the blind score": {},
    }
    for name, scores in matrices.items():
        for direction, asked in zip(found, (scores.T, scores, scores - blind), strict=True):
            found[direction][name] = retrieval(asked, right.T if direction == "image of a caption" else right)
    return found


def nats_of(examples: CaptionExamples, rows: NDArray[np.int64], view: View) -> tuple[float, int]:
    """Loss of these images' captions, nats a word, and how many words were predicted."""
    total, count = 0.0, 0
    for part in blocks(np.arange(len(rows))):
        captions = examples.collated(rows[part])
        state = select(examples.model.begin(view.features[torch.as_tensor(part)]), captions.own)  # type: ignore[arg-type]
        total += float(summed_nats(examples.model, state, captions).sum())
        count += int((captions.targets != IGNORED).sum())
    return total / count, count


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Scores by view, side by side."""
    names = list(next(iter(columns.values())))
    width = max(map(len, names))
    lines = [f"{'':<{width}}" + "".join(f"{view:>14}" for view in columns)]
    for name in names:
        lines.append(f"{name:<{width}}" + "".join(f"{_shown(name, own[name]):>14}" for own in columns.values()))
    return "\n".join(lines)


def _shown(name: str, value: float) -> str:
    if value == int(value) and abs(value) >= 1:
        return str(int(value))
    return f"{value:.4f}" if name.startswith("nats") else f"{value:.1f}"


def retrieval_rows(found: Retrieval) -> dict[str, float]:
    """A direction's figures by name, recall times 100."""
    return {f"R@{k}": 100 * share for k, share in found.recall.items()} | {"median rank": found.median_rank}
