"""Logistic regressions with an L1 or L2 penalty, by accelerated proximal gradient.

Beck and Teboulle 2009 (FISTA), with the restarts of O'Donoghue and Candès 2015. Minimised is the weighted mean of
log(1 + exp(-(2 y - 1) z)), z = x w + b, plus l1 |w|_1 + l2 |w|^2 / 2; b is not penalised.
"""

from __future__ import annotations

import torch
from torch import Tensor

# power iterations for the steepest curvature, and what they may fall short by
POWER, SHORT = 20, 1.1
# rounds of adding inputs to the sparse fit, and how far above the penalty a gradient must be to be added
ROUNDS, ABOVE = 20, 1.01


def fit(
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    start: Tensor | None = None,
    steps: int = 200,
    tolerance: float = 1e-4,
) -> Tensor:
    """Fit several tasks at once on the same inputs.

    Args:
        inputs: [n, C] x.
        labels: [H, n] y, 0 or 1, a row a task.
        weights: [H, n] of the terms; each row sums to 1.
        l1, l2: penalties.
        start: [H, C + 1] where to begin.
        steps: at most.
        tolerance: stops when no coefficient moves by more.

    Returns:
        [H, C + 1] w, and b last.
    """
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    step = 1 / (_steepest(extended, weights) / 4 + l2)
    point = torch.zeros(len(labels), extended.shape[1]) if start is None else start.clone()
    ahead, momentum = point.clone(), torch.ones(len(labels), 1)
    for _ in range(steps):
        gradient = (weights * (torch.sigmoid(ahead @ extended.T) - labels)) @ extended
        gradient[:, :-1] += l2 * ahead[:, :-1]
        moved = ahead - step * gradient
        if l1:
            moved[:, :-1] = torch.sign(moved[:, :-1]) * (moved[:, :-1].abs() - step * l1).clamp(min=0)
        change = moved - point
        # momentum that points uphill is dropped, task by task
        uphill = ((ahead - moved) * change).sum(1, keepdim=True) > 0
        following = torch.where(uphill, torch.ones(()), (1 + (1 + 4 * momentum**2).sqrt()) / 2)
        ahead = moved + torch.where(uphill, torch.zeros(()), (momentum - 1) / following) * change
        point, momentum = moved, following
        if float(change.abs().max()) < tolerance:
            break
    return point


def fit_sparse(
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    l1: float,
    *,
    start: Tensor | None = None,
    steps: int = 1000,
    tolerance: float = 1e-4,
) -> Tensor:
    """Fit one task with an L1 penalty, on the inputs that it needs: those whose gradient exceeds the penalty join.

    Args:
        inputs: [n, C] x.
        labels: [n] y.
        weights: [n] of the terms; they sum to 1.
        l1: penalty.
        start: [C + 1] where to begin.
        steps, tolerance: of each round, as of :func:`fit`.

    Returns:
        [C + 1] w, most of it 0, and b last.
    """
    point = torch.zeros(inputs.shape[1] + 1) if start is None else start.clone()
    for _ in range(ROUNDS):
        slopes = gradient(inputs, labels, weights, point).abs()
        used = point[:-1] != 0
        missing = (slopes > ABOVE * l1) & ~used
        if not bool(missing.any()) and bool(used.any()):
            break
        # the steepest of them, about as many again as are there
        most = min(int(missing.sum()), 10 + int(used.sum()))
        used[torch.where(missing, slopes, -1.0).topk(most).indices] = True
        columns = used.nonzero()[:, 0]
        places = torch.cat([columns, torch.tensor([len(point) - 1])])
        fitted = fit(
            inputs[:, columns],
            labels[None],
            weights[None],
            l1=l1,
            start=point[places][None],
            steps=steps,
            tolerance=tolerance,
        )
        point = torch.zeros_like(point)
        point[places] = fitted[0]
        if not most:
            break
    return point


def gradient(inputs: Tensor, labels: Tensor, weights: Tensor, point: Tensor) -> Tensor:
    """[C] the slope of the loss of one task, without its penalty, along each weight.

    Args:
        inputs, labels, weights: as of :func:`fit_sparse`.
        point: [C + 1] coefficients.
    """
    return (weights * (torch.sigmoid(inputs @ point[:-1] + point[-1]) - labels)) @ inputs


def largest_penalty(inputs: Tensor, labels: Tensor, weights: Tensor) -> float:
    """The least L1 penalty under which every weight of a task is 0.

    Args:
        inputs, labels, weights: as of :func:`fit_sparse`.
    """
    return float(((weights * (labels - (weights * labels).sum())) @ inputs).abs().max())


def _steepest(extended: Tensor, weights: Tensor) -> Tensor:
    """[H, 1] the largest eigenvalue of the inputs' weighted second moments, and a little more."""
    vectors = torch.ones(len(weights), extended.shape[1])
    size = torch.ones(len(weights), 1)
    for _ in range(POWER):
        vectors = (weights * (vectors @ extended.T)) @ extended
        size = vectors.norm(dim=1, keepdim=True)
        vectors /= size
    return size * SHORT
