"""Folds: every example is tested once, classes are spread evenly, an interrupted cross-validation goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import FailureError, MisuseError
from elman.training.folds import cross_validate, fold_parts


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 80), st.integers(2, 10), st.integers(0, 5), st.randoms())
def test_every_example_is_tested_once_and_no_part_holds_another(count: int, folds: int, seed: int, random) -> None:
    if folds > count:
        folds = count
    labels = [random.choice("aab") for _ in range(count)]
    tested = []
    for number in range(1, folds + 1):
        parts = fold_parts(labels, folds, number, seed)
        together = np.concatenate(list(parts.values()))
        assert sorted(together.tolist()) == list(range(count))
        assert len(parts["train"]) > 0
        tested += parts["test"].tolist()
        for kind in "ab":
            mine = sum(labels[row] == kind for row in parts["test"])
            assert abs(mine - labels.count(kind) / folds) <= 2
    assert sorted(tested) == list(range(count))


def test_the_folds_are_those_of_the_seed() -> None:
    labels = ["x", "y"] * 50
    first = fold_parts(labels, 5, 2, 1)
    assert all(np.array_equal(first[name], fold_parts(labels, 5, 2, 1)[name]) for name in first)
    assert not np.array_equal(first["test"], fold_parts(labels, 5, 2, 2)["test"])
    assert len(first["valid"]) == 8


@pytest.mark.parametrize(("folds", "number"), [(1, 1), (11, 1), (3, 4), (3, 0)])
def test_folds_that_cannot_be(folds: int, number: int) -> None:
    with pytest.raises(MisuseError, match=f"--folds is {folds}"):
        fold_parts(["a"] * 10, folds, number, 1)


def test_an_interrupted_cross_validation_goes_on(tmp_path: Path) -> None:
    done: list[int] = []

    def one(number: int, folder: Path) -> dict[str, float] | None:
        if number == 3 and done.count(3) == 0:
            done.append(3)
            return None
        done.append(number)
        assert folder == tmp_path / "cv" / f"fold-{number}"
        return {"accuracy": number / 10, "nats": 1.0}

    lines: list[str] = []
    first = cross_validate(tmp_path / "cv", 4, {"seed": 1}, one, lines.append)
    assert (first.complete, dict(first.scores)["accuracy"], done) == (False, [0.1, 0.2], [1, 2, 3])
    second = cross_validate(tmp_path / "cv", 4, {"seed": 1}, one, lines.append)
    assert second.complete
    assert done == [1, 2, 3, 3, 4]
    assert second.mean("accuracy") == pytest.approx(0.25)
    assert second.deviation("accuracy") == pytest.approx(np.std([0.1, 0.2, 0.3, 0.4], ddof=1))
    kept = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert kept["summary"]["accuracy"]["mean"] == pytest.approx(0.25)
    assert [row["accuracy"] for row in kept["folds"]] == [0.1, 0.2, 0.3, 0.4]
    assert lines[-1] == "fold 4 of 4: accuracy 0.4000, nats 1.0000"


def test_other_folders_are_refused(tmp_path: Path) -> None:
    def one(number: int, folder: Path) -> dict[str, float]:
        return {"accuracy": 1.0}

    cross_validate(tmp_path / "cv", 2, {"seed": 1}, one, print)
    with pytest.raises(MisuseError, match="of other data or with other flags"):
        cross_validate(tmp_path / "cv", 2, {"seed": 2}, one, print)
    (tmp_path / "cv" / "folds.json").write_text('{"key": {}, "folds": [{"accuracy": "x"}]}')
    with pytest.raises(FailureError, match="is damaged"):
        cross_validate(tmp_path / "cv", 2, {"seed": 1}, one, print)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(MisuseError, match="no cross-validation"):
        cross_validate(tmp_path / "other", 2, {"seed": 1}, one, print)
