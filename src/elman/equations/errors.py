"""The one error of a recurrence that cannot be read."""

from __future__ import annotations

from elman.errors import MisuseError

#: What a line of a recurrence may hold, said once for every message that has nothing more exact to say.
GRAMMAR = (
    "lines `name = expression` of names, numbers, + - * / @ and unary -, ** with a whole number from 2 to 8, "
    "parentheses, and calls of the functions of the language"
)

_WINDOW = 100  # characters of a long line that are shown around the place


class EquationError(MisuseError, ValueError):
    """A recurrence that is refused: where, why, and what would be allowed.

    Args:
        message: what is wrong, without the place.
        line: line of the text, counted from 1.
        column: column of that line, counted from 1.
        source: that line of the text.
        allowed: what would be allowed there.

    Attributes:
        message, line, column, source, allowed: as given.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, source: str = "", allowed: str = GRAMMAR):
        super().__init__(message, line, column, source, allowed)
        self.message = message
        self.line = line
        self.column = column
        self.source = source
        self.allowed = allowed

    def __str__(self) -> str:
        # Only the neighbourhood of the place, and nothing that a terminal would obey instead of show.
        first = max(0, self.column - 1 - _WINDOW // 2)
        part = self.source[first : first + _WINDOW].replace("\t", " ")
        shown = "".join(c if c.isprintable() else "?" for c in part)
        caret = " " * min(self.column - 1 - first, len(shown)) + "^"
        return (
            f"line {self.line}, column {self.column}: {self.message}\n"
            f"    {shown}\n    {caret}\nAllowed: {self.allowed}."
        )
