"""Measures from histograms against pairs, loops and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.insight.hypotheses import from_function
from elman.insight.ranking import measures
from elman.insight.ranking.targets import LEVELS, Target, levels, members_of, packs, tally, target

VALUES = st.lists(st.tuples(st.integers(-128, 127), st.integers(0, 1)), min_size=1, max_size=60)


def histograms(values: NDArray[np.int8], labels: NDArray[np.integer], grades: int = 2) -> NDArray[np.float64]:
    joint = np.zeros((grades, LEVELS))
    for value, label in zip(values.tolist(), labels.tolist(), strict=True):
        joint[label, value + 128] += 1
    return joint


def columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    return np.array([pair[0] for pair in pairs], dtype=np.int8), np.array([pair[1] for pair in pairs])


@settings(deadline=None)
@given(VALUES)
def test_area_is_the_share_of_pairs_in_order(pairs: list[tuple[int, int]]) -> None:
    values, labels = columns(pairs)
    off, on = histograms(values, labels)
    wins = [float(a > b) + 0.5 * (a == b) for a in values[labels == 1] for b in values[labels == 0]]
    found = float(measures.auc(on, off))
    assert math.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


@settings(max_examples=40, deadline=None)
@given(VALUES, st.sampled_from([1, -1]))
def test_the_best_threshold_is_the_best_of_all(pairs: list[tuple[int, int]], sign: int) -> None:
    values, labels = columns(pairs)
    off, on = histograms(values, labels)

    def f1_at(level: int) -> float:
        said = sign * values.astype(int) >= sign * level
        hits = int((said & (labels == 1)).sum())
        return 2 * hits / max(1, int(said.sum()) + int(labels.sum()))

    f1, level = measures.best_threshold(on, off, np.array(sign))
    assert float(f1) == pytest.approx(max(map(f1_at, range(-128, 128))))
    assert f1_at(int(level)) == pytest.approx(float(f1))
    found = measures.at_threshold(on, off, sign, int(level))
    assert float(measures.f1(*found)) == pytest.approx(float(f1))


def test_among_equal_thresholds_the_middle_one_is_taken() -> None:
    values, labels = np.array([-100] * 5 + [100] * 5, dtype=np.int8), np.array([0] * 5 + [1] * 5)
    off, on = histograms(values, labels)
    f1, level = measures.best_threshold(on, off, np.array(1))
    assert float(f1) == 1
    assert abs(int(level)) <= 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-128, 127), st.integers(0, 5)), min_size=3, max_size=60))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    values, grades = columns(pairs)
    found = float(measures.spearman(histograms(values, grades, 6)))
    if len(set(values.tolist())) == 1 or len(set(grades.tolist())) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(stats.spearmanr(values, grades).statistic)


def test_mutual_information_of_known_distributions() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200_000)
    told = labels ^ (generator.random(len(labels)) < 0.1)
    values = np.where(told, generator.integers(1, 100, len(labels)), generator.integers(-100, 0, len(labels)))
    # a binary symmetric channel: 1 - H(.1) bits, the noise within each side telling nothing
    entropy = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    joint = histograms(values.astype(np.int8), labels)
    assert float(measures.mutual_information(joint)) == pytest.approx(1 - entropy, abs=0.005)
    # of nothing, the correction leaves little of what the plain estimate has by chance: (256 - 1) / (2 n) nats
    some = generator.integers(-128, 128, 10_000).astype(np.int8)
    free = histograms(some, generator.integers(0, 2, 10_000))
    assert float(measures.mutual_information(free)) < 0.15 * 255 / 20_000 / math.log(2)


def test_ranks_are_centred() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (4, LEVELS)).astype(float)
    assert (counts * measures.midranks(counts)).sum(-1) == pytest.approx(np.zeros(4), abs=1e-9)
    assert not measures.midranks(np.zeros(LEVELS)).any()


def test_f1_of_saying_yes_everywhere() -> None:
    labels = np.array([1] * 3 + [0] * 9)
    assert measures.constant_f1(0.25) == pytest.approx(float(measures.f1(3.0, 9.0, 0.0)))  # type: ignore[arg-type]
    assert labels.mean() == 0.25


def targets_of(*labels: NDArray[np.int64]) -> list[Target]:
    text = "x" * len(labels[0])
    made = [
        from_function(f"t{number}", lambda _, each=each: each, "graded" if each.max() > 1 else "binary")
        for number, each in enumerate(labels)
    ]
    return [target(each, text, np.arange(len(text))) for each in made]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=14))
def test_packed_labels_are_counted_as_single_ones(seed: int, tops: list[int]) -> None:
    generator = np.random.default_rng(seed)
    labels = [generator.integers(-generator.integers(0, 2), top + 1, 300) for top in tops]
    targets = targets_of(*labels)
    values = generator.integers(-128, 128, 300).astype(np.int8)
    seen = []
    for pack in packs(targets):
        assert pack.size <= 256
        joints, whole = tally(pack, slice(None), levels(values))
        assert np.array_equal(whole, histograms(values, np.zeros(300, dtype=int), 1)[0])
        for number, rows in members_of(pack, targets):
            each, joint = targets[number], joints[rows]
            known = each.defined
            expected = histograms(values[known], each.codes[known], each.grades)
            assert np.array_equal(joint, expected)
            seen.append(number)
    assert sorted(seen) == list(range(len(tops)))


def test_codes_keep_the_order_of_the_grades() -> None:
    (made,) = targets_of(np.array([7, 3, 3, -1, 100, 7]))
    assert made.codes.tolist() == [1, 0, 0, 3, 2, 1]
    assert made.lowest.tolist() == [3, 7, 100]
    assert made.counts(0, 6).tolist() == [2, 2, 1]


@pytest.mark.parametrize("scale", [1, 2**21])
def test_many_grades_are_counted_in_classes(scale: int) -> None:
    """Beyond 2^20 the grades are sorted instead of looked up."""
    labels = np.random.default_rng(0).permutation(20_000) % 1000 * scale // 1000 * (1 if scale > 1 else 1000)
    labels = labels if scale > 1 else np.random.default_rng(0).permutation(20_000) % 1000
    (made,) = targets_of(labels)
    assert made.grades < 256
    order = np.argsort(labels, kind="stable")
    assert (np.diff(made.codes[order]) >= 0).all()
    sizes = made.counts(0, len(labels))
    assert sizes.min() > 0
    assert sizes.max() < 3 * sizes.mean()
    assert all(labels[made.codes == code].min() == lowest for code, lowest in enumerate(made.lowest.tolist()))
