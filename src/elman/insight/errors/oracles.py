"""The oracles: what would have helped with an error, from the plainest help to the least.

An error is a character that the model gave less than one half. The oracles are asked one after the other, and an error
belongs to the first that explains it:

1.  n-grams: some n-gram model of the training text, n from 1 to 9, gives the character more than one half. Such an
    error could be mended with what stands right before it.
2.  memory: the character is inside a word, behind its first, and the same word began at most 100, 500, 1000 or 5000
    characters before. A model that remembered what it has read could finish it.
3.  rare words: the word occurs at most 5 times in the training text. More text would help.
4.  word level: the character follows a space, a tab, a newline or a quote. Which word comes next is harder than how it
    goes on.
5.  punctuation: the character is a punctuation mark or another sign.
6.  boost: the model gave it at least 0.4, so that one tenth more would do.

What is left is divided by how much more would do. The order and the limits are those of Karpathy, Johnson and Fei-Fei
2015, as recalled; that a word's first character is no matter of memory is our reading, since knowing a word does not
say that it comes now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError
from elman.insight.errors.characters import QUOTES, SPACES, Points, Words, is_punctuation, member

Mask = NDArray[np.bool_]

ERROR_BELOW = 0.5
ORDERS = tuple(range(1, 10))
MEMORIES = (100, 500, 1000, 5000)
RARE = (0, 1, 2, 3, 4, 5)
BOOST = 0.1
BOOSTS = (0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Evidence:
    """A text, character by character, with all that the oracles look at.

    Attributes:
        points: [N] code points.
        nats: [N] -log p of each under the model; NaN where it was not predicted.
        ngrams: by order [N] -log p under n-gram models of the training text.
        train: the training text's code points.
    """

    points: Points
    nats: NDArray[np.floating]
    ngrams: Mapping[int, NDArray[np.floating]]
    train: Points

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            MisuseError: lengths differ.
        """
        for values in (self.nats, *self.ngrams.values()):
            if values.shape != self.points.shape:
                raise MisuseError(
                    f"A text of {len(self.points)} characters needs as many surprises, not {list(values.shape)}."
                )

    @cached_property
    def words(self) -> Words:
        """The words of the text."""
        return Words.of(self.points)

    @cached_property
    def errors(self) -> Mask:
        """[N] where the model gave the character less than one half."""
        with np.errstate(invalid="ignore"):
            return self.nats > -math.log(ERROR_BELOW)


Parts = Iterator[tuple[str, Mask]]


@dataclass(frozen=True)
class Oracle:
    """One kind of help.

    Attributes:
        name: short, for programs.
        title: for people.
        parts: gives the parts in order, each with its label and where it helps.
    """

    name: str
    title: str
    parts: Callable[[Evidence], Parts]


def by_ngrams(evidence: Evidence) -> Parts:
    """Where an n-gram model is right, the shortest first."""
    for order in sorted(set(evidence.ngrams) & set(ORDERS)):
        yield f"order {order}", evidence.ngrams[order] < -math.log(ERROR_BELOW)


def by_memory(evidence: Evidence) -> Parts:
    """Inside words that were read shortly before."""
    words, length = evidence.words, len(evidence.points)
    ago = words.spread(words.since_last(), length, np.iinfo(np.int64).max, first=False)
    for reach in MEMORIES:
        yield f"last {reach}", ago <= reach


def by_rare_words(evidence: Evidence) -> Parts:
    """Words that training hardly showed."""
    words, length = evidence.words, len(evidence.points)
    counts = words.spread(words.counts(Words.of(evidence.train)), length, np.iinfo(np.int64).max)
    for most in RARE:
        yield ("never seen" if most == 0 else f"seen {'once' if most == 1 else f'{most} times'}"), counts <= most


def by_word_begin(evidence: Evidence) -> Parts:
    """Right after what parts words."""
    for label, signs in (("after a newline", "\n"), ("after a space or tab", SPACES), ("after a quote", QUOTES)):
        before = member(evidence.points, lambda character, signs=signs: character in signs)
        yield label, np.concatenate([[False], before[:-1]])


def by_punctuation(evidence: Evidence) -> Parts:
    """Signs."""
    yield "signs", member(evidence.points, is_punctuation)


def by_boost(evidence: Evidence) -> Parts:
    """Nearly right."""
    yield "0.1 more", evidence.nats <= -math.log(ERROR_BELOW - BOOST)


def remainder(evidence: Evidence) -> Parts:
    """Everything else, by how much more probability would do."""
    for more in BOOSTS:
        least = ERROR_BELOW - more
        within = evidence.nats <= -math.log(least) if least > 0 else np.ones(len(evidence.nats), dtype=np.bool_)
        yield f"{more} more", within


#: In the order in which they are asked.
ORACLES: tuple[Oracle, ...] = (
    Oracle("ngram", f"n-grams, n up to {ORDERS[-1]}", by_ngrams),
    Oracle("memory", f"words of the last {MEMORIES[-1]} characters", by_memory),
    Oracle("rare", f"words seen at most {RARE[-1]} times", by_rare_words),
    Oracle("word", "after space, newline or quote", by_word_begin),
    Oracle("punctuation", "punctuation", by_punctuation),
    Oracle("boost", "0.1 more would do", by_boost),
    Oracle("remainder", "the remainder", remainder),
)
