"""Which rows are alive at which step, and where they stand in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Extent:
    """The rows of a batch over time.

    Rows are in the order of their lengths, the longest first; a sequence in memory has the living rows of each step
    one after another, without gaps. A sequence of a state has the initial values of all rows before that.

    Attributes:
        steps: T.
        batch: B.
        rows: all rows of all steps.
        counts: [T] living rows of each step.
        current: [T + 1] the first row of each step.
        full: [T + 1] the first row of each step in a state's sequence, from the one before the first step.
        alternating: [T + 2] the same for a state of which only two steps are kept.
        even: every row lives for all steps.
    """

    steps: int
    batch: int
    rows: int
    counts: Tensor
    current: Tensor
    full: Tensor
    alternating: Tensor
    even: bool

    @cached_property
    def order(self) -> Tensor:
        """[rows] 0, 1, 2, ..."""
        return torch.arange(self.rows, dtype=torch.int64, device="cpu")

    @cached_property
    def tables(self) -> tuple[Tensor, ...]:
        """What loops are told of it."""
        return self.counts, self.current, self.full, self.alternating, self.order


@lru_cache(maxsize=64)
def even_extent(steps: int, batch: int) -> Extent:
    """All rows live for all steps."""
    return _extent(torch.full((steps,), batch, dtype=torch.int64, device="cpu"), batch, True)


def ragged_extent(counts: Tensor) -> Extent:
    """Rows that end at their own steps.

    Args:
        counts: [T] living rows of each step, never more than before.
    """
    return _extent(counts, int(counts[0]), False)


def _extent(counts: Tensor, batch: int, even: bool) -> Extent:
    steps = len(counts)
    current = torch.zeros(steps + 1, dtype=torch.int64, device="cpu")
    torch.cumsum(counts, 0, out=current[1:])
    full = torch.cat((torch.zeros(1, dtype=torch.int64, device="cpu"), current[:-1] + batch))
    alternating = (torch.arange(steps + 2, device="cpu") % 2) * batch
    return Extent(steps, batch, int(current[-1]), counts, current, full, alternating, even)
