"""Taking turns, medians, and the comparison before."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from elman.bench.contenders import Contender, Setting
from elman.bench.timing import FEWEST, MOST, PATIENCE, measure
from elman.bench.work import Job, Shape
from elman.errors import MisuseError

JOB = Job("LSTM", "infer", Shape(8, 2, 3))


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Workshop:
    """Makes contenders that note when they work."""

    def __init__(self) -> None:
        self.clock, self.order = Clock(), ""

    def contender(self, name: str, seconds: float = 1.0, value: float = 1.0, units: int = 1) -> Contender:
        durations = itertools.cycle([seconds, 3 * seconds, 2 * seconds])

        def call() -> None:
            self.order += name[0]
            self.clock.now += next(durations)

        return Contender(name, call, lambda: {"outputs": torch.full((4,), value)}, units=units)


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


def test_contenders_take_turns(shop: Workshop) -> None:
    contenders = [shop.contender(name) for name in ("elman", "torch", "plain")]
    result = measure(JOB, contenders, repeats=4, clock=shop.clock)
    # warmed up first; then a round each way
    assert shop.order == "pte" + "etp" + "pte" + "etp" + "pte"
    assert [len(figures.seconds) for figures in result.figures.values()] == [4, 4, 4]


def test_the_median_of_a_unit(shop: Workshop) -> None:
    result = measure(JOB, [shop.contender("elman", 5.0, units=10)], repeats=3, clock=shop.clock)
    # the call that warms up took the first of 5, 15, 10
    assert result.figures["elman"].seconds == [1.5, 1.0, 0.5]
    assert result.seconds("elman") == 1.0
    assert result.seconds("torch") is None


@pytest.mark.parametrize(("seconds", "rounds"), [(PATIENCE, FEWEST), (PATIENCE / 1000, MOST)])
def test_slow_work_gets_fewer_rounds(shop: Workshop, seconds: float, rounds: int) -> None:
    result = measure(JOB, [shop.contender("elman", seconds)], clock=shop.clock)
    assert len(result.figures["elman"].seconds) == rounds


def test_no_rounds_are_refused(shop: Workshop) -> None:
    with pytest.raises(MisuseError, match="--repeats is 0"):
        measure(JOB, [shop.contender("elman")], repeats=0)


@pytest.mark.parametrize("value", [1.01, float("nan"), float("inf")])
def test_other_numbers_are_an_error_and_not_a_time(shop: Workshop, value: float) -> None:
    contenders = [shop.contender("elman", value=value), shop.contender("torch", 2.0), shop.contender("eager")]
    result = measure(JOB, contenders, repeats=2, clock=shop.clock)
    assert "computes something else: outputs differs by" in result.figures["elman"].error
    assert result.seconds("elman") is None
    assert not result.figures["elman"].seconds
    assert result.seconds("torch") is not None
    assert len(result.errors) == 1
    assert "LSTM infer" in result.errors[0]


def test_roundings_are_no_error(shop: Workshop) -> None:
    contenders = [shop.contender("elman", value=1 + 1e-5), shop.contender("eager")]
    assert measure(JOB, contenders, repeats=1, clock=shop.clock).errors == []


def test_missing_numbers_are_an_error(shop: Workshop) -> None:
    lazy = Contender("elman", lambda: None, lambda: {})
    result = measure(JOB, [lazy, shop.contender("eager")], repeats=1, clock=shop.clock)
    assert "outputs on one side only" in result.figures["elman"].error


def test_one_that_does_other_work_on_purpose_is_timed_and_not_compared(shop: Workshop) -> None:
    padded = Contender("elman padded", shop.contender("q").call, None)
    result = measure(JOB, [shop.contender("elman"), padded, shop.contender("eager")], repeats=1, clock=shop.clock)
    assert result.errors == []
    assert result.seconds("elman padded") is not None


def test_a_failure_is_reported_and_the_others_go_on(shop: Workshop) -> None:
    def fail() -> dict:
        raise RuntimeError("no kernel for this.")

    broken = Contender("torch", lambda: None, fail)
    result = measure(JOB, [shop.contender("elman"), broken, shop.contender("eager")], repeats=1, clock=shop.clock)
    assert result.figures["torch"].error == "it failed: no kernel for this"
    assert result.seconds("elman") is not None


def test_the_best_of_torch_is_the_fastest_that_counts(shop: Workshop) -> None:
    contenders = [
        shop.contender("elman"),
        shop.contender("torch", 4.0),
        shop.contender("torch onednn off", 2.0),
        shop.contender("torch medium", 1.0, value=7.0),
        shop.contender("eager"),
    ]
    assert measure(JOB, contenders, repeats=1, clock=shop.clock).torch_best == "torch onednn off"
    assert measure(JOB, [shop.contender("elman")], repeats=1, clock=shop.clock).torch_best is None


def switches() -> tuple[bool, str]:
    enabled: bool = torch.backends.mkldnn.enabled
    return enabled, torch.get_float32_matmul_precision()


@pytest.mark.parametrize(
    ("setting", "within"),
    [
        (Setting(), (True, "highest")),
        (Setting(onednn=False), (False, "highest")),
        (Setting(matmul="medium"), (True, "medium")),
    ],
)
def test_switches_hold_for_every_call_and_are_put_back(
    setting: Setting, within: tuple[bool, str], shop: Workshop
) -> None:
    before, seen = switches(), set()

    def noting(result: object) -> Callable[[], object]:
        def work() -> object:
            seen.add(switches())
            return result

        return work

    contender = Contender("elman", noting(None), noting({"outputs": torch.ones(1)}), setting)  # type: ignore[arg-type]
    measure(JOB, [contender], repeats=2)
    assert seen == {within}
    with pytest.raises(KeyError), setting.applied():
        raise KeyError
    assert switches() == before
