"""The tables of an n-gram model: a trie of sorted arrays, looked up by binary search.

Both estimators say the probability of a symbol w after a context h in one form. Let h' be h without its first
symbol:

    p(w | h) = probability(hw)                    where the n-gram hw is in the tables
    p(w | h) = weight(h) p(w | h')                where it is not; weight(h) = 1 for a context that was never
    seen

and p(w | nothing) ends in weight(empty) / V. For interpolated Kneser-Ney ``probability`` holds the
interpolated value and ``weight`` is the paper's gamma; for maximum likelihood the weight of a seen context is
0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SLAB = 1 << 22


@dataclass(frozen=True, slots=True)
class NgramTables:
    """Sorted n-grams of every order with their probabilities, and the weights of the contexts.

    Attributes:
        vocabulary_size: V.
        keys: for order n = 1..N an array [M_n] of ``context * V + symbol``, strictly increasing, ``context``
            being the place of the first n-1 symbols in the order below.
        probabilities: for order n = 1..N an array [M_n].
        weights: for contexts of n = 0..N-1 symbols an array [M_n] (M_0 = 1, the empty context).
    """

    vocabulary_size: int
    keys: tuple[Integers, ...]
    probabilities: tuple[npt.NDArray[np.float32], ...]
    weights: tuple[npt.NDArray[np.float32], ...]

    @property
    def order(self) -> int:
        """The length of the longest n-gram."""
        return len(self.keys)

    @property
    def memory(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for arrays in (self.keys, self.probabilities, self.weights) for array in arrays)

    def walk(self, history: Integers) -> Iterator[Integers]:
        """Look up every n-gram of some histories, one order at a time.

        Args:
            history: [S, B] symbols, B texts side by side; -1 stands for a place before the text.

        Returns:
            For n = 0..N an array [S + 1 - n, B]: the place of the n-gram that starts at each symbol, -1 where
            it is not in the tables. It stops early when the texts are shorter than n.
        """
        length, batch = history.shape
        places = np.zeros((length + 1, batch), dtype=np.int64)
        yield places
        for n, keys in enumerate(self.keys, start=1):
            if n > length:
                return
            symbols = history[n - 1 :]
            places = places[:-1]
            wanted = np.where((places < 0) | (symbols < 0), -1, places * self.vocabulary_size + symbols)
            places = find(keys, wanted)
            yield places

    def surprisal(self, history: Integers, skip: int) -> Floats:
        """Nats of each symbol of one text, given at most N-1 symbols before it.

        Args:
            history: [S] symbols.
            skip: symbols at the front that are context only.

        Returns:
            [S - skip] values of -log p, infinite where p is 0.
        """
        logs = np.full(len(history) - skip, -np.log(self.vocabulary_size))
        levels = self.walk(history[:, None])
        contexts = next(levels)[:, 0]
        for n, level in enumerate(levels, start=1):
            nodes = level[:, 0]
            # Row j of nodes is the n-gram that ends at symbol j + n - 1.
            first = max(skip - n + 1, 0)
            nodes_here, contexts_here = nodes[first:], contexts[first : len(nodes)]
            part = logs[first + n - 1 - skip :]
            with np.errstate(divide="ignore"):
                seen = contexts_here >= 0
                part[seen] += np.log(self.weights[n - 1][contexts_here[seen]], dtype=np.float64)
                hit = nodes_here >= 0
                part[hit] = np.log(self.probabilities[n - 1][nodes_here[hit]], dtype=np.float64)
            contexts = nodes
        return -logs

    def distributions(self, history: Integers, steps: int) -> Iterator[tuple[slice, Floats]]:
        """Probabilities of every symbol after each of the last places of some histories.

        Args:
            history: [S, B] symbols, -1 before the text; S >= steps.
            steps: T, the number of places.

        Returns:
            Pieces (rows, [rows, V]) that together cover the T * B rows in row-major order; V of them at a
            time are never more than some millions of numbers.
        """
        size, batch = self.vocabulary_size, history.shape[1]
        contexts: list[Integers] = []
        for level in islice(self.walk(history), self.order):
            # The context of n symbols of the row at time t starts n places before it, so the last T rows are
            # wanted.
            rows = level[max(len(level) - steps, 0) :]
            missing = steps - len(rows)
            contexts.append(np.concatenate([np.full((missing, batch), -1), rows]).reshape(-1))
        slab = max(1, SLAB // size)
        for low in range(0, steps * batch, slab):
            rows_here = slice(low, min(low + slab, steps * batch))
            yield rows_here, self._dense([context[rows_here] for context in contexts])

    def _dense(self, contexts: list[Integers]) -> Floats:
        """[R, V] probabilities from the place of each row's context of 0, 1, 2, ... symbols."""
        size = self.vocabulary_size
        dense = np.full((len(contexts[0]), size), 1.0 / size)
        for context, keys, probability, weight in zip(
            contexts, self.keys, self.probabilities, self.weights, strict=False
        ):
            rows = np.flatnonzero(context >= 0)
            if not len(rows):
                continue
            known = context[rows]
            dense[rows] *= weight[known][:, None]
            starts = np.searchsorted(keys, known * size)
            counts = np.searchsorted(keys, (known + 1) * size) - starts
            # All continuations of all rows, laid end to end.
            ends = np.cumsum(counts)
            children = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
            dense[np.repeat(rows, counts), keys[children] % size] = probability[children]
        return dense


def find(keys: Integers, wanted: Integers) -> Integers:
    """Places of ``wanted`` in the sorted ``keys``, -1 where absent; a wanted -1 is always absent.

    Args:
        keys: [M] strictly increasing, none negative.
        wanted: any shape.

    Returns:
        Places in the shape of ``wanted``.
    """
    if not len(keys):
        return np.full(wanted.shape, -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
