"""Spans, resets, brackets: the array operations against loops over characters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.insight.hypotheses import characters

Marks = NDArray[np.bool_]


def brackets_of(text: str) -> tuple[Marks, Marks, Marks]:
    """Opening, closing, and "|" for a reset; "{" is a reset that opens, "}" one that closes."""
    signs = np.array(list(text))
    return np.isin(signs, ["(", "{"]), np.isin(signs, [")", "}"]), np.isin(signs, ["|", "{", "}"])


def depth_by_loop(text: str) -> list[int]:
    depth, found = 0, []
    for sign in text:
        if sign in "|{}":
            depth = 0
        depth += (sign in "({") - (sign in ")}")
        depth = max(depth, 0)
        found.append(depth)
    return found


def matches_by_stack(text: str) -> dict[int, int]:
    found, stack = {}, []
    for place, sign in enumerate(text):
        if sign in "|{}":
            found.update(dict.fromkeys(stack, place))
            stack = []
        if sign in "({":
            stack.append(place)
        elif sign in ")}" and stack:
            found[stack.pop()] = place
    return found | dict.fromkeys(stack, len(text))


@given(st.text("()x|{}", max_size=60))
def test_depth_is_that_of_a_loop(text: str) -> None:
    assert characters.depth(*brackets_of(text)).tolist() == depth_by_loop(text)


@given(st.text("()x|{}", max_size=60))
def test_brackets_are_matched_as_by_a_stack(text: str) -> None:
    begins, ends = characters.matches(*brackets_of(text))
    assert dict(zip(begins.tolist(), ends.tolist(), strict=True)) == matches_by_stack(text)
    assert begins.tolist() == sorted(begins.tolist())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_inside_is_the_union_of_the_spans(spans: list[tuple[int, int]]) -> None:
    expected = [int(any(begin <= place < end for begin, end in spans)) for place in range(30)]
    begins, ends = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    assert characters.inside(30, begins, ends).tolist() == expected


@given(st.text("a \t\r\n", max_size=60))
def test_blank_lines_are_those_without_anything_solid(text: str) -> None:
    expected, line = [], ""
    for sign in text:
        line += sign
        expected.append(sign == "\n" and not line.strip())
        if sign == "\n":
            line = ""
    assert characters.blank_lines(text).tolist() == expected
    starts = [place == 0 or text[place - 1] == "\n" for place in range(len(text))]
    assert characters.line_starts(text).tolist() == starts


@given(st.text("aé€😀\ud800\n", max_size=30))
def test_code_points_are_those_of_the_characters(text: str) -> None:
    assert characters.codepoints(text).tolist() == [ord(sign) for sign in text]
    assert characters.where(text, str.isalpha).tolist() == [sign.isalpha() for sign in text]


def test_since_and_last_before_count_from_the_beginning() -> None:
    marked = np.array([False, False, True, False, True])
    assert characters.last_before(marked).tolist() == [-1, -1, 2, 2, 4]
    assert characters.since(marked).tolist() == [1, 2, 0, 1, 0]
