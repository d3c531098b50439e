"""Columns, indentation, characters since the newline, against a loop that writes on a screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elman.insight.hypotheses import builtin

KNOWN = builtin()


def by_loop(text: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"since_newline": [], "line_position": [], "indentation": []}
    count = column = 0
    indentation: int | None = None
    for sign in text:
        if sign == "\n":
            count, column, indentation = 0, 0, None
        else:
            if indentation is None and sign not in " \t":
                indentation = column
            count += 1
            column = (column // 8 + 1) * 8 if sign == "\t" else column + 1
        found["since_newline"].append(count)
        found["line_position"].append(column)
        found["indentation"].append(column if indentation is None else indentation)
    return found


@given(st.text("ab \t\n", max_size=80))
def test_lines_are_counted_as_a_screen_fills(text: str) -> None:
    for name, expected in by_loop(text).items():
        assert KNOWN[name].label(text).tolist() == expected, name


def test_a_tab_reaches_the_next_multiple_of_eight() -> None:
    assert KNOWN["line_position"].label("\tif\tx\n").tolist() == [8, 9, 10, 16, 17, 0]
    assert KNOWN["indentation"].label("\t  if\tx\n y").tolist() == [8, 9, 10, 10, 10, 10, 10, 0, 1, 1]
