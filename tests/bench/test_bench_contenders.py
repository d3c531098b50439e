"""What runs against what: the same numbers by different ways."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from elman.bench.contenders import contenders
from elman.bench.memory import kept_bytes
from elman.bench.timing import Result, measure
from elman.bench.work import Job, Shape
from elman.compile import engine, reference
from elman.equations import zoo

SHAPE = Shape(12, 3, 5)
RAGGED = Shape(12, 4, 9, ragged=True)
TORCH = {"torch", "torch onednn off", "torch medium"}


def run(job: Job) -> Result:
    return measure(job, contenders(job), repeats=1)


@pytest.mark.parametrize("cell", zoo())
def test_a_plain_loop_and_the_engine_agree_on_every_cell(cell: str) -> None:
    result = run(Job(cell, "train", SHAPE))
    assert result.errors == []
    assert {"elman", "eager"} <= set(result.figures)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN", "lstm", "gru-reset-after", "rnn", "rnn-relu", "irnn"])
@pytest.mark.parametrize("shape", [SHAPE, RAGGED], ids=str)
def test_torch_has_a_layer_with_the_same_numbers(cell: str, shape: Shape) -> None:
    for work in ("train", "infer"):
        result = run(Job(cell, work, shape))
        assert result.errors == []
        assert set(result.figures) >= TORCH | {"elman", "eager"}
        assert result.reference is not None


@pytest.mark.parametrize("cell", ["GRU", "mut1"])
def test_ragged_rows_run_beside_padded_ones(cell: str) -> None:
    result = run(Job(cell, "train", RAGGED))
    assert result.errors == []
    assert result.seconds("elman padded") is not None


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "mut1"])
@pytest.mark.parametrize("work", ["model", "sample"])
def test_whole_models_agree(cell: str, work: str) -> None:
    result = run(Job(cell, work, SHAPE if work == "model" else Shape(12, 1, 20)))
    assert result.errors == []
    expected = {"elman", "eager"} | (TORCH if cell != "mut1" else set())
    if work == "model" and cell != "mut1":
        expected |= {"torch fused Adam", "torch fused Adam onednn off", "torch fused Adam medium"}
    assert expected <= set(result.figures)


@pytest.mark.parametrize("work", ["train", "model"])
def test_bf16_is_compared_with_autocast(work: str) -> None:
    job = Job("LSTM", work, SHAPE, "bf16")
    found = contenders(job)
    by_name = {each.name: each.setting for each in found}
    assert by_name["torch"].autocast
    assert by_name["torch onednn off"].autocast
    assert not by_name["torch fp32 medium"].autocast
    assert measure(job, found, repeats=1).errors == []


def test_autocast_reaches_the_forward_pass_and_ends_with_it() -> None:
    for setting in ("torch", "eager"):
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            found = {each.name: each for each in contenders(Job("LSTM", "train", SHAPE, precision))}
            output = found[setting].forward()  # type: ignore[misc]
            assert isinstance(output, Tensor)
            seen = []
            output.register_hook(lambda _, seen=seen: seen.append(torch.is_autocast_enabled("cpu")))
            output.sum().backward()
            assert seen == [False]
            products = {"torch": output.dtype == dtype, "eager": True}
            assert products[setting]


def test_changed_weights_are_noticed() -> None:
    job = Job("GRU", "train", SHAPE)
    found = contenders(job)
    place = next(i for i, each in enumerate(found) if each.name == "torch medium")
    weight = next(each for each in found[place].operands if each.shape == (36, 12))
    with torch.no_grad():
        weight[0] += 0.5
    result = measure(job, found, repeats=1)
    assert [name for name, figures in result.figures.items() if figures.error] == ["torch medium"]


def test_what_a_user_gets_comes_first_and_is_not_measured_twice() -> None:
    mut1, lstm = run(Job("mut1", "train", SHAPE)), run(Job("LSTM", "train", SHAPE))
    for result in (mut1, lstm):
        assert next(iter(result.figures)) == "elman"
        used = result.figures["elman"].backend.partition(" ")[0]
        assert f"elman {used}" not in result.figures
        assert (used == "reference") != ("reference" in result.figures)
        assert result.reference is not None


def test_a_further_backend_is_picked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the engine lists first is what a user gets; one that it lists last is measured beside it."""
    further = engine.Backend("further", "further (of a test)", lambda *_: None, lambda *_: None, reference.run)
    monkeypatch.setattr(engine, "CHOICES", (*engine.CHOICES, "further"))
    listed = engine.BACKENDS
    for backends, name in (((further, *listed), "elman"), ((*listed, further), "elman further")):
        monkeypatch.setattr(engine, "BACKENDS", backends)
        for job in (Job("mut1", "train", SHAPE), Job("mut1", "model", SHAPE), Job("mut1", "sample", Shape(12, 1, 5))):
            result = run(job)
            assert result.errors == []
            assert result.figures[name].backend.startswith("further")


