"""Means on and off a label, their intervals on autocorrelated series, and places counted from the label's onset."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.insight.lesions.bootstrap import Blocks, means, tokens_since_onset


def runs(size: int, length: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """A label that comes on and off after geometric times."""
    return np.cumsum(generator.random(size) < 1 / length) % 2 == 1


def noise(size: int, memory: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """An autoregressive series of variance 1."""
    shocks = generator.normal(size=size) * np.sqrt(1 - memory**2)
    series = np.empty(size)
    value = generator.normal()
    for place, shock in enumerate(shocks):
        value = memory * value + shock
        series[place] = value
    return series


def test_means_are_those_of_the_places() -> None:
    generator = np.random.default_rng(0)
    on = runs(5000, 30, generator)
    off = ~on & (generator.random(5000) < 0.9)
    values = generator.normal(size=5000).astype(np.float32) + on
    first, second, difference = Blocks(on, off, generator).means(values)
    assert first.value == pytest.approx(values[on].mean(), abs=1e-5)
    assert second.value == pytest.approx(values[off].mean(), abs=1e-5)
    assert difference.value == pytest.approx(first.value - second.value)
    assert means(values, on, off) == pytest.approx((first.value, second.value), abs=1e-5)
    for each in (first, second, difference):
        assert each.low < each.value < each.high


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    # the interval of independent places holds it in about a third of the series
    memory, size, true = 0.95, 20_000, 0.3
    held, narrow = 0, 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        on = runs(size, 40, generator)
        values = noise(size, memory, generator) + true * on
        _, _, difference = Blocks(on, ~on, generator).means(values)
        held += difference.low <= true <= difference.high
        error = np.sqrt(values[on].var() / on.sum() + values[~on].var() / (~on).sum())
        narrow += abs(difference.value - true) <= 1.96 * error
    assert held / 120 >= 0.87
    assert narrow / 120 < 0.5


def test_blocks_are_long_against_the_runs_and_enough() -> None:
    generator = np.random.default_rng(1)
    long = Blocks(runs(100_000, 300, generator), np.ones(100_000, bool), generator)
    assert 1500 < long.length < 5000
    assert long.count == -(-100_000 // long.length)
    short = Blocks(runs(1000, 300, generator), np.ones(1000, bool), generator)
    assert short.count >= 20
    tiny = Blocks(np.array([True, False]), np.array([False, True]), generator)
    assert [each.value for each in tiny.means(np.array([2.0, 0.5]))] == [2.0, 0.5, 1.5]


def test_the_same_generator_gives_the_same_interval() -> None:
    values, on = np.random.default_rng(3).normal(size=2000), runs(2000, 20, np.random.default_rng(4))
    found = [Blocks(on, ~on, np.random.default_rng(5)).means(values) for _ in range(2)]
    assert found[0] == found[1]


def since_by_hand(labels: list[int], before: int) -> list[int | None]:
    """The same, walking place by place; 1 is on, 0 off, -1 neither."""
    result: list[int | None] = [None] * len(labels)
    onset: int | None = None
    for place, label in enumerate(labels):
        if label == 1 and place and labels[place - 1] == 0:
            onset = place
        elif label != 1:
            onset = None
        if label == 1 and onset is not None:
            result[place] = place - onset
    for place, label in enumerate(labels):
        for ahead in range(1, before + 1):
            later = place + ahead
            if label == 0 and later < len(labels) and labels[later] == 1 and labels[later - 1] == 0:
                result[place] = -ahead
                break
    return result


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 1, 1, -1]), min_size=1, max_size=40), st.integers(0, 6))
def test_places_are_counted_from_the_onset(labels: list[int], before: int) -> None:
    array = np.array(labels)
    found = tokens_since_onset(array == 1, array == 0, before).tolist()
    nowhere = np.iinfo(np.int64).min
    assert [None if each == nowhere else each for each in found] == since_by_hand(labels, before)
