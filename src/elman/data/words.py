"""Words: each line is a sentence ``<S> w1 ... wn <E>``."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from elman.data.pieces import Carry, after_space, whole_pieces
from elman.data.symbols import (
    UNKNOWN,
    Encoded,
    apply_policy,
    check_policy,
    checked_ids,
    distinct_strings,
    printable,
    stored,
    unseen,
)
from elman.errors import MisuseError

START, END = "<S>", "<E>"
RESERVED = (UNKNOWN, START, END)
_UNKNOWN_ID, _START_ID, _END_ID = range(3)

# Above so many different words, those seen once so far are forgotten, so that counting a large text fits in
# memory.
_COUNTED = 2_000_000
_MOST = 50_000_000

_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%…»”’-–—/")
_NO_SPACE_AFTER = frozenset("([{«“‘$£€#@-–—/")


@dataclass(frozen=True)
class Words:
    """A vocabulary of words and punctuation marks; ids 0, 1, 2 are ``<unk>``, ``<S>``, ``<E>``.

    Attributes:
        words: the others, the most frequent first.
        unknown: what happens to an unseen word: ``"unk"``, ``"skip"``, ``"error"`` or ``"replace:WORD"``.
        lower: words are lower-cased.
        whitespace: words are what stands between white space; else letters, digits and inner apostrophes form
            words and every punctuation mark is a token of its own.
    """

    words: tuple[str, ...]
    unknown: str = "unk"
    lower: bool = False
    whitespace: bool = False
    _table: dict[str, int] = field(init=False, repr=False, compare=False)

    kind: ClassVar[str] = "words"
    unpredicted: ClassVar[frozenset[int]] = frozenset({_START_ID})
    follows: ClassVar[dict[int, int]] = {_END_ID: _START_ID}
    start: ClassVar[int] = _START_ID
    end: ClassVar[int] = _END_ID

    def __post_init__(self) -> None:
        table = {word: place for place, word in enumerate(self.words, len(RESERVED))}
        if len(table) < len(self.words):
            raise MisuseError("The words of a vocabulary must be different.")
        if wrong := next((word for word in self.words if word in RESERVED or word.split() != [word]), None):
            raise MisuseError(f"{wrong!r} cannot be a word: it is reserved or holds white space.")
        # In a text "\n" stands for <E>; the names <S> and <E> themselves, written in a text, are unseen
        # words.
        table |= {UNKNOWN: _UNKNOWN_ID, "\n": _END_ID}
        check_policy(self.unknown, table, has_unknown=True)
        object.__setattr__(self, "_table", table)

    @classmethod
    def build(
        cls,
        chunks: Iterable[str],
        *,
        unknown: str = "unk",
        min_count: int = 1,
        max_size: int | None = 20_000,
        lower: bool = False,
        whitespace: bool = False,
    ) -> Words:
        """The most frequent words of a training text; equally frequent ones in alphabetical order.

        Args:
            chunks: the text.
            unknown: treatment of unseen words.
            min_count: rarer words become ``<unk>``, which is how a model learns what to expect of it.
            max_size: at most so many tokens, the three reserved ones included; None for all words.
            lower: lower-case everything.
            whitespace: split at white space only.

        Returns:
            The vocabulary.

        Raises:
            MisuseError: no words, or an option that cannot be.
        """
        if min_count < 1 or (max_size is not None and max_size < 4):
            raise MisuseError("A vocabulary of words needs min_count >= 1 and max_size >= 4.")
        counts: Counter[str] = Counter()
        for piece in whole_pieces(chunks, after_space):
            counts.update(_split(piece, lower, whitespace))
            if len(counts) > _COUNTED:
                counts = Counter({word: times for word, times in counts.items() if times > 1})
        for reserved in (*RESERVED, "\n"):
            counts.pop(reserved, None)
        if not counts:
            raise MisuseError("There are no words in the training text.")
        kept = sorted(
            (word for word, times in counts.items() if times >= min_count),
            key=lambda word: (-counts[word], word),
        )
        if not kept:
            raise MisuseError(f"No word occurs {min_count} times: choose a smaller min_count.")
        room = len(kept) if max_size is None else max_size - len(RESERVED)
        return cls(tuple(kept[:room]), unknown, lower, whitespace)

    @property
    def size(self) -> int:
        """Number of tokens, the three reserved ones included."""
        return len(self.words) + len(RESERVED)

    def with_unknown(self, unknown: str) -> Words:
        """The same vocabulary with another treatment of unseen words."""
        return replace(self, unknown=unknown)

    def tokenize(self, text: str) -> list[str]:
        """The text's words with ``<S>`` before each line and ``<E>`` for each line end."""
        tokens: list[str] = []
        open_line = False
        for word in _split(text, self.lower, self.whitespace):
            if not open_line:
                tokens.append(START)
            open_line = word != "\n"
            tokens.append(word if open_line else END)
        return tokens

    def ids(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """The id of each token, -1 where it is unseen."""
        reserved = {START: _START_ID, END: _END_ID}
        return np.array([reserved.get(token, self._table.get(token, -1)) for token in tokens], dtype=np.int64)

    def encode(self, text: str) -> Encoded:
        """The text as ids; a last line without line end stays open, so that it can be continued.

        Raises:
            UnseenError: an unseen word, with unknown="error".
        """
        return self.encode_lines(text, open_line=False)

    def encode_lines(self, text: str, open_line: bool) -> Encoded:
        """The text as ids, where `open_line` says that it goes on with a line that has its ``<S>``
        already."""
        found = _split(text, self.lower, self.whitespace)
        ids = np.fromiter(map(self._table.get, found, repeat(-1)), dtype=np.int64, count=len(found))
        unknown: Counter[str] = Counter()
        if ids.size and int(ids.min()) < 0:
            where = np.flatnonzero(ids < 0).tolist()
            if self.unknown == "error":
                raise unseen(found[where[0]], " ".join(found[max(0, where[0] - 5) : where[0]]), len(self.words))
            unknown.update(found[place] for place in where)
            substitute = {"unk": _UNKNOWN_ID}.get(self.unknown, self._table.get(self.unknown.removeprefix("replace:")))
            ids = apply_policy(ids, self.unknown, substitute).astype(np.int64)
        if ids.size:
            first = np.empty(ids.size, dtype=bool)
            first[0] = not open_line
            np.equal(ids[:-1], _END_ID, out=first[1:])
            ids = np.insert(ids, np.flatnonzero(first), _START_ID)
        return Encoded(ids.astype(np.uint32), unknown)

    def encoder(self) -> WordsEncoder:
        """A streaming encoder; its ``finish`` closes an open last line with ``<E>``."""
        return WordsEncoder(self)

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The ids as text: a line feed for ``<E>``, spaces between words, none before closing punctuation.

        Whether a space stands between two tokens depends on these two alone.
        """
        parts: list[str] = []
        before = ""
        for place in checked_ids(ids, self.size).tolist():
            if place == _START_ID:
                word = ""
            elif place == _END_ID:
                word = "\n"
            else:
                word = UNKNOWN if place == _UNKNOWN_ID else self.words[place - len(RESERVED)]
                if before not in ("", "\n") and self._spaced(before, word):
                    parts.append(" ")
            parts.append(word)
            before = word
        return "".join(parts)

    def symbol(self, id: int) -> str:
        """A token's printable name."""
        (place,) = checked_ids([id], self.size).tolist()
        return RESERVED[place] if place < len(RESERVED) else printable(self.words[place - len(RESERVED)])

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON."""
        options = {"unknown": self.unknown, "lower": self.lower, "whitespace": self.whitespace}
        return {"kind": self.kind, **options, "words": list(self.words)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Words:
        """Read what :meth:`to_json` wrote.

        Raises:
            MisuseError: it is not a vocabulary of words.
        """
        return cls(
            tuple(distinct_strings(data, "words", _MOST)),
            stored(data, "unknown", str),
            stored(data, "lower", bool),
            stored(data, "whitespace", bool),
        )

    def _spaced(self, before: str, word: str) -> bool:
        return self.whitespace or (word not in _NO_SPACE_BEFORE and before not in _NO_SPACE_AFTER)


class WordsEncoder:
    """Encodes a text chunk by chunk.

    Args:
        vocabulary: the words.
    """

    def __init__(self, vocabulary: Words) -> None:
        self._vocabulary = vocabulary
        self._carry = Carry(after_space)
        self._open_line = False

    def feed(self, chunk: str) -> Encoded:
        """The ids of the words that are complete after this chunk."""
        return self._encode(self._carry.feed(chunk))

    def finish(self) -> Encoded:
        """The ids of the last word, and ``<E>`` where the last line is open."""
        ids, unknown = self._encode(self._carry.finish())
        if self._open_line:
            ids = np.append(ids, np.uint32(_END_ID))
            self._open_line = False
        return Encoded(ids, unknown)

    def _encode(self, text: str) -> Encoded:
        encoded = self._vocabulary.encode_lines(text, self._open_line)
        if encoded.ids.size:
            self._open_line = int(encoded.ids[-1]) != _END_ID
        return encoded


def _split(text: str, lower: bool, whitespace: bool) -> list[str]:
    """The text's words and its line ends, each as it stands."""
    if lower:
        text = text.lower()
    return _pattern(whitespace, text.isascii()).findall(text)


@lru_cache(maxsize=4)
def _pattern(whitespace: bool, ascii_only: bool) -> re.Pattern[str]:
    r"""What a token is. Python's \w has no combining marks, without which Hindi or Thai words fall apart."""
    if whitespace:
        return re.compile(r"\n|\S+")
    marks = "" if ascii_only else _combining_marks()
    word = rf"\w[\w{marks}]*"
    return re.compile(rf"\n|{word}(?:['’]{word})*|[^\w\s]")


def _combining_marks() -> str:
    """All combining marks; above U+1F000 there are only the variation selectors."""
    points = chain(range(0x300, 0x1F000), range(0xE0100, 0xE01F0))
    return "".join(filter(lambda character: unicodedata.category(character)[0] == "M", map(chr, points)))
