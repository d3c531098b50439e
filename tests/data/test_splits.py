"""Splits by position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.splits import PARTS, borders, divide, parse_split, part_named
from elman.errors import MisuseError


@pytest.mark.parametrize(
    ("split", "total", "ends"),
    [
        ("90/10", 1_115_394, (1_003_854, 1_115_394)),
        ("80/10/10", 100, (80, 90)),
        ("0.57/0.43", 100, (57, 100)),
        ("100/0", 7, (7, 7)),
        ("100", 7, (7, 7)),
        ("0/100", 7, (0, 7)),
        ("90/0/10", 10, (9, 9)),
        ("33.3/33.3/33.4", 1000, (333, 666)),
        ("5/3/2", 10, (5, 8)),
        ("90%/10%", 10, (9, 10)),
        ((80, 20), 10, (8, 10)),
        ((0.1, 0.9), 10, (1, 10)),
    ],
)
def test_borders(split: str, total: int, ends: tuple[int, int]) -> None:
    assert borders(parse_split(split), total) == ends


@pytest.mark.parametrize(
    "split", ["", "90/", "a/b", "nan/1", "-10/110", "0/0", "25/25/25/25", "1/0/x", "inf", "1e400000"]
)
def test_nonsense(split: str) -> None:
    with pytest.raises(MisuseError, match="--split"):
        borders(parse_split(split), 100)


def test_wrong_sums_name_the_texts_length() -> None:
    with pytest.raises(MisuseError, match=r"sums to 90; .* the text's 1234"):
        borders(parse_split("80/10"), 1234)


@given(
    text=st.text(alphabet="ab \n", max_size=60),
    cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    steps=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    whole_lines=st.booleans(),
)
def test_parts_do_not_depend_on_chunk_borders(
    text: str, cuts: tuple[int, int], steps: list[int], whole_lines: bool
) -> None:
    first, second = sorted(min(cut, len(text)) for cut in cuts)

    def parts(chunks: list[str]) -> list[str]:
        found = ["", "", ""]
        last = 0
        for number, piece in divide(chunks, (first, second), whole_lines):
            assert piece
            assert number >= last
            last = number
            found[number] += piece
        return found

    chunks, at = [], 0
    while at < len(text):
        step = steps[len(chunks) % len(steps)]
        chunks.append(text[at : at + step])
        at += step
    divided = parts(chunks)
    assert divided == parts([text])
    assert "".join(divided) == text
    if not whole_lines:
        assert divided == [text[:first], text[first:second], text[second:]]
    else:
        assert len(divided[0]) >= first


def test_borders_move_to_the_end_of_a_line_or_word() -> None:
    def parts(text: str, end: int) -> list[str]:
        found = ["", "", ""]
        for number, piece in divide([text], (end, len(text)), whole_lines=True):
            found[number] += piece
        return found[:2]

    assert parts("one two\nthree four\n", 5) == ["one two\n", "three four\n"]
    assert parts("one two\nthree four\n", 8) == ["one two\n", "three four\n"]
    assert parts("one two three\n", 5) == ["one two ", "three\n"]
    assert parts("onetwothree", 5) == ["onetw", "othree"]
    long = "word " * 5000 + "\nlast line"
    assert parts(long, 7)[0] == "word word "


def test_a_part_is_named_as_the_option_takes_it() -> None:
    assert part_named(None) == "valid"
    assert [part_named(name) for name in PARTS] == list(PARTS)
    for wrong in ("foo", "", "Train"):
        with pytest.raises(MisuseError, match="it takes train, valid, test"):
            part_named(wrong)
