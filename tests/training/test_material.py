"""The record of a run's data, and its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import FailureError, MisuseError
from elman.training.material import check_same, fingerprint_of, shuffled_parts
from elman.training.scores import check_options


@given(st.lists(st.text()), st.lists(st.text()))
def test_other_items_have_another_fingerprint(first: list[str], second: list[str]) -> None:
    assert (fingerprint_of(first) == fingerprint_of(second)) == (first == second)


def test_changed_data_are_refused() -> None:
    config = {"data": {"fingerprint": fingerprint_of(["a"])}}
    check_same(fingerprint_of(["a"]), config, Path("run"), ["file.csv"])
    with pytest.raises(FailureError, match=r"not those that run was trained on.*Restore file\.csv"):
        check_same(fingerprint_of(["b"]), config, Path("run"), ["file.csv"])
    with pytest.raises(FailureError, match="how its data were read"):
        check_same("", {}, Path("run"), [])


@given(count=st.integers(3, 500), seed=st.integers(0, 1000))
def test_parts_are_disjoint_and_whole(count: int, seed: int) -> None:
    parts = shuffled_parts(count, "80/10/10", seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    assert abs(len(parts["train"]) - 0.8 * count) <= 1
    again = shuffled_parts(count, "80/10/10", seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_a_split_of_two_has_no_test_part() -> None:
    parts = shuffled_parts(100, "90/10", 1)
    assert [len(rows) for rows in parts.values()] == [90, 10, 0]
    assert not np.array_equal(parts["valid"], shuffled_parts(100, "90/10", 2)["valid"])
    with pytest.raises(MisuseError, match="leaves nothing"):
        shuffled_parts(10, "0/100", 1)


def test_options_of_an_evaluation() -> None:
    known = {"beam": int, "alpha": float, "greedy": bool}
    assert check_options({"beam": 5, "alpha": 1}, known) == {"beam": 5, "alpha": 1.0}
    for wrong in ({"bean": 5}, {"beam": 0.5}, {"beam": True}, {"greedy": 1}):
        with pytest.raises(MisuseError):
            check_options(wrong, known)
