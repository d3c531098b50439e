"""Schedules, optimisers, averaging, snapshots, the guard and the journal, each alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from elman.errors import FailureError, MisuseError
from elman.runs import RunFolder
from elman.training.averaging import WeightAverage
from elman.training.guard import Guard
from elman.training.journal import Journal, read_metrics
from elman.training.optimisers import available, build_optimiser, optimiser_name
from elman.training.schedules import Plan, rate_factor
from elman.training.settings import Settings
from elman.training.snapshot import optimiser_state, restore_optimiser


def test_cosine_goes_from_one_to_the_floor() -> None:
    settings = Settings(schedule="cosine", lr_floor=0.1)
    assert rate_factor(settings, 0, 0.0, 0.0) == 1.0
    assert rate_factor(settings, 50, 0.5, 0.0) == pytest.approx(0.55)
    assert rate_factor(settings, 100, 1.0, 0.0) == pytest.approx(0.1)


def test_step_decays_once_an_epoch_after_the_tenth() -> None:
    settings = Settings(schedule="step", decay=0.95, decay_after=10)
    factors = [rate_factor(settings, 1, 0.0, epoch) for epoch in (0, 9.99, 10, 10.99, 11, 20.5)]
    assert factors == pytest.approx([1, 1, 0.95, 0.95, 0.95**2, 0.95**11])


def test_warm_up_is_linear_and_then_over() -> None:
    settings = Settings(schedule="constant", warmup=4)
    assert [rate_factor(settings, step, 0, 0) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@given(
    total=st.integers(2, 10_000),
    step=st.floats(0.1, 0.9),
    left=st.floats(0.0, 1000),
    pace=st.floats(0.001, 10),
)
def test_a_corrected_plan_goes_on_smoothly_to_the_end(total: int, step: float, left: float, pace: float) -> None:
    plan = Plan(total)
    here = max(1, int(step * total))
    before = plan.progress(here)
    changed = plan.fit(here, left, pace)
    assert changed == (abs(here + max(0, round(left / pace)) - total) > 0.05 * total)
    if plan.total > here:
        assert plan.progress(here) == pytest.approx(before)
        assert before <= plan.progress(plan.total - 1) < 1.0
    assert plan.progress(plan.total) == 1.0
    assert Plan(**plan.to_json()) == plan


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def take_steps(model: nn.Module, optimiser: torch.optim.Optimizer, count: int, offset: int = 0) -> None:
    for index in range(count):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(offset + index))

        def closure(x: torch.Tensor = x) -> torch.Tensor:
            optimiser.zero_grad()
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            return loss

        if isinstance(optimiser, torch.optim.LBFGS):
            optimiser.step(closure)
        else:
            closure()
            optimiser.step()


USABLE = sorted(available())


@pytest.mark.parametrize("name", USABLE)
def test_every_optimiser_learns_and_resumes_bit_for_bit(name: str) -> None:
    lr = 0.05
    model = tiny()
    optimiser = build_optimiser(model, name, lr)
    take_steps(model, optimiser, 5)
    tensors, facts = optimiser_state(optimiser)
    tensors = {key: value.clone() for key, value in tensors.items()}
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    take_steps(model, optimiser, 5, offset=5)

    resumed = tiny()
    resumed.load_state_dict(weights)
    again = build_optimiser(resumed, name, lr)
    restore_optimiser(again, tensors, facts)
    take_steps(resumed, again, 5, offset=5)
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
        assert not torch.equal(value, weights[key]), f"{name} did not move {key}"


def test_optimiser_names_and_options() -> None:
    assert optimiser_name("rmsPROP") == "RMSprop"
    with pytest.raises(MisuseError, match="no optimiser 'magic'; torch has"):
        optimiser_name("magic")
    for unsuited in ("SparseAdam", "Muon"):
        with pytest.raises(MisuseError, match=f"{unsuited} takes only"):
            optimiser_name(unsuited)
    with pytest.raises(MisuseError, match="takes no option 'speed'; it takes"):
        build_optimiser(tiny(), "adam", 0.1, options={"speed": 1})
    with pytest.raises(MisuseError, match="cannot be used here"):
        build_optimiser(tiny(), "adam", 0.1, options={"betas": (2.0, 0.9)})
    with pytest.raises(MisuseError, match="no weight decay"):
        build_optimiser(tiny(), "lbfgs", 0.1, weight_decay=0.1)


def test_weight_decay_spares_biases() -> None:
    optimiser = build_optimiser(tiny(), "adamw", 0.1, weight_decay=0.3)
    decays = {
        parameter.dim(): group["weight_decay"] for group in optimiser.param_groups for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}
    silent = build_optimiser(tiny(), "adamw", 0.1)
    assert {group["weight_decay"] for group in silent.param_groups} == {0.0}


def test_state_of_another_model_is_refused() -> None:
    model = tiny()
    optimiser = build_optimiser(model, "adam", 0.1)
    take_steps(model, optimiser, 1)
    tensors, facts = optimiser_state(optimiser)
    del tensors["optimiser.0.exp_avg"]
    with pytest.raises(FailureError, match="does not fit"):
        restore_optimiser(build_optimiser(tiny(), "adam", 0.1), tensors, facts)


def test_the_average_follows_its_formula_and_gives_the_weights_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = WeightAverage(model, 0.9)
    expected = 1.0
    for n, value in enumerate([2.0, -1.0, 5.0, 0.5]):
        nn.init.constant_(model.weight, value)
        average.update()
        d = min(0.9, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * value
    with average.applied():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 0.5


def test_guard_lets_spikes_pass_and_catches_explosions() -> None:
    guard = Guard()
    assert guard.check(4.0) == ""
    assert guard.check(30.0) == ""
    for _ in range(20):
        assert guard.check(3.0) == ""
    assert guard.check(math.nan) == "the loss was no longer a number"
    assert "infinite" in guard.check(math.inf)
    faults = [guard.check(1e4) for _ in range(3)]
    assert "exploded" in faults[0]
    assert Guard(**guard.to_json()) == guard


def test_journal_cuts_what_a_checkpoint_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.write({"step": 1, "train_nats": 2.0})
    length = journal.length
    journal.write({"step": 2, "train_nats": math.nan})
    journal.close()
    with open(path, "ab") as stream:
        stream.write(b'{"step": 3, "trai')
    assert read_metrics(path)[1] == {"step": 2, "train_nats": None}
    again = Journal(path, length)
    again.write({"step": 2, "train_nats": 1.5})
    again.close()
    assert [line["train_nats"] for line in read_metrics(path)] == [2.0, 1.5]
    path.write_text("")
    assert Journal(path, length).cut == length


def test_a_link_in_a_foreign_folder_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(FailureError, match="metrics"):
        Journal(tmp_path / "metrics.jsonl")
    run = RunFolder.create(tmp_path / "run")
    (run.path / ".lock").symlink_to(victim)
    with pytest.raises(FailureError, match="lock"), run.locked():
        pass
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch": 0}, "--batch is 0"),
        ({"lr": -1.0}, "--lr is -1.0"),
        ({"schedule": "linear"}, "--schedule is linear"),
        ({"minutes": 0}, "--minutes is 0"),
        ({"averaging": 1.0}, "--averaging is 1.0"),
        ({"minutes": math.inf}, "--minutes is inf"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**32}, "--seed is 4294967296"),
        ({"clip": -2}, "--clip is -2"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        Settings(**values)  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    settings = Settings(lr=0.1, steps=5, optimizer_options={"eps": 1e-6})
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(MisuseError, match="Unknown training settings: magic"):
        Settings.from_json({"magic": 1})
