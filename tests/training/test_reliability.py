"""What a training promises when it is killed, interrupted, starved of disk, or explodes: each done for real."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests_support import elman_command, elman_environment, flip_byte

STEPS = 120
SMALL = [
    "--hidden", 24, "--layers", 2, "--batch", 8, "--unroll", 20, "--dropout", 0.2, "--steps", STEPS, "--eval-every", 30,
    "--checkpoint-every", 10, "--threads", 1, "--seed", 3, "--precision", "fp32", "--sample-length", 20, "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reliability")


@pytest.fixture(scope="module")
def text(workplace: Path) -> Path:
    path = workplace / "text.txt"
    path.write_text("".join(f"line {i} says {i * i % 97} and {'abc'[i % 3] * (i % 5)}\n" for i in range(500)))
    return path


@pytest.fixture(scope="module")
def undisturbed(workplace: Path, text: Path) -> Path:
    """The run that was never stopped."""
    run = workplace / "undisturbed"
    run_to_end(workplace, "train", "lm", text, "--out", run, *SMALL)
    return run


def attempt(workplace: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        elman_command(*arguments), env=elman_environment(), capture_output=True, text=True, timeout=120
    )


def run_to_end(workplace: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = attempt(workplace, *arguments)
    assert done.returncode == 0, done.stderr
    return done


def start(workplace: Path, *arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        elman_command(*arguments),
        env=elman_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, f"ended early: {process.stderr.read()}"  # type: ignore[union-attr]
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.002)


def newest(run: Path) -> int:
    folders = sorted((run / "resume").glob("step-*")) if (run / "resume").is_dir() else []
    return int(folders[-1].name.removeprefix("step-")) if folders else -1


def assert_same_run(run: Path, undisturbed: Path) -> None:
    """Weights, the last checkpoint's every tensor, and the journal on the way, bit for bit."""
    assert (run / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    last = f"step-{STEPS:09d}"
    for folder in (run, undisturbed):
        assert (folder / "resume" / last / "tensors.safetensors").is_file()
    name = f"resume/{last}/tensors.safetensors"
    assert (run / name).read_bytes() == (undisturbed / name).read_bytes()
    assert journal(run) == journal(undisturbed)


def journal(run: Path) -> list[dict[str, object]]:
    """Every line of the metrics without what the clock decides."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in lines]


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["valid_nats"]) for line in lines if "valid_nats" in line]


def test_killed_at_any_instant_and_resumed(workplace: Path, text: Path, undisturbed: Path) -> None:
    run = workplace / "killed"
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL)
    # three different moments: early, in the middle of things, and shortly before the end
    for step, delay in ((0, 0.0), (20, 0.013), (70, 0.041)):
        wait_for(lambda step=step: newest(run) >= step, process)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = start(workplace, "resume", run, "--quiet")
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    assert_same_run(run, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed(workplace: Path, text: Path, undisturbed: Path, number: signal.Signals) -> None:
    run = workplace / f"interrupted-{number.name}"
    # no checkpoint is due before the end: the one that is found must have been written by the interruption
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL, "--checkpoint-every", 10_000)
    wait_for(lambda: (run / "metrics.jsonl").exists() and losses(run), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert number.name in said
    assert newest(run) > 0
    run_to_end(workplace, "resume", run, "--quiet")
    assert_same_run(run, undisturbed)


def test_full_disk_stops_with_a_sentence_and_loses_nothing(workplace: Path, text: Path, undisturbed: Path) -> None:
    run = workplace / "full"

    def limit_files() -> None:
        # the kernel refuses to let a file grow, as a full disk does; the model fits, a whole checkpoint does not
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (undisturbed / "model.safetensors").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size, resource.RLIM_INFINITY))

    process = start(workplace, "train", "lm", text, "--out", run, *SMALL, preexec_fn=limit_files)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Could not write" in said
    assert "Traceback" not in said
    assert not list((run / "resume").glob(".part*"))
    run_to_end(workplace, "resume", run, "--quiet")
    assert_same_run(run, undisturbed)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_really_full_disk(workplace: Path, text: Path, undisturbed: Path) -> None:
    disk = workplace / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    run = disk / "run"
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL)
    try:
        wait_for(lambda: newest(run) >= 10, process)
        filler = disk / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "No space left" in said
        assert "Traceback" not in said
        filler.unlink()
        run_to_end(workplace, "resume", run, "--quiet")
        assert_same_run(run, undisturbed)
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["umount", disk], check=True)


def test_explosion_returns_three_times_then_tells_the_story(workplace: Path, text: Path) -> None:
    run = workplace / "exploding"
    arguments = [
        *SMALL,
        "--cell",
        "rnn-relu",
        "--optimizer",
        "SGD",
        "--lr",
        1e9,
        "--clip",
        0,
        "--schedule",
        "constant",
    ]
    done = attempt(workplace, "train", "lm", text, "--out", run, *arguments)
    assert done.returncode == 1
    assert done.stderr.count("half the rate") >= 3
    assert "Stopped after 3 returns" in done.stderr
    assert "Traceback" not in done.stderr
    returns = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"return"' in line]
    assert len(returns) == 3
    scales = [json.loads(line)["rate_scale"] for line in returns]
    assert scales == [0.5, 0.25, 0.125]


def test_recovers_when_half_the_rate_is_enough(workplace: Path, text: Path) -> None:
    """One poisoned step: weights are damaged on the way, the training goes back once and ends well."""
    import torch

    from elman.equations import cell
    from elman.training.choose import Request
    from elman.training.corpus import TextOptions
    from elman.training.settings import Settings
    from elman.training.start import Reports
    from elman.training.systems.language.run import Wishes, train_language_model
    from elman.training.systems.language.task import LanguageTask

    poisoned = []
    honest = LanguageTask.gradients

    def gradients(task: LanguageTask) -> torch.Tensor:
        loss = honest(task)
        if not poisoned and task.epoch > 0.2:
            poisoned.append(True)
            for parameter in task.model.parameters():
                parameter.data.fill_(float("nan"))
        return loss

    settings = Settings(steps=60, checkpoint_every=5, threads=1, sample_length=0, device="cpu")
    request = Request(hidden=16, layers=1, batch=8, unroll=20, precision="fp32", settings=settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageTask, "gradients", gradients)
        outcome, _, _ = train_language_model(
            [str(text)],
            cell("gru"),
            TextOptions(),
            Wishes(request, reports=Reports(quiet=True)),
            workplace / "recovering",
        )
    assert outcome.reason == "done"
    assert outcome.progress.returns == 1
    assert outcome.progress.rate_scale == 0.5
    assert outcome.progress.best_nats is not None
    assert outcome.progress.best_nats < 3.0


def test_two_trainings_in_one_folder_are_refused(workplace: Path, text: Path) -> None:
    run = workplace / "shared"
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL, "--steps", 100_000)
    wait_for(lambda: newest(run) >= 0, process)
    try:
        second = attempt(workplace, "resume", run)
        assert second.returncode != 0
        assert "Another training" in second.stderr
        assert str(process.pid) in second.stderr
        third = attempt(workplace, "train", "lm", text, "--out", run)
        assert third.returncode == 2
        assert "already holds a run" in third.stderr
    finally:
        process.kill()
        process.communicate()


def test_damaged_newest_checkpoint_is_passed_over_aloud(workplace: Path, text: Path, undisturbed: Path) -> None:
    run = workplace / "damaged"
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL)
    wait_for(lambda: newest(run) >= 40, process)
    process.kill()
    process.communicate()
    step = newest(run)
    flip_byte(run / "resume" / f"step-{step:09d}" / "tensors.safetensors", -100)
    done = run_to_end(workplace, "resume", run, "--quiet")
    assert "damaged checkpoint" in done.stderr
    assert_same_run(run, undisturbed)


def test_resume_extends_a_finished_run(workplace: Path, text: Path) -> None:
    run = workplace / "extended"
    run_to_end(workplace, "train", "lm", text, "--out", run, *SMALL, "--steps", 20)
    before = losses(run)[-1][1]
    finished = run_to_end(workplace, "resume", run)
    assert "finished" in finished.stdout
    run_to_end(workplace, "resume", run, "--steps", 200, "--quiet")
    assert newest(run) == 200
    assert losses(run)[-1][1] < before


def test_changed_text_is_not_resumed(workplace: Path) -> None:
    text = workplace / "changing.txt"
    text.write_text("abcdefgh\n" * 500)
    run = workplace / "changed"
    run_to_end(workplace, "train", "lm", text, "--out", run, *SMALL, "--steps", 10)
    text.write_text("abcdefgh\n" * 500 + "!")
    done = attempt(workplace, "resume", run, "--steps", 20)
    assert done.returncode == 1
    assert "not the one" in done.stderr


OTHER = [
    "--cell", "gru-reset-after", "--optimizer", "RMSprop", "--schedule", "plateau", "--averaging", 0.9,
    "--patience", 50, "--recurrent-dropout", 0.2, "--accumulate", 2, "--tokens", "words", "--lr", 0.02,
    "--weight-decay", 0.01,
]  # fmt: skip


def test_killed_with_everything_switched_on(workplace: Path, text: Path) -> None:
    """Words, plateau, averages, accumulation and recurrent dropout carry state of their own."""
    whole, run = workplace / "whole", workplace / "pieces"
    run_to_end(workplace, "train", "lm", text, "--out", whole, *SMALL, *OTHER)
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL, *OTHER)
    wait_for(lambda: newest(run) >= 40, process)
    process.kill()
    process.communicate()
    run_to_end(workplace, "resume", run, "--quiet")
    assert_same_run(run, whole)


def test_killed_during_the_first_checkpoint(workplace: Path, text: Path, undisturbed: Path) -> None:
    """What such a kill leaves: a configuration, an empty journal, and half a checkpoint under its temporary name."""
    run = workplace / "early"
    process = start(workplace, "train", "lm", text, "--out", run, *SMALL)
    wait_for(lambda: newest(run) >= 0, process)
    process.kill()
    process.communicate()
    for folder in (run / "resume").glob("step-*"):
        folder.rename(run / "resume" / f".part-{folder.name}")
    (run / "metrics.jsonl").write_bytes(b"")
    (run / "model.safetensors").unlink(missing_ok=True)
    run_to_end(workplace, "resume", run, "--quiet")
    assert_same_run(run, undisturbed)


def test_a_copy_without_checkpoints_is_not_trained_over(workplace: Path, undisturbed: Path) -> None:
    copy = workplace / "copy"
    shutil.copytree(undisturbed, copy, ignore=shutil.ignore_patterns("resume"))
    done = attempt(workplace, "resume", copy, "--steps", 500)
    assert done.returncode == 1
    assert "not resumed" in done.stderr
    for name in ("model.safetensors", "metrics.jsonl", "config.json"):
        assert (copy / name).read_bytes() == (undisturbed / name).read_bytes()


def test_an_extension_survives_a_kill(workplace: Path, undisturbed: Path) -> None:
    run = workplace / "killed-extension"
    shutil.copytree(undisturbed, run)
    process = start(workplace, "resume", run, "--steps", 100_000, "--quiet")
    wait_for(lambda: (run / "resume" / f"step-{STEPS:09d}.1").exists(), process)
    process.kill()
    process.communicate()
    process = start(workplace, "resume", run)
    try:
        assert process.stdout is not None
        said = ""
        while "Resuming" not in said:
            line = process.stdout.readline()
            assert line, "ended without resuming"
            said += line
        assert "of 100,000" in said
    finally:
        process.kill()
        process.communicate()


def test_a_moved_text_is_named(workplace: Path, text: Path, undisturbed: Path) -> None:
    run, moved = workplace / "moved-run", workplace / "moved.txt"
    shutil.copytree(undisturbed, run)
    shutil.copy(text, moved)
    run_to_end(workplace, "resume", run, "--steps", STEPS + 10, "--text", moved, "--quiet")
    assert newest(run) == STEPS + 10
