"""A hypothesis: what a cell might know, as a label for every character of a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError

Kind = Literal["binary", "graded"]
Language = Literal["any", "prose", "c", "python"]
KINDS = ("binary", "graded")
NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}")
UNDEFINED = -1


@dataclass(frozen=True)
class Hypothesis:
    """Something about the place where a text has been read to.

    The label of character i is what is true once it has been read: between brackets from the opening one, itself
    included, until the closing one has been read, itself not included.

    Attributes:
        name: a short identifier.
        title: in words.
        kind: "binary" (0 or 1) or "graded" (a count, 0 or more).
        language: the texts that it is meant for: "any", "prose", "c" or "python".
        labels: text -> labels [characters]; -1 where it says nothing and the character is left out.
        description: a sentence: what exactly is labelled.
    """

    name: str
    title: str
    kind: Kind
    language: Language
    labels: Callable[[str], NDArray[np.integer]]
    description: str = ""

    def label(self, text: str) -> NDArray[np.int32]:
        """The labels of a text, checked.

        Args:
            text: any text.

        Returns:
            [characters] int32.

        Raises:
            MisuseError: the function did not return one whole number of the right range a character.
        """
        return checked(self.labels(text), len(text), self.kind, self.name)


def checked(labels: Any, length: int, kind: Kind, name: str) -> NDArray[np.int32]:
    """Labels as int32 [length], if that is what they are.

    Raises:
        MisuseError: another shape, values that are no whole numbers, or out of range.
    """
    array = np.asarray(labels)
    if array.shape != (length,) or array.dtype.kind not in "biu":
        raise MisuseError(
            f"The hypothesis {name!r} must give one whole number for each of the {length:,} characters; "
            f"it gave an array of shape {array.shape} and type {array.dtype}."
        )
    most = 1 if kind == "binary" else np.iinfo(np.int32).max
    if length and not UNDEFINED <= int(array.min()) <= int(array.max()) <= most:
        allowed = "0, 1 or -1 (undefined)" if kind == "binary" else "0 or more, or -1 (undefined)"
        raise MisuseError(
            f"The labels of the {kind} hypothesis {name!r} must be {allowed}; "
            f"they are from {array.min()} to {array.max()}."
        )
    return array.astype(np.int32, copy=False)


def check_name(name: str) -> str:
    """A name that can stand on a command line, in a file and in an address.

    Raises:
        MisuseError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise MisuseError(
            f"{name!r} cannot name a hypothesis: take a letter and then up to 63 letters, digits, '_', '-' and '.'."
        )
    return name
