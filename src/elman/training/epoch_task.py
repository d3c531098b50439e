"""Training on separate examples, whatever they are: texts with labels, pairs of sentences, images with captions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.data.epochs import Epochs
from elman.training.distributed import agreed, own_rows, world
from elman.training.evaluate import Evaluation
from elman.training.schedules import most_steps
from elman.training.settings import Settings
from elman.training.start import seconds_a_step
from elman.training.task import Task


class Examples(Protocol):
    """A model with its examples; what a system of separate examples gives to the training loop."""

    @property
    def model(self) -> nn.Module:
        """What is trained, on its device; its ``train()`` leaves alone what is frozen."""

    @property
    def unit(self) -> str:
        """What a prediction is called in reports: "text", "image", "word"."""

    @property
    def lengths(self) -> NDArray[np.integer] | None:
        """[N] time steps of the training examples, so that similar ones come together; None where all are alike."""

    def __len__(self) -> int:
        """Training examples N."""

    def describe(self) -> str:
        """Model and batch in a few words, such as "2 x 256 lstm, 64 texts a step"."""

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Any, int]:
        """Training examples put together.

        Args:
            rows: which ones.
            generator: for augmentation and all else that is drawn; its state is a function of seed and place alone.

        Returns:
            What :meth:`loss` takes, on the device, and how many predictions are in it.
        """

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch, nats, summed over its predictions, with its graph."""

    def evaluate(self) -> Evaluation | None:
        """The loss and scores on the validation part, the model in evaluation mode; None where there is no part."""

    def sample(self, seed: int, length: int) -> str:
        """Something to look at from the present weights, the model in evaluation mode; empty for nothing."""


class EpochTask:
    """Passes over examples in a seeded order, as a task of the training loop.

    Args:
        examples: model and data.
        settings: batch, accumulation, precision, device, seed.
    """

    def __init__(self, examples: Examples, settings: Settings) -> None:
        self.examples, self.settings = examples, settings
        self.unit = examples.unit
        self.epochs = Epochs(len(examples), settings.batch, settings.seed, lengths=examples.lengths)
        self._groups: list[Any] = []
        self._predicted = 0

    @property
    def model(self) -> nn.Module:
        return self.examples.model

    @property
    def epoch(self) -> float:
        return self.epochs.epoch

    @property
    def steps_an_epoch(self) -> int:
        return self.epochs.steps

    def describe(self) -> str:
        return self.examples.describe()

    def advance(self) -> int:
        # drawn from the place and not from a running generator: a resume draws the same, whatever was drawn between
        seeds = np.random.SeedSequence([self.settings.seed, *self.epochs.place, world()[0]])
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        groups = [self.examples.batch(part, generator) for part in self.groups_of(self.epochs.next())]
        self._groups = [batch for batch, _ in groups]
        self._predicted = sum(count for _, count in groups)
        return self._predicted

    def groups_of(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """What this process works through of a step's examples, a group at a time."""
        rows = rows[own_rows(len(rows))]
        parts = np.array_split(rows, min(self.settings.accumulate, max(1, len(rows))))
        return [part for part in parts if len(part)]

    def gradients(self) -> Tensor:
        device = torch.device(self.settings.device).type
        losses = [torch.zeros((), device=device)]
        for batch in self._groups:
            with torch.autocast(device, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                # the mean over the whole batch, so that groups add up to what one group would give
                loss = self.examples.loss(batch) / max(1, self._predicted)
            loss.backward()
            losses.append(loss.detach().float())
        return torch.stack(losses).sum()

    @torch.inference_mode()
    def evaluate(self) -> Evaluation | None:
        # one process evaluates: the scores of most systems are no sums over examples
        found = agreed(self._evaluated)
        return None if found is None else Evaluation(**found)

    def _evaluated(self) -> dict[str, Any] | None:
        self.model.eval()
        try:
            evaluation = self.examples.evaluate()
            return None if evaluation is None else asdict(evaluation)
        finally:
            self.model.train()

    @torch.inference_mode()
    def sample(self, seed: int, length: int) -> str:
        self.model.eval()
        try:
            return self.examples.sample(seed, length)
        finally:
            self.model.train()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"epochs": self.epochs.state_dict()}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.epochs.load_state_dict(facts["epochs"])


def planned(
    examples: Examples,
    settings: Settings,
    given: Collection[str],
    seconds_left: Callable[[], float | None],
    *,
    evaluations: int = 20,
    warmup: int = 100,
) -> tuple[EpochTask, Settings, int]:
    """A training on examples, complete.

    Args:
        examples: model and data.
        settings: with at least one limit.
        given: names of the settings that are the user's own; "eval_every" and "warmup" are chosen if not among them.
        seconds_left: until a limit in minutes, None without one.
        evaluations: how often the validation part is read, where the user does not say.
        warmup: at most so many steps of linear warm-up, where the user does not say; a tenth of a short training.

    Returns:
        The task, its settings and its optimiser steps.

    Raises:
        MisuseError: a backend that cannot run the model; it is refused here, before anything is written.
    """
    task = EpochTask(examples, settings)
    with torch.no_grad():
        examples.loss(examples.batch(np.zeros(1, dtype=np.int64), torch.Generator())[0])
    steps = plan_steps(task, settings, seconds_left)
    if "eval_every" not in given:
        settings = replace(settings, eval_every=max(1, -(-steps // evaluations)))
    if "warmup" not in given:
        settings = replace(settings, warmup=min(warmup, steps // 10))
    return task, settings, steps


def plan_steps(task: Task, settings: Settings, seconds_left: Callable[[], float | None]) -> int:
    """How many optimiser steps a training has.

    Args:
        task: on which a few steps are measured where the limit is in minutes; weights, place and torch's generator are
            put back.
        settings: with at least one limit.
        seconds_left: until a limit in minutes, None without one.
    """
    most = most_steps(settings, task.steps_an_epoch)
    if seconds_left() is None:
        assert most is not None, "a training has a limit"
        return most
    weights = copy.deepcopy(task.model.state_dict())
    tensors, facts = task.state()
    random = torch.get_rng_state()
    pace = seconds_a_step(task, settings)
    task.model.load_state_dict(weights)
    task.model.zero_grad(set_to_none=True)
    task.restore(tensors, facts)
    torch.set_rng_state(random)
    possible = max(1, int((seconds_left() or 0.0) / pace))
    return possible if most is None else min(possible, most)
