"""A moving average of the weights (Polyak & Juditsky 1992), evaluated and saved in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """theta_avg <- d theta_avg + (1 - d) theta, with d = min(decay, (1 + n) / (10 + n)) after n updates.

    Args:
        model: whose weights are averaged.
        decay: how much of the old average is kept at each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        # a short memory at first, or the random start would stay in the average for 1 / (1 - decay) steps
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lend the average to the model; its own weights come back at the end."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            self._assign(self.average)
            yield
        finally:
            self._assign(own)

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
