"""What C and Python texts are known for: comments, strings, directives, brackets, conditions."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses import characters, lexing
from elman.insight.hypotheses.characters import codepoints, inside

DIRECTIVE = re.compile(
    r"^[ \t]*(#[ \t]*(?:define|include|import|ifdef|ifndef|if|elif|else|endif|undef|error|warning|pragma|line)\b"
    r"(?:[^\n\\]|\\[\s\S]?)*+)",
    re.MULTILINE,
)
IF = re.compile(r"(?<![\w#])if[ \t\n]*(?=\()")
TOP_LEVEL = re.compile(r"^(?:def |class |async |import |from |@)", re.MULTILINE)
PAIRS = {"parentheses": "()", "brackets": "[]", "braces": "{}"}


def comment_c(text: str) -> NDArray[np.uint8]:
    """From the second character of ``/*`` or ``//`` to before the last of ``*/``, or the line's end."""
    return lexing.lex_c(text).inside(lexing.COMMENT)


def string_c(text: str) -> NDArray[np.uint8]:
    """From a string's opening quote to before its closing one."""
    return lexing.lex_c(text).inside(lexing.STRING)


def comment_python(text: str) -> NDArray[np.uint8]:
    """From ``#`` to before the line's end."""
    return lexing.lex_python(text).inside(lexing.COMMENT)


def string_python(text: str) -> NDArray[np.uint8]:
    """From a string's first quote to before its last one."""
    return lexing.lex_python(text).inside(lexing.STRING)


def preprocessor_c(text: str) -> NDArray[np.uint8]:
    """From ``#`` of a directive to before its line's end, lines continued by a backslash included."""
    begins, ends = _directives(text)
    return inside(len(text), begins, ends)


def if_condition(text: str) -> NDArray[np.uint8]:
    """From the parenthesis after ``if`` to before the one that closes it; in code, not in a directive."""
    opened, closed, resets = _c_brackets(text, "()")
    begins, ends = characters.matches(opened, closed, resets)
    places = np.array([found.end() for found in IF.finditer(text)], dtype=np.int64)
    places = places[opened[places] & (preprocessor_c(text)[places] == 0)]
    at = np.searchsorted(begins, places)
    return inside(len(text), begins[at], ends[at])


def nesting(pair: str, language: str, graded: bool) -> Callable[[str], NDArray[np.integer]]:
    """Brackets of one kind.

    Args:
        pair: "parentheses", "brackets" or "braces".
        language: "c" and "python" leave out those in strings, comments and character constants; "any" counts all.
        graded: how many are open, rather than whether one is.

    Returns:
        The function of a text. What is never closed ends where code of its language begins anew (a brace in the first
        column; a definition or import in the first column of Python), parentheses and brackets outside Python at the
        paragraph's end.
    """
    signs = PAIRS[pair]
    brackets = {"any": _any_brackets, "c": _c_brackets, "python": _python_brackets}[language]

    def labels(text: str) -> NDArray[np.integer]:
        depth = characters.depth(*brackets(text, signs))
        return depth if graded else (depth > 0).astype(np.uint8)

    return labels


Brackets = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def _any_brackets(text: str, signs: str) -> Brackets:
    return _counted(text, signs, np.ones(len(text), dtype=bool))


def _c_brackets(text: str, signs: str) -> Brackets:
    return _counted(text, signs, lexing.lex_c(text).code)


def _python_brackets(text: str, signs: str) -> Brackets:
    code = lexing.lex_python(text).code
    resets = np.zeros(len(text), dtype=bool)
    resets[[found.start() for found in TOP_LEVEL.finditer(text)]] = True
    points = codepoints(text)
    return (points == ord(signs[0])) & code, (points == ord(signs[1])) & code, resets & code


def _counted(text: str, signs: str, code: NDArray[np.bool_]) -> Brackets:
    points = codepoints(text)
    # a brace in the first column is a function's first or last: whatever #ifdef has unbalanced ends there
    resets = characters.line_starts(text) & code & ((points == ord("{")) | (points == ord("}")))
    if signs != PAIRS["braces"]:
        resets |= characters.blank_lines(text)
    return (points == ord(signs[0])) & code, (points == ord(signs[1])) & code, resets


def _directives(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    spans = np.array([found.span(1) for found in DIRECTIVE.finditer(text)], dtype=np.int64).reshape(-1, 2)
    code = lexing.lex_c(text).code[spans[:, 0]]
    return spans[code, 0], spans[code, 1]
