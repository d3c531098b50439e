"""How long a training lasts and how its rate goes down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from elman.training.settings import Settings

# a plan in minutes is redrawn when it would miss its time by more than this share
TOLERANCE = 0.05


@dataclass
class Plan:
    """From the first to the last optimiser step.

    The rate depends on the progress along the plan and not on the clock, so a run that was stopped and resumed takes
    the same steps. Only a limit in minutes looks at the clock, now and then: the number of steps left may be corrected,
    and the correction is stored with the next checkpoint.

    Attributes:
        total: the last optimiser step.
        anchor_step, anchor_progress: where the present stretch of the plan began.
    """

    total: int
    anchor_step: int = 0
    anchor_progress: float = 0.0

    def progress(self, step: int) -> float:
        """Share of the plan that is done at a step, 0 to 1."""
        if step >= self.total:
            return 1.0
        share = (step - self.anchor_step) / (self.total - self.anchor_step)
        return self.anchor_progress + share * (1.0 - self.anchor_progress)

    def fit(self, step: int, seconds_left: float, seconds_a_step: float, most: int | None = None) -> bool:
        """Correct the number of steps so that a limit in minutes is met.

        Args:
            step: optimiser steps taken.
            seconds_left: until the limit.
            seconds_a_step: measured, evaluations and checkpoints included.
            most: another limit, in steps.

        Returns:
            Whether the plan was changed.
        """
        possible = step + max(0, round(seconds_left / seconds_a_step))
        possible = possible if most is None else min(possible, most)
        if abs(possible - self.total) <= TOLERANCE * self.total:
            return False
        self.anchor_progress = self.progress(step)
        self.anchor_step = step
        self.total = possible
        return True

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``Plan(**values)`` gives the plan again."""
        return asdict(self)


def most_steps(settings: Settings, steps_an_epoch: int) -> int | None:
    """The limit in steps or epochs, whichever comes first, as optimiser steps; None where there is neither."""
    limits = []
    if settings.steps is not None:
        limits.append(settings.steps)
    if settings.epochs is not None:
        limits.append(max(1, round(settings.epochs * steps_an_epoch)))
    return min(limits, default=None)


def rate_factor(settings: Settings, step: int, progress: float, epoch: float) -> float:
    """The learning rate at a step as a share of the highest one; "plateau" is kept by the loop, not here.

    Args:
        settings: schedule, warm-up, floor and decay.
        step: optimiser steps taken.
        progress: share of the plan that is done.
        epoch: passes over the training text.
    """
    factor = 1.0
    if settings.schedule == "cosine":
        # Loshchilov & Hutter 2017: eta = eta_min + (1 - eta_min) (1 + cos(pi t)) / 2
        factor = settings.lr_floor + (1.0 - settings.lr_floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    elif settings.schedule == "step":
        # Karpathy, Johnson & Fei-Fei 2015: times `decay` an epoch, after `decay_after` epochs
        factor = settings.decay ** max(0, math.floor(epoch - settings.decay_after) + 1)
    if step < settings.warmup:
        factor *= (step + 1) / settings.warmup
    return factor


def next_snapshot(taken: Sequence[int], wanted: int, total: int) -> int:
    """The step after which the weights are to be kept next.

    The first is step 1 and the last the end of the plan; between them the steps grow by one factor, as a loss falls:
    fast at first. What is left is spread anew from the last one, so a plan that changes on the way keeps the number.

    Args:
        taken: the steps of those that were kept, in order.
        wanted: how many there shall be; 0 for none.
        total: the last step of the plan as it is now.

    Returns:
        The step; ``total + 1`` where none is left.
    """
    last = taken[-1] if taken else 0
    if not wanted or last >= total:
        return total + 1
    left = wanted - len(taken)
    if left <= 1:
        return total
    return max(last + 1, round(last * (total / last) ** (1 / left))) if last else 1
