"""What a search may change: as the user writes it, as optuna draws it, as a grid divides it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.training.search.space import Dimension, divided, flags_of, parse_space, points_of, space_lines

KINDS = {"lr": float, "hidden": int, "dropout": float, "layers": int, "tied": bool, "cell": str, "weight-decay": float}


def one(text: str) -> Dimension:
    return parse_space([text], KINDS)[0]


def test_ranges_and_lists_are_read() -> None:
    assert one("lr=1e-4..1e-1:log") == Dimension("lr", low=1e-4, high=1e-1, log=True)
    assert one("dropout = 0..0.6") == Dimension("dropout", low=0.0, high=0.6)
    assert one("layers=1..4:3") == Dimension("layers", low=1, high=4, points=3)
    assert one("--hidden=64,128") == Dimension("hidden", (64, 128))
    assert one("tied=on,off") == Dimension("tied", (True, False))
    assert one("cell=lstm,gru") == Dimension("cell", ("lstm", "gru"))
    assert one("weight_decay=0.1,1").name == "weight-decay"
    assert space_lines("# rates\nlr=1..2  # wide\n\nhidden=3\n") == ["lr=1..2", "hidden=3"]


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ([], "needs something to vary"),
        (["lr"], "no NAME=VALUES"),
        (["lr="], "no NAME=VALUES"),
        (["rate=1..2"], "no such flag"),
        (["lr=1..2", "lr=3..4"], "twice"),
        (["lr=2..1"], "lower to a higher"),
        (["lr=0..1:log"], "above 0"),
        (["lr=1..inf"], "lower to a higher"),
        (["lr=nan..1"], "lower to a higher"),
        (["lr=a..b"], "must be numbers"),
        (["hidden=1..2.5"], "whole numbers"),
        (["lr=1..2:often"], "neither log nor"),
        (["lr=1..2:1"], "neither log nor"),
        (["cell=a..b"], "has no range"),
        (["hidden=64,wide"], "takes whole numbers"),
        (["tied=yes"], "takes on and off"),
        (["hidden=64,,128"], "does not fit"),
        (["cell=lstm,"], "missing"),
        (["hidden=64,64"], "twice"),
    ],
)
def test_what_says_nothing_is_refused(texts: list[str], match: str) -> None:
    with pytest.raises(MisuseError, match=match):
        parse_space(texts, KINDS)


@given(
    st.floats(1e-6, 1e3),
    st.floats(1.01, 1e4),
    st.booleans(),
    st.integers(2, 40),
)
def test_a_grid_stays_in_its_range_and_has_both_ends(low: float, factor: float, log: bool, points: int) -> None:
    dimension = Dimension("lr", low=low, high=low * factor, log=log, points=points)
    grid = dimension.grid()
    assert len(grid) == points
    assert grid[0] == pytest.approx(low)
    assert grid[-1] == pytest.approx(low * factor)
    assert all(dimension.distribution()._contains(value) for value in grid)
    steps = [math.log(float(b) / float(a)) if log else float(b) - float(a) for a, b in itertools.pairwise(grid)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6, abs=1e-9)
    # what is stored reads as what was written, to six digits
    again = one(dimension.text)
    assert (again.low, again.high) == pytest.approx((dimension.low, dimension.high), rel=1e-5)
    assert (again.log, again.points) == (log, points)


def test_whole_numbers_come_once_each() -> None:
    assert one("layers=1..3:9").grid() == [1, 2, 3]
    assert one("hidden=1..100:log:3").grid() == [1, 10, 100]


def test_a_grid_is_the_largest_that_the_trials_allow() -> None:
    space = parse_space(["lr=1e-4..1:log", "dropout=0..0.6", "hidden=64,128"], KINDS)
    for trials, points in ((8, 2), (17, 2), (18, 3), (49, 4), (50, 5)):
        cut = divided(space, trials)
        assert [entry.points for entry in cut] == [points, points, 0]
        assert len(points_of(cut)) == 2 * points**2 <= trials
        # dividing what is divided changes nothing
        assert divided(cut, None) == cut
    with pytest.raises(MisuseError, match="more than 7"):
        divided(space, 7)
    with pytest.raises(MisuseError, match="number of values"):
        divided(space, None)
    assert len(divided(parse_space(["layers=1..3"], KINDS), 50)[0].grid()) == 3


def test_points_become_words_of_a_command_line() -> None:
    point = {"lr": 0.1 / 3, "hidden": 64, "tied": True, "cell": "gru"}
    assert flags_of(point) == ["--lr", "0.0333333", "--hidden", "64", "--tied", "--cell", "gru"]
    assert flags_of({"tied": False}) == []
