"""Words, numbers, addresses, speakers."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses.characters import inside, last_before, where
from elman.insight.hypotheses.hypothesis import UNDEFINED

NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+(?:[.,:][0-9]+)*")
URL = re.compile(r"\b(?:https?|ftp|file)://[^\s<>\"'`)\]}]+|\bwww\.[^\s<>\"'`)\]}]+")
SPEAKER = re.compile(r"(?:\A|(?<=\n\n))[A-Z][^\n:]{0,40}:(?=\n|\Z)")


def word_position(text: str) -> NDArray[np.int32]:
    """The number of the character in its word, from 1; undefined between words."""
    within, start = _words(text)
    return np.where(within, np.arange(len(text)) - start + 1, UNDEFINED).astype(np.int32)


def capitalised(text: str) -> NDArray[np.uint8]:
    """Inside a word that begins with a capital letter, to before the character after it."""
    within, start = _words(text)
    return (within & where(text, str.isupper)[start]).astype(np.uint8)


def digits(text: str) -> NDArray[np.uint8]:
    """Inside a number: digits with the points, commas and colons between them, or hexadecimal after 0x."""
    return _found(NUMBER, text)


def url(text: str) -> NDArray[np.uint8]:
    """Inside an address: http://, https://, ftp://, file:// or www., to before the space or bracket after it."""
    return _found(URL, text)


def speaker(text: str) -> NDArray[np.uint8]:
    """Inside the name of who speaks next: a line of its own after a blank line, to before its colon."""
    return _found(SPEAKER, text, less=1)


def _words(text: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each character is of a word (letters, digits, underscores), and where the word begins."""
    within = where(text, lambda sign: sign.isalnum() or sign == "_")
    first = within.copy()
    first[1:] &= ~within[:-1]
    return within, last_before(first)


def _found(pattern: re.Pattern[str], text: str, less: int = 0) -> NDArray[np.uint8]:
    spans = np.array([found.span() for found in pattern.finditer(text)], dtype=np.int64).reshape(-1, 2)
    return inside(len(text), spans[:, 0], spans[:, 1] - less)
