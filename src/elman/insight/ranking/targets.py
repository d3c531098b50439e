"""The labels of hypotheses at the tokens of a recording, as small codes that can be counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from elman.insight.hypotheses import UNDEFINED, Hypothesis
from elman.insight.ranking.measures import LEVELS, LOWEST, Array

# Codes of labels that are counted together; 256 of them with 256 levels stay in a processor's own cache.
CODES = 256
# grades up to which a table is quicker than a sort
SMALL = 2**20


@dataclass(frozen=True)
class Target:
    """A hypothesis at every token.

    Attributes:
        hypothesis: what it is.
        codes: int32 [N] 0 to ``grades`` - 1 in the order of the labels; ``grades`` where the label is undefined.
        grades: how many different labels there are; 2 of a binary hypothesis.
        lowest: of each code, the least label that it stands for: [grades].
    """

    hypothesis: Hypothesis
    codes: NDArray[np.int32]
    grades: int
    lowest: NDArray[np.int64]

    @property
    def binary(self) -> bool:
        """Whether it is a yes or no."""
        return self.hypothesis.kind == "binary"

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Whether the hypothesis says something, [N]."""
        return self.codes < self.grades

    def counts(self, begin: int, end: int) -> NDArray[np.int64]:
        """How often each code stands in a part, [grades]."""
        return np.bincount(self.codes[begin:end], minlength=self.grades + 1)[: self.grades]


def target(hypothesis: Hypothesis, text: str, offsets: NDArray[np.int64]) -> Target:
    """The label of each token: that of its first character.

    A graded hypothesis of more than 255 different grades is counted in classes of equally many tokens.

    Args:
        hypothesis: what to label.
        text: the recording's.
        offsets: [N] first characters of the tokens.

    Raises:
        MisuseError: the hypothesis's function did not return labels.
    """
    labels = hypothesis.label(text)[offsets]
    known = labels != UNDEFINED
    if hypothesis.kind == "binary":
        return Target(hypothesis, np.where(known, labels, 2).astype(np.int32), 2, np.arange(2))
    graded = labels[known]
    if len(graded) and int(graded.max()) < SMALL:
        # without sorting
        every = np.bincount(graded)
        different = np.flatnonzero(every)
        counts, inverse = every[different], (np.cumsum(every > 0) - 1)[graded]
    else:
        different, inverse, counts = np.unique(graded, return_inverse=True, return_counts=True)
    classes = np.arange(len(different))
    if len(different) >= CODES:
        shares = (np.cumsum(counts) - counts / 2) / counts.sum()
        classes = np.unique((shares * (CODES - 1)).astype(np.int64), return_inverse=True)[1]
    grades = int(classes.max()) + 1 if len(classes) else 1
    codes = np.full(len(labels), grades, dtype=np.int32)
    codes[known] = classes[inverse]
    lowest = different[np.searchsorted(classes, np.arange(grades))] if len(different) else np.zeros(1)
    return Target(hypothesis, codes, grades, lowest.astype(np.int64))


@dataclass(frozen=True)
class Pack:
    """Several targets' codes in one, so that one pass over a cell's values counts them all.

    Attributes:
        members: which targets.
        codes: int32 [N] 256 times the joint code, so that a level can be added.
        size: number of joint codes.
        rows: [sum of the members' grades, size] which joint codes have which label.
    """

    members: tuple[int, ...]
    codes: NDArray[np.int32]
    size: int
    rows: Array


def packs(targets: Sequence[Target]) -> list[Pack]:
    """Targets packed so that no pack has more than 256 joint codes.

    Args:
        targets: any number.
    """
    widths = [each.grades + int(not each.defined.all()) for each in targets]
    bins: list[list[int]] = []
    for number in sorted(range(len(targets)), key=lambda number: -widths[number]):
        fitting = (each for each in bins if np.prod([widths[member] for member in each]) * widths[number] <= CODES)
        members = next(fitting, None)
        if members is None:
            bins.append([number])
        else:
            members.append(number)
    return [_pack(targets, members, widths) for members in bins]


def _pack(targets: Sequence[Target], members: Sequence[int], widths: Sequence[int]) -> Pack:
    size = int(np.prod([widths[member] for member in members]))
    codes = np.zeros(len(targets[members[0]].codes), dtype=np.int32)
    digits = np.arange(size)
    rows = []
    for member in members:
        codes = codes * np.int32(widths[member]) + targets[member].codes
    for member in reversed(members):
        digits, digit = np.divmod(digits, widths[member])
        rows.append(digit == np.arange(targets[member].grades)[:, None])
    return Pack(tuple(members), codes * np.int32(LEVELS), size, np.concatenate(rows[::-1]).astype(np.float64))


def members_of(pack: Pack, targets: Sequence[Target]) -> Iterator[tuple[int, slice]]:
    """The members of a pack, each with its rows in what :func:`tally` gives.

    Args:
        pack: of ``targets``.
        targets: all.
    """
    begin = 0
    for member in pack.members:
        yield member, slice(begin, begin + targets[member].grades)
        begin += targets[member].grades


def levels(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Values as levels, 0 for -128 to 255 for 127."""
    return np.ascontiguousarray(values).view(np.uint8) ^ np.uint8(-LOWEST)


def count(codes: NDArray[np.int32], size: int, found: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each level stands beside each code.

    Args:
        codes: [n] 256 times the code.
        size: number of codes.
        found: [n] levels.

    Returns:
        [size, 256].
    """
    # torch counts int32 as it is, and lets other threads run meanwhile
    counts = torch.bincount(torch.from_numpy(codes + found), minlength=size * LEVELS)
    return counts.numpy().reshape(size, LEVELS)


def tally(pack: Pack, part: slice, found: NDArray[np.uint8]) -> tuple[Array, NDArray[np.int64]]:
    """The histograms of all members of a pack, and that of all values.

    Args:
        pack: what to count.
        part: tokens.
        found: [n] levels of a cell there.

    Returns:
        [sum of the members' grades, 256] and [256].
    """
    counts = count(pack.codes[part], pack.size, found)
    if len(pack.members) == 1:
        # its codes are the labels
        return counts[: len(pack.rows)].astype(np.float64), counts.sum(0)
    # torch's product keeps to the thread that asks for it, where numpy's would begin a team
    rows = torch.from_numpy(pack.rows) @ torch.from_numpy(counts.astype(np.float64))
    return rows.numpy(), counts.sum(0)
