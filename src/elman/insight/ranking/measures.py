"""What a histogram of a cell's values by label says: AUC, F1, rank correlation, mutual information.

A histogram has the values' 256 levels last, in rising order. With it every measure takes time that does not depend on
the text's length, and ties are counted exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
LOWEST = -128

Array = NDArray[np.float64]


def auc(on: Array, off: Array) -> Array:
    """Area under the receiver operating characteristic: P(value on > value off) + P(equal) / 2.

    Mann and Whitney 1947; Hanley and McNeil 1982.

    Args:
        on, off: [..., 256] counts where the label is 1 and where it is 0.

    Returns:
        [...]; NaN where one side is empty.
    """
    below = np.cumsum(off, axis=-1) - off / 2
    pairs = on.sum(-1) * off.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (on * below).sum(-1) / pairs


def best_threshold(on: Array, off: Array, sign: NDArray[np.integer]) -> tuple[Array, NDArray[np.int64]]:
    """The level with the highest F1; among equal ones the middle one.

    Args:
        on, off: [..., 256] counts.
        sign: [...] 1 says yes from the level up, -1 from the level down.

    Returns:
        F1 and the level as an int8 value, both [...].
    """
    upwards = np.asarray(sign)[..., None] > 0
    hits, alarms = (np.where(upwards, _from_above(part), np.cumsum(part, axis=-1)) for part in (on, off))
    score = _f1(hits, alarms, on.sum(-1, keepdims=True))
    best = score.max(axis=-1, keepdims=True)
    equal = score == best
    middle = np.cumsum(equal, axis=-1) > equal.sum(-1, keepdims=True) // 2
    return best[..., 0], np.argmax(equal & middle, axis=-1) + LOWEST


def at_threshold(on: Array, off: Array, sign: int, level: int) -> tuple[Array, Array, Array]:
    """Hits, false alarms and misses of a threshold.

    Args:
        on, off: [..., 256] counts.
        sign: 1 says yes from the level up, -1 from the level down.
        level: an int8 value.
    """
    yes = slice(level - LOWEST, None) if sign > 0 else slice(None, level - LOWEST + 1)
    hits = on[..., yes].sum(-1)
    return hits, off[..., yes].sum(-1), on.sum(-1) - hits


def f1(hits: Array, alarms: Array, misses: Array) -> Array:
    """Harmonic mean of precision and recall, van Rijsbergen 1979; 0 where there is nothing to find."""
    return _f1(hits, alarms, np.asarray(hits) + misses)


def constant_f1(rate: float) -> float:
    """F1 of saying yes everywhere, where the label's share is ``rate``."""
    return 2 * rate / (1 + rate)


def midranks(counts: Array) -> Array:
    """The centred rank of each level, from -1/2 to 1/2: mean place of its values among all, in shares of all.

    Args:
        counts: [..., levels].

    Returns:
        [..., levels]; their mean over all values is 0. Zero where nothing was counted.
    """
    total = np.maximum(counts.sum(-1, keepdims=True), 1)
    return np.where(counts.sum(-1, keepdims=True) > 0, (np.cumsum(counts, axis=-1) - counts / 2) / total - 0.5, 0.0)


def spearman(joint: Array) -> Array:
    """Rank correlation with ties, Spearman 1904: Pearson's correlation of midranks.

    Args:
        joint: [..., grades, 256] counts.

    Returns:
        [...]; 0 where one side is constant.
    """
    by_grade, by_level = joint.sum(-1), joint.sum(-2)
    grades, levels = midranks(by_grade), midranks(by_level)
    product = np.einsum("...g,...gv,...v->...", grades, joint, levels)
    spread = (by_grade * grades**2).sum(-1) * (by_level * levels**2).sum(-1)
    return np.where(spread > 0, product / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


def mutual_information(joint: Array) -> Array:
    """Bits that the value tells about the label, with Miller's (1955) correction of the bias.

    Args:
        joint: [..., labels, 256] counts.

    Returns:
        [...], not below 0.
    """
    total = np.maximum(joint.sum((-1, -2)), 1)
    parts = [
        (joint.sum(-1), 1),
        (joint.sum(-2), 1),
        (joint.reshape(*joint.shape[:-2], -1), -1),
    ]
    nats = np.zeros(joint.shape[:-2])
    for counts, direction in parts:
        share = counts / total[..., None]
        entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(-1)
        nats += direction * (entropy + ((counts > 0).sum(-1) - 1) / (2 * total))
    return np.maximum(nats, 0) / np.log(2)


def _from_above(counts: Array) -> Array:
    return np.flip(np.cumsum(np.flip(counts, -1), axis=-1), -1)


def _f1(hits: Array, alarms: Array, positives: Array) -> Array:
    return 2 * hits / np.maximum(hits + alarms + positives, 1)
