"""`elman train`, `resume` and `eval` as a user calls them: results, JSON, exit codes, sentences."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import elman_command, elman_environment

Elman = Callable[..., Any]
SMALL = ["--hidden", 16, "--layers", 1, "--batch", 8, "--unroll", 20, "--steps", 40, "--threads", 1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A text, and a folder with a recurrent and an n-gram run of it."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "text.txt"
    text.write_text("".join(f"the {i % 7} cats and {i % 11} dogs ran home.\n" for i in range(400)))
    for arguments in (
        ["train", "lm", text, "--out", folder / "lm", "--split", "80/10/10", "--quiet", *SMALL],
        ["train", "ngram", text, "--out", folder / "ngram", "--split", "80/10/10", "--order", 4, "--quiet"],
    ):
        done = subprocess.run(
            elman_command(*arguments), env=elman_environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    return text, folder


def test_training_prints_what_it_chose_and_what_to_do_next(elman: Elman, tmp_path: Path, text_file: Path) -> None:
    done = elman("train", "lm", text_file, "--steps", 30, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chose hidden" in done.stdout
    assert "chose batch" in done.stdout
    assert "valid" in done.stdout
    assert "elman sample runs/prose" in done.stdout
    assert (tmp_path / "runs" / "prose" / "model.safetensors").exists()
    config = json.loads((tmp_path / "runs" / "prose" / "config.json").read_text())
    assert config["command"].startswith("elman train lm")
    assert config["versions"]["torch"]


def test_json_gives_evaluations_and_the_result(elman: Elman, tmp_path: Path, text_file: Path) -> None:
    done = elman("train", "lm", text_file, "--out", tmp_path / "run", "--json", "--eval-every", 20, *SMALL)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 40]
    assert {"train_nats", "valid_nats"} <= set(lines[0])
    assert lines[-1]["reason"] == "done"
    assert lines[-1]["best_nats"] == min(line["valid_nats"] for line in lines[:-1])


def test_a_terminal_gets_one_live_panel(tmp_path: Path, text_file: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        elman_command("train", "lm", text_file, "--out", tmp_path / "run", *SMALL),
        env={**elman_environment(), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        stdout=slave,
        stderr=slave,
        close_fds=True,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0
    screen = shown.decode(errors="replace")
    assert "╭" in screen
    assert "bits/character" in screen
    assert "to go" in screen
    assert "Traceback" not in screen


def test_resume_of_a_finished_run_says_so(elman: Elman, trained: tuple[Path, Path]) -> None:
    done = elman("resume", trained[1] / "lm")
    assert done.returncode == 0
    assert "finished" in done.stdout


def test_eval_gives_the_promised_figures(elman: Elman, trained: tuple[Path, Path]) -> None:
    done = elman("eval", trained[1] / "lm", "--part", "test", "--json")
    values = json.loads(done.stdout)
    assert {"nats", "bits", "perplexity", "tokens", "unknown", "seconds"} <= set(values)
    assert values["bits"] == pytest.approx(values["nats"] / math.log(2))
    assert values["perplexity"] == pytest.approx(math.exp(values["nats"]))
    assert values["streams"] == 1
    assert set(values["ngrams"]) == {"2", "4", "6"}
    table = elman("eval", trained[1] / "lm", "--part", "test").stdout
    assert "lstm 1 x 16" in table
    assert "6-gram, Kneser-Ney" in table
    assert "state carried over the whole text" in table


def test_eval_of_an_ngram_run_equals_its_row(elman: Elman, trained: tuple[Path, Path]) -> None:
    of_run = json.loads(elman("eval", trained[1] / "ngram", "--part", "test", "--json").stdout)
    assert of_run["nats"] == pytest.approx(of_run["ngrams"]["4"])


def test_eval_of_another_text_counts_unknown_symbols(elman: Elman, trained: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the 3 cats ÄÖÜ ran home.\n")
    skipped = json.loads(elman("eval", trained[1] / "lm", other, "--json", "--no-ngrams").stdout)
    assert skipped["unknown"] == 3
    assert skipped["tokens"] == 25 - 3 - 1
    refused = elman("eval", trained[1] / "lm", other, "--unknown", "error")
    assert refused.returncode == 2
    assert "Ä" in refused.stderr


def test_a_mixture_is_better_than_its_parts(elman: Elman, trained: tuple[Path, Path]) -> None:
    folder = trained[1]
    done = elman("eval", folder / "lm", "--part", "test", "--mix", folder / "ngram", "--json", "--no-ngrams")
    values = json.loads(done.stdout)
    alone = json.loads(elman("eval", folder / "ngram", "--part", "test", "--json", "--no-ngrams").stdout)
    assert values["mixture"]["nats"] <= min(values["nats"], alone["nats"]) + 0.01
    assert sum(values["mixture"]["weights"]) == pytest.approx(1)
    assert values["mixture"]["tuned_on"] == "valid"


def test_a_mixture_of_word_models_leaves_sentence_starts_out(elman: Elman, tmp_path: Path, text_file: Path) -> None:
    reading = ["--tokens", "words", "--split", "80/10/10", "--quiet"]
    assert elman("train", "lm", text_file, "--out", tmp_path / "lm", *reading, *SMALL).returncode == 0
    assert elman("train", "ngram", text_file, "--out", tmp_path / "ngram", *reading, "--order", 3).returncode == 0
    measuring = ["--part", "test", "--json", "--no-ngrams"]
    values = json.loads(elman("eval", tmp_path / "lm", "--mix", tmp_path / "ngram", *measuring).stdout)
    ngram = json.loads(elman("eval", tmp_path / "ngram", *measuring).stdout)
    mixed = values["mixture"]
    assert mixed["tokens"] == values["tokens"] == ngram["tokens"]
    assert mixed["alone"] == pytest.approx([values["nats"], ngram["nats"]], rel=1e-4)
    assert mixed["nats"] < min(mixed["alone"]) + 0.02


def test_unknown_symbols_of_a_part_are_treated_as_asked(elman: Elman, tmp_path: Path, text_file: Path) -> None:
    text_file.write_text(text_file.read_text() + "Ä" * 50)
    assert elman("train", "lm", text_file, "--out", tmp_path / "run", "--quiet", *SMALL).returncode == 0
    skipped = json.loads(elman("eval", tmp_path / "run", "--json", "--no-ngrams").stdout)
    assert skipped["unknown"] == 50
    refused = elman("eval", tmp_path / "run", "--unknown", "error")
    assert refused.returncode == 2
    assert "Ä" in refused.stderr


def test_eval_without_the_training_text_still_reads_a_file(
    elman: Elman, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    text, folder = trained
    other = tmp_path / "other.txt"
    other.write_text("the 1 cats and 2 dogs ran home.\n")
    moved = text.rename(tmp_path / "moved.txt")
    try:
        done = elman("eval", folder / "lm", other, "--json")
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout)
        assert values["ngrams"] == {}
        assert "remark" in values
        gone = elman("eval", folder / "lm")
        assert gone.returncode == 2
        assert "text.txt" in gone.stderr
    finally:
        moved.rename(text)


def test_maximum_likelihood_is_honest_about_the_impossible(
    elman: Elman, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    text, _ = trained
    arguments = ["--order", 5, "--estimator", "maximum-likelihood", "--split", "50/50", "--json"]
    text_with_news = tmp_path / "news.txt"
    text_with_news.write_text(text.read_text() + "unheard of! " * 900)
    done = elman("train", "ngram", text_with_news, "--out", tmp_path / "run", *arguments)
    values = json.loads(done.stdout)
    assert values["valid_nats"] is None
    assert values["train_nats"] < 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "lm", "missing.txt"], 2, "missing.txt"),
        (["train", "lm", "TEXT", "--cell", "lsmt"], 2, "lstm"),
        (["train", "lm", "TEXT", "--cell", "h = tanh(W @ x + U @ h"], 2, "line 1"),
        (["train", "lm", "TEXT", "--cell", "h = open('x')"], 2, "line 1"),
        (["train", "lm", "TEXT", "--optimizer", "magic", "--steps", "1"], 2, "no optimiser 'magic'"),
        (["train", "lm", "TEXT", "--optimizer-option", "betas", "--steps", "1"], 2, "NAME=VALUE"),
        (["train", "lm", "TEXT", "--schedule", "linear"], 2, "constant or cosine or step or plateau"),
        (["train", "lm", "TEXT", "--dropout", "1.5"], 2, "--dropout is 1.5"),
        (["train", "lm", "TEXT", "--precision", "fp8"], 2, "fp32, bf16 or auto"),
        (["train", "lm", "TEXT", "--device", "tpu"], 2, "cpu, cuda or auto"),
        (["train", "lm", "TEXT", "--split", "50/60"], 2, "split"),
        (["train", "lm", "TEXT", "--tokens", "letters"], 2, "letters"),
        (["train", "lm", "TEXT", "--minutes", "-1"], 2, "--minutes is -1"),
        (["train", "lm", "TEXT", "--tied", "--embedding", "8", "--hidden", "16", "--steps", "1"], 2, "Tied"),
        (["train", "lm", "TEXT", "--cell", "rnn-image", "--steps", "1"], 2, "constant inputs"),
        (["train", "lm", "TEXT", "--backend", "gpu", "--steps", "1", "--hidden", "8"], 2, "gpu"),
        (["train", "lm"], 2, "Missing argument"),
        (["train", "ngram", "TEXT", "--min-counts", "0,1"], 2, "--min-counts"),
        (["resume", "nowhere"], 2, "no run folder"),
        (["eval", "nowhere"], 2, "no run folder"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_code_two(
    elman: Elman, tmp_path: Path, text_file: Path, arguments: list[str], code: int, said: str
) -> None:
    done = elman(*[str(text_file) if part == "TEXT" else part for part in arguments], cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    # nothing half-written: a refused training leaves no run behind
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_a_text_that_is_no_utf8_names_the_byte(elman: Elman, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 " * 300)
    done = elman("train", "lm", path, "--steps", 2, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "position 3" in done.stderr
    assert "--encoding" in done.stderr
    again = elman("train", "lm", path, "--encoding", "latin-1", "--out", tmp_path / "run", "--quiet", *SMALL)
    assert again.returncode == 0, again.stderr
