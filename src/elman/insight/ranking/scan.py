"""One pass over all cells: how well each tells each hypothesis, on the half where one chooses and on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from elman.errors import CancelledError
from elman.insight.ranking import measures
from elman.insight.ranking.measures import LEVELS, Array
from elman.insight.ranking.targets import Pack, Target, levels, members_of, packs, tally

# cells whose histograms are held at once
BATCH = 16

Progress = Callable[[float], None] | None
Cancel = Callable[[], bool] | None


@dataclass(frozen=True)
class Parts:
    """The tokens on which cells are chosen and those on which the choice is confirmed.

    Attributes:
        choose, confirm: (first token, token after the last).
    """

    choose: tuple[int, int]
    confirm: tuple[int, int]

    @classmethod
    def halves(cls, length: int) -> Parts:
        """The first and the second half."""
        return cls((0, length // 2), (length // 2, length))


@dataclass(frozen=True)
class Scan:
    """Every cell's scores for every target, [targets, cells].

    Binary targets have ``auc``, ``f1``, ``sign`` and ``threshold``; graded ones ``spearman``, whose sign is ``sign``.
    What is not applicable is 0.

    Attributes:
        auc_choose, auc: area of the signed value, on either part.
        f1_choose, f1: at the threshold that is best on the first part.
        spearman_choose, spearman: rank correlation.
        sign: 1 or -1, chosen on the first part.
        threshold: int8 level, chosen on the first part.
        ranks: [cells, 256] centred midrank of each level on the first part.
    """

    auc_choose: Array
    auc: Array
    f1_choose: Array
    f1: Array
    spearman_choose: Array
    spearman: Array
    sign: NDArray[np.int64]
    threshold: NDArray[np.int64]
    ranks: Array


def scan(
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    targets: Sequence[Target],
    parts: Parts,
    progress: Progress = None,
    cancel: Cancel = None,
) -> Scan:
    """Score cells.

    Args:
        values: [C, N].
        cells: which of them, [cells].
        targets: of the same tokens.
        parts: where to choose and where to confirm.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    shape = (len(targets), len(cells))
    made = Scan(
        auc_choose=np.zeros(shape),
        auc=np.zeros(shape),
        f1_choose=np.zeros(shape),
        f1=np.zeros(shape),
        spearman_choose=np.zeros(shape),
        spearman=np.zeros(shape),
        sign=np.ones(shape, dtype=np.int64),
        threshold=np.zeros(shape, dtype=np.int64),
        ranks=np.zeros((len(cells), LEVELS)),
    )
    packed = packs(targets)
    with workers() as pool:
        for begin in range(0, len(cells), BATCH):
            stop_if(cancel)
            some = slice(begin, min(begin + BATCH, len(cells)))
            for part in (parts.choose, parts.confirm):
                _score(made, values, cells, some, targets, packed, part, part == parts.choose, pool)
            if progress is not None:
                progress(some.stop / len(cells))
    return made


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch has, each of which does its work alone.

    A thread that began a team of its own in every operation would wait for the others' teams.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        # what a thread sets holds for some libraries in all of them
        torch.set_num_threads(count)


def stop_if(cancel: Cancel) -> None:
    """Stop when asked to.

    Raises:
        CancelledError: it was.
    """
    if cancel is not None and cancel():
        raise CancelledError("The hunt was cancelled.")


def _score(
    made: Scan,
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    some: slice,
    targets: Sequence[Target],
    packed: Sequence[Pack],
    part: tuple[int, int],
    choosing: bool,
    pool: ThreadPoolExecutor,
) -> None:
    tokens = slice(*part)
    rows = [levels(values[cell, tokens]) for cell in cells[some].tolist()]
    for pack in packed:
        joint = np.empty((len(rows), len(pack.rows), LEVELS))
        whole = np.empty((len(rows), LEVELS))

        def fill(row: int, pack: Pack = pack, joint: Array = joint, whole: Array = whole) -> None:
            joint[row], whole[row] = tally(pack, tokens, rows[row])

        list(pool.map(fill, range(len(rows))))
        if choosing and pack is packed[0]:
            made.ranks[some] = measures.midranks(whole)
        for number, place in members_of(pack, targets):
            score = _score_binary if targets[number].binary else _score_graded
            score(made, number, some, joint[:, place], choosing)


def _score_binary(made: Scan, number: int, some: slice, joint: Array, choosing: bool) -> None:
    at = (number, some)
    off, on = joint[..., 0, :], joint[..., 1, :]
    area = np.nan_to_num(measures.auc(on, off), nan=0.5)
    if choosing:
        made.sign[at] = np.where(area < 0.5, -1, 1)
        made.f1_choose[at], made.threshold[at] = measures.best_threshold(on, off, made.sign[at])
        made.auc_choose[at] = 0.5 + made.sign[at] * (area - 0.5)
        return
    made.auc[at] = 0.5 + made.sign[at] * (area - 0.5)
    for place in range(some.start, some.stop):
        here = (number, place)
        found = measures.at_threshold(
            on[place - some.start], off[place - some.start], int(made.sign[here]), int(made.threshold[here])
        )
        made.f1[here] = measures.f1(*found)


def _score_graded(made: Scan, number: int, some: slice, joint: Array, choosing: bool) -> None:
    at = (number, some)
    correlation = measures.spearman(joint)
    if choosing:
        made.spearman_choose[at] = correlation
        made.sign[at] = np.where(correlation < 0, -1, 1)
    else:
        made.spearman[at] = correlation
