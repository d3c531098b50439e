"""``elman lesion`` on the planted run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from insight.planted import UNIT, planted_run, planted_text

CELL = f"0:c:{UNIT}"
QUICK = ("--length", "8000", "--random", "5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_run(tmp_path_factory.mktemp("planted"), 60_000)


def test_an_effect_as_json_and_as_a_picture(run: Path, elman: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "lesion.png"
    asked = ("lesion", run, "--cell", CELL, "--hypothesis", "double_quotes", *QUICK)
    done = elman(*asked, "--json", "--figure", picture)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    effect = told["effect"]
    assert told["text"] == "valid"
    assert effect["interventions"] == [
        {"layer": 0, "name": "c", "units": [UNIT], "mode": "zero", "value": None, "scale": "own", "strength": 1}
    ]
    assert effect["on"]["low"] > 0.15
    assert abs(effect["off"]["value"]) < 1e-4
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = elman(*asked)
    assert shown.returncode == 0
    assert f"layer 0 c[{UNIT}] at zero" in shown.stdout
    assert "mean of 5 random cells" in shown.stdout
    assert f"{effect['on']['value']:+.4f}" in shown.stdout


def test_a_text_of_the_users_and_a_regular_expression(run: Path, elman: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "other.txt"
    file.write_text(planted_text(20_000, seed=5))
    done = elman("lesion", run, "--cell", CELL, "--regex", r'"(?P<label>[^"\n]*)"', "--text", file, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["text"] == str(file)
    assert told["effect"]["difference"]["low"] > 0.1


def test_texts_side_by_side(run: Path, elman: Callable[..., Any]) -> None:
    asked = ("lesion", run, "--cell", CELL, "--sample", 200, "--prompt", '"the sea', "--seed", 7)
    done = elman(*asked, "--json")
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)["sample"]
    assert sample["plain"]["text"] != sample["lesioned"]["text"]
    plain = json.loads(elman("sample", run, "--length", 200, "--prompt", '"the sea', "--seed", 7, "--json").stdout)
    assert sample["plain"]["text"] == plain["text"]
    shown = elman(*asked)
    assert '--- lesioned, seed 7\n"the sea' + sample["lesioned"]["text"] in shown.stdout
    spanned = json.loads(elman(*asked, "--span", "100:", "--json").stdout)["sample"]
    assert spanned["parted"] is None or spanned["parted"] > 100
    meant = elman(*asked, "--mode", "mean", "--json", "--length", 2000)
    assert json.loads(meant.stdout)["sample"]["plain"] == sample["plain"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--cell", "0:c:99", "--hypothesis", "digits"), "units 0 to 31"),
        (("--cell", "0:q:1", "--hypothesis", "digits"), "no cells 'q'"),
        (("--cell", "c17", "--hypothesis", "digits"), "LAYER:NAME:UNIT"),
        (("--cell", CELL), "Say what to do"),
        (("--cell", CELL, "--hypothesis", "nonsense"), "no hypothesis 'nonsense'"),
        (("--cell", CELL, "--hypothesis", "digits"), "never on"),
        (("--cell", CELL, "--hypothesis", "digits", "--regex", "a"), "give one of them"),
        (("--cell", CELL, "--hypothesis", "digits", "--mode", "burn"), "burn"),
        (("--cell", CELL, "--hypothesis", "digits", "--value", "1"), "mode set"),
        (("--cell", CELL, "--sample", "9", "--span", "x"), "FIRST:END"),
        (("--cell", CELL, "--sample", "9", "--figure", "a.png"), "--hypothesis"),
        (("--cell", CELL, "--hypothesis", "digits", "--text", "gone.txt"), "gone.txt"),
        (("--cell", CELL, "--hypothesis", "digits", "--text", "gone.txt", "--part", "valid"), "--part valid"),
        (("--cell", CELL, "--hypothesis", "digits", "--figure", "lesion.gif"), ".png"),
    ],
)
def test_a_mistake_is_a_sentence(
    run: Path, elman: Callable[..., Any], arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    done = elman("lesion", run, *arguments, "--length", 3000, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ngram_model_has_no_cells(elman: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text(planted_text(3000))
    assert elman("train", "ngram", "input.txt", "--order", 2, "--out", "grams", cwd=tmp_path).returncode == 0
    done = elman("lesion", "grams", "--cell", CELL, "--hypothesis", "double_quotes", cwd=tmp_path)
    assert done.returncode == 2
    assert "n-gram" in done.stderr
