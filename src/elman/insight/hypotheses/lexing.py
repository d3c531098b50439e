"""What of a program's text is code: comments, strings and character constants told from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses.characters import Positions, inside

COMMENT, STRING, CHARACTER = 1, 2, 3

# A string that is not closed ends with its line, so that one stray quote spoils one line. An apostrophe that is no
# character constant is code: assembly and disabled lines have them.
C_TOKEN = re.compile(
    r"/\*(?:[^*]|\*(?!/))*+(\*/)?"
    r"|//(?:[^\n\\]|\\[\s\S]?)*+"
    r'|"(?:[^"\\\n]|\\[\s\S]?)*+(")?'
    r"|'(?:[^'\\\n]|\\[^\n][0-9a-fA-F]{0,8})(')"
)
# Prefixes change nothing here: a backslash guards the quote after it in raw strings too. The fields of an f-string
# belong to it; quotes like its own within them (Python 3.12) end it.
PYTHON_TOKEN = re.compile(
    r"#[^\n]*+"
    r'|"""(?:[^"\\]|\\[\s\S]?|"(?!""))*+(""")?'
    r"|'''(?:[^'\\]|\\[\s\S]?|'(?!''))*+(''')?"
    r'|"(?:[^"\\\n]|\\[\s\S]?)*+(")?'
    r"|'(?:[^'\\\n]|\\[\s\S]?)*+(')?"
)
STATEMENT = re.compile(
    r"^[ \t]*(?:def \w+\(|class \w+|return\b|import \w+|from \w+|self\.\w+ = |if .*:$)", re.MULTILINE
)


@dataclass(frozen=True)
class Lexed:
    """Where a text is not code.

    Attributes:
        length: characters of the text.
        begins, ends: [tokens] extents of comments, strings and character constants, delimiters included.
        kinds: [tokens] COMMENT, STRING or CHARACTER.
        labelled_from, labelled_to: [tokens] the part in which one knows to be inside: from the opening delimiter's
            last character (Python's strings: from its first) to before the closing delimiter's last.
    """

    length: int
    begins: Positions
    ends: Positions
    kinds: NDArray[np.int64]
    labelled_from: Positions
    labelled_to: Positions

    def inside(self, kind: int) -> NDArray[np.uint8]:
        """1 where one is inside a token of the kind, [characters]."""
        of = self.kinds == kind
        return inside(self.length, self.labelled_from[of], self.labelled_to[of])

    @property
    def code(self) -> NDArray[np.bool_]:
        """Whether each character is code, [characters]."""
        return inside(self.length, self.begins, self.ends) == 0


# by opening delimiter: the kind, and how many of its characters are read before one knows to be inside
C_KINDS = {"/*": (COMMENT, 1), "//": (COMMENT, 1), '"': (STRING, 0), "'": (CHARACTER, 0)}
PYTHON_KINDS = {"#": (COMMENT, 0), '"': (STRING, 0), "'": (STRING, 0)}


@lru_cache(maxsize=2)
def lex_c(text: str) -> Lexed:
    """C, also what is written of assembly with the preprocessor; C++ comments count.

    A text that begins inside a comment, as a part of a longer one may, is read so if ``*/`` comes before ``/*``.
    """
    ending, beginning = text.find("*/"), text.find("/*")
    cut = ending >= 0 and (beginning < 0 or ending < beginning)
    return _lex(C_TOKEN, C_KINDS, text, "/*" if cut else "")


@lru_cache(maxsize=2)
def lex_python(text: str) -> Lexed:
    """Python, strings of three quotes included.

    A text may begin inside a docstring, which turns inside and outside over for all that follows; of the three ways
    to begin (in code, in either kind of long string) the one is taken that leaves fewest statements inside strings.
    """
    openings = [opening for opening in ("", '"""', "'''") if opening in text]
    readings = [_lex(PYTHON_TOKEN, PYTHON_KINDS, text, opening) for opening in openings]
    places = np.array([found.start() for found in STATEMENT.finditer(text)], dtype=np.int64)
    swallowed = [int(reading.inside(STRING)[places].sum()) for reading in readings]
    return readings[int(np.argmin(swallowed))]


def _lex(pattern: re.Pattern[str], kinds: dict[str, tuple[int, int]], text: str, opening: str) -> Lexed:
    """The tokens of a text that continues after ``opening``."""
    rows = []
    shift = len(opening)
    for found in pattern.finditer(opening + text):
        begin, end = found.start() - shift, found.end() - shift
        kind, early = next(kinds[sign] for sign in kinds if found[0].startswith(sign))
        # each pattern's one group that can match is a closing delimiter
        closed = found.lastindex is not None
        rows.append((max(begin, 0), end, kind, max(begin + early, 0), end - closed))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    return Lexed(len(text), columns[0], columns[1], columns[2], columns[3], columns[4])
