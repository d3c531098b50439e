"""Vocabularies: text <-> token ids, for characters, bytes, words and subwords."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from elman.data.symbols import Encoded, stored
from elman.errors import MisuseError

__all__ = ["KINDS", "Encoded", "Encoder", "Vocabulary", "build", "encoder", "from_json"]

# kind -> where its class lives; a kind's module is imported when it is used.
_CLASSES = {
    "characters": ("elman.data.characters", "Characters"),
    "bytes": ("elman.data.bytelevel", "Bytes"),
    "words": ("elman.data.words", "Words"),
    "subwords": ("elman.data.subwords", "Subwords"),
}
KINDS = tuple(_CLASSES)


class Vocabulary(Protocol):
    """What every vocabulary offers."""

    @property
    def kind(self) -> str:
        """``"characters"``, ``"bytes"``, ``"words"`` or ``"subwords"``."""

    @property
    def size(self) -> int:
        """Number of tokens; ids are 0..size-1."""

    @property
    def unknown(self) -> str:
        """Treatment of unseen symbols: ``"skip"``, ``"unk"``, ``"error"``, ``"replace:SYMBOL"``; ``"none"``
        where nothing can be unseen."""

    @property
    def unpredicted(self) -> frozenset[int]:
        """Ids that are fed to a model and never predicted (``<S>``)."""

    @property
    def follows(self) -> dict[int, int]:
        """After drawing the key (``<E>``), the id to feed is the value (``<S>``), with nothing drawn for
        it."""

    @property
    def start(self) -> int | None:
        """The id with which every text begins, if any."""

    @property
    def end(self) -> int | None:
        """The id that ends a sentence, if any."""

    def tokenize(self, text: str) -> list[str]:
        """The text's tokens, seen or not."""

    def ids(self, tokens: Sequence[str]) -> npt.NDArray[Any]:
        """The id of each token, int64, -1 where it is unseen."""

    def encode(self, text: str) -> Encoded:
        """The text as ids; a last line without line end stays open, so that a prompt can be continued."""

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The ids as text."""

    def symbol(self, id: int) -> str:
        """A token's printable name."""

    def with_unknown(self, unknown: str) -> Vocabulary:
        """The same tokens with another treatment of unseen symbols."""

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON; :func:`from_json` reads it."""


class Encoder(Protocol):
    """Encodes a long text chunk by chunk; where the chunk borders fall does not change the ids."""

    def feed(self, chunk: str) -> Encoded:
        """The ids that are certain after this chunk."""

    def finish(self) -> Encoded:
        """The ids of what was kept back; an open last sentence is closed."""


class _Direct:
    """The encoder of vocabularies whose tokens never reach beyond a character."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def feed(self, chunk: str) -> Encoded:
        return self._vocabulary.encode(chunk)

    def finish(self) -> Encoded:
        return self._vocabulary.encode("")


def encoder(vocabulary: Vocabulary) -> Encoder:
    """A fresh streaming encoder for one text.

    Args:
        vocabulary: any of the four kinds.

    Returns:
        An object with ``feed(chunk)`` and ``finish()``.
    """
    make = getattr(vocabulary, "encoder", None)
    return make() if make is not None else _Direct(vocabulary)


def build(kind: str, chunks: Iterable[str], **options: Any) -> Vocabulary:
    """Build a vocabulary from a training text.

    Args:
        kind: one of `KINDS`.
        chunks: the text, in chunks of any size.
        **options: characters: unknown, min_count, max_size; words: unknown, min_count, max_size, lower,
            whitespace; subwords: size, min_count, sample; bytes: none.

    Returns:
        The vocabulary.

    Raises:
        MisuseError: an unknown kind or option, or a text without tokens.
    """
    maker = class_of(kind).build
    allowed = list(inspect.signature(maker).parameters)[1:]
    for name in options:
        if name not in allowed:
            raise MisuseError(
                f"A vocabulary of {kind} has no option {name!r}; "
                + (f"it has {', '.join(allowed)}." if allowed else "it has none.")
            )
    return maker(chunks, **options)


def from_json(data: dict[str, Any]) -> Vocabulary:
    """Read a stored vocabulary, from anybody: nothing in it is executed and everything is checked.

    Args:
        data: what ``to_json`` gave, parsed.

    Returns:
        The vocabulary.

    Raises:
        MisuseError: it is not a vocabulary.
    """
    return class_of(stored(data, "kind", str)).from_json(data)


def class_of(kind: str) -> Any:
    """The class of a kind of vocabulary.

    Raises:
        MisuseError: an unknown kind; the text names the four.
    """
    if kind not in _CLASSES:
        raise MisuseError(f"{kind!r} is not a kind of vocabulary; it can be {', '.join(KINDS)}.")
    module, name = _CLASSES[kind]
    return getattr(importlib.import_module(module), name)
