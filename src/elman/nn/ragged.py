"""Rows of unequal length in one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.compile.check import check_lengths
from elman.compile.rows import take_rows
from elman.errors import MisuseError


class Ragged:
    """The rows' own lengths, and what follows from them.

    Args:
        lengths: of every row, 1 to T, in any order.
        steps: T.
        batch: B.
        device: where the data is.

    Raises:
        MisuseError: lengths that do not fit.
    """

    def __init__(self, lengths: Tensor | Sequence[int], steps: int, batch: int, device: torch.device):
        own = torch.as_tensor(lengths)
        if own.is_floating_point() or own.is_complex() or own.dtype == torch.bool:
            raise MisuseError(f"lengths must be whole numbers; got {own.dtype}.")
        check_lengths(own, steps, batch)
        self.lengths = own.to(device=device, dtype=torch.int64)
        time = torch.arange(steps, device=device).unsqueeze(1)
        self.inside = time < self.lengths  # [T, B]
        turned = torch.where(self.inside, self.lengths - 1 - time, time)
        self._turned = (turned * batch + torch.arange(batch, device=device)).flatten()

    def back(self, x: Tensor) -> Tensor:
        """x [T, B, ...] with every row reversed within its own length; applied twice it gives x."""
        return take_rows(x.flatten(0, 1), self._turned).view(x.shape)

    def cut(self, y: Tensor) -> Tensor:
        """y [T, B, ...] with zeros beyond every row's end."""
        return y.masked_fill(~_wide(self.inside, y), 0.0)


def packed_reversal(counts: Tensor) -> Tensor:
    """For each row of a PackedSequence the row that takes its place when every sequence is reversed.

    Args:
        counts: [T] living rows of each step.
    """
    batch, starts = int(counts[0]), counts.cumsum(0) - counts
    lengths = (counts.unsqueeze(1) > torch.arange(batch)).sum(0)
    time, row = (torch.arange(len(counts)).unsqueeze(1) < lengths).nonzero(as_tuple=True)
    return starts[lengths[row] - 1 - time] + row


def _wide(index: Tensor, like: Tensor) -> Tensor:
    return index.reshape(*index.shape, *(1,) * (like.dim() - 2)).expand(*index.shape, *like.shape[2:])
