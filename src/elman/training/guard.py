"""Tells an exploding training from a rough one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass
class Guard:
    """Watches the loss of every step.

    A loss that is no number is always a fault. A finite loss is one only when its running mean stands far above where
    the training began: a spike that training recovers from by itself must not cost a long run.

    Attributes:
        first: loss of the first step, near log V for a model that knows nothing.
        mean: running mean of the loss.
    """

    MOST_RETURNS: ClassVar[int] = 3
    FAR_ABOVE: ClassVar[float] = 2.0
    MEMORY: ClassVar[float] = 0.9

    first: float | None = None
    mean: float | None = None

    def check(self, loss: float) -> str:
        """Take in a step's loss.

        Args:
            loss: nats a token.

        Returns:
            What is wrong, as the end of a sentence; empty if nothing is.
        """
        if not math.isfinite(loss):
            return "the loss was no longer a number" if math.isnan(loss) else "the loss became infinite"
        if self.first is None or self.mean is None:
            self.first = self.mean = loss
        self.mean = self.MEMORY * self.mean + (1 - self.MEMORY) * loss
        # what is learnt from rewards may begin below zero
        if self.mean > self.FAR_ABOVE * abs(self.first) + 1.0:
            return f"the loss had exploded to {self.mean:.1f} nats from {self.first:.2f} at the start"
        return ""

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``Guard(**values)`` watches on."""
        return asdict(self)
