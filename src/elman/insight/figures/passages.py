"""Passages of a recording to be shown: the text with a cell's values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError
from elman.insight.recording import SCALE, Recording


@dataclass(frozen=True)
class Passage:
    """A piece of text with a value for each character.

    Attributes:
        title: such as the cell and what it was found to tell.
        text: the piece.
        values: [characters] from -1 to 1.
        labels: [characters] 1 where a hypothesis holds, to be underlined; None for none.
        caption: a sentence.
    """

    title: str
    text: str
    values: NDArray[np.floating]
    labels: NDArray[np.integer] | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        for name, array in (("values", self.values), ("labels", self.labels)):
            if array is not None and np.shape(array) != (len(self.text),):
                raise MisuseError(f"A passage of {len(self.text):,} characters needs as many {name}.")


def passage(
    recording: Recording,
    cell: int,
    begin: int,
    end: int,
    *,
    title: str = "",
    labels: NDArray[np.integer] | None = None,
    caption: str = "",
) -> Passage:
    """The tokens from ``begin`` to before ``end`` with a cell's values after each.

    Args:
        recording: cells over a text.
        cell: number.
        begin, end: first token, and the token after the last.
        title, caption: of the passage; default the cell.
        labels: [characters of the whole text], to be underlined.

    Raises:
        MisuseError: no such cell, or no such tokens.
    """
    if not 0 <= begin < end <= recording.length:
        raise MisuseError(f"A passage must be a part of the tokens 0 to {recording.length}; {begin} to {end} is none.")
    values = recording.cell(cell)[begin:end].astype(np.float32) / SCALE
    starts = recording.offsets[begin:end]
    after = int(recording.offsets[end]) if end < recording.length else len(recording.text)
    first = int(starts[0])
    # a token's value stands for all its characters; of tokens within one character, the last one's
    number = np.searchsorted(starts, np.arange(first, after), side="right") - 1
    return Passage(
        title or recording.describe(cell),
        recording.text[first:after],
        values[number],
        None if labels is None else np.asarray(labels[first:after]),
        caption,
    )


def typical_window(
    recording: Recording,
    cell: int,
    labels: NDArray[np.integer],
    said: NDArray[np.bool_] | None,
    part: tuple[int, int],
    length: int,
) -> tuple[int, int]:
    """A window that shows a cell as it usually is, not as it is at its best.

    Of windows that have both sides of the label in the part's usual mixture or nearer to half and half, the one of
    median agreement is taken.

    Args:
        recording: cells over a text.
        cell: number.
        labels: [N] of the tokens; graded ones count as above their median or not.
        said: [N] whether the cell says yes; None takes its rank agreement with the labels instead.
        part: tokens to choose from.
        length: of the window, in tokens.

    Returns:
        First token, and the token after the last.

    Raises:
        MisuseError: the part is not of this recording.
    """
    begin, end = part
    if not 0 <= begin < end <= recording.length or length < 1:
        raise MisuseError(f"A window must be of the tokens 0 to {recording.length}; {begin} to {end} are none.")
    length = min(length, end - begin)
    count = (end - begin) // length
    some = np.asarray(labels[begin : begin + count * length]).reshape(count, length)
    values = np.asarray(recording.cell(cell)[begin : begin + count * length]).reshape(count, length)
    if said is None:
        agreement = _correlations(values.astype(np.float64), some.astype(np.float64))
        mixture = some.std(1)
        usable = np.flatnonzero(mixture >= np.median(mixture))
    else:
        agreement = (said[begin : begin + count * length].reshape(count, length) == (some == 1)).mean(1)
        share = (some == 1).mean(1)
        usual = min(float(share.mean()), 0.5)
        usable = np.flatnonzero((share >= usual / 2) & (share <= 1 - usual / 2))
    if not len(usable):
        usable = np.arange(count)
    middle = int(usable[np.argsort(agreement[usable], kind="stable")[len(usable) // 2]])
    return begin + middle * length, begin + (middle + 1) * length


def _correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = (part - part.mean(1, keepdims=True) for part in (first, second))
    spread = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.abs((first * second).sum(1)) / np.maximum(spread, 1e-12)
