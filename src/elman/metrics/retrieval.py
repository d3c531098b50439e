"""Retrieval both ways: an image's captions among all captions, a caption's image among all images.

Hodosh, Young and Hockenmaier 2013, Framing image description as a ranking task, JAIR 47; recall and median rank as
there and in Karpathy and Fei-Fei 2015, arXiv:1412.2306. Ties count against the model: one that gives every pair the
same score has the worst rank everywhere, not the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError

RECALLS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """One direction.

    Attributes:
        queries: how many were asked.
        candidates: among how many each looked.
        recall: by k the share of queries with a right answer among the first k.
        median_rank: of the first right answer, from 1.
    """

    queries: int
    candidates: int
    recall: dict[int, float]
    median_rank: float


def ranks(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank of the best right answer of each query, from 1; wrong answers with the same score stand before it.

        rank_q = 1 + #{ wrong a : score(q, a) >= max over right a' of score(q, a') }

    Args:
        scores: [Q, A], higher is better; -inf may occur.
        right: [Q, A], at least one true in each row.

    Returns:
        [Q].

    Raises:
        MisuseError: shapes that differ, a query without a right answer, or a score that is no number.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if scores.ndim != 2 or scores.shape != right.shape:
        raise MisuseError(f"Scores {list(scores.shape)} and right answers {list(right.shape)} must both be [Q, A].")
    if not right.any(1).all() or np.isnan(scores).any():
        raise MisuseError("Each query needs a right answer, and every score must be a number.")
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(1)


def retrieval(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> Retrieval:
    """Recall at 1, 5 and 10 and the median rank; arguments and errors as for :func:`ranks`."""
    places = ranks(scores, right)
    recall = {k: float((places <= k).mean()) for k in RECALLS}
    return Retrieval(len(places), right.shape[1], recall, float(np.median(places)))
