"""Which symbols may be drawn, and one draw: pure functions on a batch of scores.

Everything here is numpy in float64 on the CPU: a draw then depends neither on the device that the model lives
on nor on its precision, and one step over a character vocabulary costs microseconds.

A filter takes scores [B, V] (before the softmax, or log-probabilities) and returns new ones in which the
symbols that it rules out are -inf. It never rules out the likeliest symbol. A row that is -inf throughout
stays so.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import FailureError, MisuseError

Scores = NDArray[np.float64]


def log_softmax(scores: Scores) -> Scores:
    """log p_i = z_i - log sum_j exp z_j, over the last axis.

    Args:
        scores: [..., V].

    Raises:
        FailureError: a score is not a number or infinite, or every symbol of a row is ruled out.
    """
    shifted = scores - _finite_maximum(scores)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def temperature(scores: Scores, value: float) -> Scores:
    """Sharpen or flatten: p_i proportional to exp(z_i / value).

    Args:
        scores: [B, V].
        value: 1 changes nothing, below 1 favours the likely symbols; 0 leaves only the likeliest (the first
            of equals).

    Returns:
        Scores [B, V], shifted so that the largest of a row is 0.
    """
    shifted = scores - _shift(scores)
    if value == 0:
        greedy = np.full_like(shifted, -np.inf)
        best = shifted.argmax(axis=-1)[:, None]
        np.put_along_axis(greedy, best, np.take_along_axis(shifted, best, axis=-1), axis=-1)
        return greedy
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, as it should
        return shifted / value


def top_k(scores: Scores, k: int) -> Scores:
    """Keep the k likeliest symbols (Fan, Lewis & Dauphin 2018).

    Args:
        scores: [B, V].
        k: at least 1; V or more changes nothing. Of symbols that tie for the last place those with the lower ids
            stay, so that k = 1 is greedy and nothing depends on a sorting order.
    """
    size = scores.shape[-1]
    if k >= size:
        return scores
    threshold = np.partition(scores, size - k, axis=-1)[:, size - k, None]
    above, tied = scores > threshold, scores == threshold
    room = k - above.sum(axis=-1, keepdims=True)
    return np.where(above | (tied & (tied.cumsum(axis=-1) <= room)), scores, -np.inf)


def top_p(scores: Scores, p: float) -> Scores:
    """Keep the nucleus, the fewest likeliest symbols with total probability p or more (Holtzman et al. 2020).

    Args:
        scores: [B, V].
        p: 0 < p <= 1; 1 changes nothing. Of equal symbols the one with the lower id comes first.
    """
    if p >= 1:
        return scores
    order = np.argsort(-scores, axis=-1, kind="stable")
    probabilities = np.take_along_axis(_softmax(scores), order, axis=-1)
    # a symbol stays while the mass of those before it is below p; the first always stays
    kept = np.cumsum(probabilities, axis=-1) - probabilities < p
    mask = np.empty_like(kept)
    np.put_along_axis(mask, order, kept, axis=-1)
    return np.where(mask, scores, -np.inf)


def min_p(scores: Scores, p: float) -> Scores:
    """Keep what is at least p times as probable as the likeliest: p_i >= p max_j p_j (Nguyen et al. 2024).

    Args:
        scores: [B, V].
        p: 0 <= p <= 1; 0 changes nothing, 1 leaves the likeliest and its equals.
    """
    if p == 0:
        return scores
    return np.where(scores >= scores.max(axis=-1, keepdims=True) + math.log(p), scores, -np.inf)


def ban(scores: Scores, ids: Collection[int]) -> Scores:
    """Rule out symbols.

    Args:
        scores: [B, V].
        ids: symbols that must not be drawn.
    """
    if not ids:
        return scores
    allowed = scores.copy()
    allowed[:, list(ids)] = -np.inf
    return allowed


def draw(scores: Scores, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw a symbol a row by inversion: the least i with u < F_i = p_0 + ... + p_i.

    Args:
        scores: [B, V].
        uniforms: [B], each in [0, 1).

    Returns:
        Ids [B]; never one whose score is -inf.

    Raises:
        FailureError: as :func:`log_softmax`.
    """
    weights = np.exp(scores - _finite_maximum(scores))
    cumulative = np.cumsum(weights, axis=-1)
    ids = (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=-1)
    if ids.max() < scores.shape[-1]:
        return ids
    # u F_V rounded up to F_V itself: the draw belongs to the last symbol that has any mass
    last = scores.shape[-1] - 1 - (weights[:, ::-1] > 0).argmax(axis=-1)
    return np.minimum(ids, last)


@dataclass(frozen=True)
class Filters:
    """The filters of one request, applied in this order: banned, temperature, top-k, top-p, min-p.

    Args:
        temperature: see :func:`temperature`.
        top_k: see :func:`top_k`; None keeps all.
        top_p: see :func:`top_p`; None keeps all.
        min_p: see :func:`min_p`; None keeps all. Measured on the distribution that the temperature left.
        banned: ids that are never drawn.

    Raises:
        MisuseError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    banned: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise MisuseError(
                f"The temperature is {self.temperature}; it must be 0 (the likeliest) or more, such as 0.8."
            )
        if self.top_k is not None and self.top_k < 1:
            raise MisuseError(f"top-k is {self.top_k}; it must be at least 1. Leave it out to keep all symbols.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise MisuseError(f"top-p is {self.top_p}; it must be above 0 and at most 1, such as 0.95.")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise MisuseError(f"min-p is {self.min_p}; it must lie between 0 and 1, such as 0.05.")

    def __call__(self, scores: Scores) -> Scores:
        """The scores [B, V] with everything ruled out that this request rules out."""
        scores = ban(scores, self.banned)
        if self.temperature != 1:
            scores = temperature(scores, self.temperature)
        if self.top_k is not None:
            scores = top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = top_p(scores, self.top_p)
        if self.min_p is not None:
            scores = min_p(scores, self.min_p)
        return scores


def _softmax(scores: Scores) -> Scores:
    weights = np.exp(scores - _shift(scores))
    return weights / np.maximum(weights.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)


def _shift(scores: Scores) -> Scores:
    """The maximum of each row; 0 for a row that is -inf throughout, so that it can be subtracted."""
    maximum = scores.max(axis=-1, keepdims=True)
    maximum[np.isneginf(maximum)] = 0.0
    return maximum


def _finite_maximum(scores: Scores) -> Scores:
    maximum = scores.max(axis=-1, keepdims=True)
    # on the few numbers of a batch, Python's own test is faster than numpy's
    for value in maximum.ravel().tolist():
        if value == -math.inf:
            raise FailureError("There is no symbol left to draw: every one has probability 0 or is ruled out.")
        if not math.isfinite(value):
            raise FailureError(
                "The model's scores are not finite numbers: its weights are damaged or its training diverged."
            )
    return maximum
