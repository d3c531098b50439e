"""Circular shifts: the transform against rolled labels, and the level of the test on what means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from insight.ranking.made_cells import given, markov_labels, noisy_cell, prose, recording_of, smooth_cells

from elman.insight.ranking import hunt, measures
from elman.insight.ranking.null import Grid, Null, confirmed, draw_shifts, grid_of, null
from elman.insight.ranking.scan import Parts, scan
from elman.insight.ranking.targets import Target, target


def target_of(labels: np.ndarray) -> Target:
    return target(given("made", labels), "x" * len(labels), np.arange(len(labels)))


@pytest.mark.parametrize("graded", [False, True])
def test_the_transform_gives_what_rolling_the_labels_gives(graded: bool) -> None:
    generator = np.random.default_rng(1)
    values = smooth_cells(7, 4000, generator)
    labels = generator.integers(0, 4, 4000) if graded else markov_labels(4000, 0.3, 20, generator)
    made = target_of(labels)
    part = (0, 4000)
    grid = grid_of(made, part)
    assert (grid.stride, grid.points) == (1, 4000)
    ranks = measures.midranks(np.stack([np.bincount(row + 128, minlength=256) for row in values.astype(int)]))
    (found,) = null(values, np.arange(7), ranks, [made], part, 50, np.random.default_rng(2))
    drawn = draw_shifts(grid, 50, np.random.default_rng(2))
    assert len(set(drawn.tolist())) == 50
    assert drawn.min() >= 1000
    assert drawn.max() <= 3000

    def statistic(rolled: np.ndarray) -> list[float]:
        joint = np.zeros((7, 4, 256))
        for cell in range(7):
            np.add.at(joint[cell], (rolled, values[cell].astype(int) + 128), 1)
        if graded:
            return measures.spearman(joint).tolist()
        return (measures.auc(joint[:, 1], joint[:, 0]) - 0.5).tolist()

    assert found.observed == pytest.approx(statistic(labels), abs=1e-5)
    expected = [max(map(abs, statistic(np.roll(labels, -shift)))) for shift in drawn.tolist()]
    assert found.strongest == pytest.approx(expected, abs=1e-5)


def test_p_counts_shifts_that_are_as_strong() -> None:
    made = Null(np.array([0.5, -0.25, 0.0, 0.1]), np.array([0.1, 0.2, 0.3, 0.25]))
    assert made.p().tolist() == [1 / 5, 3 / 5, 1, 1]


def test_grids_are_denser_for_rare_labels() -> None:
    length = 1_000_000
    often, seldom = np.zeros(length, dtype=int), np.zeros(length, dtype=int)
    often[::3] = 1
    seldom[:2000:2] = 1
    assert grid_of(target_of(often), (0, length)).stride == 32
    sparse = grid_of(target_of(seldom), (0, length))
    assert sparse.stride <= 2
    # the points have small prime factors, and few are left out
    for grid in (sparse, grid_of(target_of(often), (3, length - 11))):
        rest = grid.points
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1
        assert 0.98 * (length - 14) < grid.points * grid.stride <= length


def test_a_short_part_has_fewer_shifts() -> None:
    drawn = draw_shifts(Grid(0, 1, 1200), 5000, np.random.default_rng(0))
    assert (drawn.min(), drawn.max(), len(drawn)) == (300, 900, 601)


def test_a_cell_that_knows_is_significant_and_confirmed_in_its_direction() -> None:
    generator = np.random.default_rng(3)
    labels = markov_labels(60_000, 0.2, 40, generator)
    values = smooth_cells(20, 60_000, generator)
    values[13] = noisy_cell(labels, 0.2, generator, sign=-1)
    made = target_of(labels)
    parts = Parts.halves(60_000)
    scanned = scan(values, np.arange(20), [made], parts)
    (found,) = null(values, np.arange(20), scanned.ranks, [made], parts.choose, 300, np.random.default_rng(0))
    p = found.p()
    assert p[13] == 1 / 301
    assert (np.delete(p, 13) > 0.05).all()
    assert found.observed[13] == pytest.approx(0.5 - scanned.auc_choose[0, 13], abs=0.02)
    for sign, expected in ((-1, 1 / 301), (1, 1.0)):
        again = confirmed(
            values,
            np.array([13]),
            scanned.ranks[[13]],
            np.array([sign]),
            made,
            parts.confirm,
            300,
            np.random.default_rng(0),
        )
        assert again.tolist() == [expected]


@pytest.mark.slow
def test_labels_that_mean_nothing_are_rejected_at_the_stated_level(tmp_path: Path) -> None:
    """200 texts with autocorrelated labels and cells that know nothing of each other.

    Both numbers of rejections at level .05 have to be what 200 trials with that chance give but once in 1,000.
    """
    stats = pytest.importorskip("scipy.stats")
    repeats, length, level = 200, 30_000, 0.05
    first, holm, strong = [], [], 0
    for repeat in range(repeats):
        generator = np.random.default_rng([17, repeat])
        hypotheses = [
            given("often", markov_labels(length, 0.4, 60, generator)),
            given("seldom", markov_labels(length, 0.05, 25, generator)),
            given("graded", np.cumsum(markov_labels(length, 0.5, 8, generator)) % 11),
        ]
        folder = tmp_path / str(repeat)
        recording = recording_of(folder, smooth_cells(24, length, generator), prose(length, generator))
        found = hunt(recording, hypotheses, seed=repeat, top=1)
        first.append([found.findings[each.name].cells[0].p <= level for each in hypotheses])
        holm.append(any(found.findings[each.name].p_holm <= level for each in hypotheses))
        strong += sum(each.verdict != "none" for each in found.findings.values())
        for path in folder.iterdir():
            path.unlink()
    most = int(stats.binom.ppf(0.999, repeats, level))
    rejected = np.array(first).sum(0).tolist()
    assert max(rejected) <= most, rejected
    # at least one of three hypotheses, after Holm's correction
    assert sum(holm) <= most, sum(holm)
    # the second half has to agree too
    assert strong <= most / 2, strong
    print(f"rejected of {repeats}: {rejected}; any after Holm: {sum(holm)}; called found or weak: {strong}")
