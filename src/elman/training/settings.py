"""Everything that decides a training's course, as one record that is stored with the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from elman.errors import MisuseError

# torch's CPU generator takes 32 bits of a seed
SEEDS = 2**32


@dataclass(frozen=True)
class Settings:
    """How a model is trained; the same settings and seed on the same machine give the same weights, bit for bit.

    Attributes:
        seed: of weights, dropout and samples.
        batch: parallel streams B.
        unroll: time steps T of truncated backpropagation; the state is carried on.
        optimizer: a name in :mod:`torch.optim`.
        optimizer_options: its further arguments.
        lr: the highest learning rate.
        schedule: "constant", "cosine", "step" or "plateau".
        warmup: optimiser steps of linear warm-up.
        lr_floor: lowest rate of the cosine, as a share of ``lr``.
        decay: factor of "step" (an epoch, after ``decay_after``) and of "plateau" (an evaluation without gain).
        decay_after: epochs before "step" begins.
        clip: bound on the gradient, 0 for none.
        clip_by: "norm" of all gradients together, or "value" of each.
        weight_decay: on matrices only.
        rate_scales: factor on the learning rate by beginning of the parameter's name, the longest that fits; 0 freezes.
        averaging: decay of the moving average of the weights that is evaluated and saved; 0 for none.
        accumulate: groups of streams whose gradients are added before a step (less memory, same result).
        precision: "fp32" or "bf16" (autocast with float32 weights).
        steps, epochs, minutes: the limits as given; the first that is reached ends the training.
        eval_every: optimiser steps between evaluations.
        eval_tokens: how much of the validation part an evaluation reads; 0 for all.
        checkpoint_every: optimiser steps between checkpoints; 0 for every 30 seconds.
        snapshots: how often the weights are kept on the way, at steps that grow by one factor; 0 for never.
        patience: evaluations without gain before the training stops; 0 for never.
        sample_length: symbols of the samples drawn as it learns; 0 for none.
        threads: CPU threads; None leaves them to torch.
        device: "cpu" or "cuda".
        backend: of the recurrence.
    """

    seed: int = 1
    batch: int = 50
    unroll: int = 100
    optimizer: str = "AdamW"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 4e-3
    schedule: str = "cosine"
    warmup: int = 0
    lr_floor: float = 0.0
    decay: float = 0.5
    decay_after: float = 10.0
    clip: float = 1.0
    clip_by: str = "norm"
    weight_decay: float = 0.0
    rate_scales: Mapping[str, float] = field(default_factory=dict)
    averaging: float = 0.0
    accumulate: int = 1
    precision: str = "fp32"
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    eval_every: int = 500
    eval_tokens: int = 0
    checkpoint_every: int = 0
    snapshots: int = 0
    patience: int = 0
    sample_length: int = 200
    threads: int | None = None
    device: str = "cpu"
    backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that no training can have.

        Raises:
            MisuseError: naming the flag and what it takes.
        """
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float):
                _require(math.isfinite(value), entry.name, value, "a finite number")
        _require(0 <= self.seed < SEEDS, "seed", self.seed, f"a whole number from 0 to {SEEDS - 1}")
        whole = ("batch", "unroll", "accumulate", "eval_every")
        for name in whole:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1")
        for name in ("warmup", "eval_tokens", "checkpoint_every", "snapshots", "patience", "sample_length"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or a positive whole number")
        for name in ("steps", "epochs", "minutes"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "a positive number")
        _require(self.lr > 0, "lr", self.lr, "a positive number, such as 0.002")
        _require(0 <= self.lr_floor <= 1, "lr_floor", self.lr_floor, "a share from 0 to 1")
        _require(0 < self.decay <= 1, "decay", self.decay, "a factor above 0, at most 1")
        _require(self.clip >= 0, "clip", self.clip, "a positive bound, or 0 for none")
        for prefix, factor in self.rate_scales.items():
            sound = math.isfinite(factor) and factor >= 0
            _require(sound, "rate_scale", f"{prefix}={factor}", "PREFIX=FACTOR, the factor 0 or positive")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or a positive number")
        _require(
            0 <= self.averaging < 1,
            "averaging",
            self.averaging,
            "a decay from 0 (off) to below 1, such as 0.999",
        )
        for name, known in CHOICES.items():
            _require(getattr(self, name) in known, name, getattr(self, name), " or ".join(known))

    def check_validation(self, examples: int, needed: str) -> None:
        """Refuse rules that go by the validation part where there is none.

        Args:
            examples: in the validation part.
            needed: the end of the sentence: what such a part is, and how to get one.

        Raises:
            MisuseError: there is no example, and patience or the plateau schedule waits for a gain on some.
        """
        if not examples and (self.patience or self.schedule == "plateau"):
            raise MisuseError(f"--patience and --schedule plateau need {needed}")

    def to_json(self) -> dict[str, Any]:
        """JSON values that :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Settings:
        """The settings that :meth:`to_json` wrote.

        Raises:
            MisuseError: unknown or impossible entries.
        """
        unknown = set(stored) - {entry.name for entry in fields(cls)}
        if unknown:
            raise MisuseError(f"Unknown training settings: {', '.join(sorted(unknown))}.")
        try:
            return cls(**stored)
        except TypeError as error:
            raise MisuseError(f"The training settings are malformed ({error}).") from error


CHOICES = {
    "schedule": ("constant", "cosine", "step", "plateau"),
    "clip_by": ("norm", "value"),
    "precision": ("fp32", "bf16"),
}


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise MisuseError(f"--{name.replace('_', '-')} is {value}; it takes {allowed}.")
