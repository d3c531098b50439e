"""Linear probes: what all cells together say, and how few of them say most of it.

A hypothesis that no single cell carries may stand in a few cells together (Gurnee et al. 2023, "Finding neurons in a
haystack"), or in a direction of all of them (Alain and Bengio 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.insight.ranking import logistic
from elman.insight.ranking.findings import Probe
from elman.insight.ranking.scan import Cancel, Parts, Progress, stop_if
from elman.insight.ranking.targets import Target

# tokens that are drawn evenly, and of either label that a rare hypothesis gets beyond them
EVEN, RARE = 16_000, 1000
# share of the first part on which penalties and thresholds are chosen
TUNING = 0.2
# of either label, wherever it is fitted, tuned or judged
FEWEST = 20
# L1 penalties as shares of the one under which nothing is used, and L2 penalties
SPARSE = (0.3, 0.1, 0.03, 0.01, 0.003)
DENSE = (1e-2, 1e-3, 1e-4)
DENSE_STEPS = 120
# F1 that is given up for fewer cells
GIVEN_UP = 0.01
# cells that are listed
LISTED = 10
CHUNK = 2**15


@dataclass(frozen=True)
class _Tuned:
    """Coefficients for the values as they are stored, the threshold, and F1 where both were chosen."""

    weights: Tensor
    threshold: float
    f1: float


def sparse_probes(
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    targets: Sequence[Target],
    parts: Parts,
    generator: np.random.Generator,
    progress: Progress = None,
    cancel: Cancel = None,
) -> list[Probe | None]:
    """Fit and judge probes for binary targets.

    Logistic regressions are fitted on a sample of the first four fifths of the first part. On its last fifth the
    threshold with the best F1 is found, and the L1 penalty: the strongest whose F1 is within .01 of the best one's.
    Both probes are judged on the whole second part. Tokens of rare labels are drawn more often, and weigh less.

    Args:
        values: [C, N].
        cells: which of them, [cells].
        targets: the labels.
        parts: where to fit and where to judge.
        generator: of the sample.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Returns:
        In the order of the targets; None for a graded one, or one without both labels where they are needed.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    begin, end = parts.choose
    edge = end - int((end - begin) * TUNING)
    ranges = [(begin, edge), (edge, end), parts.confirm]
    usable = [number for number, each in enumerate(targets) if _usable(each, ranges)]
    made: list[Probe | None] = [None] * len(targets)
    if not usable:
        return made
    chosen = [targets[number] for number in usable]
    places, chances = _sample(chosen, begin, edge, generator)
    inputs = _values(values, cells, places)
    middle, spread = inputs.mean(0), inputs.std(0).clamp(min=1e-6)
    inputs = (inputs - middle) / spread
    labels, weights = _labels(chosen, places, chances)
    work = len(DENSE) + len(usable)

    def tuned(point: Tensor, each: Target) -> _Tuned:
        # the scaling goes into the weights, so that values can be taken as they are
        raw = point.clone()
        raw[:-1] /= spread
        raw[-1] -= middle @ raw[:-1]
        threshold, f1 = _best_threshold(_scores(values, cells, raw, edge, end), each.codes[edge:end])
        return _Tuned(raw, threshold, f1)

    dense: list[list[_Tuned]] = [[] for _ in chosen]
    points = None
    for number, l2 in enumerate(DENSE):
        stop_if(cancel)
        points = logistic.fit(inputs, labels, weights, l2=l2, start=points, steps=DENSE_STEPS)
        for task, each in enumerate(chosen):
            dense[task].append(tuned(points[task], each))
        if progress is not None:
            progress((number + 1) / work)
    for task, (number, each) in enumerate(zip(usable, chosen, strict=True)):
        path: list[_Tuned] = []
        most = logistic.largest_penalty(inputs, labels[task], weights[task])
        point = None
        for share in SPARSE:
            stop_if(cancel)
            point = logistic.fit_sparse(inputs, labels[task], weights[task], share * most, start=point)
            path.append(tuned(point, each))
        enough = max(fitted.f1 for fitted in path) - GIVEN_UP
        sparse = next(fitted for fitted in path if fitted.f1 >= enough)
        strength = (sparse.weights[:-1] * spread).numpy()
        used = np.argsort(-np.abs(strength), kind="stable")[: np.count_nonzero(strength)]
        made[number] = Probe(
            cells=len(used),
            f1=_judged(values, cells, sparse, each, parts.confirm),
            dense_f1=_judged(values, cells, max(dense[task], key=lambda fitted: fitted.f1), each, parts.confirm),
            largest=tuple(cells[used[:LISTED]].tolist()),
            weights=tuple(round(float(strength[place]), 4) for place in used[:LISTED]),
            positions=len(places),
        )
        if progress is not None:
            progress((len(DENSE) + task + 1) / work)
    return made


