"""``elman sample`` on a small run: what it prints, where, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elman.runs import load
from elman.training.corpus import TextOptions
from elman.training.display import QuietDisplay
from elman.training.ngram import train_ngram_run

Elman = Callable[..., Any]
TEXT = "to be, or not to be: that is the question.\nwhether 'tis nobler in the mind to suffer\n" * 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run for each kind of symbol that needs no further library."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "input.txt").write_text(TEXT + "né 😀 😀\n" * 20, encoding="utf-8")
    made = {}
    for kind in ("characters", "bytes", "words"):
        made[kind] = folder / "runs" / kind
        source = [str(folder / "input.txt")]
        train_ngram_run(source, TextOptions(kind), 4, "kneser-ney", made[kind], QuietDisplay())
    return made


def test_json_is_an_object_a_sample(runs: dict[str, Path], elman: Elman) -> None:
    ended = elman("sample", runs["characters"], "--prompt", "to b", "-n", 3, "--length", 40, "--seed", 5, "--json")
    assert ended.returncode == 0
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["seed"] for row in rows] == [5, 6, 7]
    for row in rows:
        assert len(row["text"]) == row["tokens"] == 40
        assert row["logprob"] < 0
        assert (row["prompt"], row["stopped"], row["unknown"]) == ("to b", "length", {})
    alone = elman("sample", runs["characters"], "--prompt", "to b", "--length", 40, "--seed", 6, "--json")
    assert json.loads(alone.stdout) == rows[1]


def test_the_text_goes_to_standard_output_alone(runs: dict[str, Path], elman: Elman) -> None:
    ended = elman("sample", runs["characters"], "--prompt", "to b", "--length", 30, "--seed", 1)
    assert ended.returncode == 0
    assert ended.stdout.startswith("to b")
    assert len(ended.stdout) == 4 + 30 + 1
    assert ended.stderr == ""


def test_a_fresh_seed_is_printed_and_draws_the_text_again(runs: dict[str, Path], elman: Elman) -> None:
    first = elman("sample", runs["characters"], "--length", 60)
    seed = first.stderr.split()[-1]
    assert first.stderr.startswith("seed ")
    assert elman("sample", runs["characters"], "--length", 60, "--seed", seed).stdout == first.stdout


def test_several_texts_have_headings(runs: dict[str, Path], elman: Elman) -> None:
    ended = elman("sample", runs["characters"], "-n", 2, "--length", 5, "--seed", 3)
    assert ended.stdout.startswith("--- 1, seed 3, -")
    assert "\n--- 2, seed 4, -" in ended.stdout


def test_words_are_spaced_from_the_prompt(runs: dict[str, Path], elman: Elman) -> None:
    for prompt in ("that is the", "that is the "):
        ended = elman("sample", runs["words"], "--prompt", prompt, "--length", 3, "--temperature", 0)
        assert ended.stdout.startswith("that is the question.\n")


def test_filters_stop_texts_and_greedy(runs: dict[str, Path], elman: Elman) -> None:
    asked = ("sample", runs["characters"], "--prompt", "to b", "--length", 200, "--json", "--seed", 2)
    greedy, only, ruled = (
        json.loads(elman(*asked, *flags).stdout)
        for flags in (("--temperature", 0), ("--top-k", 1), ("--top-p", 0.001, "--min-p", 0.5))
    )
    assert greedy["text"] == only["text"] == ruled["text"]
    stopped = json.loads(elman(*asked, "--temperature", 0, "--stop", "zzz", "--stop", greedy["text"][5:9]).stdout)
    assert stopped["stopped"] == "stop"
    assert greedy["text"].startswith(stopped["text"])
    assert greedy["text"][5:9] not in stopped["text"]


def test_a_prompt_from_a_file(runs: dict[str, Path], elman: Elman, tmp_path: Path) -> None:
    (tmp_path / "start.txt").write_text("né 😀", encoding="utf-8")
    ended = elman(
        "sample", runs["characters"], "--prompt-file", tmp_path / "start.txt", "--length", 4, "--temperature", 0
    )
    assert ended.stdout.startswith("né 😀 😀")


def test_a_byte_model_reads_any_prompt_file(runs: dict[str, Path], elman: Elman, tmp_path: Path) -> None:
    (tmp_path / "start.bin").write_bytes(b"to be\xff")
    asked = ("--prompt-file", tmp_path / "start.bin", "--length", 4, "--seed", 1, "--json")
    assert json.loads(elman("sample", runs["bytes"], *asked).stdout)["tokens"] == 4


def test_output_goes_to_a_file(runs: dict[str, Path], elman: Elman, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    asked = ("sample", runs["characters"], "--length", 20, "--seed", 1)
    assert elman(*asked, "--output", target).stdout == ""
    assert target.read_text(encoding="utf-8") == elman(*asked).stdout
    assert list(tmp_path.iterdir()) == [target]


def test_beam_search_gives_the_likeliest(runs: dict[str, Path], elman: Elman) -> None:
    asked = ("sample", runs["characters"], "--prompt", "to b", "--length", 12, "--json")
    rows = [json.loads(line) for line in elman(*asked, "--beam", 8, "-n", 3).stdout.splitlines()]
    assert [row["seed"] for row in rows] == [None] * 3
    assert rows[0]["logprob"] >= rows[1]["logprob"] >= rows[2]["logprob"]
    greedy = json.loads(elman(*asked, "--temperature", 0).stdout)
    assert rows[0]["logprob"] >= greedy["logprob"]
    assert json.loads(elman(*asked, "--beam", 1).stdout)["text"] == greedy["text"]


def test_novelty_finds_the_copied_passage(runs: dict[str, Path], elman: Elman) -> None:
    asked = ("sample", runs["characters"], "--prompt", "to be, or", "--length", 30, "--temperature", 0, "--novelty")
    row = json.loads(elman(*asked, "--json").stdout)
    found = row["novelty"]
    assert found["n"] == 20
    assert found["longest"] == len(found["passage"]) >= 10
    assert found["passage"] in row["text"]
    assert found["passage"] in TEXT
    assert 0 <= found["share"] <= 1
    ended = elman(*asked)
    assert f"the longest copied passage has {found['longest']} symbols" in ended.stderr
    assert ended.stdout == f"to be, or{row['text']}\n"


def test_novelty_of_words(runs: dict[str, Path], elman: Elman) -> None:
    row = json.loads(elman("sample", runs["words"], "--length", 40, "--seed", 1, "--novelty", "--json").stdout)
    assert row["novelty"]["longest"] >= 3


def test_novelty_needs_the_training_text(
    runs: dict[str, Path], elman: Elman, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = load(runs["characters"])
    loaded.config["data"]["sources"] = [str(tmp_path / "gone.txt")]
    monkeypatch.setattr("elman.runs.load", lambda *_, **__: loaded)
    ended = elman("sample", runs["characters"], "--novelty")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "gone.txt" in ended.stderr


def test_unknown_symbols_of_the_prompt(runs: dict[str, Path], elman: Elman) -> None:
    asked = ("sample", runs["characters"], "--prompt", "to ß", "--length", 5, "--seed", 1)
    ended = elman(*asked)
    assert ended.returncode == 0
    assert "'ß' x 1; policy: skip" in ended.stderr
    assert json.loads(elman(*asked, "--json").stdout)["unknown"] == {"ß": 1}
    refused = elman(*asked, "--unknown", "error")
    assert refused.returncode == 2
    assert "'ß'" in refused.stderr


class Terminal(io.StringIO):
    """A terminal that remembers every piece it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


