"""Bootstrap intervals, strata and lags, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from insight.ranking.made_cells import given, markov_labels, noisy_cell

from elman.insight.ranking import measures
from elman.insight.ranking.bootstrap import REPLICATES, Blocks
from elman.insight.ranking.lags import lags
from elman.insight.ranking.strata import Strata
from elman.insight.ranking.targets import LEVELS, count, levels, target


def by_piece(blocks: Blocks, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    codes = (blocks.pieces * 2 + labels).astype(np.int32) * LEVELS
    return count(codes, blocks.weights.shape[1] * 2, levels(values)).reshape(-1, 2, LEVELS)


def test_each_replicate_is_as_long_as_the_part() -> None:
    blocks = Blocks.draw(200_000, np.random.default_rng(0))
    pieces = blocks.weights.shape[1]
    assert blocks.weights.shape == (REPLICATES, 256)
    assert (blocks.weights.sum(1) == pieces).all()
    assert blocks.weights.mean(0) == pytest.approx(np.ones(pieces), abs=0.35)
    sizes = np.bincount(blocks.pieces)
    assert sizes.max() - sizes.min() <= 1
    # quarters of a block are drawn together
    beside = np.corrcoef(blocks.weights[:, 10], blocks.weights[:, 11])[0, 1]
    apart = np.corrcoef(blocks.weights[:, 10], blocks.weights[:, 60])[0, 1]
    assert beside > 0.6
    assert abs(apart) < 0.2


def test_of_independent_tokens_the_interval_is_the_known_one() -> None:
    generator = np.random.default_rng(0)
    length = 64_000
    labels = (generator.random(length) < 0.2).astype(int)
    values = np.clip(generator.normal(labels * 25, 40), -128, 127).astype(np.int8)
    blocks = Blocks.draw(length, generator)
    (low, high), (low_f1, high_f1) = blocks.binary(by_piece(blocks, values, labels), 1, 20)
    off, on = (values[labels == side].astype(float) for side in (0, 1))
    # DeLong 1988: the variance of the area from its placement values
    ordered_off, ordered_on = np.sort(off), np.sort(on)
    above = (np.searchsorted(ordered_off, on, "left") + np.searchsorted(ordered_off, on, "right")) / 2 / len(off)
    below = 1 - (np.searchsorted(ordered_on, off, "left") + np.searchsorted(ordered_on, off, "right")) / 2 / len(on)
    spread = math.sqrt(above.var() / len(on) + below.var() / len(off))
    assert (low + high) / 2 == pytest.approx(above.mean(), abs=spread)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.25)
    said = values >= 20
    f1 = 2 * (said & (labels == 1)).sum() / (said.sum() + labels.sum())
    assert low_f1 < f1 < high_f1


def test_of_long_runs_the_interval_is_wider() -> None:
    generator = np.random.default_rng(1)
    length = 64_000
    widths = []
    for run in (1.0, 400.0):
        labels = markov_labels(length, 0.3, max(run, 1.5), generator)
        told = markov_labels(length, 0.5, max(run, 1.5), generator)
        values = np.where(told == 1, labels * 60, 30).astype(np.int8)
        blocks = Blocks.draw(length, np.random.default_rng(0))
        low, high = blocks.binary(by_piece(blocks, values, labels), 1, 40)[0]
        widths.append(high - low)
    assert widths[1] > 4 * widths[0]


def test_the_interval_of_a_correlation_holds_it() -> None:
    generator = np.random.default_rng(2)
    x = generator.standard_normal(50_000)
    y = 0.6 * x + 0.8 * generator.standard_normal(50_000)
    low, high = Blocks.draw(50_000, generator).correlation(x, y)
    assert low < 0.6 < high
    assert high - low == pytest.approx(2 * 1.96 * (1 - 0.36) / math.sqrt(50_000), rel=0.3)


def test_a_detector_of_the_character_tells_nothing_among_equal_characters() -> None:
    generator = np.random.default_rng(3)
    length = 40_000
    ids = generator.integers(0, 6, length).astype(np.int32)
    # the label is likelier on character 0, which is all that the first cell sees
    labels = (generator.random(length) < np.where(ids == 0, 0.9, 0.1)).astype(np.int32)
    character = np.where(ids == 0, 90, -90).astype(np.int8)
    knower = noisy_cell(labels, 0.1, generator)
    strata = Strata.of(labels, ids)
    assert len(strata.weights) == 6

    def area(values: np.ndarray) -> float:
        joint = count(labels * np.int32(LEVELS), 2, levels(values)).astype(float)
        return float(measures.auc(joint[1], joint[0]))

    assert area(character) > 0.75
    assert strata.auc(levels(character)) == 0.5
    by_hand, weights = [], []
    for symbol in range(6):
        of = ids == symbol
        joint = count(labels[of] * np.int32(LEVELS), 2, levels(knower[of])).astype(float)
        off, on = (labels[of] == 0).sum(), (labels[of] == 1).sum()
        by_hand.append(float(measures.auc(joint[1], joint[0])))
        weights.append(off * on / (off + on + 1))
    assert strata.auc(levels(knower)) == pytest.approx(np.average(by_hand, weights=weights))


def test_where_the_character_decides_there_is_nothing_to_compare() -> None:
    ids = np.array([0, 1, 1, 2, 0], dtype=np.int32)
    strata = Strata.of((ids == 1).astype(np.int32), ids)
    assert math.isnan(strata.auc(np.zeros(5, dtype=np.uint8)))
    # undefined labels are of no stratum
    codes = np.array([0, 1, 2, 1, 2], dtype=np.int32)
    assert math.isnan(Strata.of(codes, ids).auc(np.zeros(5, dtype=np.uint8)))


@pytest.mark.parametrize("graded", [False, True])
def test_lags_are_found(graded: bool) -> None:
    generator = np.random.default_rng(4)
    length = 300_000
    labels = markov_labels(length, 0.3, 15, generator)
    if graded:
        labels = np.cumsum(labels) % 40
    made = target(given("made", labels), "x" * length, np.arange(length))
    planted = [0, 7, -3, 20, -20]
    values = np.stack([np.roll(labels, lag) * (-1) ** number * 2 for number, lag in enumerate(planted)]).astype(np.int8)
    counts = np.stack([np.bincount(row + 128, minlength=256) for row in values.astype(int)])
    found = lags(values, np.arange(len(planted)), measures.midranks(counts), made, (0, length // 2))
    assert found.tolist() == planted
