"""A cell against a label among equal characters, so that a cell for quotes is not one for the quotation mark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.measures import LEVELS, Array
from elman.insight.ranking.targets import count

# characters or words that are compared within; the rest of a large vocabulary is too rare to weigh
MOST = 1024


@dataclass(frozen=True)
class Strata:
    """Tokens grouped by the symbol that was read last.

    Attributes:
        codes: int32 [n] 256 times (2 times the stratum, plus the label); the last code is of no stratum.
        weights: [strata] n0 n1 / (n0 + n1 + 1), van Elteren 1960.
    """

    codes: NDArray[np.int32]
    weights: Array

    @classmethod
    def of(cls, codes: NDArray[np.int32], ids: NDArray[np.int32]) -> Strata:
        """The strata that have both labels.

        Args:
            codes: [n] 0 or 1, or 2 where undefined.
            ids: [n] the symbols.
        """
        size = int(ids.max()) + 1 if len(ids) else 1
        off, on = np.bincount(ids * 3 + codes, minlength=size * 3).reshape(-1, 3).T[:2].astype(np.float64)
        weights = off * on / (off + on + 1)
        strata = np.argsort(-weights, kind="stable")[:MOST]
        strata = strata[weights[strata] > 0]
        number = np.full((size, 3), 2 * len(strata))
        number[strata, 0] = 2 * np.arange(len(strata))
        number[strata, 1] = number[strata, 0] + 1
        return cls((number.astype(np.int32) * LEVELS).ravel()[ids * 3 + codes], weights[strata])

    def auc(self, found: NDArray[np.uint8]) -> float:
        """The area within each stratum, averaged by the strata's weights.

        Args:
            found: [n] levels of a cell.

        Returns:
            The area; NaN where the symbol alone decides the label, so that there is nothing to compare.
        """
        strata = len(self.weights)
        if not strata:
            return float("nan")
        counts = count(self.codes, 2 * strata + 1, found)[:-1].reshape(strata, 2, LEVELS).astype(np.float64)
        return float(np.average(measures.auc(counts[:, 1], counts[:, 0]), weights=self.weights))
