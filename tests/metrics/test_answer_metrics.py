"""How answers are judged."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from elman.metrics.answers import by_name, normalise_answer, soft_accuracy


@pytest.mark.parametrize("same", range(11))
def test_soft_accuracy_is_the_mean_over_all_sets_of_nine_people(same: int) -> None:
    """The definition of the VQA challenge, by enumeration: min(agreeing / 3, 1) averaged over the ten subsets."""
    given = ["red"] * same + ["blue"] * (10 - same)
    sets = list(combinations(given, 9))
    expected = sum(min(1.0, nine.count("red") / 3) for nine in sets) / len(sets)
    assert soft_accuracy("red", given) == pytest.approx(expected)


def test_published_values_of_soft_accuracy() -> None:
    """0.3, 0.6, 0.9 and 1 for one to four of ten people, as the challenge's page lists them."""
    for same, value in ((0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0)):
        assert soft_accuracy("yes", ["yes"] * same + ["no"] * (10 - same)) == pytest.approx(value)


def test_soft_accuracy_of_few_answers_is_full_where_all_agree() -> None:
    for count in range(1, 5):
        assert soft_accuracy("yes", ["yes"] * count) == 1.0
        assert soft_accuracy("no", ["yes"] * count) == 0.0
    assert soft_accuracy("yes", ["yes", "no"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("A dog.", "dog"),
        ("Two", "2"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("dont know!", "don't know"),
        ("red, white/blue", "red white blue"),
        ("on the table", "on table"),
        ("U.S.A.", "usa"),
        ("it's", "it's"),
        ("10:30", "10:30"),
        ("The", ""),
    ],
)
def test_answers_are_compared_in_plain_words(written: str, compared: str) -> None:
    assert normalise_answer(written) == compared
    assert normalise_answer(compared) == compared


def test_rows_of_names_keep_the_whole_mean() -> None:
    """However many rows are shown, their weighted mean is the mean of all scores."""
    generator = np.random.default_rng(0)
    scores = generator.random(200).tolist()
    names = [f"kind {k}" for k in generator.integers(0, 12, 200)]
    for most in (None, 1, 5, 12, 20):
        rows = by_name(scores, names, most)
        assert sum(row.questions for row in rows) == 200
        assert sum(row.questions * row.score for row in rows) / 200 == pytest.approx(np.mean(scores))
        assert len(rows) == min(12, 13 if most is None else most + 1)
    largest = max(set(names), key=lambda name: (names.count(name), name))
    assert by_name(scores, names)[0].questions == names.count(largest)
