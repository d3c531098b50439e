"""Several processes train what one process trains, end together, and leave a run that any number can go on with."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from parallel_worker import train
from safetensors.torch import load_file
from tests_support import elman_command, elman_environment

from elman.runs import RunFolder, latest_checkpoint, read_config
from elman.training.journal import read_metrics

WORKER = Path(__file__).with_name("parallel_worker.py")
LIMIT = 120
LANGUAGE = (
    *("--layers", 1, "--hidden", 12, "--batch", 5, "--unroll", 7, "--lr", 0.02, "--precision", "fp32"),
    *("--schedule", "constant", "--warmup", 0, "--eval-every", 20, "--sample-length", 10),
)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], size: int, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of one training, as torchrun would start them."""
    port = str(free_port())
    processes = []
    for rank in range(size):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        environment = {name: str(value) for name, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env=elman_environment() | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def finished(command: list[str], size: int, folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process of a training."""
    with started(command, size, folder) as processes:
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
        return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def succeed(command: list[str], size: int, folder: Path) -> list[tuple[int, str, str]]:
    results = finished(command, size, folder)
    assert [code for code, _, _ in results] == [0] * size, results
    return results


def losses(run: Path, name: str = "train_nats") -> list[float]:
    """Of a run that records each step; lines of evaluations repeat the last one and are left out."""
    lines = read_metrics(run / "metrics.jsonl")
    return [line[name] for line in lines if name in line and (name != "train_nats" or "lr" in line)]


def assert_same_course(one: Path, other: Path, steps: int, tolerance: float = 1e-5) -> None:
    assert len(losses(one)) == steps
    assert losses(other) == pytest.approx(losses(one), abs=tolerance)
    assert losses(other, "valid_nats") == pytest.approx(losses(one, "valid_nats"), abs=tolerance)
    assert losses(other, "gradient_norm") == pytest.approx(losses(one, "gradient_norm"), rel=1e-3)
    counts = [[line["tokens"] for line in read_metrics(run / "metrics.jsonl")] for run in (one, other)]
    assert counts[0] == counts[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chooser = random.Random(4)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "looked", "at", "us", "\n"]
    (tmp_path / "input.txt").write_text(" ".join(chooser.choice(words) for _ in range(900)))
    return tmp_path


def lm(folder: Path, out: str, steps: int, *more: Any) -> list[Any]:
    return ["train", "lm", folder / "input.txt", *LANGUAGE, "--steps", steps, "--out", folder / out, *more]


def test_two_processes_train_the_language_model_of_one(folder: Path, elman: Callable[..., Any]) -> None:
    alone = elman(*lm(folder, "one", 50, "--dropout", 0))
    assert alone.returncode == 0, alone.stderr
    results = succeed(elman_command(*lm(folder, "two", 50, "--dropout", 0)), 2, folder)
    assert_same_course(folder / "one", folder / "two", 50)
    one, two = (load_file(folder / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)
    # one of them spoke, and wrote
    assert "50 steps" in results[0][1]
    assert results[1][1:] == ("", "")
    assert len(list((folder / "two" / "samples").iterdir())) == 3
    # one goes on where two stopped, and where one did: carried states, optimiser and place fit any number
    for name in ("one", "two"):
        assert elman("resume", folder / name, "--steps", 80).returncode == 0
    assert_same_course(folder / "one", folder / "two", 80)


@pytest.mark.slow
def test_torchrun_starts_them_and_shares_the_cores(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [str(word) for word in lm(folder, "run", 5)]
    done = subprocess.run(
        [*command, "-m", "elman", *words], env=elman_environment(), capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    training = read_config(RunFolder(folder / "run").config)["training"]
    assert training["processes"] == 2
    assert training["settings"]["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.mark.slow
def test_three_processes_go_on_where_one_stopped(folder: Path, elman: Callable[..., Any]) -> None:
    assert elman(*lm(folder, "one", 30, "--dropout", 0)).returncode == 0
    shutil.copytree(folder / "one", folder / "three")
    assert elman("resume", folder / "one", "--steps", 80).returncode == 0
    succeed(elman_command("resume", folder / "three", "--steps", 80), 3, folder)
    assert_same_course(folder / "one", folder / "three", 80)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"accumulate": 2, "averaging": 0.9}, id="accumulated and averaged"),
        pytest.param({"optimizer": "LBFGS", "lr": 1.0, "weight_decay": 0.0}, id="LBFGS", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_on_examples_as_one_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    words = [f"{name}={value}" for name, value in settings.items()]
    # LBFGS divides by differences of gradients, which makes much of a last digit
    steps, tolerance = (3, 1e-3) if "optimizer" in settings else (30, 1e-5)
    train(tmp_path / "one", steps, **settings)
    results = finished([sys.executable, str(WORKER), str(tmp_path / "two"), str(steps), *words], 2, tmp_path)
    assert [code for code, _, _ in results] == [0, 0], results
    assert_same_course(tmp_path / "one", tmp_path / "two", steps, tolerance)
    one, two = (latest_checkpoint(RunFolder(tmp_path / name))[0] for name in ("one", "two"))
    assert torch.equal(two.tensors["model.idle"], torch.ones(2))
    assert one.facts["task"] == two.facts["task"]


@pytest.mark.slow
def test_running_statistics_are_the_mean_over_processes(tmp_path: Path) -> None:
    command = [sys.executable, str(WORKER), str(tmp_path / "two"), "5", "normalised=1"]
    assert [code for code, _, _ in finished(command, 2, tmp_path)] == [0, 0]
    whole = tmp_path / "whole"
    train(whole, 5, normalised=True)
    one, two = (latest_checkpoint(RunFolder(path))[0].tensors for path in (whole, tmp_path / "two"))
    # normalised by other rows, so only alike; a mean that one process kept for itself would be far from it
    torch.testing.assert_close(two["model.1.running_mean"], one["model.1.running_mean"], atol=0.15, rtol=0)


def killed_at(run: Path, step: int, command: list[str]) -> str:
    """Kill the second of two processes once there is a checkpoint of a step; gives what the first one then says."""
    with started(command, 2, run.parent) as processes:
        wait_for(run / "resume" / f"step-{step:09d}", processes)
        os.kill(processes[1].pid, signal.SIGKILL)
        _, said = processes[0].communicate(timeout=LIMIT)
        assert processes[0].returncode == 1
        return said


def wait_for(path: Path, processes: list[subprocess.Popen[str]]) -> None:
    until = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        time.sleep(0.002)


def test_a_killed_process_ends_the_others(folder: Path, elman: Callable[..., Any]) -> None:
    run = folder / "killed"
    said = killed_at(run, 40, elman_command(*lm(folder, "killed", 100_000, "--checkpoint-every", 20)))
    assert "Another process of this training ended" in said
    assert "Traceback" not in said
    step = latest_checkpoint(RunFolder(run))[0].step
    assert elman("resume", run, "--steps", step + 5).returncode == 0
    assert latest_checkpoint(RunFolder(run))[0].step == step + 5


@pytest.mark.slow
def test_after_a_kill_as_many_processes_go_on_bit_for_bit(folder: Path) -> None:
    more = ("--dropout", 0.3, "--checkpoint-every", 20)
    succeed(elman_command(*lm(folder, "whole", 300, *more)), 2, folder)
    killed_at(folder / "killed", 40, elman_command(*lm(folder, "killed", 300, *more)))
    assert latest_checkpoint(RunFolder(folder / "killed"))[0].step < 300
    succeed(elman_command("resume", folder / "killed"), 2, folder)
    whole, killed = (latest_checkpoint(RunFolder(folder / name))[0] for name in ("whole", "killed"))
    assert whole.step == killed.step == 300
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, killed.tensors[name]), name
    # what was dropped differed between the processes, or their generators would stand at the same place
    assert not torch.equal(whole.tensors["random.cpu"], whole.tensors["random.cpu.1"])


def test_one_that_is_asked_to_stop_stops_all(folder: Path) -> None:
    with started(elman_command(*lm(folder, "run", 100_000)), 2, folder) as processes:
        wait_for(folder / "run" / "samples" / "step-000000100.txt", processes)
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
        assert [process.returncode for process in processes] == [1, 1]
    assert "Stopped by SIGTERM" in outputs[0][1]
    assert outputs[1] == ("", "")
    assert latest_checkpoint(RunFolder(folder / "run"))[0].step > 100


def test_an_error_of_one_process_is_told_by_the_others(tmp_path: Path) -> None:
    command = [sys.executable, str(WORKER), str(tmp_path / "run"), "5"]
    (code, _, said), (other, _, own) = finished([*command, "broken=1"], 2, tmp_path)
    assert (code, other) == (1, 2)
    assert "Process 1 of this training ended: labels.tsv does not exist." in said
    assert "labels.tsv does not exist." in own
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_all_is_said_once(folder: Path) -> None:
    results = finished(elman_command(*lm(folder, "run", 5, "--batch", 1)), 2, folder)
    assert [code for code, _, _ in results] == [2, 2]
    assert "cannot be shared by 2 processes" in results[0][2]
    assert results[1][1:] == ("", "")


@pytest.mark.slow
def test_a_limit_in_minutes_is_met_together(tmp_path: Path) -> None:
    command = [sys.executable, str(WORKER), str(tmp_path / "run"), "100000", "minutes=0.05"]
    begun = time.monotonic()
    results = finished(command, 2, tmp_path)
    assert [code for code, _, _ in results] == [0, 0], results
    assert time.monotonic() - begun < LIMIT / 2
    assert 0 < read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] < 100_000
