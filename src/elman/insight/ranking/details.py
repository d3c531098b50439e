"""All that is said of the best cells of a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.bootstrap import Blocks
from elman.insight.ranking.findings import NAN, CellScore
from elman.insight.ranking.lags import lags
from elman.insight.ranking.measures import LEVELS, Array
from elman.insight.ranking.null import confirmed
from elman.insight.ranking.scan import Parts, Scan
from elman.insight.ranking.strata import Strata
from elman.insight.ranking.targets import Target, count, levels
from elman.insight.recording import Recording

NO_INTERVAL = (NAN, NAN)
NOT_BINARY = {
    "auc_choose": NAN,
    "auc": NAN,
    "auc_interval": NO_INTERVAL,
    "f1_choose": NAN,
    "f1": NAN,
    "f1_interval": NO_INTERVAL,
    "precision": NAN,
    "recall": NAN,
    "stratified_auc": NAN,
    "threshold": 0,
}
NOT_GRADED = {"spearman_choose": NAN, "spearman": NAN, "spearman_interval": NO_INTERVAL}


def best_cells(scan: Scan, number: int, binary: bool, count: int) -> NDArray[np.int64]:
    """The places, in the scan, of the best cells on the first part: by F1, or by the correlation's magnitude.

    Args:
        scan: of all cells.
        number: of the target.
        binary: whether it is a yes or no.
        count: how many.
    """
    if binary:
        # equal F1, as of a label that is nearly everywhere, is decided by the area
        return np.lexsort((-scan.auc_choose[number], -scan.f1_choose[number]))[:count]
    return np.argsort(-np.abs(scan.spearman_choose[number]), kind="stable")[:count]


def describe_cells(
    recording: Recording,
    cells: NDArray[np.int64],
    places: NDArray[np.int64],
    scan: Scan,
    number: int,
    target: Target,
    p: Array,
    parts: Parts,
    shifts: int,
    seeds: Sequence[int],
) -> tuple[CellScore, ...]:
    """The best cells of one target, with intervals.

    Args:
        recording: the cells' values.
        cells: numbers of all cells that were scanned.
        places: which of these to describe.
        scan: their scores.
        number: of the target in the scan.
        target: the labels.
        p: [places] corrected p of each.
        parts: where they were chosen, and where they are confirmed.
        shifts: of the null on the second part.
        seeds: of the bootstrap and of the shifts.
    """
    part = slice(*parts.confirm)
    found = cells[places]
    generator = np.random.default_rng(list(seeds))
    codes = target.codes[part]
    blocks = Blocks.draw(len(codes), generator)
    strata = Strata.of(codes, np.asarray(recording.ids[part])) if target.binary else None
    # the quarter and the label of each token
    labels = target.grades + 1
    pieces = (blocks.pieces * np.int32(labels) + codes) * np.int32(LEVELS) if target.binary else None
    whole = codes * np.int32(LEVELS)

    def one(order: int) -> tuple[dict[str, Any], Array]:
        place = (number, int(places[order]))
        sign, threshold = int(scan.sign[place]), int(scan.threshold[place])
        values = levels(recording.values[int(found[order]), part])
        if strata is None or pieces is None:
            joint = count(whole, labels, values).astype(np.float64)
            known = np.append(np.ones(target.grades), 0)[codes]
            grades = np.append(measures.midranks(joint[:-1].sum(-1)), 0.0)[codes]
            ranks = measures.midranks(joint[:-1].sum(0))[values] * known
            graded = {
                "spearman_choose": float(scan.spearman_choose[place]),
                "spearman": float(scan.spearman[place]),
                "spearman_interval": blocks.correlation(ranks, grades),
            }
            return NOT_BINARY | graded, joint
        by_piece = count(pieces, blocks.weights.shape[1] * labels, values).reshape(-1, labels, LEVELS)
        joint = by_piece.sum(0).astype(np.float64)
        hits, alarms, misses = measures.at_threshold(joint[1], joint[0], sign, threshold)
        auc_interval, f1_interval = blocks.binary(by_piece[:, :2], sign, threshold)
        binary = {
            "threshold": threshold,
            "auc_choose": float(scan.auc_choose[place]),
            "auc": float(scan.auc[place]),
            "auc_interval": auc_interval,
            "f1_choose": float(scan.f1_choose[place]),
            "f1": float(scan.f1[place]),
            "f1_interval": f1_interval,
            "precision": float(hits / np.maximum(1, hits + alarms)),
            "recall": float(hits / np.maximum(1, hits + misses)),
            "stratified_auc": 0.5 + sign * (strata.auc(values) - 0.5),
        }
        return NOT_GRADED | binary, joint

    made = [one(order) for order in range(len(places))]
    ranks = measures.midranks(np.stack([joint.sum(0) for _, joint in made]))
    signs = scan.sign[number, places]
    again = confirmed(recording.values, found, ranks, signs, target, parts.confirm, shifts, generator)
    late = lags(recording.values, found, scan.ranks[places], target, parts.choose)
    cells_found = []
    for order, (figures, joint) in enumerate(made):
        group, unit = recording.locate(int(found[order]))
        cells_found.append(
            CellScore(
                cell=int(found[order]),
                layer=group.layer,
                name=group.name,
                unit=unit,
                sign=int(signs[order]),
                mutual_information=float(measures.mutual_information(joint[:-1])),
                p=float(p[order]),
                p_confirm=float(again[order]),
                lag=int(late[order]),
                **figures,
            )
        )
    return tuple(cells_found)