def test_a_backend_that_refuses_does_not_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    picky = engine.Backend("picky", "picky (of a test)", lambda *_: "not this one", lambda *_: None, reference.run)
    monkeypatch.setattr(engine, "BACKENDS", (picky, *engine.BACKENDS))
    for job in (Job("gru", "train", SHAPE), Job("gru", "model", SHAPE)):
        assert "elman picky" not in run(job).figures


def test_a_backend_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("no memory for this")

    broken = engine.Backend("broken", "broken (of a test)", lambda *_: None, lambda *_: None, fail)
    monkeypatch.setattr(engine, "CHOICES", (*engine.CHOICES, "broken"))
    monkeypatch.setattr(engine, "BACKENDS", (broken, *engine.BACKENDS))
    result = run(Job("gru", "train", SHAPE))
    assert result.figures["elman"].error == "it failed: no memory for this"
    assert result.seconds("eager") is not None
    assert result.seconds("reference") is not None


def test_a_wrong_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: object, **options: object) -> object:
        outputs, final = reference.run(*args, **options)  # type: ignore[arg-type]
        return {name: 1.02 * value for name, value in outputs.items()}, final

    broken = engine.Backend("broken", "broken (of a test)", lambda *_: None, lambda *_: None, wrong)
    monkeypatch.setattr(engine, "CHOICES", (*engine.CHOICES, "broken"))
    monkeypatch.setattr(engine, "BACKENDS", (broken, *engine.BACKENDS))
    for work in ("train", "infer"):
        result = run(Job("mut1", work, SHAPE))
        assert "computes something else" in result.figures["elman"].error
        assert result.figures["reference"].error == ""
    sampled = run(Job("mut1", "sample", Shape(12, 1, 5)))
    assert "computes something else" in sampled.figures["elman"].error


# ---------------------------------------------------------------- memory


def test_memory_of_known_passes() -> None:
    x = torch.randn(10, 7, requires_grad=True)
    # exp keeps its result, sum nothing
    assert kept_bytes(lambda: x.exp().sum(), [x]) == 280
    # the operand is there anyway, the other factor is not
    assert kept_bytes(lambda: x * torch.ones(10, 7), [x]) == 280
    assert kept_bytes(lambda: x * x, [x]) == 0
    # two functions that keep the same tensor keep it once
    assert kept_bytes(lambda: (y := x.exp()) * y, [x]) == 280


def test_memory_that_a_function_holds_by_itself() -> None:
    class Hiding(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            ctx.hidden = {"a": [torch.zeros(25)], "b": (Box(torch.zeros(5)),)}  # type: ignore[attr-defined]
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient

    @dataclasses.dataclass
    class Box:
        tensor: Tensor

    x = torch.randn(10, requires_grad=True)
    assert kept_bytes(lambda: Hiding.apply(x) + 1, [x]) == 120


def test_memory_is_measured_where_there_is_a_backward_pass() -> None:
    trained, used = run(Job("mut1", "train", SHAPE)), run(Job("mut1", "infer", SHAPE))
    one_state = 4 * SHAPE.hidden * SHAPE.batch * SHAPE.steps
    for figures in trained.figures.values():
        assert figures.kept is not None
        assert one_state < figures.kept < 40 * one_state
    assert {figures.kept for figures in used.figures.values()} == {None}
