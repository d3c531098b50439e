"""How sure a model is of a closing brace, by how far back the brace is that it closes.

Karpathy, Johnson and Fei-Fei 2015, arXiv:1506.02078, section 4.3: an n-gram model can only guess that a `}` is due, a
network that keeps count knows it hundreds of characters after the `{`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.errors.characters import Points

OPENING, CLOSING = "{", "}"
# bins a doubling of the distance
BINS_A_DOUBLING = 2


@dataclass(frozen=True)
class BraceCurve:
    """Mean probabilities of the closing braces of a text.

    Attributes:
        edges: [bins + 1] distances; bin i holds those from edges[i] up to, without, edges[i + 1].
        counts: [bins] closing braces.
        distance: [bins] their mean distance, characters.
        model, ngram: [bins] mean probability that each gave the brace.
        model_error, ngram_error: [bins] standard errors of these means; NaN for a single brace.
        order: of the n-gram model.
        unmatched: closing braces that close none.
    """

    edges: NDArray[np.int64]
    counts: NDArray[np.int64]
    distance: NDArray[np.float64]
    model: NDArray[np.float64]
    ngram: NDArray[np.float64]
    model_error: NDArray[np.float64]
    ngram_error: NDArray[np.float64]
    order: int
    unmatched: int

    @property
    def pairs(self) -> int:
        """Braces that close one."""
        return int(self.counts.sum())

    def to_json(self) -> dict[str, Any]:
        """JSON values; means of bins without a brace are null."""

        def numbers(values: NDArray[np.float64]) -> list[float | None]:
            return [None if np.isnan(value) else round(float(value), 6) for value in values]

        return {
            "pairs": self.pairs,
            "unmatched": self.unmatched,
            "order": self.order,
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "distance": numbers(self.distance),
            "model": numbers(self.model),
            "ngram": numbers(self.ngram),
            "model_error": numbers(self.model_error),
            "ngram_error": numbers(self.ngram_error),
        }


def matching(points: Points, opening: str = OPENING, closing: str = CLOSING) -> tuple[NDArray[np.int64], int]:
    """For every closing brace that closes one: its place and that of the other.

    Args:
        points: [N] code points.
        opening, closing: the two signs.

    Returns:
        [pairs, 2] places (opening, closing) in the order of the closing ones, and how many closing ones close nothing.
    """
    places = np.flatnonzero((points == ord(opening)) | (points == ord(closing)))
    opens = (points[places] == ord(opening)).tolist()
    waiting: list[int] = []
    pairs: list[tuple[int, int]] = []
    unmatched = 0
    for place, is_open in zip(places.tolist(), opens, strict=True):
        if is_open:
            waiting.append(place)
        elif waiting:
            pairs.append((waiting.pop(), place))
        else:
            unmatched += 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), unmatched


def brace_curve(
    points: Points, nats: NDArray[np.floating], ngram_nats: NDArray[np.floating], order: int
) -> BraceCurve | None:
    """Mean probability of `}` by the distance to its `{`, under a model and beside an n-gram model.

    Braces in comments and strings are taken like any other.

    Args:
        points: [N] code points of the text.
        nats: [N] -log p of each character under the model; NaN where it was not predicted.
        ngram_nats: [N] the same under an n-gram model.
        order: of that model.

    Returns:
        The curve in bins of which two make a doubling of the distance; None for a text without a matched brace.
    """
    pairs, unmatched = matching(points)
    pairs = pairs[~np.isnan(nats[pairs[:, 1]])]
    if not len(pairs):
        return None
    distance = pairs[:, 1] - pairs[:, 0]
    halves = int(np.ceil(BINS_A_DOUBLING * np.log2(distance.max() + 1)))
    edges = np.unique(np.round(2.0 ** (np.arange(halves + 1) / BINS_A_DOUBLING)).astype(np.int64))
    if edges[-1] <= distance.max():
        edges = np.append(edges, distance.max() + 1)
    bins = np.searchsorted(edges, distance, side="right") - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    probabilities = [np.exp(-np.asarray(each, dtype=np.float64)[pairs[:, 1]]) for each in (nats, ngram_nats)]
    (model, model_error), (ngram, ngram_error) = (_means(bins, counts, each) for each in probabilities)
    far, _ = _means(bins, counts, distance.astype(np.float64))
    return BraceCurve(edges, counts, far, model, ngram, model_error, ngram_error, order, unmatched)


def _means(
    bins: NDArray[np.int64], counts: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each bin and the standard error of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(bins, values, len(counts)) / counts
        spread = np.bincount(bins, (values - mean[bins]) ** 2, len(counts)) / (counts - 1)
        error = np.where(counts > 1, np.sqrt(spread / counts), np.nan)
    return mean, error
