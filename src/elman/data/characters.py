"""Characters: one token a Unicode code point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from elman.data.symbols import (
    UNKNOWN,
    Encoded,
    apply_policy,
    check_policy,
    checked_ids,
    code_points,
    printable,
    stored,
    unseen,
)
from elman.errors import MisuseError

_CODE_POINTS = 0x110000
_REPLACEMENT = 0xFFFD  # what <unk> looks like in decoded text


@dataclass(frozen=True)
class Characters:
    """A vocabulary of characters, sorted by code point; ``<unk>``, where there is one, is the last id.

    Attributes:
        symbols: the characters; the id of each is its place.
        unknown: what happens to an unseen character: ``"skip"``, ``"unk"``, ``"error"`` or ``"replace:C"``.
        has_unknown: whether there is an ``<unk>`` token.
    """

    symbols: str
    unknown: str = "skip"
    has_unknown: bool = False
    _table: npt.NDArray[np.int32] = field(init=False, repr=False, compare=False)
    _points: npt.NDArray[np.uint32] = field(init=False, repr=False, compare=False)

    kind: ClassVar[str] = "characters"
    unpredicted: ClassVar[frozenset[int]] = frozenset()
    follows: ClassVar[dict[int, int]] = {}
    start: ClassVar[None] = None
    end: ClassVar[None] = None

    def __post_init__(self) -> None:
        points = code_points(self.symbols)
        if not points.size:
            raise MisuseError("A vocabulary needs at least one character.")
        if (np.diff(points.astype(np.int64)) <= 0).any():
            raise MisuseError("The characters of a vocabulary must be different and sorted by code point.")
        if ((points >= 0xD800) & (points < 0xE000)).any():
            raise MisuseError("A vocabulary of characters cannot hold lone surrogates.")
        check_policy(self.unknown, self.symbols, self.has_unknown)
        if self.unknown.startswith("replace:") and len(self.unknown) != len("replace:C"):
            raise MisuseError(f"unknown={self.unknown} must name one character.")
        # One entry beyond the largest character stands for all that are larger.
        table = np.full(int(points[-1]) + 2, -1, dtype=np.int32)
        table[points] = np.arange(points.size, dtype=np.int32)
        object.__setattr__(self, "_table", table)
        ends = [_REPLACEMENT] if self.has_unknown else []
        object.__setattr__(self, "_points", np.concatenate([points, np.array(ends, dtype=np.uint32)]))

    @classmethod
    def build(
        cls, chunks: Iterable[str], *, unknown: str = "skip", min_count: int = 1, max_size: int | None = None
    ) -> Characters:
        """The characters of a training text.

        Args:
            chunks: the text.
            unknown: treatment of unseen characters; ``"unk"`` reserves an ``<unk>`` token.
            min_count: rarer characters are left out, and so treated as unseen.
            max_size: at most so many tokens, the most frequent ones.

        Returns:
            The vocabulary.

        Raises:
            MisuseError: no text, or an option that cannot be.
        """
        if min_count < 1 or (max_size is not None and max_size < 2):
            raise MisuseError("A vocabulary of characters needs min_count >= 1 and max_size >= 2.")
        counts = np.zeros(_CODE_POINTS, dtype=np.int64)
        for chunk in chunks:
            found = np.bincount(code_points(chunk))
            counts[: found.size] += found
        kept = np.flatnonzero(counts >= min_count)
        if not kept.size:
            raise MisuseError(
                "There is no text to take characters from."
                if not counts.any()
                else f"No character occurs {min_count} times: choose a smaller min_count."
            )
        room = kept.size if max_size is None else max_size - (unknown == "unk")
        if kept.size > room:
            kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:room]])
        symbols = kept.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return cls(symbols, unknown, has_unknown=unknown == "unk")

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self._points)

    def with_unknown(self, unknown: str) -> Characters:
        """The same vocabulary with another treatment of unseen characters."""
        return replace(self, unknown=unknown)

    def tokenize(self, text: str) -> list[str]:
        """The text's characters."""
        return list(text)

    def ids(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """The id of each character, -1 where it is unseen."""
        return np.array([self._places.get(token, -1) for token in tokens], dtype=np.int64)

    def encode(self, text: str) -> Encoded:
        """The text as ids, unseen characters treated as chosen.

        Raises:
            UnseenError: an unseen character, with unknown="error".
        """
        points = code_points(text)
        ids = self._table.take(points, mode="clip")
        if not ids.size or int(ids.min()) >= 0:
            return Encoded(ids.view(np.uint32), Counter())
        where = np.flatnonzero(ids < 0)
        if self.unknown == "error":
            place = int(where[0])
            raise unseen(text[place], text[max(0, place - 20) : place], self.size)
        found, times = np.unique(points[where], return_counts=True)
        names = [chr(point) for point in found]
        unknown = Counter(dict(zip(names, times.tolist(), strict=True)))
        return Encoded(apply_policy(ids.astype(np.int64), self.unknown, self._substitute), unknown)

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The ids' text; ``<unk>`` reads as U+FFFD."""
        points = self._points[checked_ids(ids, self.size)]
        return points.astype("<u4").tobytes().decode("utf-32-le")

    def symbol(self, id: int) -> str:
        """A token's printable name."""
        (place,) = checked_ids([id], self.size)
        return printable(self.symbols[place]) if place < len(self.symbols) else UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON."""
        return {
            "kind": self.kind,
            "unknown": self.unknown,
            "has_unknown": self.has_unknown,
            "symbols": self.symbols,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Characters:
        """Read what :meth:`to_json` wrote.

        Raises:
            MisuseError: it is not a vocabulary of characters.
        """
        symbols = stored(data, "symbols", str)
        return cls(symbols, stored(data, "unknown", str), stored(data, "has_unknown", bool))

    @cached_property
    def _places(self) -> dict[str, int]:
        places = {symbol: place for place, symbol in enumerate(self.symbols)}
        return {**places, UNKNOWN: self.size - 1} if self.has_unknown else places

    @property
    def _substitute(self) -> int | None:
        if self.unknown == "unk":
            return self.size - 1
        if self.unknown.startswith("replace:"):
            return self.symbols.index(self.unknown.removeprefix("replace:"))
        return None
