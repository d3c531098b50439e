"""Rows of unequal length in one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.errors import MisuseError


class Ragged:
    """The rows' own lengths, and what follows from them.

    What stands beyond a row's end is never read: there the row's last step is repeated, so that no value and no
    gradient that a cell makes of it can be odd.

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
        if own.dim() != 1 or len(own) != batch:
            raise MisuseError(f"lengths must be one number a row, [{batch}]; got {list(own.shape)}.")
        if own.is_floating_point() or own.is_complex() or own.dtype == torch.bool:
            raise MisuseError(f"lengths must be whole numbers; got {own.dtype}.")
        low, high = int(own.min()), int(own.max())
        if low < 1 or high > steps:
            raise MisuseError(
                f"lengths must lie between 1 and the {steps} time steps of x; they lie in {low} to {high}."
            )
        self.lengths = own.to(device=device, dtype=torch.int64)
        time = torch.arange(steps, device=device).unsqueeze(1)
        self.inside = time < self.lengths  # [T, B]
        self._along = torch.minimum(time, self.lengths - 1)
        self._back = (self.lengths - 1 - time).clamp_min(0)

    def along(self, x: Tensor) -> Tensor:
        """x [T, B, ...] with every row's last step repeated beyond its end."""
        return x.gather(0, _wide(self._along, x))

    def back(self, x: Tensor) -> Tensor:
        """x [T, B, ...] with every row reversed within its own length; applied twice it gives x inside the lengths."""
        return x.gather(0, _wide(self._back, x))

    def cut(self, y: Tensor) -> Tensor:
        """y [T, B, ...] with zeros beyond every row's end."""
        return y.masked_fill(~_wide(self.inside, y), 0.0)


def _wide(index: Tensor, like: Tensor) -> Tensor:
    return index.reshape(*index.shape, *(1,) * (like.dim() - 2)).expand(*index.shape, *like.shape[2:])
