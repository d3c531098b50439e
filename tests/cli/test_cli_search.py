"""``elman search``: flags of any verb, trials that are ordinary runs, sittings, and what is told at the end."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from tests_support import elman_command, elman_environment

from elman.cli.search import kinds_of, without_limits
from elman.errors import MisuseError
from elman.runs import RunFolder, read_config
from elman.training.journal import read_metrics

FLAGS = ("--layers", 1, "--batch", 8, "--unroll", 12, "--precision", "fp32", "--eval-every", 5, "--sample-length", 0)
VARIED = ("--vary", "lr=1e-4..1:log", "--vary", "hidden=4,8", "--vary", "tied=on,off")


def search(text: Path, out: Path, *options: Any) -> tuple[Any, ...]:
    return ("search", "lm", text, "--steps", 20, "--out", out, *VARIED, *options, "--", *FLAGS)


def test_every_flag_of_a_verb_may_vary_but_those_that_the_search_decides() -> None:
    kinds = kinds_of("lm")
    assert (kinds["lr"], kinds["hidden"], kinds["tied"], kinds["cell"]) == (float, int, bool, str)
    decided = {"out", "quiet", "json", "as-json", "steps", "minutes", "epochs", "optimizer-option"}
    assert not decided & set(kinds)
    assert {"tokens", "lowercase", "max-vocabulary"} <= set(kinds)
    with pytest.raises(MisuseError, match="is not trained step by step"):
        kinds_of("ngram")
    with pytest.raises(MisuseError, match="is no verb of elman train"):
        kinds_of("poetry")
    words = ["lm", "a", "--steps", "5", "--lr", "1", "--minutes=3", "--epochs", "2", "--seed", "1"]
    assert without_limits(words) == ["lm", "a", "--lr", "1", "--seed", "1"]


def test_trials_are_runs_that_the_printed_command_makes_again(
    elman: Callable[..., Any], text_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    done = elman(*search(text_file, out, "--trials", 4, "--pruner", "none", "--json"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 4
    assert result["finished"]
    assert sum(result["importances"].values()) == pytest.approx(1.0)
    assert Path(result["picture"]).read_bytes().startswith(b"\x89PNG")
    values = [trial["value"] for trial in result["trials"]]
    best = result["trials"][result["best"]]
    assert best["value"] == min(values)
    for trial in result["trials"]:
        lines = read_metrics(RunFolder(Path(trial["run"])).metrics)
        assert min(line["valid_nats"] for line in lines if "valid_nats" in line) == trial["value"]
    config = read_config(RunFolder(Path(best["run"])).config)
    assert config["training"]["settings"]["seed"] == 1 + best["number"]
    assert config["command"].startswith("elman train lm")
    # the command makes the same run in another folder, bit for bit
    words = shlex.split(result["command"])[1:]
    again = tmp_path / "again"
    assert elman(*words, "--steps", 20, "--out", again, "--quiet").returncode == 0
    assert RunFolder(again).model.read_bytes() == RunFolder(Path(best["run"])).model.read_bytes()
    # the same command goes on with more trials, and tells what there is where none is left
    more = elman(*search(text_file, out, "--trials", 5, "--pruner", "none"))
    assert "trial 5 of 5" in more.stdout
    assert "trial 4 of 5" not in more.stdout
    told = elman(*search(text_file, out, "--trials", 5, "--pruner", "none")).stdout
    assert "5 complete" in told
    assert "importance: " in told
    assert f"elman train lm {text_file}" in told


def test_a_trial_that_explodes_is_a_failed_one_and_a_hopeless_one_is_ended(
    elman: Callable[..., Any], text_file: Path, tmp_path: Path
) -> None:
    options = ("--trials", 9, "--sampler", "grid", "--vary", "clip=0,1", "--vary", "optimizer=SGD")
    command = (
        *("search", "lm", text_file, "--steps", 20, "--out", tmp_path / "grid", "--json"),
        *("--vary", "lr=0.1,0.05,1e-9,1e-12,1e38", *options[2:], "--trials", 10, "--", *FLAGS, "--hidden", 6),
    )
    result = json.loads(elman(*command).stdout)
    states = {(trial["point"]["lr"], trial["point"]["clip"]): trial["state"] for trial in result["trials"]}
    assert len(states) == 10
    assert states[1e38, 0] == "failed"
    assert "pruned" in states.values()
    failed = next(trial for trial in result["trials"] if trial["state"] == "failed")
    assert "Stopped after 3 returns" in failed["error"]
    assert result["trials"][result["best"]]["point"]["lr"] in (0.1, 0.05)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("--vary", "lr=1..2", "--", "--lr", 3), "--lr stands behind --"),
        (("--vary", "lr=1..2", "--", "--out", "x"), "--out stands behind --"),
        (("--vary", "lr=1..2", "--", "--hiden", 3), "No such option"),
        (("--vary", "speed=1..2"), "no such flag"),
        ((), "needs something to vary"),
        (("--vary", "lr=1..2", "--sampler", "grid"), "number of values"),
        (("--vary", "lr=1..2", "--sampler", "sobol"), "random, tpe, grid"),
        (("--space", "nowhere.txt"), "cannot be read"),
        (("--vary", "lr=1..2", "--minutes-per-trial", -1), "positive"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    elman: Callable[..., Any], text_file: Path, tmp_path: Path, command: tuple[Any, ...], said: str
) -> None:
    done = elman("search", "lm", text_file, "--out", tmp_path / "s", *command)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "s" / "search.json").exists()


def test_a_search_over_what_is_not_there_ends_with_the_first_trial(elman: Callable[..., Any], tmp_path: Path) -> None:
    done = elman("search", "lm", "nowhere.txt", "--vary", "lr=1..2", "--out", tmp_path / "s", cwd=tmp_path)
    assert done.returncode == 2
    assert "'nowhere.txt' does not exist" in done.stderr


@pytest.mark.slow
def test_a_stopped_search_goes_on_and_a_killed_trial_is_resumed(text_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    command = elman_command(*search(text_file, out, "--trials", 3, "--pruner", "none"), "--checkpoint-every", 5)
    command[command.index("--steps") + 1] = "1500"

    def started_until(ready: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, env=elman_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 120
        while not ready.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        return process

    first = started_until(out / "trials" / "0000" / "resume" / "step-000000010")
    first.send_signal(signal.SIGINT)
    said, errors = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "the same command goes on" in said
    assert "Traceback" not in errors
    second = started_until(out / "trials" / "0001" / "resume" / "step-000000010")
    second.kill()
    second.communicate()
    third = subprocess.run(command, env=elman_environment(), capture_output=True, text=True, timeout=300)
    assert third.returncode == 0, third.stderr
    assert "3 complete" in third.stdout
    for number in range(3):
        lines = read_metrics(out / "trials" / f"{number:04d}" / "metrics.jsonl")
        assert [line["step"] for line in lines if "valid_nats" in line] == list(range(5, 1501, 5))
