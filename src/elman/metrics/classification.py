"""How well classes are told apart, and how far the probabilities can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import MisuseError

# temperatures outside of this say that scores carry no information, or that there is too little to fit on
COLDEST, HOTTEST = 1e-2, 1e2


@dataclass(frozen=True)
class ClassScore:
    """One class against all others.

    Attributes:
        precision: share of those called so that are so; 0 where nothing was called so.
        recall: share of those that are so that were called so; 0 where there are none.
        f1: their harmonic mean.
        support: how many are so.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Calibration:
    """How confidence and accuracy agree, by bins of confidence.

    Attributes:
        error: expected calibration error: the bins' |accuracy - confidence|, weighted by their counts.
        counts: [bins] examples whose highest probability falls into each.
        confidence: [bins] mean highest probability; 0 in an empty bin.
        accuracy: [bins] share that is right; 0 in an empty bin.
    """

    error: float
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How often each class was called each class.

    Args:
        truth: [N] class numbers 0 to K - 1.
        predicted: [N] likewise.
        classes: K.

    Returns:
        [K, K] counts, the true class in the row, the predicted one in the column.

    Raises:
        MisuseError: unequal lengths, or a number that is no class.
    """
    rows, columns = _classes(truth, classes), _classes(predicted, classes)
    if rows.shape != columns.shape:
        raise MisuseError(f"{len(rows)} true classes cannot be compared with {len(columns)} predicted ones.")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of the examples of a confusion matrix that lie on its diagonal; 0 where there are none."""
    return _share(int(np.trace(matrix)), int(matrix.sum()))


def class_scores(matrix: NDArray[np.int64]) -> list[ClassScore]:
    """Precision, recall and F1 of each class of a confusion matrix."""
    scores = []
    for right, called, support in zip(np.diag(matrix), matrix.sum(0), matrix.sum(1), strict=True):
        scores.append(score_of_counts(int(right), int(called), int(support)))
    return scores


def score_of_counts(right: int, called: int, support: int) -> ClassScore:
    """Precision, recall and F1 from counts.

        F1 = 2 right / (called + support), the harmonic mean of right / called and right / support

    Args:
        right: found and true.
        called: found.
        support: true.
    """
    return ClassScore(_share(right, called), _share(right, support), _share(2 * right, called + support), support)


def macro_f1(scores: list[ClassScore]) -> float:
    """Mean F1 of the classes that occur."""
    present = [score.f1 for score in scores if score.support]
    return float(np.mean(present)) if present else 0.0


def calibration(probabilities: NDArray[np.floating], truth: ArrayLike, bins: int = 15) -> Calibration:
    """Expected calibration error of the highest probability.

        ECE = sum_b n_b / N |accuracy_b - confidence_b|        Naeini et al. 2015; Guo et al. 2017 (arXiv:1706.04599)

    Args:
        probabilities: [N, K], each row sums to 1.
        truth: [N] class numbers.
        bins: of equal width, over (0, 1].

    Raises:
        MisuseError: unequal lengths or no bins.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    right = _classes(truth, given.shape[1])
    if len(right) != len(given) or bins < 1:
        raise MisuseError(f"{len(given)} rows of probabilities, {len(right)} classes and {bins} bins do not fit.")
    highest = given.max(1)
    # bin b holds confidences in (b / bins, (b + 1) / bins]
    place = np.clip(np.ceil(highest * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.maximum(counts, 1)
    confidence = np.bincount(place, weights=highest, minlength=bins) / filled
    hits = np.bincount(place, weights=given.argmax(1) == right, minlength=bins) / filled
    error = float((counts * np.abs(hits - confidence)).sum() / max(1, len(given)))
    return Calibration(error, counts, confidence, hits)


def fit_temperature(scores: NDArray[np.floating], truth: ArrayLike) -> float:
    """The temperature T at which softmax(scores / T) has the least loss.

        NLL(beta) = sum_n [log sum_k exp(beta s_nk) - beta s_n,y],    beta = 1 / T
        NLL'(beta) = sum_n [E_softmax(s_n) - s_n,y]                   convex in beta, so one root

    Guo et al. 2017 (arXiv:1706.04599). It changes no decision, only the confidence.

    Args:
        scores: [N, K] before the softmax, of examples that were not trained on.
        truth: [N] their classes.

    Returns:
        T, from 0.01 to 100; 1 where there is nothing to fit on.

    Raises:
        MisuseError: unequal lengths, or scores that are no numbers.
    """
    given = np.asarray(scores, dtype=np.float64)
    right = _classes(truth, given.shape[1])
    if len(right) != len(given) or not np.isfinite(given).all():
        raise MisuseError("A temperature is fitted on finite scores [N, K] and N classes.")
    if not len(given):
        return 1.0
    own = given[np.arange(len(given)), right].mean()

    def slope(beta: float) -> float:
        weights = np.exp(beta * (given - given.max(1, keepdims=True)))
        return float(((weights * given).sum(1) / weights.sum(1)).mean() - own)

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    coldest, hottest = slope(np.exp(high)), slope(np.exp(low))
    if hottest >= 0:
        # no better than chance: say nothing; where all scores are alike the temperature is of no account
        return HOTTEST if coldest > 0 else 1.0
    if coldest <= 0:
        return COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def softmax(scores: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities [N, K] from scores [N, K]: softmax(scores / temperature)."""
    given = np.asarray(scores, dtype=np.float64) / temperature
    weights = np.exp(given - given.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _classes(numbers: ArrayLike, classes: int) -> NDArray[np.int64]:
    given = np.asarray(numbers, dtype=np.int64).reshape(-1)
    if given.size and not 0 <= int(given.min()) <= int(given.max()) < classes:
        raise MisuseError(f"Class numbers run from 0 to {classes - 1}; got {int(given.min())} to {int(given.max())}.")
    return given
