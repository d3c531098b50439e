"""Intervals for text: blocks of it are drawn, since neighbouring tokens are not independent.

The circular moving-block bootstrap of Künsch (1989) and Politis and Romano (1992): blocks that may begin anywhere are
drawn with replacement until they are as long as the part. Here they begin at multiples of a quarter block, so that a
replicate is a weighted sum of the histograms of the quarters and costs no second look at the text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.measures import LEVELS, Array

REPLICATES = 500
# tokens of a block: what is farther apart counts as independent
BLOCK = 1000
# blocks of a part, if it is long enough for longer ones than that
MOST_BLOCKS = 64
PIECES = 4
COVERAGE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class Blocks:
    """A part cut into quarters of blocks, and how often each replicate has each.

    Attributes:
        pieces: [n] the quarter of each token, rising.
        weights: [replicates, quarters].
    """

    pieces: NDArray[np.int32]
    weights: Array

    @classmethod
    def draw(cls, length: int, generator: np.random.Generator) -> Blocks:
        """Draw the replicates of a part.

        Args:
            length: tokens of the part.
            generator: of the draw.
        """
        block = max(BLOCK, length // MOST_BLOCKS)
        count = max(PIECES, length * PIECES // block)
        pieces = (np.arange(length) * count // length).astype(np.int32)
        drawn = max(1, count // PIECES)
        starts = generator.integers(0, count, (REPLICATES, drawn))
        places = (starts[..., None] + np.arange(PIECES)) % count + np.arange(REPLICATES)[:, None, None] * count
        weights = np.bincount(places.ravel(), minlength=REPLICATES * count).reshape(REPLICATES, count)
        return cls(pieces, weights.astype(np.float64))

    def binary(self, counts: NDArray[np.int64], sign: int, threshold: int) -> tuple[Interval, Interval]:
        """Intervals of the area of the signed value, and of F1 at the threshold.

        Args:
            counts: [quarters, 2, 256] of a cell's levels where the label is 0 and where it is 1.
            sign: 1 or -1.
            threshold: int8 level.
        """
        off, on = np.moveaxis(self._drawn(counts.reshape(len(counts), -1)).reshape(-1, 2, LEVELS), 1, 0)
        area = 0.5 + sign * (measures.auc(on, off) - 0.5)
        return _interval(area), _interval(measures.f1(*measures.at_threshold(on, off, sign, threshold)))

    def correlation(self, ranks: Array, grades: Array) -> Interval:
        """Interval of the correlation of ranks, which are kept as they are in the part.

        Args:
            ranks: [n] of a cell's values, 0 where the label is undefined.
            grades: [n] of the labels, likewise, both with mean 0.
        """
        starts = np.flatnonzero(np.diff(self.pieces, prepend=-1))
        products = (ranks * ranks, grades * grades, ranks * grades)
        sums = np.stack([np.add.reduceat(product, starts) for product in products], axis=1)
        xx, yy, xy = self._drawn(sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return _interval(xy / np.sqrt(xx * yy))

    def _drawn(self, sums: NDArray[np.number]) -> Array:
        """The sums over quarters, [quarters, k], of every replicate."""
        # torch's product keeps to the thread that asks for it, where numpy's would begin a team
        return (torch.from_numpy(self.weights) @ torch.from_numpy(sums.astype(np.float64))).numpy()


def _interval(drawn: Array) -> Interval:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
