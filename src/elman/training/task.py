"""What the training loop asks of a system."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from elman.training.evaluate import Evaluation


class Task(Protocol):
    """A model with its data, seen from the loop: the loop owns optimiser, schedule, checkpoints and reports."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    unit: str
    """What a token is called in reports: "character", "byte", "word"."""

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps of one pass."""

    def describe(self) -> str:
        """Model and batch in a few words, such as "2 x 256 lstm, 50 x 100 characters a step"."""

    def advance(self) -> int:
        """Go on to the next batch; returns how many tokens it predicts."""

    def gradients(self) -> Tensor:
        """Add the gradient of the batch's mean loss to the parameters; returns that loss in nats, detached.

        May be called again on the same batch (LBFGS does); what is carried on changes with the next advance.
        """

    def evaluate(self) -> Evaluation | None:
        """The loss on the validation part with the model's present weights; None where there is no such part."""

    def sample(self, seed: int, length: int) -> str:
        """A text from the present weights."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Position in the data and carried state, as tensors and JSON values."""

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
