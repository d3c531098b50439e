"""How well questions are answered: accuracy, the soft accuracy of VQA, accuracy by kind of question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_ARTICLES = frozenset({"a", "an", "the"})
_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED)} | {"none": "0"}
_NEGATED = "is are was were do does did has have had ca wo would could should must might need ai"
_CONTRACTED = {f"{verb}nt": f"{verb}n't" for verb in _NEGATED.split()} | {
    "im": "i'm",
    "ive": "i've",
    "youre": "you're",
    "youve": "you've",
    "theyre": "they're",
    "theyve": "they've",
    "weve": "we've",
    "thats": "that's",
    "whats": "what's",
    "wheres": "where's",
    "whos": "who's",
    "hes": "he's",
    "shes": "she's",
    "theres": "there's",
    "oclock": "o'clock",
}
_MARKS = re.compile(r"[;/\[\]\"{}()=+\\_<>@`?!]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"(?<!\d)\.(?!\d)|\.(?!\d)")


def normalise_answer(text: str) -> str:
    """An answer in the words that VQA's evaluation compares.

    Lower case, no articles, no punctuation but apostrophes, hyphens, colons and decimal points, numbers to ten as
    digits, contractions with their apostrophes (Antol et al. 2015, arXiv:1505.00468, and the evaluation published with
    it).

    Args:
        text: as somebody wrote it.
    """
    plain = _PERIOD.sub("", _THOUSANDS.sub("", _MARKS.sub(" ", text.lower()))).replace(",", " ")
    words = (_CONTRACTED.get(word, _NUMBERS.get(word, word)) for word in plain.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def soft_accuracy(answer: str, given: Sequence[str]) -> float:
    """How far people agree with an answer (Antol et al. 2015, arXiv:1505.00468, section 3).

        mean over each person left out of  min(1, others who said so / 3)

    Args:
        answer: to judge.
        given: people's answers, at least one. Of one the score is 0 or 1; where there are fewer than four, all others
            must have said so for a full score.

    Returns:
        From 0 to 1.
    """
    same = sum(each == answer for each in given)
    if len(given) == 1:
        return float(same)
    enough = min(3, len(given) - 1)
    return sum(min(1.0, (same - (each == answer)) / enough) for each in given) / len(given)


class Row(NamedTuple):
    """Some questions together.

    Attributes:
        name: what they have in common.
        questions: how many they are.
        score: mean of their scores.
    """

    name: str
    questions: int
    score: float


def by_name(scores: Sequence[float], names: Sequence[str], most: int | None = None) -> list[Row]:
    """Mean scores of those with the same name, the largest groups first.

    Args:
        scores: [N].
        names: [N].
        most: rows at most; what is left is one further row, ``"others"``.
    """
    sums: dict[str, tuple[int, float]] = {}
    for score, name in zip(scores, names, strict=True):
        count, total = sums.get(name, (0, 0.0))
        sums[name] = (count + 1, total + score)
    rows = [Row(name, count, total / count) for name, (count, total) in sums.items()]
    rows.sort(key=lambda row: (-row.questions, row.name))
    if most is None or len(rows) <= most:
        return rows
    rest = rows[most:]
    count = sum(row.questions for row in rest)
    return [*rows[:most], Row("others", count, sum(row.questions * row.score for row in rest) / count)]
