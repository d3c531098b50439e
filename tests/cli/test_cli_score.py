"""``elman score`` on a small run: its three formats, its input, and how it ends."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elman.training.corpus import TextOptions
from elman.training.display import QuietDisplay
from elman.training.ngram import train_ngram_run

Elman = Callable[..., Any]
TEXT = "to be, or not to be: that is the question.\nwhether 'tis nobler in the mind to suffer\n" * 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    (folder / "input.txt").write_text(TEXT, encoding="utf-8")
    source = [str(folder / "input.txt")]
    train_ngram_run(source, TextOptions(), 4, "kneser-ney", folder / "run", QuietDisplay())
    return folder / "run"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("to be <b>.\nthat é\n", encoding="utf-8")
    return path


def test_text_has_a_row_a_line_and_the_totals(run: Path, other: Path, elman: Elman) -> None:
    ended = elman("score", run, other)
    assert ended.returncode == 0
    assert ended.stderr == ""
    rows = ended.stdout.splitlines()
    assert rows[1].endswith("to be <b>.")
    assert rows[2].endswith("that é")
    assert re.search(r"\d+ symbols: \d+\.\d{4} nats, .* bits a symbol, perplexity", ended.stdout)
    assert "not in the vocabulary" in ended.stdout


def test_json_lines_name_every_symbol(run: Path, other: Path, elman: Elman) -> None:
    ended = elman("score", run, other, "--json")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    text = other.read_text(encoding="utf-8")
    assert "".join(row["text"] for row in rows) == text
    assert [row["index"] for row in rows] == list(range(len(text)))
    for row in rows:
        assert row.get("unknown", False) == (row["symbol"] in "<>é")
        assert (row["nats"] is None) == row.get("unknown", False)
    assert elman("score", run, other, "--format", "jsonl").stdout == ended.stdout


def test_the_sum_is_that_of_the_evaluation(run: Path, elman: Elman, tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text(TEXT[:300], encoding="utf-8")
    rows = [json.loads(line) for line in elman("score", run, path, "--json").stdout.splitlines()]
    mean = sum(row["nats"] for row in rows[1:]) / (len(rows) - 1)
    evaluated = json.loads(elman("eval", run, path, "--json", "--no-ngrams").stdout)
    assert evaluated["tokens"] == len(rows) - 1
    # the evaluation has no newline before the text, which an n-gram model remembers for three symbols
    assert mean == pytest.approx(evaluated["nats"], abs=0.02)


def test_a_page_goes_to_a_file(run: Path, other: Path, elman: Elman, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    ended = elman("score", run, other, "--format", "html", "--output", target)
    assert (ended.returncode, ended.stdout) == (0, "")
    page = target.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Content-Security-Policy" in page
    assert "other.txt" in page
    assert "&lt;" in page
    assert page == elman("score", run, other, "--format", "html").stdout


def test_standard_input(run: Path, elman: Elman) -> None:
    ended = elman("score", run, "-", "--json", stdin=b"to be")
    assert [json.loads(line)["symbol"] for line in ended.stdout.splitlines()] == ["t", "o", " ", "b", "e"]
    refused = elman("score", run, "-", stdin=b"to\xff")
    assert refused.returncode == 2
    assert "position 2 (value 0xff)" in refused.stderr
    assert elman("score", run, "-", "--encoding", "latin-1", stdin=b"to\xff").returncode == 0


def test_a_terminal_gets_colours(run: Path, other: Path, elman: Elman, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert elman("score", run, other).returncode == 0
    assert "\x1b[" in terminal.getvalue()
    plain = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())
    assert "to be <b>." in plain


def test_unknown_symbols_are_treated_as_asked(run: Path, other: Path, elman: Elman) -> None:
    rows = [
        json.loads(line) for line in elman("score", run, other, "--json", "--unknown", "replace:e").stdout.splitlines()
    ]
    assert all(math.isfinite(row["nats"]) for row in rows)
    assert [row["symbol"] for row in rows if row.get("unknown")] == ["<", ">", "é"]
    refused = elman("score", run, other, "--unknown", "error")
    assert refused.returncode == 2
    assert "'<'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("there-is-none.txt",), "there-is-none.txt"),
        (("-",), "standard input is empty"),
        (("-", "--format", "pdf"), "--format"),
        (("-", "--format", "html", "--json"), "--json"),
        (("-", "--encoding", "klingon"), "klingon"),
        (("-", "--device", "tpu"), "--device"),
    ],
)
def test_misuse_ends_with_2_and_a_sentence(arguments: tuple[str, ...], named: str, run: Path, elman: Elman) -> None:
    ended = elman("score", run, *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_has_examples(elman: Elman) -> None:
    ended = elman("score", "--help")
    assert ended.returncode == 0
    assert "elman score runs/input other.txt" in ended.stdout
