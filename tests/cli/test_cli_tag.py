"""`elman train tag`, `eval` and `predict` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Elman = Callable[..., Any]
NAMES, TOWNS = ("Ada", "Alan", "Grace", "Edsger"), ("London", "Paris", "Leiden", "Zurich")
SMALL = ("--hidden", 16, "--embedding", 12, "--character-hidden", 6, "--steps", 60, "--threads", 1, "--lr", 0.02)


def columns(path: Path, count: int = 60) -> Path:
    sentences = []
    for number in range(count):
        name, town = NAMES[number % 4], TOWNS[number // 4 % 4]
        sentences.append(f"{name} NNP B-PER\nLovelace NNP I-PER\nlived VBD O\nin IN O\n{town} NNP B-LOC\n. . O\n")
    path.write_text("-DOCSTART- -X- O\n\n" + "\n".join(sentences))
    return path


@pytest.fixture
def run(elman: Elman, tmp_path: Path) -> Path:
    path = columns(tmp_path / "names.conll")
    done = elman(
        "train", "tag", path, "--split", "80/10/10", "--constrain", "--scheme", "iobes", "--out", tmp_path / "run",
        "--quiet", *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 lines -DOCSTART- were left out" in done.stderr
    return tmp_path / "run"


def test_from_columns_to_entities(elman: Elman, run: Path, tmp_path: Path) -> None:
    done = elman("eval", run, "--part", "test", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert (rows["sentences"], rows["entities"], rows["f1"], rows["constrained"]) == (6, 12, 1.0, "yes")
    assert rows["kinds"]["PER"]["support"] == 6
    assert "precision" in elman("eval", run).stdout

    done = elman("predict", run, "--text", "Grace Lovelace lived in Paris.", "--json")
    found = json.loads(done.stdout)
    assert found["words"] == ["Grace", "Lovelace", "lived", "in", "Paris", "."]
    assert [(each["kind"], each["text"]) for each in found["entities"]] == [
        ("PER", "Grace Lovelace"),
        ("LOC", "Paris"),
    ]
    assert all(0 < chance <= 1 for chance in found["probabilities"])
    done = elman("predict", run, stdin=b"Ada Lovelace lived in London .\n")
    assert done.stdout == "[PER Ada Lovelace] lived in [LOC London] .\n"
    done = elman("predict", run, "--file", tmp_path / "names.conll")
    assert done.stdout.splitlines()[0] == "[PER Ada Lovelace] lived in [LOC London] ."
    plain = tmp_path / "plain.txt"
    plain.write_text("Alan Lovelace lived in Leiden.\n\n")
    assert elman("predict", run, "--file", plain).stdout == "[PER Alan Lovelace] lived in [LOC Leiden] .\n"


def test_parts_of_speech_from_another_column(elman: Elman, tmp_path: Path) -> None:
    path = columns(tmp_path / "names.conll", 20)
    options = ("--tag-column", 2, "--softmax", "--no-characters", "--out", tmp_path / "run", *SMALL)
    done = elman("train", "tag", path, *options)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    done = elman("predict", tmp_path / "run", "--text", "Ada lived")
    assert done.stdout == "Ada/NNP lived/VBD\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--tag-column", 4), "names.conll, line 3: there is no column '4' for the tag"),
        (("--tag-column", 2, "--constrain"), "--constrain is for labels of entities"),
        (("--tag-column", 2, "--scheme", "iob2"), "'NNP' is no label of entities"),
        (("--freeze-embeddings",), "--freeze-embeddings needs --embeddings"),
        (("--word-dropout", 1), "--word-dropout is 1.0"),
    ],
)
def test_mistakes_end_in_a_sentence(elman: Elman, tmp_path: Path, arguments: tuple, sentence: str) -> None:
    columns(tmp_path / "names.conll")
    done = elman("train", "tag", "names.conll", *arguments, "--out", "run", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_a_tagger_explains_no_words(elman: Elman, run: Path) -> None:
    done = elman("predict", run, "--text", "a", "--explain")
    assert done.returncode == 2
    assert "this is a tagger" in done.stderr
