"""`elman train classify`, `eval` and `predict` as a user types them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Elman = Callable[..., Any]
GOOD, BAD = ("moving", "funny", "warm"), ("dull", "silly", "cold")
SMALL = ("--hidden", 12, "--embedding", 8, "--steps", 60, "--batch", 16, "--threads", 1, "--lr", 0.02, "--quiet")


def reviews(path: Path, count: int = 120) -> Path:
    lines = ["sentence,mood"]
    for number in range(count):
        word = (GOOD if number % 2 else BAD)[number % 3]
        lines.append(f"the film number {number % 7} is {word},{'pos' if number % 2 else 'neg'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def run(elman: Elman, tmp_path: Path) -> Path:
    done = elman(
        "train", "classify", reviews(tmp_path / "r.csv"), "--label-column", "mood", "--split", "80/10/10",
        "--pooling", "attention", "--out", tmp_path / "run", *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_from_a_table_to_explained_predictions(elman: Elman, run: Path, tmp_path: Path) -> None:
    done = elman("eval", run, "--part", "test", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows["texts"] == 12
    assert rows["accuracy"] == 1.0
    assert set(rows["classes"]) == {"neg", "pos"}
    shown = elman("eval", run)
    assert "true \\ called" in shown.stdout

    done = elman("predict", run, "--text", "a funny film", "--text", "so dull", "--json", "--explain")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["class"], second["class"]) == ("pos", "neg")
    assert first["probabilities"]["pos"] == first["probability"] > 0.5
    strongest = max(first["words"], key=lambda word: abs(word["contribution"]))
    assert strongest["token"] == "funny"
    assert sum(word["attention"] for word in first["words"]) == pytest.approx(1, abs=1e-5)

    page = tmp_path / "words.html"
    done = elman("predict", run, "--html", page, stdin=b"a funny film\n\nso dull\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("pos ")
    assert "a funny film" in re.sub("<[^>]*>", "", page.read_text())
    pytest.importorskip("matplotlib")
    drawn = elman("predict", run, "--text", "a funny film", "--picture", tmp_path / "words.png", "--json")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "words.png").read_bytes().startswith(b"\x89PNG")
    coloured = elman("predict", run, "--explain", "--text", "a funny film")
    assert "funny +" in coloured.stdout


def test_files_of_texts(elman: Elman, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text("id,sentence\n1,so warm\n2,so cold\n")
    done = elman("predict", run, "--file", table, "--text-column", "sentence", "--json")
    assert [json.loads(line)["class"] for line in done.stdout.splitlines()] == ["pos", "neg"], done.stderr
    lines = tmp_path / "new.txt"
    lines.write_text("warm and moving\nsilly\n")
    done = elman("predict", run, "--file", lines, "--json")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["warm and moving", "silly"]


def test_it_goes_on_after_a_stop(elman: Elman, run: Path) -> None:
    done = elman("resume", run, "--steps", 70, "--quiet")
    assert done.returncode == 0, done.stderr


def test_folds_print_mean_and_spread(elman: Elman, tmp_path: Path) -> None:
    path = reviews(tmp_path / "r.csv", 60)
    options = ("--label-column", "mood", "--folds", 2, "--out", tmp_path / "cv", *SMALL[:-3], "--steps", 8)
    done = elman("train", "classify", path, *options, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["folds"] == 2
    assert 0 <= figures["accuracy"]["mean"] <= 1
    again = elman("train", "classify", path, *options)
    assert "standard deviation" in again.stdout
    assert (tmp_path / "cv" / "fold-2" / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--folds", 2, "--valid", "r.csv"), "--folds tests on parts of the one file"),
        (("--freeze-embeddings",), "--freeze-embeddings needs --embeddings"),
        (("--tokens", "bytes", "--keep-case"), "--keep-case and --at-spaces are for words"),
        (("--pooling", "median"), "pooling is 'median'"),
        (("--word-dropout", 2), "--word-dropout is 2.0"),
        (("--label-column", "colour"), "no column 'colour' for the label"),
        (("--embeddings", "none.txt"), "none.txt cannot be read"),
        (("--split", "100/0", "--patience", 2), "need a validation part"),
    ],
)
def test_mistakes_end_in_a_sentence(elman: Elman, tmp_path: Path, arguments: tuple, sentence: str) -> None:
    reviews(tmp_path / "r.csv")
    usual = () if "--label-column" in arguments else ("--label-column", "mood")
    done = elman("train", "classify", "r.csv", *usual, *arguments, "--out", "run", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "run").exists()


def test_predict_refuses_what_it_cannot_do(elman: Elman, run: Path, tmp_path: Path) -> None:
    assert "not both" in elman("predict", run, "--text", "a", "--file", "b").stderr
    assert "--text is empty" in elman("predict", run, "--text", " ").stderr
    assert "There is no text" in elman("predict", run, stdin=b"\n").stderr
    assert elman("predict", tmp_path, "--text", "a").returncode == 2
    refused = elman("sample", run)
    assert refused.returncode == 2
    assert "elman train classify" in refused.stderr
