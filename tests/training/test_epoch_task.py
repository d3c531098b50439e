"""Separate examples in the training loop: accumulation, exact resume, criteria, rates by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.errors import MisuseError
from elman.runs import RunFolder
from elman.runs.tensors import read_tensors
from elman.training.display import QuietDisplay
from elman.training.epoch_task import EpochTask, plan_steps
from elman.training.evaluate import Evaluation
from elman.training.journal import read_metrics
from elman.training.loop import Trainer
from elman.training.optimisers import build_optimiser
from elman.training.schedules import Plan
from elman.training.settings import Settings


class Points:
    """Two clouds of points, one class each; every batch gets noise from the generator."""

    unit = "point"
    lengths = None

    def __init__(self, seed: int = 0, noise: float = 0.1) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        random = torch.Generator().manual_seed(1)
        self.labels = torch.arange(60) % 2
        self.inputs = torch.randn(60, 2, generator=random) + 3.0 * self.labels.unsqueeze(1)
        self.noise = noise
        self.criteria: list[float] = []

    def __len__(self) -> int:
        return len(self.inputs)

    def describe(self) -> str:
        return "a small net"

    def batch(self, rows: np.ndarray, generator: torch.Generator) -> tuple[Any, int]:
        noise = self.noise * torch.randn(len(rows), 2, generator=generator)
        return (self.inputs[rows] + noise, self.labels[rows]), len(rows)

    def loss(self, batch: Any) -> Tensor:
        inputs, labels = batch
        return functional.cross_entropy(self.model(inputs), labels, reduction="sum")

    def evaluate(self) -> Evaluation:
        assert not self.model.training
        scores = self.model(self.inputs)
        accuracy = float((scores.argmax(1) == self.labels).float().mean())
        nats = float(functional.cross_entropy(scores, self.labels))
        criterion = self.criteria.pop(0) if self.criteria else 1 - accuracy
        return Evaluation(nats, len(self.labels), 0.0, scores={"accuracy": accuracy}, criterion=criterion)

    def sample(self, seed: int, length: int) -> str:
        return ""


def trainer(folder: Path, points: Points, steps: int = 30, **settings: Any) -> Trainer:
    made = Settings(batch=16, steps=steps, sample_length=0, eval_every=10, lr=1e-2, clip=0.0, **settings)
    run = RunFolder(folder) if folder.exists() else RunFolder.create(folder)
    return Trainer(EpochTask(points, made), made, Plan(steps), run, QuietDisplay())


def test_it_learns_and_scores_stand_in_the_journal(tmp_path: Path) -> None:
    train = trainer(tmp_path / "run", Points(), steps=100)
    outcome = train.run()
    assert outcome.progress.best_scores["accuracy"] > 0.9
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "valid_nats" in line]
    assert lines[-1]["valid_accuracy"] == outcome.progress.valid_scores["accuracy"]


def test_groups_add_up_to_the_whole_batch() -> None:
    gradients = []
    for groups in (1, 3):
        points = Points(noise=0.0)
        task = EpochTask(points, Settings(batch=16, accumulate=groups))
        assert task.advance() == 16
        loss = task.gradients()
        gradients.append((float(loss), [p.grad.clone() for p in points.model.parameters() if p.grad is not None]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-6)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_resumed_training_is_the_one_that_never_stopped(tmp_path: Path) -> None:
    whole = Points()
    trainer(tmp_path / "whole", whole).run()
    # a training that is killed at step 13 leaves the checkpoint of step 10
    stopped = trainer(tmp_path / "stopped", Points(), checkpoint_every=10)

    class Killed(Exception):
        pass

    step = stopped._step

    def until_thirteen() -> float:
        if stopped.progress.step == 13:
            raise Killed
        return step()

    stopped._step = until_thirteen  # type: ignore[method-assign]
    with pytest.raises(Killed):
        stopped.run()
    again = Points(seed=9)
    resumed = trainer(tmp_path / "stopped", again, checkpoint_every=10)
    resumed.restore()
    assert resumed.progress.step == 10
    resumed.run()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_criterion_and_not_the_loss_decides_what_is_kept(tmp_path: Path) -> None:
    points = Points()
    points.criteria = [0.5, 0.2, 0.9]
    outcome = trainer(tmp_path / "run", points).run()
    assert outcome.progress.best_step == 20
    assert outcome.progress.best_criterion == 0.2
    _, facts = read_tensors(tmp_path / "run" / "model.safetensors")
    assert facts["step"] == "20"


def test_measuring_the_pace_leaves_no_trace() -> None:
    points = Points()
    settings = Settings(batch=16, minutes=1.0, lr=1e-2)
    task = EpochTask(points, settings)
    before = [p.detach().clone() for p in points.model.parameters()]
    random = torch.get_rng_state()
    steps = plan_steps(task, settings, lambda: 10.0)
    assert steps > 10
    assert all(torch.equal(a, b) for a, b in zip(before, points.model.parameters(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert task.epoch == 0
    assert plan_steps(task, Settings(batch=16, epochs=2), lambda: None) == 8


def test_rates_by_group_and_frozen_parameters() -> None:
    points = Points()
    frozen = points.model[0].weight.detach().clone()
    optimiser = build_optimiser(points.model, "SGD", 0.5, rate_scales={"0": 0.0, "2.bias": 0.1})
    assert {group["rate_scale"]: group["lr"] for group in optimiser.param_groups} == {1.0: 0.5, 0.1: 0.05}
    task = EpochTask(points, Settings(batch=16))
    task.advance()
    task.gradients()
    bias, gradient = points.model[2].bias.detach().clone(), points.model[2].bias.grad
    assert gradient is not None
    optimiser.step()
    torch.testing.assert_close(points.model[2].bias, bias - 0.05 * gradient)
    assert torch.equal(points.model[0].weight, frozen)
    with pytest.raises(MisuseError, match="begins with 'encoder'"):
        build_optimiser(points.model, "SGD", 0.5, rate_scales={"encoder": 0.1})
    with pytest.raises(MisuseError, match="frozen"):
        build_optimiser(points.model, "SGD", 0.5, rate_scales={"": 0.0})
