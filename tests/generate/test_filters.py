"""The filters on scores, and the draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elman.errors import FailureError, MisuseError
from elman.generate.filters import Filters, ban, draw, log_softmax, min_p, temperature, top_k, top_p

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 12)),
    elements=st.integers(-40, 40).map(lambda n: n / 4),  # coarse, so that ties are common
)
SHARE = st.floats(0.01, 1.0)


def probabilities(scores: Any) -> Any:
    return np.exp(log_softmax(scores))


def kept(scores: Any) -> Any:
    return np.isfinite(scores)


@given(SCORES)
def test_log_softmax_is_a_distribution(scores: Any) -> None:
    assert np.allclose(probabilities(scores).sum(axis=-1), 1)


@given(SCORES, st.integers(1, 15))
def test_top_k_keeps_the_likeliest_of_equals_the_first(scores: Any, k: int) -> None:
    for row, mask in zip(scores, kept(top_k(scores, k)), strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert set(np.flatnonzero(mask)) == set(order[:k])


@given(SCORES, SHARE)
def test_top_p_keeps_the_smallest_nucleus(scores: Any, p: float) -> None:
    for row, mask, share in zip(scores, kept(top_p(scores, p)), probabilities(scores), strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        count = int(mask.sum())
        assert count >= 1
        assert set(np.flatnonzero(mask)) == set(order[:count])
        assert share[mask].sum() >= p - 1e-12
        assert count == 1 or share[order[: count - 1]].sum() < p + 1e-12


@given(SCORES, st.floats(0, 1))
def test_min_p_is_relative_to_the_likeliest(scores: Any, p: float) -> None:
    share = probabilities(scores)
    best = share.max(axis=-1, keepdims=True)
    mask = kept(min_p(scores, p))
    assert mask[share >= p * best * (1 + 1e-9)].all()
    assert not mask[share < p * best * (1 - 1e-9)].any()


@given(SCORES, st.floats(0.05, 20))
def test_temperature_raises_to_a_power(scores: Any, value: float) -> None:
    expected = probabilities(scores) ** (1 / value)
    expected /= expected.sum(axis=-1, keepdims=True)
    assert np.allclose(probabilities(temperature(scores, value)), expected, atol=1e-12)


@given(SCORES)
def test_temperature_zero_is_greedy_with_the_first_of_equals(scores: Any) -> None:
    mask = kept(temperature(scores, 0))
    assert (mask.sum(axis=-1) == 1).all()
    assert (mask.argmax(axis=-1) == scores.argmax(axis=-1)).all()


def test_a_tiny_temperature_is_greedy_without_overflow() -> None:
    assert probabilities(temperature(np.array([[700.0, 800.0, -900.0]]), 1e-300)).tolist() == [[0, 1, 0]]


@given(SCORES, st.integers(1, 15), SHARE, st.floats(0, 1), st.floats(0, 3))
def test_together_they_never_rule_out_the_likeliest(scores: Any, k: int, p: float, m: float, heat: float) -> None:
    filtered = Filters(heat, k, p, m)(scores)
    rows = np.arange(len(scores))
    assert kept(filtered)[rows, scores.argmax(axis=-1)].all()


def test_known_values() -> None:
    scores = np.log([[0.5, 0.25, 0.15, 0.1]])
    assert kept(top_k(scores, 2)).tolist() == [[True, True, False, False]]
    assert kept(top_p(scores, 0.75)).tolist() == [[True, True, False, False]]
    assert kept(top_p(scores, 0.76)).tolist() == [[True, True, True, False]]
    assert kept(min_p(scores, 0.3)).tolist() == [[True, True, True, False]]
    assert kept(ban(scores, {0, 3})).tolist() == [[False, True, True, False]]


def test_edges_change_nothing() -> None:
    scores = np.array([[1.0, 2.0, 2.0]])
    for unchanged in (
        top_k(scores, 3),
        top_k(scores, 99),
        top_p(scores, 1.0),
        min_p(scores, 0.0),
        ban(scores, ()),
    ):
        assert unchanged is scores


def test_a_row_that_is_ruled_out_stays_so_and_cannot_be_drawn_from() -> None:
    nothing = np.full((1, 3), -np.inf)
    for filtered in (top_k(nothing, 1), top_p(nothing, 0.5), min_p(nothing, 0.5), temperature(nothing, 0.5)):
        assert np.isneginf(filtered).all()
    assert np.isneginf(temperature(nothing, 0)).all()
    for refused in (log_softmax, lambda scores: draw(scores, np.array([0.5]))):
        with pytest.raises(FailureError, match="no symbol left"):
            refused(nothing)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(FailureError, match="not finite"):
        log_softmax(np.array([[0.0, bad]]))


@given(SCORES, st.data())
def test_a_draw_inverts_the_distribution_function(scores: Any, data: Any) -> None:
    uniforms = np.array([data.draw(st.floats(0, 1, exclude_max=True)) for _ in scores])
    ids = draw(scores, uniforms)
    cumulative = probabilities(scores).cumsum(axis=-1)
    for row, token in enumerate(ids):
        below = cumulative[row, token - 1] if token else 0.0
        assert below - 1e-12 <= uniforms[row] <= cumulative[row, token] + 1e-12


def test_a_draw_never_takes_a_symbol_that_is_ruled_out() -> None:
    scores = np.array([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]] * 4)
    assert draw(scores, np.array([0.0, 0.4999, 0.5, 1 - 2**-53])).tolist() == [1, 1, 3, 3]


def test_evenly_spaced_uniforms_give_the_probabilities() -> None:
    share = np.array([0.1, 0.2, 0.3, 0.4])
    ids = draw(np.log(share)[None].repeat(1000, axis=0), (np.arange(1000) + 0.5) / 1000)
    assert np.bincount(ids, minlength=4).tolist() == [100, 200, 300, 400]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
        ({"min_p": -0.1}, "min-p"),
        ({"min_p": 2.0}, "min-p"),
    ],
)
def test_values_outside_their_range_are_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisuseError, match=named):
        Filters(**arguments)
