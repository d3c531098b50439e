"""Means over the places where a label is on and where it is off, with intervals that know a text is autocorrelated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
#: Blocks that a text is cut into at least, and the length in tokens that a block has where the text is long enough.
FEWEST = 20
SHORTEST = 200


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        value: the mean.
        low, high: the interval's ends.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The estimate as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


class Blocks:
    """A text cut into blocks, which are drawn with replacement.

    Neighbouring tokens are alike, so that single ones must not be drawn as if they were independent. Whole blocks are
    (Carlstein 1986, The use of subseries values for estimating the variance of a general statistic from a stationary
    sequence, Annals of Statistics 14), each several runs of the label long; the interval is that of the percentiles.

    Args:
        on, off: bool [M], where the label is on and where it is off; a place may be neither.
        generator: draws the blocks.

    Attributes:
        length: tokens of a block.
        count: number of blocks.
    """

    def __init__(self, on: NDArray[np.bool_], off: NDArray[np.bool_], generator: np.random.Generator) -> None:
        size = len(on)
        onsets = int(np.count_nonzero(on[1:] & ~on[:-1])) + int(on[:1].any())
        self.length = max(1, min(max(SHORTEST, 4 * size // max(1, onsets)), size // FEWEST))
        self.count = -(-size // self.length)
        self._of = np.arange(size) // self.length
        self._on, self._off = on, off
        self._draws = generator.multinomial(self.count, np.full(self.count, 1 / self.count), RESAMPLES)

    def sums(self, values: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The sum of values [M] over the places of each block [count]."""
        return np.bincount(self._of[where], values[where].astype(np.float64), self.count).astype(np.float64)

    def means(self, values: NDArray[Any]) -> tuple[Estimate, Estimate, Estimate]:
        """Mean where the label is on, mean where it is off, and the first less the second, of values [M]."""
        ones = np.ones(len(self._of))
        parts = [(self.sums(values, where), self.sums(ones, where)) for where in (self._on, self._off)]
        points = [float(total.sum() / number.sum()) for total, number in parts]
        resampled = [self.resample(total, number) for total, number in parts]
        on, off = (self._estimate(point, drawn) for point, drawn in zip(points, resampled, strict=True))
        return on, off, self._estimate(points[0] - points[1], resampled[0] - resampled[1])

    def resample(self, total: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means over drawn blocks [resamples, ...], from sums and counts of each block [count, ...]; NaN for none."""
        drawn = self._draws @ number
        with np.errstate(invalid="ignore"):
            return np.where(drawn > 0, self._draws @ total / np.maximum(drawn, 1e-300), np.nan)

    @staticmethod
    def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return Estimate(value, float(low), float(high))


def means(values: NDArray[Any], on: NDArray[np.bool_], off: NDArray[np.bool_]) -> tuple[float, float]:
    """The mean of values [M] where a label is on and where it is off."""
    return float(values[on].mean(dtype=np.float64)), float(values[off].mean(dtype=np.float64))


def tokens_since_onset(on: NDArray[np.bool_], off: NDArray[np.bool_], before: int) -> NDArray[np.int64]:
    """For every place the number of tokens since the label came on.

    Args:
        on, off: bool [M].
        before: places up to so many tokens before an onset get negative numbers.

    Returns:
        [M]: 0 at an onset, 1 after it and so on while the label is on; -1 just before an onset. Where neither, and
        where a run was on from the beginning, the least int64.
    """
    size = len(on)
    nowhere = np.iinfo(np.int64).min
    places = np.arange(size)
    starts = on & np.concatenate([[False], off[:-1]])
    # the onset of the run that a place is in: the last start with nothing but "on" behind it
    last_start = np.maximum.accumulate(np.where(starts, places, -1))
    last_not_on = np.maximum.accumulate(np.where(on, -1, places))
    inside = on & (last_start > last_not_on)
    result = np.where(inside, places - last_start, nowhere)
    following = np.where(starts, places, size + before)[::-1]
    next_start = np.minimum.accumulate(following)[::-1]
    distance = places - next_start
    return np.where(off & (distance >= -before), distance, result)
