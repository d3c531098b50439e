"""Counts every n-gram of a token array, one order at a time, in sorted arrays.

An n-gram is known by the number of its first n-1 symbols among the (n-1)-grams and by its last symbol, packed
into one integer ``context * V + symbol``. Sorting these integers counts the n-grams; the place of each among
the distinct ones numbers the contexts of the next order. What is held beyond the result is one number a token
and the distinct n-grams of the order at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.errors import MisuseError

Integers = npt.NDArray[np.int64]

DEFAULT_MAX_NGRAMS = 100_000_000
CHUNK = 1 << 22
LARGEST_KEY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """The n-grams of one order that are kept, and what an estimator must know of all of them.

    Attributes:
        order: n.
        keys: [M] ``context * V + symbol``, strictly increasing; ``context`` is the place among the kept
            n-grams of the order below (0 for order 1).
        counts: [M] occurrences, or distinct left neighbours where continuation counts were asked for.
        totals: [kept of the order below] sum of ``counts`` over all continuations, pruned ones included.
        suffixes: [M] place, in the order below, of the n-gram without its first symbol.
        distinct: number of distinct n-grams before pruning.
        counts_of_counts: n1, n2, n3, n4: how many n-grams have the count 1, 2, 3, 4, before pruning.
    """

    order: int
    keys: Integers
    counts: Integers
    totals: Integers
    suffixes: Integers
    distinct: int
    counts_of_counts: tuple[int, int, int, int]


def count_orders(
    tokens: npt.NDArray[np.integer],
    vocabulary_size: int,
    order: int,
    *,
    continuation: bool,
    min_counts: Sequence[int] = (1,),
    max_ngrams: int = DEFAULT_MAX_NGRAMS,
    chunk: int = CHUNK,
) -> Iterator[OrderCounts]:
    """Yield the counts of order 1, 2, ..., ``order``.

    Args:
        tokens: [N] integers in 0..V-1; a memory map is read in pieces.
        vocabulary_size: V.
        order: the longest n-gram.
        continuation: below the highest order count distinct left neighbours instead of occurrences
            (Kneser-Ney); the start of the text is one more neighbour.
        min_counts: least number of occurrences of a kept n-gram by order; the last one holds for all higher
            orders.
        max_ngrams: bound on the kept n-grams of all orders together.
        chunk: tokens that are packed and sorted at once.

    Returns:
        One :class:`OrderCounts` an order, shortest first.

    Raises:
        MisuseError: an argument is out of range, a token is not below V, or the bound is exceeded.
    """
    length = len(tokens)
    _check(tokens, vocabulary_size, order, min_counts, max_ngrams)
    # numbers[i] is the place of the n-gram that starts at i among all distinct n-grams of the current order.
    numbers: npt.NDArray[np.integer] = np.zeros(length + 1, np.int32 if length < 2**31 else np.int64)
    nodes = 1
    kept_below: Integers | None = None
    stored = 0
    for n in range(1, order + 1):
        if nodes * (vocabulary_size + 1) > LARGEST_KEY:
            raise MisuseError(
                f"{nodes} contexts of {n - 1} symbols times {vocabulary_size} symbols do not fit 63 bits; "
                f"use an order below {n}."
            )
        pieces = _pieces(length - n + 1, chunk)
        keys, occurrences = _count(_keys(numbers, tokens, vocabulary_size, n, *piece) for piece in pieces)
        suffixes = np.zeros(len(keys), dtype=np.int64)
        for low, high in pieces:
            new = np.searchsorted(keys, _keys(numbers, tokens, vocabulary_size, n, low, high))
            if n > 1:
                suffixes[new] = numbers[low + 1 : high + 1]
            numbers[low:high] = new
        if continuation and n < order:
            pairs, _ = _count(_left_keys(numbers, tokens, vocabulary_size, *piece) for piece in pieces)
            counts = np.bincount(pairs // (vocabulary_size + 1), minlength=len(keys))
        else:
            counts = occurrences
        contexts = keys // vocabulary_size
        totals = np.bincount(contexts, weights=counts, minlength=nodes).astype(np.int64)
        frequent = occurrences >= min_counts[min(n, len(min_counts)) - 1]
        nodes, distinct = len(keys), len(keys)
        stored += int(frequent.sum())
        if stored > max_ngrams:
            raise MisuseError(
                f"The n-grams up to order {n} of these {length} tokens are {stored}, more than max_ngrams = "
                f"{max_ngrams}. Use an order below {n}, or prune rare n-grams with min_counts such as 1,1,2."
            )
        counts_of_counts = np.bincount(counts[counts <= 4], minlength=5)[1:]
        if kept_below is not None:
            totals = totals[kept_below >= 0]
        if kept_below is not None or not frequent.all():
            keys, counts, suffixes, kept_below = _prune(keys, counts, suffixes, frequent, kept_below, vocabulary_size)
        n1, n2, n3, n4 = (int(number) for number in counts_of_counts)
        yield OrderCounts(n, keys, counts, totals, suffixes, distinct, (n1, n2, n3, n4))


def _prune(
    keys: Integers,
    counts: Integers,
    suffixes: Integers,
    frequent: npt.NDArray[np.bool_],
    kept_below: Integers | None,
    vocabulary_size: int,
) -> tuple[Integers, Integers, Integers, Integers]:
    """Keep the frequent n-grams and renumber their contexts and suffixes, which are as frequent."""
    kept = np.where(frequent, np.cumsum(frequent) - 1, -1)
    keys, counts, suffixes = keys[frequent], counts[frequent], suffixes[frequent]
    if kept_below is not None:
        contexts, symbols = np.divmod(keys, vocabulary_size)
        keys = kept_below[contexts] * vocabulary_size + symbols
        suffixes = kept_below[suffixes]
    return keys, counts, suffixes, kept


def _keys(
    numbers: npt.NDArray[np.integer],
    tokens: npt.NDArray[np.integer],
    vocabulary_size: int,
    n: int,
    low: int,
    high: int,
) -> Integers:
    """Packed n-grams that start at low..high-1."""
    symbols = np.asarray(tokens[low + n - 1 : high + n - 1]).astype(np.int64)
    if n == 1 and (symbols.min() < 0 or symbols.max() >= vocabulary_size):
        place = int(np.flatnonzero((symbols < 0) | (symbols >= vocabulary_size))[0])
        raise MisuseError(
            f"Token {low + place} is {symbols[place]}; with a vocabulary of {vocabulary_size} "
            f"tokens are 0 to {vocabulary_size - 1}."
        )
    return numbers[low:high].astype(np.int64) * vocabulary_size + symbols


def _left_keys(
    numbers: npt.NDArray[np.integer],
    tokens: npt.NDArray[np.integer],
    vocabulary_size: int,
    low: int,
    high: int,
) -> Integers:
    """The n-grams that start at low..high-1, each packed with its left neighbour (V: the text starts)."""
    left = np.empty(high - low, dtype=np.int64)
    left[0] = vocabulary_size if low == 0 else int(tokens[low - 1])
    left[1:] = tokens[low : high - 1]
    return numbers[low:high].astype(np.int64) * (vocabulary_size + 1) + left


def _count(pieces: Iterable[Integers]) -> tuple[Integers, Integers]:
    """Distinct keys of all pieces in order, with their counts."""
    runs: list[tuple[Integers, Integers]] = []
    for keys in pieces:
        runs.append(_distinct(keys))
        # Runs of falling size keep the work of merging at a logarithm of the number of pieces.
        while len(runs) > 1 and len(runs[-2][0]) <= 2 * len(runs[-1][0]):
            runs.append(_merge(runs.pop(), runs.pop()))
    while len(runs) > 1:
        runs.append(_merge(runs.pop(), runs.pop()))
    return runs[0]


def _distinct(keys: Integers) -> tuple[Integers, Integers]:
    """Distinct keys in order, with their counts; sorts ``keys`` in place."""
    keys.sort()
    first = np.empty(len(keys), dtype=np.bool_)
    first[0] = True
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return keys[starts], np.diff(starts, append=len(keys))


def _merge(one: tuple[Integers, Integers], other: tuple[Integers, Integers]) -> tuple[Integers, Integers]:
    """Two sorted runs of keys with counts as one."""
    keys, _ = _distinct(np.concatenate([one[0], other[0]]))
    counts = np.zeros(len(keys), dtype=np.int64)
    for part_keys, part_counts in (one, other):
        counts[np.searchsorted(keys, part_keys)] += part_counts
    return keys, counts


def _pieces(length: int, chunk: int) -> list[tuple[int, int]]:
    return [(low, min(low + chunk, length)) for low in range(0, length, chunk)]


def _check(
    tokens: npt.NDArray[np.integer],
    vocabulary_size: int,
    order: int,
    min_counts: Sequence[int],
    max_ngrams: int,
) -> None:
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise MisuseError(f"n-grams are counted over a flat array of integers, not {tokens.dtype} {tokens.shape}.")
    if order < 1:
        raise MisuseError(f"The order of an n-gram model is at least 1, not {order}.")
    if len(tokens) < order:
        raise MisuseError(f"A text of {len(tokens)} tokens has no {order}-gram; use a longer text or a lower order.")
    if vocabulary_size < 1:
        raise MisuseError(f"The vocabulary has at least one symbol, not {vocabulary_size}.")
    if not min_counts or min_counts[0] < 1 or any(np.diff(min_counts) < 0):
        raise MisuseError(f"min_counts are positive and never fall from one order to the next, not {min_counts}.")
    if max_ngrams < 1:
        raise MisuseError(f"max_ngrams is at least 1, not {max_ngrams}.")
