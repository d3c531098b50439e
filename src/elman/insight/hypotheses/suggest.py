"""Which hypotheses make sense for a text."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses.catalogue import builtin
from elman.insight.hypotheses.hypothesis import UNDEFINED, Hypothesis, Language

# of a kind that is there, and of one that is not, in each half of the text
FEWEST = 100
# characters that are looked at in each half to tell the language
SEEN = 200_000

SIGNS: dict[Language, re.Pattern[str]] = {
    "c": re.compile(
        r"^[ \t]*#[ \t]*(?:include|define|ifdef|endif)\b|[=)][^\n]{0,200};[ \t]*(?:/\*.*)?$|^[{}]|->|/\*", re.MULTILINE
    ),
    "python": re.compile(
        r"^[ \t]*(?:def \w+\(.*|class \w+.*:$|import \w+|from \w+ import|(?:if|elif|for|while|with) .*:$)|\bself\.",
        re.MULTILINE,
    ),
}
# matches a line above which a text is of the language
SHARE = 0.1


def language_of(text: str) -> Language:
    """ "c", "python" or "prose", by how many lines have what only programs have."""
    half = len(text) // 2
    seen = text[:SEEN] + "\n" + text[half : half + SEEN]
    lines = max(1, sum(bool(line.strip()) for line in seen.splitlines()))
    shares = {language: sum(1 for _ in signs.finditer(seen)) / lines for language, signs in SIGNS.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] > SHARE else "prose"


def suggest(text: str, fewest: int = FEWEST) -> list[str]:
    """The built-in hypotheses for a text: of its language, and with both sides present in both halves.

    Brackets of code replace brackets of any text; the column is left out where it is the count of characters since the
    newline, as it is without tabs.

    Args:
        text: to be hunted in.
        fewest: characters on either side, in each half.

    Returns:
        Names, in the order of :func:`builtin`.
    """
    language = language_of(text)
    made: list[str] = []
    for name, hypothesis in builtin().items():
        if hypothesis.language not in ("any", language):
            continue
        if language != "prose" and f"{name}_{language}" in builtin():
            continue
        if name == "line_position" and "\t" not in text:
            continue
        if enough(hypothesis, hypothesis.label(text), fewest):
            made.append(name)
    return made


def enough(hypothesis: Hypothesis, labels: NDArray[np.int32], fewest: int = FEWEST) -> bool:
    """Whether each half of the labels has ``fewest`` of both sides, or, where graded, a tenth of it of three grades."""
    graded = hypothesis.kind == "graded"
    least, sides = (fewest // 10, 3) if graded else (fewest, 2)
    half = len(labels) // 2
    for part in (labels[:half], labels[half:]):
        counts = np.bincount(part[part != UNDEFINED], minlength=1)
        if np.count_nonzero(counts >= max(1, least)) < sides:
            return False
    return True
