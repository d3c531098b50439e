"""Weights in bfloat16 in the order in which the loops read them; those in float32 are :mod:`.copies`'s."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.rounds import Pass


def units_of(hidden: int, lanes: int) -> int:
    """Vectors of a hidden width, the last one perhaps not full."""
    return -(-hidden // lanes)


def pack_rows(one: Pass, matrices: Mapping[str, Tensor], spread: int, lanes: int) -> Tensor:
    """A forward pass's matrices [hidden, K] as [chunk][pair of k][accumulator][spread][lane][k of the pair].

    Args:
        one: the pass.
        matrices: by name.
        spread: vectors of units for each accumulator.
        lanes: floats in a vector.
    """
    parts = [matrices[one.matrices[place][0]] for place in sorted(one.matrices)]
    stack = _pad(_pad(torch.stack(parts), 1, spread * lanes).bfloat16(), 2, 2)
    count, _, width = stack.shape
    return stack.view(count, -1, spread, lanes, width // 2, 2).permute(1, 4, 0, 2, 3, 5).contiguous()


def pack_columns(one: Pass, matrices: Mapping[str, Tensor], spread: int, lanes: int) -> Tensor:
    """A backward pass's matrices [k, units], for slots side by side.

    Args:
        one: the pass.
        matrices: by name.
        spread, lanes: as of :func:`pack_rows`.

    Returns:
        [chunk][pair of k][accumulator][spread][lane][k of the pair], k running over slots.
    """
    places = sorted(one.matrices)
    run = len(one.matrices[places[0]])
    stack = torch.stack([matrices[name] for place in places for name in one.matrices[place]])
    stack = _pad(_pad(stack, 2, spread * lanes), 1, lanes).bfloat16()
    stack = stack.view(len(places), run, stack.shape[1] // lanes, lanes // 2, 2, -1, spread, lanes)
    return stack.permute(5, 1, 2, 3, 0, 6, 7, 4).contiguous()


def _pad(tensor: Tensor, dimension: int, multiple: int) -> Tensor:
    """A tensor made longer by zeros to a multiple."""
    missing = -tensor.shape[dimension] % multiple
    if not missing:
        return tensor
    return functional.pad(tensor, (0, 0) * (tensor.dim() - 1 - dimension) + (0, missing))
