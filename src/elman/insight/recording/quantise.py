"""From float states to int8, cell-major."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.errors import FailureError
from elman.insight.recording.layout import SCALE

#: Rounding may carry a value of a bounded function this far beyond 1.
SLACK = 1e-5


def largest(values: Tensor) -> float:
    """The largest magnitude.

    Raises:
        FailureError: there is a value that is no number.
    """
    low, high = torch.aminmax(values)
    magnitude = max(-float(low), float(high))
    # NaN compares false; infinity is what an unbounded state may reach, and its tanh is 1
    if not magnitude >= 0:
        raise FailureError("The model's states are not numbers: its weights are damaged or its training diverged.")
    return magnitude


def quantise(values: Tensor, transform: str) -> tuple[Tensor, Tensor | None]:
    """Transform, round and lay out the values of one quantity.

    Args:
        values: [T, B, width] float.
        transform: "identity" or "tanh".

    Returns:
        int8 [B, width, T] on the CPU, and [T, B] how many values of each step were beyond [-1, 1] and cut off, if any.

    Raises:
        FailureError: there is a value that is no number.
    """
    magnitude = largest(values)
    clipped = None
    if transform == "tanh":
        values = torch.tanh(values)
    elif magnitude > 1:
        clipped = (values.abs() > 1 + SLACK).sum(-1).cpu()
        values = values.clamp(-1, 1)
    steps, batch, width = values.shape
    rounded = torch.mul(values, SCALE).round_().to(torch.int8)
    # torch turns a matrix over in tiles, which is much faster than by strides in three dimensions
    return rounded.reshape(steps, batch * width).t().contiguous().view(batch, width, steps).cpu(), clipped
