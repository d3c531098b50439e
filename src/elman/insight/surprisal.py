"""How much each symbol of a text surprises a model: -log p(symbol | everything before it).

Hale 2001, "A probabilistic Earley parser as a psycholinguistic model", for the measure; in nats here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.errors import FailureError, MisuseError
from elman.generate.stepping import check_sizes, evaluating, opening
from elman.generate.stream import Detokenizer
from elman.models.likelihood import token_nats


@dataclass(frozen=True)
class Surprisal:
    """A text, symbol by symbol, with the model's surprise.

    Attributes:
        tokens: [N] printable names of the symbols, those that the vocabulary lacks as they stand in the text.
        pieces: [N] the text of each symbol; empty for one that ends within a character (the symbol that
            completes the character carries it) and for a start symbol.
        nats: [N] surprise of each; NaN for a symbol that is not predicted: a start symbol, or an unknown one
            that the policy skips. Infinite where the model gave probability 0.
        unknown: positions of symbols that the vocabulary lacks.
        vocabulary_size: V; ln V nats are the surprise of a uniform guess.
    """

    tokens: list[str]
    pieces: list[str]
    nats: NDArray[np.float64]
    unknown: NDArray[np.int64]
    vocabulary_size: int

    @cached_property
    def predicted(self) -> int:
        """Number of symbols that were predicted."""
        return int(np.count_nonzero(~np.isnan(self.nats)))

    @property
    def impossible(self) -> int:
        """Number of symbols that the model gave probability 0."""
        return int(np.count_nonzero(np.isposinf(self.nats)))

    @cached_property
    def total(self) -> float:
        """Sum over the predicted symbols: nats."""
        return float(np.nansum(self.nats))

    @property
    def mean(self) -> float:
        """Nats a predicted symbol; NaN where there is none."""
        return self.total / self.predicted if self.predicted else math.nan

    @property
    def bits(self) -> float:
        """Bits a predicted symbol."""
        return self.mean / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the mean surprise."""
        return math.exp(self.mean) if not self.mean > 700 else math.inf

    def unknown_counts(self) -> Counter[str]:
        """The symbols that the vocabulary lacks, with their counts."""
        return Counter(self.tokens[position] for position in self.unknown.tolist())


def surprisal(
    model: Any,
    vocabulary: Vocabulary,
    text: str | NDArray[np.integer],
    *,
    progress: Callable[[float], None] | None = None,
) -> Surprisal:
    """Score a text.

    The model reads the text once, its state carried from the first symbol to the last. The first symbol is
    predicted as the first of a generated text is: after the vocabulary's start symbol, else after a newline,
    else as one of V equally likely ones.

    Args:
        model: a language model.
        vocabulary: its vocabulary; its policy decides what becomes of symbols that it lacks.
        text: text, or ids [N].
        progress: called with the share that is done.

    Returns:
        The surprise of every symbol.

    Raises:
        MisuseError: an unknown symbol under the policy "error", or an id outside the vocabulary.
        FailureError: scores that are not numbers.
    """
    check_sizes(model, vocabulary)
    if isinstance(text, str):
        names, ids, unknown = _identify(vocabulary, text)
    else:
        ids, names, unknown = _checked(vocabulary, text), None, np.zeros(0, dtype=np.int64)
    kept = ids >= 0
    nats = np.full(len(ids), np.nan)
    nats[kept] = _nats(model, vocabulary, ids[kept], progress)
    tokens, pieces = _spell(vocabulary, ids, names, unknown)
    return Surprisal(tokens, pieces, nats, unknown, vocabulary.size)


def _identify(vocabulary: Vocabulary, text: str) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Tokens, the id fed for each (-1: skipped), and the positions of unknown ones."""
    if vocabulary.unknown == "error":
        vocabulary.encode(text)  # says which symbol, and after what
    names = vocabulary.tokenize(text)
    ids = vocabulary.ids(names).astype(np.int64)
    unknown = np.flatnonzero(ids < 0)
    if len(unknown) and vocabulary.unknown != "skip":
        # what the policy makes of one unknown symbol it makes of all; a start symbol may stand before it
        ids[unknown] = int(vocabulary.encode(names[unknown[0]]).ids[-1])
    return names, ids, unknown


def _checked(vocabulary: Vocabulary, ids: NDArray[np.integer]) -> NDArray[np.int64]:
    array = np.asarray(ids).astype(np.int64)
    if array.ndim != 1 or (array.size and not 0 <= int(array.min()) <= int(array.max()) < vocabulary.size):
        raise MisuseError(
            f"Ids to be scored must be a one-dimensional array of numbers from 0 to {vocabulary.size - 1}."
        )
    return array


def _nats(
    model: Any, vocabulary: Vocabulary, ids: NDArray[np.int64], progress: Callable[[float], None] | None
) -> NDArray[np.float64]:
    nats = np.empty(len(ids))
    before = [] if vocabulary.start is not None else opening(vocabulary)
    # without anything before it, the first symbol is not predicted by the model: it is one of V
    first = 0 if before else 1
    nats[:first] = math.log(vocabulary.size)
    if len(ids) > first:
        with evaluating(model):
            nats[first:] = token_nats(model, np.concatenate([np.array(before, dtype=np.int64), ids]), progress=progress)
    if np.isnan(nats).any():
        raise FailureError("The model's scores are not numbers: its weights are damaged or its training diverged.")
    nats[np.isin(ids, sorted(vocabulary.unpredicted))] = np.nan
    return nats


def _spell(
    vocabulary: Vocabulary, ids: NDArray[np.int64], names: Sequence[str] | None, unknown: NDArray[np.int64]
) -> tuple[list[str], list[str]]:
    """Printable names and pieces of text."""
    detokenizer = Detokenizer(vocabulary)
    symbols: dict[int, str] = {}
    lacking = set(unknown.tolist())
    tokens, pieces = [], []
    for position, token in enumerate(ids.tolist()):
        piece = detokenizer.feed(token) if token >= 0 else " " if vocabulary.kind == "words" else ""
        if position in lacking and names is not None:
            # what stands in the text, spaced as its substitute would be
            name = names[position]
            piece = " " + name if piece.startswith(" ") else name
        else:
            if token not in symbols:
                symbols[token] = vocabulary.symbol(token)
            name = symbols[token]
        tokens.append(name)
        pieces.append(piece)
    if tail := detokenizer.finish():
        pieces[-1] += tail
    return tokens, pieces
