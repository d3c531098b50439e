"""Dropout keeps its share, its mean and its independence, and follows the seed."""

from __future__ import annotations

import pytest
import torch

from elman.nn.dropout import dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.5, 0.9, 0.9999])
def test_share_and_mean(rate: float) -> None:
    torch.manual_seed(0)
    count = 400_000
    kept = dropout(torch.ones(count), rate)
    share = float((kept > 0).double().mean())
    # five standard deviations of a binomial share
    assert abs(share - (1 - rate)) < 5 * (rate * (1 - rate) / count) ** 0.5 + 1e-5
    assert kept[kept > 0].unique().numel() <= 1
    assert float(kept.double().mean()) == pytest.approx(1.0, abs=5 * (rate / (1 - rate) / count) ** 0.5 + 1e-3)


def test_every_place_of_a_draw_is_dropped_alike_and_alone() -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(400_000), 0.3) > 0).double().view(-1, 4)
    assert torch.allclose(kept.mean(0), torch.full((4,), 0.7, dtype=torch.float64), atol=0.01)
    correlations = torch.corrcoef(kept.T) - torch.eye(4, dtype=torch.float64)
    assert float(correlations.abs().max()) < 0.02


def test_gradient_passes_where_units_are_kept() -> None:
    x = torch.randn(7, 5, 3, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    assert torch.allclose(y, x * x.grad)
    assert 0 < int((x.grad == 0).sum()) < x.numel()


def test_the_seed_decides_and_evaluation_changes_nothing() -> None:
    x = torch.randn(33)
    torch.manual_seed(3)
    first = dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(dropout(x, 0.5), first)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
