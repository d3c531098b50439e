"""``elman hunt`` on the planted run, whose cell for quotations it has to find."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from insight.planted import LAYER, STATE, UNIT, planted_run, planted_text

from elman.insight import hypotheses
from elman.training.corpus import TextOptions
from elman.training.display import QuietDisplay
from elman.training.ngram import train_ngram_run

Elman = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_run(tmp_path_factory.mktemp("planted"), 60_000)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "other.txt"
    path.write_text(planted_text(40_000, seed=3), encoding="utf-8")
    return path


def test_the_planted_cell_is_found(run: Path, text: Path, elman: Elman) -> None:
    done = elman("hunt", run, "--text", text, "--hypothesis", "double_quotes", "--json", "--top", 3, "--probe")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["run"], told["source"], told["length"]) == (str(run), str(text), 40_000)
    finding = told["findings"]["double_quotes"]
    best = finding["cells"][0]
    assert (best["layer"], best["name"], best["unit"]) == (LAYER, STATE, UNIT)
    assert best["f1"] == 1.0  # the cell is exact
    assert best["stratified_auc"] == 1.0
    assert best["p"] == 1 / 1001
    assert finding["verdict"] == "found"
    assert finding["baseline"]["f1"] < 0.9
    assert finding["probe"]["dense_f1"] > 0.99
    assert len(finding["cells"]) == 3
    assert told["untrained_seed"] == 0
    # the recordings and the hunt are kept with the run
    assert list(Path(told["recording"]).glob("hunt-*.json"))
    assert Path(told["recording"]).parent == run / "insight" / "recordings"
    again = elman("hunt", run, "--text", text, "--hypothesis", "double_quotes", "--json", "--top", 3, "--probe")
    assert json.loads(again.stdout) == told


def test_by_default_the_validation_part_and_what_suits_it(run: Path, elman: Elman) -> None:
    done = elman("hunt", run, "--no-baseline")
    assert done.returncode == 0, done.stderr
    assert f"{run} on valid: " in done.stdout
    assert "6,000 tokens" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("double_quotes"))
    assert f"layer {LAYER} " in row
    assert f"[{UNIT}]" in row
    assert "found" in row
    assert "1.00" in row
    assert "since_newline" in done.stdout
    assert "comment_c" not in done.stdout


def test_too_few_shifts_are_told(run: Path, text: Path, elman: Elman) -> None:
    asked = ("--text", text, "--hypothesis", "double_quotes", "--regex", "a=a", "--no-baseline", "--shifts", 30)
    done = elman("hunt", run, *asked)
    assert done.returncode == 0, done.stderr
    assert "30 shifts of the null are too few" in done.stdout


def test_patterns_and_limits(run: Path, text: Path, elman: Elman) -> None:
    asked = ("--regex", r"speech=\"(?P<label>[^\"\n]*)\"", "--regex", "vowels=[aeiou]", "--limit", 20_000)
    done = elman("hunt", run, "--text", text, *asked, "--no-baseline", "--json", "--seed", 5)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["findings"]) == ["speech", "vowels"]
    assert (told["length"], told["seed"], told["untrained_seed"]) == (20_000, 5, None)
    assert told["findings"]["speech"]["cells"][0]["unit"] == UNIT
    assert told["findings"]["vowels"]["cells"][0]["stratified_auc"] is None  # the character decides


def test_gates_are_ranked_on_request(run: Path, text: Path, elman: Elman) -> None:
    asked = ("--text", text, "--hypothesis", "double_quotes", "--no-baseline", "--limit", 8000, "--json")
    states = json.loads(elman("hunt", run, *asked).stdout)["cells"]
    assert json.loads(elman("hunt", run, *asked, "--gates").stdout)["cells"] > states


def test_pictures_and_pages(run: Path, text: Path, elman: Elman, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    asked = ("hunt", run, "--text", text, "--hypothesis", "double_quotes", "--hypothesis", "since_newline")
    figure, page, picture = tmp_path / "hunt.png", tmp_path / "cells.html", tmp_path / "cells.png"
    done = elman(*asked, "--no-baseline", "--figure", figure, "--coloured", page, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert figure.read_bytes().startswith(b"\x89PNG")
    shown = page.read_text(encoding="utf-8")
    assert shown.startswith("<!DOCTYPE html>")
    assert "Content-Security-Policy" in shown
    assert f"inside double quotes: layer {LAYER} {STATE}[{UNIT}]" in shown
    assert " u" in shown
    assert elman(*asked, "--no-baseline", "--coloured", picture).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_hypotheses_are_listed(elman: Elman) -> None:
    done = elman("hunt", "--list")
    assert done.returncode == 0
    listed = json.loads(elman("hunt", "--list", "--json").stdout)
    assert [each["name"] for each in listed] == list(hypotheses.builtin())
    assert all(each["description"] and each["name"] in done.stdout for each in listed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name a run folder"),
        (("RUN", "--hypothesis", "double_quote"), "Did you mean double_quotes"),
        (("RUN", "--hypothesis", "zzz"), "elman hunt --list"),
        (("RUN", "--regex", "nothing"), "NAME=PATTERN"),
        (("RUN", "--regex", "bad=("), "no regular expression"),
        (("RUN", "--regex", "a=a", "--regex", "a=b"), "Two hypotheses"),
        (("RUN", "--figure", "hunt.gif"), "--figure is hunt.gif"),
        (("RUN", "--coloured", "cells.gif"), "--coloured is cells.gif; it takes a name that ends in .html"),
        (("RUN", "--part", "valid", "--text", "TEXT"), "--part valid"),
        (("RUN", "--limit", "500", "--regex", "a=a"), "at least 2,000 tokens"),
        (("missing",), "missing"),
    ],
)
def test_mistakes_end_in_a_sentence(
    run: Path, text: Path, elman: Elman, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    places = {"RUN": str(run), "TEXT": str(text)}
    done = elman("hunt", *(places.get(each, each) for each in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_slow_pattern_is_ended(run: Path, elman: Elman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runs.txt"
    file.write_text("a" * 4000)
    regex = hypotheses.regex
    monkeypatch.setattr("elman.insight.hypotheses.regex", lambda name, pattern: regex(name, pattern, seconds=1))
    done = elman("hunt", run, "--text", file, "--regex", "slow=(a+)+b", "--no-baseline")
    assert done.returncode == 2
    assert "'slow'" in done.stderr


def test_an_ngram_model_has_no_cells(text: Path, elman: Elman, tmp_path: Path) -> None:
    train_ngram_run([str(text)], TextOptions(), 3, "kneser-ney", tmp_path / "run", QuietDisplay())
    done = elman("hunt", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
