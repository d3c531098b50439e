"""Dropout with cheap random bits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# a unit is kept with a probability that is a multiple of 1 / LEVELS
LEVELS = 2**16


def dropout(x: Tensor, rate: float, training: bool = True) -> Tensor:
    """Zero each number with probability ``rate`` and scale the others, so that the mean stays (Srivastava et al. 2014).

    On a CPU torch draws a floating-point number for every unit, which takes longer than all else around a recurrent
    layer; here four units share one 64-bit draw. The rate is rounded to a multiple of 1/65536, and the scale fits the
    rounded one.

    Args:
        x: any shape.
        rate: from 0 to below 1.
        training: False returns ``x`` as it is.

    Returns:
        A tensor like ``x``; randomness comes from torch's global generator.
    """
    if not training or not rate:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.dropout(x, rate)
    kept = max(1, round((1 - rate) * LEVELS))
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: x.numel()].view(x.shape)
    # a level is uniform from -LEVELS/2 to LEVELS/2 - 1, and `kept` of them lie below the bound
    mask = (levels < kept - LEVELS // 2).to(x.dtype).mul_(LEVELS / kept)
    return x * mask