def _usable(target: Target, ranges: Sequence[tuple[int, int]]) -> bool:
    return target.binary and all(int(target.counts(*part).min()) >= FEWEST for part in ranges)


def _sample(
    targets: Sequence[Target], begin: int, end: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens, and the chance that each had to be drawn."""
    chance = np.full(end - begin, min(1.0, EVEN / (end - begin)))
    for each in targets:
        codes = each.codes[begin:end]
        for label, count in enumerate(each.counts(begin, end).tolist()):
            chance[codes == label] = np.maximum(chance[codes == label], min(1.0, RARE / max(1, count)))
    drawn = np.flatnonzero(generator.random(end - begin) < chance)
    return drawn + begin, chance[drawn]


def _labels(
    targets: Sequence[Target], places: NDArray[np.int64], chances: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Labels, and weights by the inverse of the chance (Horvitz and Thompson 1952), both [targets, places]."""
    codes = np.stack([each.codes[places] for each in targets])
    weights = (codes < 2) / chances
    weights /= weights.sum(1, keepdims=True)
    return torch.from_numpy((codes == 1).astype(np.float32)), torch.from_numpy(weights.astype(np.float32))


def _values(values: NDArray[np.int8], cells: NDArray[np.int64], places: NDArray[np.int64] | slice) -> Tensor:
    """[places, cells] as float32."""
    rows = np.stack([np.asarray(values[cell, places]) for cell in cells.tolist()])
    return torch.from_numpy(np.ascontiguousarray(rows.T)).to(torch.float32)


def _scores(values: NDArray[np.int8], cells: NDArray[np.int64], weights: Tensor, begin: int, end: int) -> Tensor:
    """z of every token of a part, [n]."""
    used = weights[:-1].nonzero()[:, 0]
    if not len(used):
        return weights[-1].expand(end - begin)
    parts = [
        _values(values, cells[used.numpy()], slice(place, min(place + CHUNK, end))) @ weights[used]
        for place in range(begin, end, CHUNK)
    ]
    return torch.cat(parts) + weights[-1]


def _best_threshold(scores: Tensor, codes: NDArray[np.int32]) -> tuple[float, float]:
    """The z from which to say yes, and its F1."""
    labels = torch.from_numpy(codes)
    ordered, order = scores[labels < 2].sort(descending=True)
    hits = (labels[labels < 2][order] == 1).cumsum(0).double()
    f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + hits[-1])
    # to equal scores one says yes, or no, together
    f1[:-1][ordered[:-1] == ordered[1:]] = -1
    place = int(f1.argmax())
    return float(ordered[place]), float(f1[place])


def _judged(
    values: NDArray[np.int8], cells: NDArray[np.int64], fitted: _Tuned, target: Target, part: tuple[int, int]
) -> float:
    said = _scores(values, cells, fitted.weights, *part) >= fitted.threshold
    codes = torch.from_numpy(target.codes[slice(*part)])
    hits, false = int((said & (codes == 1)).sum()), int((said & (codes == 0)).sum())
    return 2 * hits / max(1, hits + false + int((codes == 1).sum()))
