"""Weights in the order in which the loops read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.rounds import Pass


def units_of(hidden: int, lanes: int) -> int:
    """Vectors of a hidden width, the last one perhaps not full."""
    return -(-hidden // lanes)


def pack_rows(one: Pass, matrices: Mapping[str, Tensor], spread: int, lanes: int, half: bool) -> Tensor:
    """A forward pass's matrices [hidden, K] as [chunk][k][accumulator][spread][lane].

    Args:
        one: the pass.
        matrices: by name.
        spread: vectors of units for each accumulator.
        lanes: floats in a vector.
        half: bfloat16, two k side by side in each lane.
    """
    parts = [matrices[one.matrices[place][0]] for place in sorted(one.matrices)]
    stack = parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
    count, _, width = stack.shape
    chunk = spread * lanes
    stack = _pad(stack, 1, chunk)
    if not half:
        return stack.view(count, -1, spread, lanes, width).permute(1, 4, 0, 2, 3).contiguous()
    stack = _pad(stack.bfloat16(), 2, 2)
    return stack.view(count, -1, spread, lanes, stack.shape[2] // 2, 2).permute(1, 4, 0, 2, 3, 5).contiguous()


def pack_columns(
    one: Pass, matrices: Mapping[str, Tensor], spread: int, lanes: int, half: bool, blocked: bool
) -> Tensor:
    """A backward pass's matrices [k, units], for slots side by side.

    Args:
        one: the pass.
        matrices: by name.
        spread, lanes, half: as of :func:`pack_rows`.
        blocked: slots lie side by side vector by vector (k runs over vectors, slots, lanes), else each is whole.

    Returns:
        [chunk][k][accumulator][spread][lane].
    """
    places = sorted(one.matrices)
    run = len(one.matrices[places[0]])
    parts = [matrices[name] for place in places for name in one.matrices[place]]
    stack = parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
    stack = _pad(_pad(stack, 2, spread * lanes), 1, lanes)
    if half:
        stack = stack.bfloat16()
    pair = 2 if half else 1
    rows = stack.shape[1]
    stack = stack.view(len(places), run, rows // lanes, lanes // pair, pair, -1, spread, lanes)
    order = (5, 2, 1, 3, 0, 6, 7, 4) if blocked else (5, 1, 2, 3, 0, 6, 7, 4)
    return stack.permute(order).contiguous()


def _pad(tensor: Tensor, dimension: int, multiple: int) -> Tensor:
    """A tensor made longer by zeros to a multiple."""
    missing = -tensor.shape[dimension] % multiple
    if not missing:
        return tensor
    return functional.pad(tensor, (0, 0) * (tensor.dim() - 1 - dimension) + (0, missing))
