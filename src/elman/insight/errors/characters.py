"""A tokenised text as characters, one a token, and the words in it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.symbols import code_points
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError

Points = NDArray[np.uint32]

SPACES = " \t"
QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"


def characters_of(vocabulary: Vocabulary, ids: NDArray[np.integer]) -> Points:
    """The code point of every token.

    A character of several bytes stands for each of its bytes, so that what is said of characters holds for a model of
    bytes too.

    Args:
        vocabulary: of characters or bytes.
        ids: [N].

    Returns:
        [N] code points; U+FFFD for what is no character.

    Raises:
        MisuseError: a vocabulary of words or subwords.
    """
    kind: Any = vocabulary
    if vocabulary.kind == "characters":
        return code_points(vocabulary.decode(ids)).astype(np.uint32)
    if vocabulary.kind != "bytes":
        raise MisuseError(
            f"Errors are taken apart by character, and this model's tokens are {vocabulary.kind}. "
            "Train one with --tokens characters or bytes."
        )
    points = code_points(kind.decode_bytes(ids).decode("utf-8", "surrogateescape")).astype(np.uint32)
    lone = (points >= 0xD800) & (points < 0xE000)
    widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    widths[lone] = 1
    return np.repeat(np.where(lone, np.uint32(0xFFFD), points), widths)


def text_of(points: Points) -> str:
    """The characters as a text of as many."""
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class Words:
    """The words of a text: its longest runs of letters, digits and underscores.

    Attributes:
        names: the words, in order.
        begins, ends: [W] index of each one's first character, and of the one behind its last.
    """

    names: list[str]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, points: Points) -> Words:
        """The words of a text [N]."""
        inside = np.concatenate([[False], member(points, is_word), [False]])
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        begins, ends = edges[0::2], edges[1::2]
        text = text_of(points)
        names = [text[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        return cls(names, begins, ends)

    def spread(self, values: NDArray[Any], length: int, outside: Any, *, first: bool = True) -> NDArray[Any]:
        """A value of each word, laid over its characters.

        Args:
            values: [W].
            length: N, of the text.
            outside: what stands where no word is.
            first: whether the first character of a word gets it too.
        """
        result = np.full(length, outside, dtype=np.asarray(values).dtype)
        begins = self.begins if first else self.begins + 1
        sizes = self.ends - begins
        # where each word's characters are: its begin plus 0, 1, 2, ...
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        result[np.repeat(begins, sizes) + within] = np.repeat(values, sizes)
        return result

    def since_last(self) -> NDArray[np.int64]:
        """[W] characters from the beginning of the word's last occurrence to its own; a huge number at the first."""
        seen: dict[str, int] = {}
        result = np.full(len(self.names), np.iinfo(np.int64).max, dtype=np.int64)
        for place, (name, begin) in enumerate(zip(self.names, self.begins.tolist(), strict=True)):
            if name in seen:
                result[place] = begin - seen[name]
            seen[name] = begin
        return result

    def counts(self, others: Words) -> NDArray[np.int64]:
        """[W] how often each word occurs in another text."""
        table = Counter(others.names)
        return np.array([table[name] for name in self.names], dtype=np.int64)


def member(points: Points, holds: Any) -> NDArray[np.bool_]:
    """Whether something holds of each character; it is asked once of each different one."""
    different, inverse = np.unique(points, return_inverse=True)
    return np.array([holds(chr(point)) for point in different.tolist()], dtype=np.bool_)[inverse]


def is_word(character: str) -> bool:
    """A letter, a mark upon one, a digit or an underscore."""
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def is_punctuation(character: str) -> bool:
    """A sign that is no part of a word and no space: punctuation, a currency, mathematical or other symbol."""
    return character != "_" and unicodedata.category(character)[0] in "PS"


def class_of(character: str) -> str:
    """What kind of character it is, in words."""
    if character in CLASSES:
        return CLASSES[character]
    category = unicodedata.category(character)
    for prefix, name in (("Lu", "capital"), ("L", "small letter"), ("N", "digit")):
        if category.startswith(prefix):
            return name
    if is_punctuation(character):
        return "other punctuation"
    return "other"


CLASSES = {
    "\n": "newline",
    " ": "space",
    "\t": "tab",
    "_": "underscore",
    **dict.fromkeys(QUOTES, "quote"),
    **dict.fromkeys("([{<", "opening bracket"),
    **dict.fromkeys(")]}>", "closing bracket"),
    **dict.fromkeys(".,;:!?", "stop"),
}
