"""``elman gates``, ``gradients``, ``errors`` and ``agreement`` on a small run that kept its weights."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import elman_command, elman_environment

SMALL = [
    "--hidden", 16, "--layers", 2, "--batch", 8, "--unroll", 20, "--threads", 1, "--precision", "fp32", "--dropout", 0,
    "--eval-every", 20, "--sample-length", 0, "--quiet",
]  # fmt: skip

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``source.txt``, an LSTM run ``lstm`` with five kept weights, an RNN run ``rnn`` and n-grams."""
    folder = tmp_path_factory.mktemp("dynamics")
    lines = [f'int f{i % 7}(int a) {{\n\tif (a > {i % 13}) {{ return "{i % 5}"; }}\n}}\n' for i in range(400)]
    (folder / "source.txt").write_text("".join(lines))
    (folder / "other.txt").write_text("".join(lines[5:40]))
    for arguments in (
        ["lm", "source.txt", "--out", "lstm", "--steps", 40, "--snapshots", 5, *SMALL],
        ["lm", "source.txt", "--out", "rnn", "--cell", "rnn", "--steps", 20, *SMALL],
        ["ngram", "source.txt", "--out", "ngram", "--order", 3, "--quiet"],
    ):
        done = subprocess.run(
            elman_command("train", *arguments), cwd=folder, env=elman_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    return folder


def values(done: Any) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_gates(place: Path, elman: Run) -> None:
    told = values(elman("gates", "lstm", "--json", "--figure", "gates.png", cwd=place))
    assert [(gate["layer"], gate["name"]) for gate in told["gates"]] == [
        (layer, name) for layer in range(2) for name in "ifo"
    ]
    assert all(len(gate["left"]) == len(gate["right"]) == 16 for gate in told["gates"])
    assert (told["text"], told["run"]) == ("valid", "lstm")
    assert (place / "gates.png").read_bytes().startswith(b"\x89PNG")
    table = elman("gates", "lstm", "--text", "other.txt", "--length", 500, cwd=place)
    assert table.returncode == 0
    assert "500 steps" in table.stdout
    assert "other.txt" in table.stdout
    refused = elman("gates", "rnn", cwd=place)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no gates" in refused.stderr


def test_gradients_of_several_runs(place: Path, elman: Run) -> None:
    settings = ("--lags", 40, "--positions", 6, "--burn-in", 10)
    told = values(elman("gradients", "lstm", "rnn", *settings, "--json", "--figure", "flow.svg", cwd=place))
    assert [run["run"] for run in told["runs"]] == ["lstm", "rnn"]
    lstm, rnn = told["runs"]
    assert [(state["layer"], state["state"]) for state in lstm["states"]] == [(0, "c"), (0, "h"), (1, "c"), (1, "h")]
    assert [matrix["name"] for matrix in rnn["matrices"]] == ["Wh", "Wh"]
    assert all(len(state["log10_median"]) == 41 for state in rnn["states"])
    assert (rnn["positions"], rnn["lags"], rnn["burn_in"]) == (6, 40, 10)
    assert (place / "flow.svg").read_text().lstrip().startswith("<?xml")
    table = elman("gradients", "rnn", *settings, cwd=place)
    assert "layer 1 h" in table.stdout
    assert "spectral radius" in table.stdout
    assert elman("gradients", "lstm", "lstm", cwd=place).returncode == 2
    short = elman("gradients", "lstm", "--lags", 100_000, cwd=place)
    assert short.returncode == 2
    assert "too short" in short.stderr
    assert "recurrent" in elman("gradients", "ngram", cwd=place).stderr


def test_errors(place: Path, elman: Run) -> None:
    told = values(elman("errors", "lstm", "--json", "--order", 8, "--figure", "errors.pdf", cwd=place))
    taxonomy = told["taxonomy"]
    assert sum(category["count"] for category in taxonomy["categories"]) == taxonomy["errors"] > 0
    assert [category["name"] for category in taxonomy["categories"]][:2] == ["ngram", "memory"]
    assert told["order"] == told["braces"]["order"] == 8
    assert told["braces"]["pairs"] > 50
    assert {row["class"] for row in told["by_character"]["characters"]} == {
        row["symbol"] for row in told["by_character"]["classes"]
    }
    # the validation part's first character stands behind the training part and is not predicted
    assert taxonomy["characters"] == sum(row["count"] for row in told["by_character"]["characters"])
    assert (place / "errors.pdf").read_bytes().startswith(b"%PDF")
    table = elman("errors", "lstm", "--text", "other.txt", "--order", 5, cwd=place)
    assert table.returncode == 0, table.stderr
    for expected in ("n-grams, n up to 9", "the remainder", "distance", "closing bracket", "only 5-grams on"):
        assert expected in table.stdout


def test_agreement(place: Path, elman: Run) -> None:
    asked = ("--orders", 3, "--positions", 500)
    told = values(elman("agreement", "lstm", *asked, "--json", "--figure", "agreement.png", cwd=place))
    steps = [snapshot["step"] for snapshot in told["snapshots"]]
    assert (len(steps), steps[0], steps[-1]) == (5, 1, 40)
    assert set(told["ngrams"]) == {"1", "2", "3"}
    assert told["snapshots"][-1]["nats"] < told["snapshots"][0]["nats"]
    table = elman("agreement", "lstm", *asked, cwd=place)
    assert "n=3" in table.stdout
    assert "nearest" in table.stdout
    refused = elman("agreement", "rnn", cwd=place)
    assert refused.returncode == 2
    assert "--snapshots 20" in refused.stderr


@pytest.mark.parametrize("verb", ["gates", "gradients", "errors", "agreement"])
def test_misuse_is_told_in_a_sentence_before_anything_is_read(place: Path, elman: Run, verb: str) -> None:
    for arguments, said in (
        (("absent",), "no run folder absent"),
        (("lstm", "--figure", "picture.gif"), "--figure is picture.gif"),
        (("lstm", "--part", "valid", "--text", "other.txt"), "leave it out"),
        (("lstm", "--text", "absent.txt"), "absent.txt"),
        (("lstm", "--part", "test"), "no test part"),
    ):
        done = elman(verb, *arguments, cwd=place)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr


def test_a_text_that_is_gone_is_named(place: Path, elman: Run, tmp_path: Path) -> None:
    moved = place / "source.txt"
    aside = tmp_path / "source.txt"
    moved.rename(aside)
    try:
        for verb in ("errors", "gates"):
            done = elman(verb, "lstm", cwd=place)
            assert done.returncode == 2
            assert "source.txt" in done.stderr
    finally:
        aside.rename(moved)
