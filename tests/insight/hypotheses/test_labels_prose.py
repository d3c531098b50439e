"""Quotes, apostrophes, words, numbers, addresses, speakers: marked by hand, and against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.insight.hypotheses import builtin

KNOWN = builtin()


def labelled(name: str, marked: str) -> None:
    """``marked`` has [ and ] around what must be labelled 1; they are no part of the text."""
    text, expected, inside = "", [], 0
    for sign in marked:
        if sign in "[]":
            inside = int(sign == "[")
        else:
            text += sign
            expected.append(inside)
    found = KNOWN[name].label(text)
    shown = "".join(sign.upper() if label else sign for sign, label in zip(text, found, strict=True))
    assert found.tolist() == expected, shown


def double_quotes_by_loop(text: str) -> list[int]:
    straight = curly = False
    found, line = [], ""
    for sign in text:
        line += sign
        if sign == '"':
            straight = not straight
        elif sign in "“«":
            curly = True
        elif sign in "”»":
            curly = False
        elif sign == "\n":
            if not line.strip():
                straight = curly = False
            line = ""
        found.append(int(straight or curly))
    return found


@given(st.text('a "“”\n\t', max_size=80))
def test_double_quotes_are_those_of_a_loop(text: str) -> None:
    assert KNOWN["double_quotes"].label(text).tolist() == double_quotes_by_loop(text)


@pytest.mark.parametrize(
    "marked",
    [
        'He said ["yes]" and ["no]".',
        '["A speech that goes on\n]\n["and on.]"\n\nThen he left.',
        "[“Curly]” and [«French]».",
        'never closed ["until the paragraph ends\nhere\n]\nfree',
    ],
)
def test_double_quotes_marked_by_hand(marked: str) -> None:
    labelled("double_quotes", marked)


@pytest.mark.parametrize(
    "marked",
    [
        "I don't know what's what.",
        "she cried ['Bravo!]' and left",
        "'Tis done,' he said",  # an elision first: nothing is a quote
        "the dogs' bark, o' the world, i' faith",
        "'tis true and 'twas ever so, 'em all",
        "in the '90s and '20s it was so",
        "(['quoted]') and --['dash]' and \"['nested]'\"",
        "he says ['it isn't so]' again",
        "['two lines\nof it]' here",
        "an 'opening that never closes\n\nhere' is none",
        "[‘curly]’ and it’s not",
    ],
)
def test_single_quotes_are_told_from_apostrophes(marked: str) -> None:
    labelled("single_quotes", marked)


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("digits", "in [1869] or [3.14], [0x1F]g, x[2], [12:30]. [1,000]."),
        ("url", "see [http://a.b/c?d=1] or ([www.x.org/y]) but not a.b/c"),
        ("speaker", "[ROMEO]:\nBut soft: what\n\n[First Citizen]:\nAy:\nno: heading\n\nnot a heading: here\n"),
        ("capitalised", "[Anna] went to [St]. [McDonald]'s, iPhone and [É]."),
    ],
)
def test_words_marked_by_hand(name: str, marked: str) -> None:
    labelled(name, marked)


@given(st.text("aB é_1-'\n", max_size=40))
def test_places_in_words_are_counted_from_one(text: str) -> None:
    expected, count, capital, capitals = [], 0, False, []
    for sign in text:
        word = sign.isalnum() or sign == "_"
        count = count + 1 if word else 0
        capital = sign.isupper() if count == 1 else capital and word
        expected.append(count or -1)
        capitals.append(int(capital))
    assert KNOWN["word_position"].label(text).tolist() == expected
    assert KNOWN["capitalised"].label(text).tolist() == capitals


@pytest.mark.parametrize("name", KNOWN)
@given(text=st.text(max_size=40) | st.text("\"'()[]{}#/*\\\n\tif x", max_size=60))
def test_every_hypothesis_labels_every_text(name: str, text: str) -> None:
    labels = KNOWN[name].label(text)
    assert labels.shape == (len(text),)
    most = 1 if KNOWN[name].kind == "binary" else 8 * len(text)
    assert not len(labels) or (labels.min() >= -1 and labels.max() <= most)


def test_quotes_of_a_novel(shared_data: Path) -> None:
    text = (shared_data / "text" / "war_and_peace.txt").read_text(encoding="utf-8")
    labels = KNOWN["double_quotes"].label(text)
    assert 0.15 < labels.mean() < 0.3
    # paragraphs whose marks are balanced end outside
    ends = np.array([place for place in range(1, len(text)) if text[place - 1 : place + 1] == "\n\n"])
    assert labels[ends].max() == 0
    single = KNOWN["single_quotes"].label(text)
    apostrophes = np.array([place for place, sign in enumerate(text) if sign == "'"])
    between = [text[place - 1].isalpha() and text[place + 1].isalpha() for place in apostrophes]
    # an apostrophe within a word never begins a quote
    begins = np.flatnonzero(np.diff(single, prepend=0) == 1)
    assert not set(begins) & set(apostrophes[np.array(between)])
