"""Hypotheses of the user's, and which of the built-in ones suit a text."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.insight.hypotheses import builtin, from_function, language_of, regex, suggest


@settings(max_examples=15, deadline=None)
@given(st.text("ab é😀\n", max_size=40))
def test_a_pattern_labels_its_matches(text: str) -> None:
    expected = np.zeros(len(text), dtype=int)
    for found in re.finditer("a+é?|😀", text):
        expected[found.start() : found.end()] = 1
    assert regex("mine", "a+é?|😀").label(text).tolist() == expected.tolist()


def test_a_group_named_label_is_what_counts() -> None:
    assert regex("mine", r"\((?P<label>[^)]*)\)").label("f(ab) (c)").tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 0]


def test_a_pattern_that_takes_forever_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(MisuseError, match=r"'slow'.*1 seconds"):
        regex("slow", "(a+)+b", seconds=1).label("a" * 60)
    assert time.monotonic() - started < 10


def test_a_large_text_is_searched_quickly() -> None:
    text = "some words, and (others) in brackets.\n" * 30_000
    started = time.monotonic()
    assert regex("mine", r"\(\w+\)").label(text).sum() == 30_000 * 8
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("mine", "(", "is no regular expression"),
        ("mine", "(?P<label", "is no regular expression"),
        ("mine", "", "has 0 characters"),
        ("mine", "a" * 1001, "has 1,001 characters"),
        ("two words", "a", "cannot name a hypothesis"),
        ("<b>", "a", "cannot name a hypothesis"),
    ],
)
def test_bad_patterns_are_refused(name: str, pattern: str, said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        regex(name, pattern)


def test_a_function_of_the_text() -> None:
    vowels = from_function("vowels", lambda text: np.array([sign in "aeiou" for sign in text]))
    assert vowels.label("hello").tolist() == [0, 1, 0, 0, 1]
    places = from_function("places", lambda text: np.arange(len(text)), "graded")
    assert places.label("abc").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("made", "kind", "said"),
    [
        (np.zeros(4), "binary", "one whole number"),
        (np.zeros(2, dtype=int), "binary", "one whole number"),
        (np.array([0, 1, 2]), "binary", "0, 1 or -1"),
        (np.array([0, 1, -2]), "graded", "0 or more"),
        (np.array([0, 1, 2**40]), "graded", "0 or more"),
        ("abc", "binary", "one whole number"),
    ],
)
def test_labels_that_are_none_are_refused(made: object, kind: str, said: str) -> None:
    mine = from_function("mine", lambda text: made, kind)  # type: ignore[arg-type, return-value]
    with pytest.raises(MisuseError, match=said):
        mine.label("abc")


def test_a_hypothesis_is_binary_or_graded() -> None:
    with pytest.raises(MisuseError, match="binary or graded"):
        from_function("mine", lambda text: np.zeros(len(text), dtype=int), "both")  # type: ignore[arg-type]


C = '#include <a.h>\n/* c */\nint f(int a)\n{\n\tif (a > 1) {\n\t\treturn g("x", b[1]);\n\t}\n}\n'
PYTHON = 'import os\n\ndef f(a):\n    """Say."""\n    # why\n    if a:\n        return [self.x(a), "b"]\n'
PROSE = '"Well," she said, "I don\'t know (yet)."\n\nIt rained in 1812.\n'


VERSE = "ROMEO:\nDeny thy father and refuse thy name;\nOr, if thou wilt not;\n\n"
LANGUAGES = [(C, "c"), (PYTHON, "python"), (PROSE, "prose"), (VERSE, "prose"), ("", "prose")]


@pytest.mark.parametrize(("text", "language"), LANGUAGES)
def test_the_language_is_told(text: str, language: str) -> None:
    assert language_of(text * 100) == language


def test_what_suits_a_text_is_suggested() -> None:
    assert {"comment_c", "string_c", "if_condition", "braces_depth_c", "line_position"} <= set(suggest(C * 200))
    assert {"comment_python", "string_python", "indentation"} <= set(suggest(PYTHON * 200))
    assert "line_position" not in suggest(PYTHON * 200)  # without tabs it is since_newline
    assert {"double_quotes", "parentheses", "digits", "word_position"} <= set(suggest(PROSE * 200))
    assert suggest("") == []
    for text in (C * 200, PYTHON * 200, PROSE * 200):
        assert all(builtin()[name].language in ("any", language_of(text)) for name in suggest(text))


def test_both_halves_must_have_it() -> None:
    text = "plain words here\n" * 500
    assert "parentheses" not in suggest(text + "(in brackets)\n" * 500)
    assert "parentheses" in suggest((text + "(in brackets)\n" * 500) * 2)


def test_real_texts_get_their_hypotheses(shared_data: Path) -> None:
    def of(name: str) -> list[str]:
        return suggest((shared_data / "text" / name).read_text(encoding="utf-8", errors="replace")[:1_000_000])

    assert {"double_quotes", "single_quotes"} <= set(of("war_and_peace.txt"))
    assert "speaker" in of("tinyshakespeare.txt")
    assert {"comment_c", "string_c", "preprocessor_c", "if_condition", "braces_depth_c"} <= set(of("linux_1_0.txt"))
