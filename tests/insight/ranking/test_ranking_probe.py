"""Logistic regressions against their conditions and another method; probes that need several cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from insight.ranking.made_cells import given, markov_labels, smooth_cells

from elman.errors import CancelledError
from elman.insight.ranking import logistic
from elman.insight.ranking.probe import sparse_probes
from elman.insight.ranking.scan import Parts
from elman.insight.ranking.targets import target


def problem(tasks: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 30, generator=generator)
    inputs[:, 5:] += 0.7 * inputs[:, :1]
    scores = 2 * inputs[:, 0] - 1.5 * inputs[:, 3] + 0.5
    labels = (torch.rand(tasks, 800, generator=generator) < torch.sigmoid(scores)).float()
    weights = torch.rand(tasks, 800, generator=generator)
    return inputs, labels, weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_sparse_fit_meets_its_conditions(share: float) -> None:
    inputs, labels, weights = problem()
    most = logistic.largest_penalty(inputs, labels[0], weights[0])
    point = logistic.fit_sparse(inputs, labels[0], weights[0], share * most, tolerance=1e-6, steps=4000)
    slopes = logistic.gradient(inputs, labels[0], weights[0], point)
    used = point[:-1] != 0
    # Karush, Kuhn and Tucker: where a weight is used the slope balances the penalty, elsewhere it is below
    assert 0 < int(used.sum()) < 30 or share < 0.05
    assert slopes[used].tolist() == pytest.approx((-share * most * point[:-1][used].sign()).tolist(), rel=1e-2)
    assert float(slopes[~used].abs().max() if (~used).any() else 0) <= 1.02 * share * most
    residual = weights[0] * (torch.sigmoid(inputs @ point[:-1] + point[-1]) - labels[0])
    assert abs(float(residual.sum())) < 1e-4


def test_above_the_largest_penalty_nothing_is_used() -> None:
    inputs, labels, weights = problem()
    most = logistic.largest_penalty(inputs, labels[0], weights[0])
    point = logistic.fit(inputs, labels, weights, l1=1.01 * most, steps=2000)
    assert not point[0, :-1].any()
    assert logistic.fit(inputs, labels, weights, l1=0.9 * most, steps=2000)[0, :-1].any()


def test_fits_are_those_of_another_method() -> None:
    """The L1 norm is linear in the positive and negative parts: bounded quasi-Newton steps in double precision."""
    optimize = pytest.importorskip("scipy.optimize")
    inputs, labels, weights = problem(tasks=2)
    x = inputs.double()
    for l1, l2 in ((0.0, 0.02), (0.02, 0.0)):
        ours = logistic.fit(inputs, labels, weights, l1=l1, l2=l2, steps=5000, tolerance=1e-7)
        for task in range(2):

            def objective(
                parts: np.ndarray, task: int = task, l1: float = l1, l2: float = l2
            ) -> tuple[float, np.ndarray]:
                given_parts = torch.tensor(parts, requires_grad=True)
                positive, negative, bias = given_parts[:30], given_parts[30:60], given_parts[60]
                w = positive - negative
                margins = (2 * labels[task] - 1) * (x @ w + bias)
                loss = (weights[task] * torch.nn.functional.softplus(-margins)).sum() + l2 / 2 * (w**2).sum()
                loss = loss + l1 * (positive + negative).sum()
                loss.backward()
                return float(loss.detach()), given_parts.grad.numpy()  # type: ignore[union-attr]

            bounds = [(0, None)] * 60 + [(None, None)]
            options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9}
            other = optimize.minimize(
                objective, np.zeros(61), jac=True, method="L-BFGS-B", bounds=bounds, options=options
            )
            expected = np.append(other.x[:30] - other.x[30:60], other.x[60])
            assert ours[task].tolist() == pytest.approx(expected.tolist(), abs=2e-3)


def test_few_cells_together_tell_what_none_tells_alone() -> None:
    generator = np.random.default_rng(0)
    length = 80_000
    values = smooth_cells(40, length, generator)
    labels = markov_labels(length, 0.15, 30, generator)
    # the label is the sum of three cells, each of which is mostly something else
    first, second = (100 * np.tanh(generator.standard_normal(length)) for _ in range(2))
    values[4] = np.rint(first * 0.5)
    values[9] = np.rint(second * 0.5)
    values[21] = np.clip(
        np.rint(80 * labels - 40 - 0.5 * first - 0.5 * second + generator.normal(0, 4, length)), -127, 127
    )
    rare = np.zeros(length, dtype=np.int32)
    rare[generator.choice(length, 30, replace=False)] = 1
    hypotheses = [given("sum", labels), given("rare", rare), given("graded", np.arange(length) % 7)]
    targets = [target(each, "x" * length, np.arange(length)) for each in hypotheses]
    done: list[float] = []
    parts = Parts.halves(length)
    found, none, graded = sparse_probes(
        values, np.arange(40), targets, parts, np.random.default_rng(0), progress=done.append
    )
    assert none is graded is None
    assert found is not None
    assert found.f1 > 0.97
    assert found.dense_f1 > 0.97
    assert set(found.largest[:3]) == {4, 9, 21}
    assert found.cells < 12
    assert len(found.weights) == len(found.largest) <= 10
    assert done == sorted(done)
    assert done[-1] == 1
    alone = sparse_probes(values, np.array([0, 1, 21]), targets[:1], parts, np.random.default_rng(0))[0]
    assert alone is not None
    assert alone.f1 < 0.85
    with pytest.raises(CancelledError):
        sparse_probes(values, np.arange(40), targets, parts, np.random.default_rng(0), cancel=lambda: True)


def test_of_noise_a_probe_tells_no_more_than_yes_everywhere() -> None:
    generator = np.random.default_rng(1)
    labels = markov_labels(60_000, 0.3, 30, generator)
    made = target(given("noise", labels), "x" * 60_000, np.arange(60_000))
    values = smooth_cells(30, 60_000, generator)
    found = sparse_probes(values, np.arange(30), [made], Parts.halves(60_000), generator)[0]
    assert found is not None
    assert found.f1 < 0.5
    assert found.dense_f1 < 0.5
