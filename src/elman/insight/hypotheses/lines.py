"""Where in its line a text has been read to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses.characters import NEWLINE, TAB, codepoints, last_before, since


def since_newline(text: str) -> NDArray[np.int32]:
    """Characters read since the last newline, which itself has 0."""
    return since(codepoints(text) == NEWLINE).astype(np.int32)


def line_position(text: str) -> NDArray[np.int32]:
    """Columns filled on the screen, a tab reaching to the next multiple of 8; 0 on the newline."""
    points = codepoints(text)
    columns = since(points == NEWLINE)
    tabs = np.flatnonzero(points == ord("\t"))
    wider = np.zeros(len(points), dtype=np.int64)
    line, gained = -1, 0
    widths = []
    for place, column in zip(tabs.tolist(), columns[tabs].tolist(), strict=True):
        start = place - column
        if start != line:
            line, gained = start, 0
        # this tab is counted as one column already
        more = -(column + gained) % TAB
        gained += more
        widths.append(more)
    wider[tabs] = widths
    total = np.cumsum(wider)
    newline = last_before(points == NEWLINE)
    return (columns + total - np.where(newline >= 0, total[newline], 0)).astype(np.int32)


def indentation(text: str) -> NDArray[np.int32]:
    """Columns of white space at the line's beginning, as far as it has been read."""
    points = codepoints(text)
    newline = points == NEWLINE
    blank = (points == ord(" ")) | (points == ord("\t"))
    columns = line_position(text)
    line = last_before(newline)
    solid = ~(blank | newline)
    before = np.concatenate([[-1], last_before(solid)[:-1]])[: len(points)]
    # the first solid character of each line ends its indentation; the first line begins at -1
    ending = last_before(solid & (np.where(before < 0, -2, before) < line))
    known = ending > line
    return np.where(known, columns[ending] - 1, columns).astype(np.int32)
