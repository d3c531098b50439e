"""Inside quotes, as prose has them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses.characters import blank_lines, codepoints, inside, last_before

OPENING, CLOSING = "“«", "”»"

# words that begin with an apostrophe, which is not a quote
ELISIONS = (
    "tis|twas|twere|twill|twould|tisn|twasn|em|im|er|til|till|tween|twixt|neath|gainst|cause|bout|round|fraid|ere|ud|un|n|"
    "larum|havior|ld|ll|re|ve|d|s|t|o"
)
OPENER = re.compile(
    rf"(?:(?<=[\s(\[{{<—–\-\"“])|(?<=^))(?:(?P<curly>‘)|')(?=[^\s])(?!(?i:{ELISIONS})\b)(?!\d\ds?\b)", re.MULTILINE
)
CLOSER = re.compile(r"(?<=[^\s(\[{])(?:(?P<curly>’)|')(?!\w)")


def double_quotes(text: str) -> NDArray[np.uint8]:
    """Inside "…", “…” or «…»; a quote that is not closed ends with its paragraph."""
    points = codepoints(text)
    ends = blank_lines(text)
    straight = points == ord('"')
    count = np.cumsum(straight)
    start = last_before(ends)
    odd = (count - np.where(start >= 0, count[start], 0)) % 2 == 1
    opening = np.isin(points, [ord(sign) for sign in OPENING])
    closing = np.isin(points, [ord(sign) for sign in CLOSING])
    last = last_before(opening | closing | ends)
    curly = (last >= 0) & opening[last]
    return (odd | curly).astype(np.uint8)


def single_quotes(text: str) -> NDArray[np.uint8]:
    """Inside '…' or ‘…’, told from apostrophes.

    An opening quote stands after a space, a bracket, a dash or a double quote, before something that is neither a
    space nor a known elision ('tis), and has a closing one in its paragraph; a closing quote stands after something
    and before no letter. What cannot be told by this, a plural possessive within a quote, closes it.
    """
    paragraphs = np.flatnonzero(blank_lines(text)).tolist()
    closers: dict[bool, list[int]] = {False: [], True: []}
    for found in CLOSER.finditer(text):
        closers[found["curly"] is not None].append(found.start())
    begins, ends = [], []
    free = 0
    for found in OPENER.finditer(text):
        place = found.start()
        if place < free:
            continue
        places = closers[found["curly"] is not None]
        number = bisect_right(places, place)
        limit = bisect_left(paragraphs, place)
        if number < len(places) and (limit == len(paragraphs) or places[number] < paragraphs[limit]):
            begins.append(place)
            ends.append(places[number])
            free = places[number] + 1
    return inside(len(text), np.array(begins), np.array(ends))
