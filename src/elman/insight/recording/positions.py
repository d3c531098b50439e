"""Where each token of a text begins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.data.words import END, START


class Tokens(NamedTuple):
    """A text as a model reads it.

    Attributes:
        ids: int64 [N] what is fed; symbols that the policy skips are left out.
        offsets: int64 [N] index of each token's first character in the text; a token that begins within a character
            has that character's. Never falls.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]


def tokens_of(vocabulary: Vocabulary, text: str) -> Tokens:
    """Encode a text and find every token's place in it.

    A sentence's start symbol stands where the next token does. White space that a vocabulary of words drops, and
    symbols that its policy skips, so belong to the piece of the token before them.

    Args:
        vocabulary: any; its policy decides what becomes of symbols that it lacks.
        text: the text.

    Raises:
        MisuseError: an unknown symbol under the policy "error", or a text that the vocabulary cannot encode.
    """
    if vocabulary.kind in ("bytes", "subwords"):
        return _of_bytes(vocabulary, text)
    ids = vocabulary.encode(text).ids.astype(np.int64)
    if vocabulary.kind == "words":
        return Tokens(ids, _places_of_words(vocabulary, text)[: len(ids)])
    if len(ids) == len(text):
        return Tokens(ids, np.arange(len(ids)))
    return Tokens(ids, np.flatnonzero(vocabulary.ids(vocabulary.tokenize(text)) >= 0))


def _of_bytes(vocabulary: Any, text: str) -> Tokens:
    ids = vocabulary.encode(text).ids.astype(np.int64)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    widths[(points >= 0xD800) & (points < 0xE000)] = 1  # a byte that is no UTF-8, as "surrogateescape" reads it
    characters = np.repeat(np.arange(len(points)), widths)  # of each byte
    if vocabulary.kind == "bytes":
        return Tokens(ids, characters)
    different, inverse = np.unique(ids, return_inverse=True)
    lengths = np.array([len(vocabulary.decode_bytes([token])) for token in different.tolist()], dtype=np.int64)
    ends = np.cumsum(lengths[inverse])
    return Tokens(ids, characters[ends - lengths[inverse]] if len(ids) else ends)


def _places_of_words(vocabulary: Any, text: str) -> NDArray[np.int64]:
    """Places of the tokens that are not skipped; one more where nothing but skipped words follows a line's start."""
    searched = text.lower() if vocabulary.lower else text
    names = vocabulary.tokenize(text)
    skipped = np.zeros(len(names), dtype=bool)
    if vocabulary.unknown == "skip":
        skipped = vocabulary.ids(names) < 0
    places = np.empty(len(names), dtype=np.int64)
    cursor = 0
    line_begins = True
    for position, name in enumerate(names):
        # only white space stands between a token and the next; a text may hold the words <S> and <E> too
        while searched[cursor] != "\n" and searched[cursor].isspace():
            cursor += 1
        places[position] = cursor
        if line_begins:
            line_begins = False
        elif searched[cursor] == "\n":
            cursor += 1
            line_begins = True
        else:
            skipped[position] |= vocabulary.unknown == "skip" and name in (START, END)
            cursor += len(name)
    if len(searched) != len(text):
        # a few capitals become two characters
        places = np.repeat(np.arange(len(text)), [len(letter.lower()) for letter in text])[places]
    return places[~skipped]
