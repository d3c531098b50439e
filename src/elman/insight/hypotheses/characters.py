"""Texts as arrays of code points, and labels from spans, brackets and resets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Positions = NDArray[np.int64]
NEWLINE = ord("\n")
TAB = 8


@lru_cache(maxsize=2)
def codepoints(text: str) -> NDArray[np.uint32]:
    """The code points of a text, [characters]; not to be written to."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def where(text: str, test: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Which characters pass a test; it is called once for each distinct character."""
    points = codepoints(text)
    table = np.zeros(int(points.max()) + 1 if len(points) else 1, dtype=bool)
    table[points] = True
    distinct = np.flatnonzero(table)
    table[distinct] = [test(chr(point)) for point in distinct.tolist()]
    return table[points]


def inside(length: int, begins: Positions, ends: Positions) -> NDArray[np.uint8]:
    """1 from each begin to before its end.

    Args:
        length: of the text.
        begins, ends: [spans]; spans may touch and overlap. An empty span, ``end <= begin``, is left out.

    Returns:
        [length] 0 or 1.
    """
    begins, ends = np.asarray(begins, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    real = ends > begins
    steps = np.bincount(begins[real], minlength=length + 1)
    steps -= np.bincount(ends[real], minlength=length + 1)
    return (np.cumsum(steps[:length]) > 0).astype(np.uint8)


def last_before(marked: NDArray[np.bool_]) -> Positions:
    """For each place, the last marked one up to and including it; -1 where there is none."""
    places = np.where(marked, np.arange(len(marked)), -1)
    return np.maximum.accumulate(places)


def since(marked: NDArray[np.bool_]) -> Positions:
    """Characters read since the last marked one: 0 on it; the text begins as after one."""
    return np.arange(len(marked)) - last_before(marked)


def blank_lines(text: str) -> NDArray[np.bool_]:
    """Where a paragraph ends: the newline that ends a line of nothing but spaces and tabs."""
    points = codepoints(text)
    newline = points == NEWLINE
    solid = ~(newline | (points == ord(" ")) | (points == ord("\t")) | (points == ord("\r")))
    # the line before this newline has nothing solid after the newline before it
    before = np.concatenate([[-1], last_before(newline)[:-1]]) if len(points) else last_before(newline)
    return newline & (last_before(solid) <= before)


def line_starts(text: str) -> NDArray[np.bool_]:
    """The first character of each line."""
    newline = codepoints(text) == NEWLINE
    return np.concatenate([[True], newline[:-1]]) if len(newline) else newline


def depth(opened: NDArray[np.bool_], closed: NDArray[np.bool_], resets: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many brackets are open once each character has been read.

    What closes without having been opened changes nothing. At a reset all is closed before the character there counts.

    Args:
        opened, closed, resets: [characters].

    Returns:
        [characters], 0 or more.
    """
    if not len(opened):
        return np.zeros(0, dtype=np.int32)
    steps = opened.astype(np.int64) - closed
    level = np.cumsum(steps)
    starts = np.flatnonzero(resets)
    segment = np.cumsum(resets)
    base = np.concatenate([[0], (level - steps)[starts]])[segment]
    # far enough apart that the running minimum never sees an earlier segment
    offset = segment * (2 * len(steps) + 1)
    lowest = np.minimum.accumulate(np.minimum(level - base, 0) - offset) + offset
    return (level - base - lowest).astype(np.int32)


def matches(
    opened: NDArray[np.bool_], closed: NDArray[np.bool_], resets: NDArray[np.bool_]
) -> tuple[Positions, Positions]:
    """Each opening bracket and where it is closed.

    Args:
        opened, closed, resets: [characters], as for :func:`depth`.

    Returns:
        Places of the opening brackets, and of what closes them: a bracket, the reset that ends them, or the text's end.
    """
    events = np.flatnonzero(opened | closed)
    levels = depth(opened, closed, resets)[events] + closed[events]
    segments = np.cumsum(resets)[events]
    # brackets of one segment and level open and close in turn
    order = np.lexsort((events, levels, segments))
    events, levels, segments = events[order], levels[order], segments[order]
    opening = opened[events]
    paired = np.zeros(len(events), dtype=bool)
    paired[:-1] = ~opening[1:] & (levels[1:] == levels[:-1]) & (segments[1:] == segments[:-1])
    bounds = np.concatenate([np.flatnonzero(resets), [len(opened)]])
    after = bounds[np.searchsorted(bounds, events, side="right")]
    ends = np.where(paired, np.concatenate([events[1:], [0]]), after) if len(events) else after
    found = np.argsort(events[opening])
    return events[opening][found], ends[opening][found]
