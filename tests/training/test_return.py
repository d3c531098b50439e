"""Returns to a checkpoint: broken weights are never kept, the best ones never lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.models.language import LanguageModel
from elman.runs import RunFolder
from elman.runs.tensors import read_tensors
from elman.training.display import QuietDisplay
from elman.training.evaluate import Evaluation
from elman.training.loop import Trainer
from elman.training.schedules import Plan
from elman.training.settings import Settings
from elman.training.systems.language.task import LanguageTask


class Poisoned(LanguageTask):
    """A task whose n-th step ruins the weights, and whose evaluations are given."""

    poison_at = 0
    taken = 0
    losses: tuple[float, ...] = ()

    def gradients(self) -> torch.Tensor:
        self.taken += 1
        loss = super().gradients()
        if self.taken == self.poison_at:
            # the loss is sound, the gradient is not: the weights are broken after the step
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.nan)
        return loss

    def evaluate(self) -> Evaluation | None:
        nats, *rest = self.losses
        self.losses = tuple(rest)
        return Evaluation(nats, 1, 0.0)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(poison_at: int, losses: tuple[float, ...], **settings: object) -> Trainer:
        torch.manual_seed(0)
        made = Settings(batch=4, unroll=10, sample_length=0, schedule="constant", clip=0.0, **settings)  # type: ignore[arg-type]
        vocabulary = build("characters", ["abcdefg"])
        tokens = np.random.default_rng(1).integers(0, 7, 500).astype(np.uint8)
        task = Poisoned(LanguageModel("gru", 7, 5, 1), vocabulary, tokens, tokens[:50], made)
        task.poison_at, task.losses = poison_at, losses
        return Trainer(task, made, Plan(40), RunFolder.create(tmp_path / "run"), QuietDisplay())

    return make


@pytest.mark.parametrize("poison_at", [14, 15, 16, 20])
def test_broken_weights_are_neither_checkpointed_nor_saved(trainer: Callable[..., Trainer], poison_at: int) -> None:
    made = trainer(poison_at, (2.0, 1.9, 1.8, 1.7, 1.6), checkpoint_every=5, eval_every=10)
    outcome = made.run()
    assert outcome.reason == "done"
    assert outcome.progress.returns == 1
    tensors, _ = read_tensors(made.folder.model)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_the_best_weights_survive_a_return(trainer: Callable[..., Trainer]) -> None:
    # 1.5 at step 20 is after the checkpoint of step 15 to which step 25's fault leads back
    made = trainer(25, (2.5, 1.5, 2.0, 2.1, 2.2), checkpoint_every=15, eval_every=10)
    outcome = made.run()
    assert outcome.progress.returns == 1
    assert outcome.progress.best_nats == 1.5
    assert outcome.progress.best_step == 20


def test_a_validation_loss_that_is_no_number_leads_back(trainer: Callable[..., Trainer]) -> None:
    made = trainer(0, (2.0, math.nan, 1.9, 1.8, 1.7), checkpoint_every=5, eval_every=10)
    outcome = made.run()
    assert outcome.progress.returns == 1
    assert outcome.progress.best_nats == 1.7


def test_a_checkpoint_whose_own_loss_explodes_is_given_up(trainer: Callable[..., Trainer]) -> None:
    """Weights that are finite but ruined: the loss right after the checkpoint shows it, and the one before is taken."""
    made = trainer(0, (2.0,) * 9, checkpoint_every=5, eval_every=100)
    honest = LanguageTask.gradients

    def gradients(task: Poisoned) -> torch.Tensor:
        task.taken += 1
        loss = honest(task)
        # what an exploded step before the checkpoint of step 10 would show at step 11, and again at its return
        return loss * math.nan if task.taken in (11, 12) else loss

    made.task.__class__.gradients = gradients  # type: ignore[method-assign]
    outcome = made.run()
    assert outcome.reason == "done"
    assert outcome.progress.returns == 2
    assert "checkpoint is of step 5" in outcome.progress.story[0]
