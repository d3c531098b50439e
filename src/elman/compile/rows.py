"""Rows of tensors in another order, differentiable at the cost of a copy each way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def take_rows(x: Tensor, places: Tensor) -> Tensor:
    """``x[places]``, where no place comes twice.

    torch's own indexing does not know that: it adds gradients up, number by number, which takes many times longer.

    Args:
        x: [N, ...].
        places: [M] different numbers of rows.

    Returns:
        [M, ...].
    """
    return _Take.apply(x, places) if x.requires_grad and torch.is_grad_enabled() else x.index_select(0, places)


def put_rows(x: Tensor, places: Tensor, size: int) -> Tensor:
    """A tensor of ``size`` rows that has the rows of ``x`` at different places, and zeros elsewhere."""
    return x.new_zeros(size, *x.shape[1:]).index_copy(0, places, x)


def repeat_last(x: Tensor, lengths: Tensor) -> Tensor:
    """x [T, B, ...] with every row's last step repeated beyond its end.

    For what computes there too: then no value and no gradient that a cell makes of it can be odd.

    Args:
        x: of any kind of number.
        lengths: [B], from 1 to T.
    """
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    index = torch.minimum(time, lengths - 1)
    return x.gather(0, index.reshape(*index.shape, *(1,) * (x.dim() - 2)).expand(x.shape))


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return put_rows(gradient, places, ctx.size), None