@pytest.mark.parametrize("kind", ["characters", "bytes", "words"])
def test_a_single_text_streams_to_a_terminal(
    kind: str, runs: dict[str, Path], elman: Elman, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sample", runs[kind], "--prompt", "to b", "--length", 60, "--seed", 2)
    expected = elman(*asked).stdout
    with monkeypatch.context() as patch:
        terminal = Terminal()
        patch.setattr(sys, "stdout", terminal)
        assert elman(*asked).returncode == 0
    assert terminal.getvalue() == expected
    assert len(terminal.pieces) > 50
    assert "\ufffd" not in terminal.getvalue()


def test_a_terminal_never_gets_controls_or_broken_characters(
    runs: dict[str, Path], elman: Elman, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    asked = ("sample", runs["bytes"], "--prompt", "\x1b[2J\x9b", "--temperature", 50, "--length", 400, "--seed", 1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert elman(*asked).returncode == 0
    written = terminal.getvalue()
    assert written.startswith("␛[2J<9b>")
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in written)
    for piece in terminal.pieces:
        piece.encode("utf-8")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--temperature", -1), "temperature"),
        (("--top-k", 0), "top-k"),
        (("--top-p", 2), "top-p"),
        (("--min-p", -0.5), "min-p"),
        (("--seed", -1), "seed"),
        (("--stop", ""), "stop text"),
        (("--beam", 4, "--temperature", 0.5), "--beam"),
        (("--beam", 2, "-n", 3), "width"),
        (("--prompt", "a", "--prompt-file", "b.txt"), "--prompt-file"),
        (("--prompt-file", "there-is-none.txt"), "there-is-none.txt"),
        (("--device", "tpu"), "--device"),
        (("--unknown", "perhaps"), "unknown"),
    ],
)
def test_misuse_ends_with_2_and_a_sentence(
    flags: tuple[object, ...], named: str, runs: dict[str, Path], elman: Elman
) -> None:
    ended = elman("sample", runs["characters"], *flags)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_prompt_file_that_is_no_text(runs: dict[str, Path], elman: Elman, tmp_path: Path) -> None:
    (tmp_path / "start.bin").write_bytes(b"abc\xff")
    ended = elman("sample", runs["characters"], "--prompt-file", tmp_path / "start.bin")
    assert ended.returncode == 2
    assert "position 3 (value 0xff)" in ended.stderr


def test_a_missing_run(elman: Elman, tmp_path: Path) -> None:
    ended = elman("sample", tmp_path / "nothing")
    assert ended.returncode == 2
    assert "nothing" in ended.stderr


def test_help_has_examples(elman: Elman) -> None:
    ended = elman("sample", "--help")
    assert ended.returncode == 0
    assert "elman sample runs/input" in ended.stdout
