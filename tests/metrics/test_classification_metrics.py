"""Confusion, scores of classes, calibration and temperature against formulations of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.metrics.classification import (
    accuracy,
    calibration,
    class_scores,
    confusion_matrix,
    fit_temperature,
    macro_f1,
    softmax,
)

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_confusion_and_scores_by_counting(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = [a for a, _ in pairs], [b for _, b in pairs]
    matrix = confusion_matrix(truth, predicted, 4)
    assert matrix.tolist() == [[pairs.count((row, column)) for column in range(4)] for row in range(4)]
    assert accuracy(matrix) == pytest.approx(sum(a == b for a, b in pairs) / max(1, len(pairs)))
    for each, score in enumerate(class_scores(matrix)):
        called = [a for a, b in pairs if b == each]
        those = [b for a, b in pairs if a == each]
        precision = called.count(each) / len(called) if called else 0.0
        recall = those.count(each) / len(those) if those else 0.0
        assert (score.precision, score.recall, score.support) == (precision, recall, len(those))
        harmonic = 2 * precision * recall / (precision + recall) if precision and recall else 0.0
        assert score.f1 == pytest.approx(harmonic)


def test_scores_of_a_matrix_worked_by_hand() -> None:
    # rows true: 8 of class 0 (6 right), 2 of class 1 (1 right), none of class 2
    matrix = confusion_matrix([0] * 8 + [1] * 2, [0] * 6 + [1, 2] + [1, 0], 3)
    scores = class_scores(matrix)
    assert scores[0].precision == pytest.approx(6 / 7)
    assert scores[0].recall == pytest.approx(6 / 8)
    assert scores[1].f1 == pytest.approx(0.5)
    assert (scores[2].precision, scores[2].recall, scores[2].f1, scores[2].support) == (0, 0, 0, 0)
    assert accuracy(matrix) == pytest.approx(0.7)
    # class 2 does not occur, so it has no say
    assert macro_f1(scores) == pytest.approx((2 * (6 / 7) * 0.75 / (6 / 7 + 0.75) + 0.5) / 2)


def test_calibration_by_a_loop_over_the_bins() -> None:
    generator = np.random.default_rng(0)
    probabilities = softmax(generator.normal(size=(500, 4)) * 3)
    truth = generator.integers(0, 4, 500)
    found = calibration(probabilities, truth, bins=10)
    error = 0.0
    highest, right = probabilities.max(1), probabilities.argmax(1) == truth
    for place in range(10):
        inside = (highest > place / 10) & (highest <= (place + 1) / 10)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - highest[inside].mean())
    assert found.error == pytest.approx(error)
    assert found.counts.sum() == 500


def test_honest_probabilities_are_calibrated_and_boasting_ones_are_not() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(20_000, 3)) * 2
    probabilities = softmax(scores)
    truth = (probabilities.cumsum(1) > generator.random((20_000, 1))).argmax(1)
    assert calibration(probabilities, truth).error < 0.015
    assert calibration(softmax(scores * 4), truth).error > 0.1


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_the_temperature_undoes_a_factor_on_the_scores(sharpness: float) -> None:
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(20_000, 3)) * 2
    truth = (softmax(scores).cumsum(1) > generator.random((20_000, 1))).argmax(1)
    temperature = fit_temperature(scores * sharpness, truth)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert calibration(softmax(scores * sharpness, temperature), truth).error < 0.015


def test_the_temperature_is_where_torch_finds_the_least_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(200, 5, generator=generator, dtype=torch.float64) * 4
    truth = torch.randint(0, 5, (200,), generator=generator)
    scores[torch.arange(200), truth] += 2
    grid = torch.linspace(0.2, 20, 4000, dtype=torch.float64)
    losses = torch.stack([torch.nn.functional.cross_entropy(scores / t, truth) for t in grid])
    assert fit_temperature(scores.numpy(), truth.numpy()) == pytest.approx(float(grid[losses.argmin()]), abs=0.006)


def test_temperatures_at_the_ends() -> None:
    assert fit_temperature(np.eye(4) * 3, np.arange(4)) == 1e-2  # always right: the colder the better
    assert fit_temperature(np.eye(4) * 3, np.roll(np.arange(4), 1)) == 1e2  # always wrong: say nothing
    assert fit_temperature(np.zeros((4, 2)), np.zeros(4)) == 1.0  # says nothing at all
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0)) == 1.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MisuseError, match="Class numbers run from 0 to 1; got 0 to 2"):
        confusion_matrix([0, 2], [0, 1], 2)
    with pytest.raises(MisuseError, match="2 true classes cannot be compared with 1"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(MisuseError, match="finite scores"):
        fit_temperature(np.array([[np.nan, 1.0]]), [0])
    with pytest.raises(MisuseError, match="do not fit"):
        calibration(np.ones((2, 1)), [0])
