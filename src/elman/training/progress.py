"""How far a training has come, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Progress:
    """What a training has reached; stored whole in every checkpoint.

    Attributes:
        step: optimiser steps taken.
        tokens: tokens predicted in them.
        seconds: spent, all sessions together.
        best_nats, best_step, best_scores: the best evaluation.
        best_criterion: what made it the best, lower is better: its nats, or what the system goes by.
        valid_nats, valid_scores: the latest evaluation.
        without_gain: evaluations since the best one.
        rate_scale: factor on the learning rate: halved by every return, lowered by "plateau".
        returns: how often the training went back to a checkpoint.
        story: a sentence for each return.
        snapshots: the steps after which the weights were kept.
        train_nats: mean loss since the last report.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_nats: float | None = None
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    best_criterion: float | None = None
    valid_nats: float | None = None
    valid_scores: dict[str, float] = field(default_factory=dict)
    without_gain: int = 0
    rate_scale: float = 1.0
    returns: int = 0
    story: list[str] = field(default_factory=list)
    snapshots: list[int] = field(default_factory=list)
    train_nats: float = math.nan

    def __post_init__(self) -> None:
        """Checkpoints without a criterion were judged by their nats."""
        if self.best_criterion is None:
            self.best_criterion = self.best_nats


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        reason: "done", "early stop", "pruned" or "interrupted".
        progress: what it reached.
    """

    reason: str
    progress: Progress
