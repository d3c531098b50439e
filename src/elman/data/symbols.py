"""What all vocabularies share: encodings, the treatment of unseen symbols, and checks of stored ones."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elman.errors import MisuseError

Ids = npt.NDArray[np.uint32]

UNKNOWN = "<unk>"
POLICIES = "skip, unk, error or replace:SYMBOL"


class Encoded(NamedTuple):
    """A text as token ids.

    Attributes:
        ids: uint32, one dimension.
        unknown: how often each unseen symbol occurred.
    """

    ids: Ids
    unknown: Counter[str]


class UnseenError(MisuseError):
    """A symbol outside the vocabulary, where the user chose unknown="error"."""


def check_policy(policy: str, known: Iterable[str], has_unknown: bool) -> None:
    """Refuse a treatment of unseen symbols that this vocabulary cannot carry out.

    Args:
        policy: ``"skip"``, ``"unk"``, ``"error"`` or ``"replace:SYMBOL"``.
        known: the vocabulary's symbols (a container with a fast ``in``).
        has_unknown: whether the vocabulary has an ``<unk>`` token.

    Raises:
        MisuseError: an unknown policy, ``"unk"`` without ``<unk>``, or a replacement that is itself unseen.
    """
    if policy in ("skip", "error"):
        return
    if policy == "unk":
        if not has_unknown:
            raise MisuseError(
                "unknown=unk needs a vocabulary that was built with <unk>; "
                "this one has none: choose skip, error or replace:SYMBOL."
            )
        return
    if policy.startswith("replace:"):
        if (symbol := policy.removeprefix("replace:")) not in known:
            raise MisuseError(f"unknown={policy} cannot work: {symbol!r} is itself not in the vocabulary.")
        return
    raise MisuseError(f"unknown={policy} is not a treatment of unseen symbols; it can be {POLICIES}.")


def apply_policy(ids: npt.NDArray[np.int64], policy: str, substitute: int | None) -> Ids:
    """Treat the unseen symbols of an encoded text.

    Args:
        ids: token ids, -1 where unseen.
        policy: ``"skip"`` leaves them out; else they become `substitute`.
        substitute: the id of ``<unk>`` or of the replacement.

    Returns:
        The ids without -1.
    """
    if policy == "skip" or substitute is None:
        return ids[ids >= 0].astype(np.uint32)
    return np.where(ids < 0, substitute, ids).astype(np.uint32)


def unseen(symbol: str, before: str, size: int) -> UnseenError:
    """The error for the first unseen symbol under unknown="error".

    Args:
        symbol: the symbol.
        before: some text before it, by which the user can find it.
        size: the vocabulary's size.
    """
    place = f" after {before!r}" if before else " at the start of the text"
    return UnseenError(
        f"{describe(symbol)} is not among the vocabulary's {size:,} symbols (it comes{place}). "
        "Choose --unknown skip, unk or replace:SYMBOL to read on."
    )


def printable(symbol: str) -> str:
    """A symbol as it can stand in a table: line ends and other invisible characters escaped."""
    return symbol if symbol.isprintable() else symbol.encode("unicode_escape").decode("ascii")


def describe(symbol: str) -> str:
    """A symbol with its code point and Unicode name, as ``'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)``."""
    if len(symbol) != 1:
        return repr(symbol)
    name = unicodedata.name(symbol, "")
    return f"{symbol!r} (U+{ord(symbol):04X}{', ' + name if name else ''})"


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The text's code points, uint32; lone surrogates are kept."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def checked_ids(ids: Sequence[int] | npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Ids as an int64 array of one dimension.

    Raises:
        ValueError: an id outside 0..size-1 (numpy would read a negative one from the end).
    """
    array = np.asarray(ids).astype(np.int64).reshape(-1)
    if array.size and (int(array.min()) < 0 or int(array.max()) >= size):
        wrong = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise ValueError(f"id {wrong} is outside this vocabulary of {size} tokens")
    return array


def stored(data: Any, key: str, kind: type) -> Any:
    """One entry of a stored vocabulary.

    Args:
        data: the parsed JSON, from anybody.
        key: the entry.
        kind: its exact type.

    Raises:
        MisuseError: the entry is missing or of another type.
    """
    if not isinstance(data, dict) or type(data.get(key)) is not kind:
        raise MisuseError(f"The stored vocabulary is damaged: its {key!r} is missing or not a {kind.__name__}.")
    return data[key]


def distinct_strings(data: Any, key: str, most: int) -> list[str]:
    """A list of different, not empty, well-formed strings from a stored vocabulary.

    Raises:
        MisuseError: anything else, or more than `most` of them.
    """
    values = stored(data, key, list)
    if len(values) > most:
        raise MisuseError(f"The stored vocabulary has {len(values):,} {key}, more than the {most:,} possible.")
    if not all(type(value) is str and 0 < len(value) <= 1 << 16 for value in values):
        raise MisuseError(f"The stored vocabulary is damaged: its {key!r} must hold strings that are not empty.")
    if len(set(values)) != len(values):
        raise MisuseError(f"The stored vocabulary is damaged: its {key!r} holds a string twice.")
    return values
