"""Ranks, ties and medians."""

from __future__ import annotations

import numpy as np
import pytest

from elman.errors import MisuseError
from elman.metrics.retrieval import ranks, retrieval


def test_ranks_by_sorting():
    random = np.random.default_rng(0)
    scores = random.normal(size=(40, 30))
    right = np.zeros((40, 30), dtype=bool)
    right[np.arange(40), random.integers(30, size=40)] = True
    right[:10, 3] = True
    expected = []
    for own, truth in zip(scores, right, strict=True):
        order = np.argsort(-own)
        # other right answers are not in the way of the best one
        expected.append(1 + next(place for place, answer in enumerate(order) if truth[answer]))
    assert ranks(scores, right).tolist() == expected


def test_a_model_that_ignores_the_query_is_last():
    right = np.eye(7, dtype=bool)
    found = retrieval(np.zeros((7, 7)), right)
    assert found.recall == {1: 0.0, 5: 0.0, 10: 1.0}
    assert found.median_rank == 7
    assert ranks(np.full((7, 7), -np.inf), right).tolist() == [7] * 7


def test_ties_stand_before_the_right_answer_and_other_right_ones_do_not():
    scores = np.array([[1.0, 2.0, 2.0, 0.0]])
    assert ranks(scores, np.array([[False, True, False, False]])).tolist() == [2]
    assert ranks(scores, np.array([[False, True, True, False]])).tolist() == [1]


def test_median_and_recall():
    scores = -np.arange(20.0)[None].repeat(4, 0)
    right = np.zeros((4, 20), dtype=bool)
    right[[0, 1, 2, 3], [0, 4, 9, 19]] = True
    found = retrieval(scores, right)
    assert found.recall == {1: 0.25, 5: 0.5, 10: 0.75}
    assert found.median_rank == 7.5
    assert found.queries == 4
    assert found.candidates == 20


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        (np.zeros((2, 3)), np.ones((3, 2), dtype=bool)),
        (np.zeros((2, 2)), np.array([[True, False], [False, False]])),
        (np.array([[np.nan, 1.0]]), np.array([[True, False]])),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: np.ndarray, right: np.ndarray):
    with pytest.raises(MisuseError):
        ranks(scores, right)
