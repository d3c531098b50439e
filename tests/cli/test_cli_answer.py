"""``elman train vqa``, ``elman answer``, ``elman eval``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vqa_cases import COLOURS, SIDE, write_questions

Image = pytest.importorskip("PIL.Image")
FLAGS = ("--lr", "0.01", "--hidden", "24", "--channels", "8", "--halvings", "2", "--backend", "reference", "--quiet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("squares"))


def square(path: Path, name: str, left: int, side: int = SIDE) -> Path:
    pixels = np.full((side, side, 3), 255, dtype=np.uint8)
    size = 6 * side // SIDE
    pixels[size : 2 * size, left * side // SIDE : left * side // SIDE + size] = COLOURS[name]
    Image.fromarray(pixels).save(path)
    return path


def test_from_training_to_an_answer(elman: Callable, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = elman("train", "vqa", data, "--attention", "after", "--steps", 120, "--out", run, *FLAGS)
    assert made.returncode == 0, made.stderr
    image = square(tmp_path / "new.png", "blue", 9, side=48)
    asked = elman("answer", run, image, "On which side is it?", "--json")
    found = json.loads(asked.stdout)
    assert found["answers"][0]["answer"] == "right"
    assert sum(each["probability"] for each in found["answers"]) == pytest.approx(1)
    assert found["words"] == ["<S>", "on", "which", "side", "is", "it", "?"]
    assert not found["unknown"]
    assert len(found["attention"]) == 2
    assert found["attention_is_by"] == "hop"
    assert np.array(found["attention"]).sum((1, 2)) == pytest.approx([1, 1], abs=1e-3)
    picture = tmp_path / "looks.png"
    asked = elman("answer", run, image, "what color is the zebra?", "--choices", "red, blue", "--attention", picture)
    assert asked.stdout.splitlines()[0].split()[1] == "blue"
    assert len(asked.stdout.splitlines()) == 3
    assert "does not know: zebra" in asked.stdout
    assert Image.open(picture).size[0] > 100
    scored = elman("eval", run, "--part", "test", "--json")
    report = json.loads(scored.stdout)
    assert report["questions"] == 36
    assert report["accuracy"] > 0.8 > report["shuffled_images"]
    assert set(report["by_kind"]) == {"what color", "on which"}
    plain = elman("eval", run, "--part", "test").stdout
    assert "on which" in plain
    assert "accuracy" in plain


def test_mistakes_are_sentences(elman: Callable, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = elman("train", "vqa", data, "--steps", 1, "--control", "question-only", "--out", run, *FLAGS)
    assert made.returncode == 0, made.stderr
    image = square(tmp_path / "new.png", "red", 0)
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:-30])
    for arguments, sentence in (
        (("answer", run, image, "  "), "The question is empty"),
        (("answer", run, image, "what?", "--choices", "purple"), "never learned the answer 'purple'"),
        (("answer", run, image, "what?", "--choices", ","), "no choice among"),
        (("answer", run, broken, "what?"), "damaged or cut short"),
        (("answer", run, tmp_path / "none.png", "what?"), "cannot be read"),
        (("answer", run, image, "what?", "--attention", tmp_path / "a.png"), "no attention to draw"),
        (("answer", run, image, "what?", "--attention", tmp_path / "a.txt"), "--attention is"),
        (("train", "vqa", data, "--size", "64", *FLAGS), "it takes WIDTHxHEIGHT"),
        (("train", "vqa", data, "--attention", "perhaps", "--out", tmp_path / "b", *FLAGS), "attention is 'perhaps'"),
        (("train", "vqa", tmp_path / "nothing.json", *FLAGS), "cannot be opened"),
        (("train", "vqa", data, "--split", "100", "--patience", 3, "--out", tmp_path / "c", *FLAGS), "validation part"),
        (("sample", run), "is a run of `elman train vqa`"),
    ):
        done = elman(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert sentence in done.stderr.replace("\n", " "), (arguments, done.stderr)


def test_a_model_that_looks_while_it_reads_has_a_map_a_word(elman: Callable, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert elman("train", "vqa", data, "--steps", 1, "--out", run, *FLAGS).returncode == 0
    image = square(tmp_path / "new.png", "red", 0)
    found = json.loads(elman("answer", run, image, "what color is it?", "--json").stdout)
    assert found["attention_is_by"] == "word"
    assert len(found["attention"]) == len(found["words"]) == 6
    assert np.array(found["attention"]).sum((1, 2)) == pytest.approx(np.ones(6), abs=1e-3)
