"""Bytes: the 256 bytes of UTF-8; nothing is ever unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from elman.data.symbols import Encoded, checked_ids
from elman.errors import MisuseError


@dataclass(frozen=True)
class Bytes:
    """A vocabulary of the 256 bytes; the id of each is its value."""

    kind: ClassVar[str] = "bytes"
    size: ClassVar[int] = 256
    unknown: ClassVar[str] = "none"
    unpredicted: ClassVar[frozenset[int]] = frozenset()
    follows: ClassVar[dict[int, int]] = {}
    start: ClassVar[None] = None
    end: ClassVar[None] = None

    @classmethod
    def build(cls, chunks: Iterable[str]) -> Bytes:
        """The vocabulary of bytes; `chunks` is not read, for it is the same for every text."""
        return cls()

    def with_unknown(self, unknown: str) -> Bytes:
        """Itself for ``"none"``; nothing else makes sense.

        Raises:
            MisuseError: another treatment of unseen symbols than ``"none"``.
        """
        if unknown != self.unknown:
            raise MisuseError(f"unknown={unknown} has no meaning for bytes: no byte is ever unseen.")
        return self

    def tokenize(self, text: str) -> list[str]:
        """The names of the text's bytes, as :meth:`symbol` gives them."""
        return [_name(value) for value in _utf8(text)]

    def ids(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """The value of each named byte, -1 for what names none."""
        known = {_name(value): value for value in range(256)}
        return np.array([known.get(token, -1) for token in tokens], dtype=np.int64)

    def encode(self, text: str) -> Encoded:
        """The text's UTF-8 bytes; a lone surrogate of "surrogateescape" is the byte it stands for.

        Raises:
            MisuseError: a lone surrogate that stands for no byte.
        """
        return Encoded(np.frombuffer(_utf8(text), dtype=np.uint8).astype(np.uint32), Counter())

    def decode_bytes(self, ids: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """The ids as bytes, exactly."""
        return checked_ids(ids, 256).astype(np.uint8).tobytes()

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The ids as text; bytes that are not UTF-8 read as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def symbol(self, id: int) -> str:
        """A byte's printable name: the ASCII character, an escape such as ``\\n``, or ``\\xe9``."""
        (value,) = checked_ids([id], 256)
        return _name(int(value))

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON."""
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Bytes:
        """Read what :meth:`to_json` wrote; there is nothing in it that could be wrong."""
        return cls()


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise MisuseError(
            f"The text has a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
            "which UTF-8 cannot write."
        ) from error


def _name(value: int) -> str:
    # The escape of the backslash itself keeps all names different.
    return bytes([value]).decode("latin-1").encode("unicode_escape").decode("ascii")
