"""How much of a text is copied from the training text.

Windows of L tokens are compared by the polynomial hash

    H_i = sum_j x_{i+j} b^j  (mod 2^64, b odd)  =  b^-i (P_{i+L} - P_i),   P_i = sum_{k<i} x_k b^k

which costs one subtraction and one product a position whatever L is. A hash only proposes: every match that
counts is compared token by token, so a collision can neither make a text look copied nor hide a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse, with its bits well spread
_BLOCK = 1 << 20
_TABLE_BITS = 20

Tokens = NDArray[np.integer]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Novelty:
    """What of a text occurs in the training text.

    Attributes:
        longest: tokens of the longest passage that occurs there; 0 where not even one token does.
        start: where in the text such a passage begins.
        training_start: where in the training text it begins.
        share: of the text's n-grams, the share that occurs there; None where the text is shorter than n.
        n: tokens of an n-gram.
    """

    longest: int
    start: int
    training_start: int
    share: float | None
    n: int


def novelty(text: Tokens, training: Tokens, n: int = 20) -> Novelty:
    """Compare a text with the training text.

    Args:
        text: [M] ids.
        training: [N] ids of the same vocabulary; read block by block, so it may be a memory map of any size.
        n: tokens of the n-grams that are counted.

    Returns:
        The longest copied passage and the share of copied n-grams, both exact.

    Raises:
        MisuseError: ``n`` below 1, or arrays that are not one-dimensional.
    """
    if n < 1:
        raise MisuseError(f"n is {n}; an n-gram has at least one token.")
    if text.ndim != 1 or training.ndim != 1:
        raise MisuseError("Novelty compares two one-dimensional arrays of ids.")
    hasher = _Hasher(_BLOCK + len(text))
    copied = _copied(hasher, text, training, n)
    if copied.any():
        longest, match = _longest_from(hasher, text, training, n)
    else:
        longest, match = _longest_below(hasher, text, training, min(n, len(text) + 1))
    return Novelty(longest, *match, float(copied.mean()) if len(copied) else None, n)


def _copied(hasher: _Hasher, text: Tokens, training: Tokens, length: int) -> NDArray[np.bool_]:
    """For every window of the text [M - length + 1] whether it occurs in the training text."""
    copied = np.zeros(max(len(text) - length + 1, 0), dtype=bool)
    for _, block in _blocks(training, length):
        # what was found once need not be found again
        missing = np.flatnonzero(~copied)
        if not len(missing):
            break
        windows = _Windows(hasher, text, length, missing)
        hashes = hasher.windows(block, length)
        places = windows.candidates(hashes)
        copied[missing] = windows.found(block, places, hashes[places]) >= 0
    return copied


def _longest_below(hasher: _Hasher, text: Tokens, training: Tokens, limit: int) -> tuple[int, tuple[int, int]]:
    """The longest common passage of fewer than ``limit`` tokens, by bisection: its parts are common too."""
    low, high, match = 0, limit, (0, 0)
    while high - low > 1:
        length = (low + high) // 2
        windows = _Windows(hasher, text, length)
        for offset, block in _blocks(training, length):
            hashes = hasher.windows(block, length)
            places = windows.candidates(hashes)
            here = windows.match(block, places, hashes[places])
            if here is not None:
                low, match = length, (here[0], offset + here[1])
                break
        else:
            high = length
    return low, match


def _longest_from(hasher: _Hasher, text: Tokens, training: Tokens, known: int) -> tuple[int, tuple[int, int]]:
    """The longest common passage, where one of ``known`` tokens exists: doubling, then bisection.

    A longer passage can only begin where a shorter one does, so each success narrows the places left to look
    at.
    """
    low, high, match = known, len(text) + 1, (0, 0)
    places: Positions | None = None
    length = known
    while True:
        windows = _Windows(hasher, text, length)
        here, narrower = _search(hasher, windows, training, places)
        if here is None:
            high = length
        else:
            low, match, places = length, here, narrower
        if high - low <= 1:
            return low, match
        length = min(2 * low, (low + high) // 2) if high <= len(text) else min(2 * low, len(text))


def _search(
    hasher: _Hasher, windows: _Windows, training: Tokens, places: Positions | None
) -> tuple[tuple[int, int] | None, Positions | None]:
    """A verified match, and all places of the training text that may begin one (None: too many to list)."""
    length = windows.length
    match: tuple[int, int] | None = None
    if places is not None and len(places) * length <= len(training):
        places = places[places <= len(training) - length]
        hashes = hasher.at(training, places, length)
        kept = windows.candidates(hashes)
        places = places[kept]
        return windows.match(training, places, hashes[kept]), places
    found: list[Positions] = []
    count = 0
    for offset, block in _blocks(training, length):
        hashes = hasher.windows(block, length)
        here = windows.candidates(hashes)
        if match is None:
            match = windows.match(block, here, hashes[here])
            if match is not None:
                match = (match[0], offset + match[1])
        count += len(here)
        # beyond this, looking at each place would cost more than the next pass over everything
        if count * length <= len(training):
            found.append(here + offset)
    return match, np.concatenate(found) if found and count * length <= len(training) else None


class _Hasher:
    """Window hashes of arrays up to a length, from tables of the powers of b and of its inverse."""

    def __init__(self, capacity: int) -> None:
        self._powers = _powers(_BASE, capacity)
        self._inverses = _powers(pow(_BASE, -1, 2**64), capacity)

    def windows(self, tokens: Tokens, length: int) -> Hashes:
        """The hash of every window [len(tokens) - length + 1]; arithmetic modulo 2^64 is what uint64 does."""
        count = len(tokens) - length + 1
        prefix = np.zeros(len(tokens) + 1, dtype=np.uint64)
        np.cumsum(tokens.astype(np.uint64) * self._powers[: len(tokens)], out=prefix[1:])
        return (prefix[length:] - prefix[:count]) * self._inverses[:count]

    def at(self, tokens: Tokens, places: Positions, length: int) -> Hashes:
        """The hashes of the windows that begin at ``places``."""
        step = max(1, _BLOCK // length)
        parts = [
            (_rows(tokens, places[first : first + step], length).astype(np.uint64) * self._powers[:length]).sum(axis=1)
            for first in range(0, len(places), step)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


class _Windows:
    """Windows of the text, to be recognised in the training text by their hashes."""

    def __init__(self, hasher: _Hasher, text: Tokens, length: int, starts: Positions | None = None) -> None:
        self.text, self.length = text, length
        self.starts = np.arange(len(text) - length + 1) if starts is None else starts
        # equal hashes share a group; `group` says which one each window is in
        self.hashes, self.group = np.unique(hasher.windows(text, length)[self.starts], return_inverse=True)
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._table[self._bucket(self.hashes)] = True

    def candidates(self, hashes: Hashes) -> Positions:
        """Indices of the given hashes that one of the windows has."""
        # the table fits a cache and turns nearly all away before the search of the sorted hashes
        maybe = np.flatnonzero(self._table[self._bucket(hashes)])
        return maybe[self.hashes[self._nearest(hashes[maybe])] == hashes[maybe]]

    def found(self, tokens: Tokens, places: Positions, hashes: Hashes) -> Positions:
        """For every window a place at which exactly it stands, else -1.

        Args:
            tokens: training tokens.
            places: candidates in ``tokens``.
            hashes: the candidates' hashes.
        """
        groups = self._nearest(hashes)
        first = np.full(len(self.hashes), -1, dtype=np.int64)
        first[groups[::-1]] = places[::-1]
        result = first[self.group]
        hit = np.flatnonzero(result >= 0)
        same = np.zeros(len(hit), dtype=bool)
        step = max(1, _BLOCK // self.length)
        for at in range(0, len(hit), step):
            some = hit[at : at + step]
            mine = _rows(self.text, self.starts[some], self.length)
            same[at : at + step] = (mine == _rows(tokens, result[some], self.length)).all(axis=1)
        for window in hit[~same].tolist():  # a collision: the hash's other places may still hold the window
            begin = self.starts[window]
            mine = self.text[begin : begin + self.length]
            others = places[groups == self.group[window]]
            result[window] = next((p for p in others if np.array_equal(tokens[p : p + self.length], mine)), -1)
        return result

    def match(self, tokens: Tokens, places: Positions, hashes: Hashes) -> tuple[int, int] | None:
        """The first window that stands at a candidate, as (start in the text, place); None if none does."""
        result = self.found(tokens, places, hashes)
        hit = np.flatnonzero(result >= 0)
        return (int(self.starts[hit[0]]), int(result[hit[0]])) if len(hit) else None

    def _nearest(self, hashes: Hashes) -> Positions:
        return np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)

    @staticmethod
    def _bucket(hashes: Hashes) -> Positions:
        # the high bits: the low ones of a product modulo 2^64 depend on few bits of its factors
        return (hashes >> np.uint64(64 - _TABLE_BITS)).view(np.int64)


def _blocks(tokens: Tokens, length: int) -> Iterator[tuple[int, Tokens]]:
    """Blocks that overlap so far that every window of ``length`` lies within one; with where each begins."""
    for start in range(0, len(tokens) - length + 1, _BLOCK):
        yield start, np.asarray(tokens[start : start + _BLOCK + length - 1])


def _rows(tokens: Tokens, places: Positions, length: int) -> Tokens:
    return np.asarray(tokens[places[:, None] + np.arange(length)])


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers)
