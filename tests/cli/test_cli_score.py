"""``elman score`` on a small run: its three formats, its input, and how it ends."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import elman.cli
from elman.training.corpus import TextOptions
from elman.training.display import QuietDisplay
from elman.training.ngram import train_ngram_run

TEXT = "to be, or not to be: that is the question.\nwhether 'tis nobler in the mind to suffer\n" * 12


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_CACHE_DIR", str(folder / "cache"))
        (folder / "input.txt").write_text(TEXT, encoding="utf-8")
        source = [str(folder / "input.txt")]
        train_ngram_run(source, TextOptions(), 4, "kneser-ney", folder / "run", QuietDisplay())
    return folder / "run"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("to be <b>.\nthat é\n", encoding="utf-8")
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["elman", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as end:
            elman.cli.main()
        return Ended(end.value.code or 0, *capsys.readouterr())

    return run


def test_text_has_a_row_a_line_and_the_totals(run: Path, other: Path, command: Command) -> None:
    ended = command("score", run, other)
    assert ended.code == 0
    assert ended.err == ""
    rows = ended.out.splitlines()
    assert rows[1].endswith("to be <b>.")
    assert rows[2].endswith("that é")
    assert re.search(r"\d+ symbols: \d+\.\d{4} nats, .* bits a symbol, perplexity", ended.out)
    assert "not in the vocabulary" in ended.out


def test_json_lines_name_every_symbol(run: Path, other: Path, command: Command) -> None:
    ended = command("score", run, other, "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    text = other.read_text(encoding="utf-8")
    assert "".join(row["text"] for row in rows) == text
    assert [row["index"] for row in rows] == list(range(len(text)))
    for row in rows:
        assert row.get("unknown", False) == (row["symbol"] in "<>é")
        assert (row["nats"] is None) == row.get("unknown", False)
    assert command("score", run, other, "--format", "jsonl").out == ended.out


def test_the_sum_is_that_of_the_evaluation(run: Path, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text(TEXT[:300], encoding="utf-8")
    rows = [json.loads(line) for line in command("score", run, path, "--json").out.splitlines()]
    mean = sum(row["nats"] for row in rows[1:]) / (len(rows) - 1)
    evaluated = json.loads(command("eval", run, path, "--json", "--no-ngrams").out)
    assert evaluated["tokens"] == len(rows) - 1
    # the evaluation has no newline before the text, which an n-gram model remembers for three symbols
    assert mean == pytest.approx(evaluated["nats"], abs=0.02)


def test_a_page_goes_to_a_file(run: Path, other: Path, command: Command, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    ended = command("score", run, other, "--format", "html", "--output", target)
    assert (ended.code, ended.out) == (0, "")
    page = target.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Content-Security-Policy" in page
    assert "other.txt" in page
    assert "&lt;" in page
    assert page == command("score", run, other, "--format", "html").out


def test_standard_input(run: Path, command: Command) -> None:
    ended = command("score", run, "-", "--json", stdin=b"to be")
    assert [json.loads(line)["symbol"] for line in ended.out.splitlines()] == ["t", "o", " ", "b", "e"]
    refused = command("score", run, "-", stdin=b"to\xff")
    assert refused.code == 2
    assert "position 2 (value 0xff)" in refused.err
    assert command("score", run, "-", "--encoding", "latin-1", stdin=b"to\xff").code == 0


def test_a_terminal_gets_colours(run: Path, other: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert command("score", run, other).code == 0
    assert "\x1b[" in terminal.getvalue()
    plain = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())
    assert "to be <b>." in plain


def test_unknown_symbols_are_treated_as_asked(run: Path, other: Path, command: Command) -> None:
    rows = [
        json.loads(line) for line in command("score", run, other, "--json", "--unknown", "replace:e").out.splitlines()
    ]
    assert all(math.isfinite(row["nats"]) for row in rows)
    assert [row["symbol"] for row in rows if row.get("unknown")] == ["<", ">", "é"]
    refused = command("score", run, other, "--unknown", "error")
    assert refused.code == 2
    assert "'<'" in refused.err


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
def test_misuse_ends_with_2_and_a_sentence(arguments: tuple[str, ...], named: str, run: Path, command: Command) -> None:
    ended = command("score", run, *arguments)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert named in ended.err
    assert "Traceback" not in ended.err


def test_help_has_examples(command: Command) -> None:
    ended = command("score", "--help")
    assert ended.code == 0
    assert "elman score runs/input other.txt" in ended.out
