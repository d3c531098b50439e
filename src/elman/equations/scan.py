"""From text to statements of tokens: every limit and character is checked here, before anything is parsed."""

from __future__ import annotations

import keyword
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, NoReturn

from elman.equations.errors import GRAMMAR, EquationError

MAX_CHARACTERS = 10_000
MAX_STATEMENTS = 200
MAX_NESTING = 50
MAX_OPERATORS = 1_000  # in one statement: keeps the parser's own recursion far from its limit
MAX_NAME = 40
LARGEST = 1e30  # of a number's magnitude; numbers other than 0 stay above 1 / LARGEST

_TOKEN = re.compile(
    r"(?P<space>[ \t]+)|(?P<comment>#[^\n]*)|(?P<newline>\n)"
    r"|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<operator>\*\*|//|[-+*/@]=|==|[-+*/@(),=])"
)
_REFUSED = {
    "[": "subscripts and lists are not part of the language",
    "{": "dictionaries and sets are not part of the language",
    '"': "strings are not part of the language",
    "'": "strings are not part of the language",
    ".": "attributes are not part of the language",
    ";": "a line holds one statement",
    "\\": "a line is not continued with a backslash; an open parenthesis continues it",
    ":": "a colon is not part of the language",
    "<": "comparisons are not part of the language",
    ">": "comparisons are not part of the language",
    "!": "comparisons are not part of the language",
    "==": "comparisons are not part of the language",
    "//": "whole-number division is not part of the language",
    "%": "the remainder is not part of the language",
    "^": "^ is not part of the language; a power is written **",
}


class Place(NamedTuple):
    """A place of the text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text: kind is "name", "number" or "operator"."""

    kind: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Source:
    """The text as lines, to point at.

    Attributes:
        lines: the lines without their ends; never empty.
    """

    lines: tuple[str, ...]

    def refuse(self, message: str, place: Place, allowed: str = GRAMMAR) -> NoReturn:
        """Raise the :class:`EquationError` for a place of the text."""
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        raise EquationError(message, place.line, place.column, line, allowed)


def is_plain_name(name: str) -> bool:
    """Whether a name could stand in a text: a letter, then letters, digits and _, and no word of Python."""
    return re.fullmatch(f"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}", name) is not None and not keyword.iskeyword(name)


def scan(text: str) -> tuple[Source, list[list[Token]]]:
    """Split a text into statements of tokens.

    Args:
        text: the equations, at most 10,000 characters.

    Returns:
        The lines to point at, and for every statement its tokens (comments and spaces gone).

    Raises:
        EquationError: a limit is passed or a character or word is not of the language.
    """
    if not isinstance(text, str):
        raise EquationError(f"a recurrence is a text, not {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise EquationError(
            f"the text has {len(text):,} characters", source=text[:200], allowed=f"at most {MAX_CHARACTERS:,}"
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    source = Source(tuple(text.split("\n")))
    _check_characters(source)
    statements = _split(text, source)
    if len(statements) > MAX_STATEMENTS:
        source.refuse(
            f"the text has {len(statements)} statements",
            statements[MAX_STATEMENTS][0].place,
            f"at most {MAX_STATEMENTS}",
        )
    for statement in statements:
        _check_size(statement, source)
    return source, statements


def _check_characters(source: Source) -> None:
    """Refuse what cannot be seen, everywhere: it could not be stored, or would be obeyed by a terminal."""
    for number, line in enumerate(source.lines, 1):
        for column, character in enumerate(line, 1):
            if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
                source.refuse(
                    f"the invisible character U+{ord(character):04X}",
                    Place(number, column),
                    "visible characters",
                )


def _split(text: str, source: Source) -> list[list[Token]]:
    statements: list[list[Token]] = []
    current: list[Token] = []
    opened: list[Place] = []
    position = start = 0  # of the next character, and of the line that it is in
    line = 1
    while position < len(text):
        place = Place(line, position - start + 1)
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse_character(text[position], place, source)
        position = match.end()
        kind, word = str(match.lastgroup), match.group()
        if kind == "newline":
            line, start = line + 1, position
            if current and not opened:
                statements.append(current)
                current = []
        elif kind not in ("space", "comment"):
            _check_word(kind, word, text[position : position + 1], place, source)
            if word == "(":
                opened.append(place)
                if len(opened) > MAX_NESTING:
                    source.refuse("too deeply nested", place, f"at most {MAX_NESTING} levels; name the parts")
            elif word == ")":
                if not opened:
                    source.refuse("this parenthesis was never opened", place)
                opened.pop()
            current.append(Token(kind, word, place))
    if opened:
        source.refuse("this parenthesis is never closed", opened[-1])
    return [*statements, current] if current else statements


def _refuse_character(character: str, place: Place, source: Source) -> NoReturn:
    if not character.isascii():
        source.refuse(
            f"the character {character!r} is not part of the language",
            place,
            "names of the letters a-z and A-Z, digits and _ (comments may hold any letter)",
        )
    source.refuse(_REFUSED.get(character, f"{character!r} is not part of the language"), place)


def _check_word(kind: str, word: str, following: str, place: Place, source: Source) -> None:
    if kind == "number":
        _check_number(word, following, place, source)
    elif kind == "operator":
        if word in _REFUSED:
            source.refuse(_REFUSED[word], place)
        if len(word) == 2 and word != "**":
            source.refuse(f"{word} is not part of the language", place, "`name = expression`, written out")
    elif keyword.iskeyword(word):
        source.refuse(f"{word!r} is a word of Python and names nothing here", place, f"another name, or {GRAMMAR}")
    elif not is_plain_name(word):
        source.refuse(
            f"{word[:MAX_NAME]!r} is not a plain name",
            place,
            f"names that begin with a letter and have at most {MAX_NAME} letters, digits and _",
        )


def _check_number(word: str, following: str, place: Place, source: Source) -> None:
    plain = f"decimal numbers such as 2, 0.5 or 1e-5, of magnitude {1 / LARGEST:g} to {LARGEST:g}"
    if following.isalnum() or following in ("_", "."):
        source.refuse(f"a number cannot be followed by {following!r}", place, plain)
    if len(word) > MAX_NAME:
        source.refuse("a number of so many digits", place, plain)
    value = float(word)
    is_zero = not re.split("[eE]", word)[0].strip("0.")
    if not (is_zero or 1 / LARGEST <= value <= LARGEST):
        source.refuse(f"the number {word} is out of range", place, plain)


def _check_size(statement: list[Token], source: Source) -> None:
    """Bound what the parser sees: operators in all, and signs in a row."""
    operators = signs = 0
    for before, token in pairwise(statement[1:]):
        if token.kind != "operator":
            continue
        operators += token.text not in "(),"
        if operators > MAX_OPERATORS:
            source.refuse(
                "the statement is too long",
                token.place,
                f"at most {MAX_OPERATORS:,} operators; name the parts",
            )
        prefix = before.kind == "operator" and before.text != ")"
        signs = signs + 1 if prefix and token.text in "+-" else 0
        if signs > MAX_NESTING:
            source.refuse("too many signs in a row", token.place, "one sign")
