"""``elman train translate`` and ``elman translate`` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Elman = Callable[..., Any]


@pytest.fixture
def run(elman: Elman, tmp_path: Path) -> Path:
    """A run that has learned next to nothing, of words, with attention."""
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"eins Zwei {n % 7} .\tone Two {n % 7} .\n" for n in range(60)))
    options = ("--tokens", "words", "--lowercase", "--hidden", 8, "--steps", 3, "--threads", 1, "--quiet")
    done = elman("train", "translate", table, *options, "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_sentences_from_everywhere(elman: Elman, run: Path, tmp_path: Path) -> None:
    asked = ["EINS zwei 3 .", "zwei", "", "unheard words"]
    (tmp_path / "asked.txt").write_text("\n".join(asked) + "\n")
    common = ("translate", run, "--n-best", 3, "--json")
    by_file = elman(*common, "--file", tmp_path / "asked.txt")
    by_line = elman(*common, stdin=("\n".join(asked) + "\n").encode())
    by_text = elman(*common, *(part for sentence in asked for part in ("--text", sentence)))
    answers = [[json.loads(line) for line in done.stdout.splitlines()] for done in (by_file, by_line, by_text)]
    for found in answers:
        assert [each["source"] for each in found] == asked
        assert [len(each["translations"]) for each in found] == [3, 3, 0, 3]
        for each in found:
            for one in each["translations"]:
                assert one["logprob_a_token"] == pytest.approx(one["logprob"] / one["tokens"])
    for first, second in zip(answers[0], answers[1], strict=True):
        assert [one["text"] for one in first["translations"]] == [one["text"] for one in second["translations"]]
    plain = elman("translate", run, "--file", tmp_path / "asked.txt", "--beam", 2)
    assert plain.returncode == 0
    assert len(plain.stdout.splitlines()) == 4
    best = elman("translate", run, "--text", "zwei", "--n-best", 2).stdout.splitlines()
    total, a_token, text = best[0].split("\t")
    first = answers[0][1]["translations"][0]
    assert text == first["text"]
    assert (float(total), float(a_token)) == pytest.approx((first["logprob"], first["logprob_a_token"]), abs=0.006)


def test_ensembles_draws_and_pictures(elman: Elman, run: Path, tmp_path: Path) -> None:
    alone = elman("translate", run, "--text", "eins zwei", "--json").stdout
    assert json.loads(elman("translate", run, "--ensemble", run, "--text", "eins zwei", "--json").stdout)[
        "translations"
    ][0]["logprob"] == pytest.approx(json.loads(alone)["translations"][0]["logprob"], rel=1e-5)
    draw = ("translate", run, "--text", "eins", "--draw", "--n-best", 4)
    assert elman(*draw, "--seed", 5).stdout == elman(*draw, "--seed", 5).stdout != elman(*draw, "--seed", 6).stdout
    pytest.importorskip("matplotlib")
    picture = tmp_path / "looks.png"
    assert elman("translate", run, "--text", "eins zwei", "--text", "$2 _", "--alignment", picture).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--text", "a", "--file", "b"), "give one of them"),
        (("--text", "a", "--beam", "2", "--n-best", "3"), "cannot give the 3 best"),
        (("--text", "a", "--draw", "--beam", "2"), "--draw draws and --beam searches"),
        (("--text", "a", "--seed", "2"), "are for --draw"),
        (("--file", "missing.txt"), "does not exist"),
        (("--text", "a", "--alignment", "looks.bmp"), ".png, .svg or .pdf"),
    ],
)
def test_slips_are_told(elman: Elman, run: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = elman("translate", run, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_training_refuses_what_cannot_be(elman: Elman, tmp_path: Path) -> None:
    for arguments, sentence in (
        (("made:addition", "--best-by", "accuracy"), "nats, bleu, exact"),
        (("made:addition", "--best-by", "exact", "--scored", 0), "needs --scored"),
        (("made:addition", "--attention", "none", "--input-feeding"), "needs an attention"),
        (("made:addition", "--attention", "dot"), "Take additive or general"),
        (("made:addition", "--tied", "all", "--separate"), "One embedding for source and target"),
        (("nowhere.de", "nowhere.en"), "does not exist"),
    ):
        done = elman("train", "translate", *arguments, "--steps", 1, "--out", tmp_path / "out")
        assert done.returncode == 2, done.stderr
        assert sentence in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_run_of_another_system_is_refused(elman: Elman, text_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm"
    elman("train", "ngram", text_file, "--order", 3, "--out", out)
    done = elman("translate", out, "--text", "a")
    assert done.returncode == 2
    assert "elman train translate" in done.stderr
