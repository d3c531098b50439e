"""Weights kept on the way: at which steps, through kills and returns, and by whom they can be read."""

from __future__ import annotations

import itertools
import math
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests_support import elman_command, elman_environment, flip_byte

from elman.data.vocabulary import build
from elman.errors import FailureError, MisuseError
from elman.models.language import LanguageModel
from elman.runs import RunFolder, list_snapshots, load, load_snapshot
from elman.runs.snapshots import keep_snapshots, save_snapshot
from elman.training import keeper
from elman.training.display import QuietDisplay
from elman.training.loop import Trainer
from elman.training.schedules import Plan, next_snapshot
from elman.training.settings import Settings
from elman.training.systems.language.task import LanguageTask


def steps_of(wanted: int, total: int) -> list[int]:
    taken: list[int] = []
    for step in range(1, total + 1):
        if step >= next_snapshot(taken, wanted, total):
            taken.append(step)
    return taken


@pytest.mark.parametrize(("wanted", "total"), [(1, 50), (2, 50), (6, 1000), (20, 100_000), (10, 10), (40, 10)])
def test_steps_grow_by_one_factor_from_the_first_to_the_last(wanted: int, total: int) -> None:
    taken = steps_of(wanted, total)
    assert taken[-1] == total
    assert len(taken) == min(wanted, total)
    if wanted > 1:
        assert taken[0] == 1
    if wanted < total / 50:
        factor = total ** (1 / (wanted - 1))
        # from where rounding to whole steps no longer shows
        late = [after / before for before, after in itertools.pairwise(taken) if before > 30]
        assert late == pytest.approx([factor] * len(late), rel=0.1)


def test_no_snapshots_are_taken_unless_asked_for() -> None:
    assert steps_of(0, 1000) == []


def test_a_plan_that_changes_keeps_the_number() -> None:
    """A limit in minutes is turned into steps and corrected on the way."""
    taken: list[int] = []
    for step in range(1, 3001):
        total = 200 if step < 100 else 3000
        if step >= next_snapshot(taken, 12, total):
            taken.append(step)
    assert (len(taken), taken[-1]) == (12, 3000)
    shorter = list(taken[:6])
    assert next_snapshot(shorter, 12, shorter[-1]) > shorter[-1]
    assert math.isclose(next_snapshot(taken, 12, 9000), 9000)  # a run that is extended keeps its last weights too


SMALL = [
    "--hidden", 16, "--layers", 1, "--batch", 8, "--unroll", 20, "--dropout", 0.2, "--steps", 90, "--eval-every", 30,
    "--checkpoint-every", 10, "--threads", 1, "--seed", 3, "--precision", "fp32", "--sample-length", 0,
    "--snapshots", 9, "--averaging", 0.9, "--quiet",
]  # fmt: skip


def contents(run: Path) -> dict[int, bytes]:
    return {step: path.read_bytes() for step, path in list_snapshots(RunFolder(run)).items()}


def test_a_killed_run_has_the_same_snapshots_as_one_that_was_not(
    tmp_path: Path, text_file: Path, elman: Callable[..., Any]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = elman("train", "lm", text_file, "--out", whole, *SMALL)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        elman_command("train", "lm", text_file, "--out", killed, *SMALL), env=elman_environment()
    )
    deadline = time.monotonic() + 60
    while not list(killed.glob("resume/step-00000002*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # what a step after the last checkpoint left, had the kill come a little later
    leftover = killed / "snapshots" / "step-0000077.safetensors"
    leftover.write_bytes((killed / "snapshots" / "step-0000001.safetensors").read_bytes())
    resumed = elman("resume", killed, "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert contents(killed) == contents(whole)
    assert list(contents(whole)) == steps_of(9, 90)
    # the last of them are the averaged weights, as those of the run are
    run = load(whole)
    last = LanguageModel.from_configuration(run.config["model"])
    load_snapshot(whole / "snapshots" / "step-0000090.safetensors", last)
    first = LanguageModel.from_configuration(run.config["model"])
    load_snapshot(whole / "snapshots" / "step-0000001.safetensors", first)
    same = [torch.equal(a, b) for a, b in zip(last.parameters(), run.model.parameters(), strict=True)]
    assert all(same)
    assert not any(torch.equal(a, b) for a, b in zip(last.parameters(), first.parameters(), strict=True))


class Poisoned(LanguageTask):
    """A task whose 25th step ruins the weights, once."""

    taken = 0

    def gradients(self) -> torch.Tensor:
        self.taken += 1
        loss = super().gradients()
        if self.taken == 25:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.nan)
        return loss


def trainer(path: Path, task: type[LanguageTask] = LanguageTask, **settings: object) -> Trainer:
    torch.manual_seed(0)
    made = Settings(batch=4, unroll=10, sample_length=0, schedule="constant", **settings)  # type: ignore[arg-type]
    vocabulary = build("characters", ["abcdefg"])
    tokens = np.random.default_rng(1).integers(0, 7, 500).astype(np.uint8)
    language = task(LanguageModel("gru", 7, 5, 1), vocabulary, tokens, tokens[:50], made)
    return Trainer(language, made, Plan(40), RunFolder.create(path), QuietDisplay())


def test_ruined_weights_are_not_kept_and_a_return_takes_its_steps_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def save(folder: RunFolder, step: int, tensors: dict[str, torch.Tensor]) -> None:
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        taken.append(step)
        save_snapshot(folder, step, tensors)

    monkeypatch.setattr(keeper, "save_snapshot", save)
    made = trainer(tmp_path / "run", Poisoned, snapshots=40, checkpoint_every=20, eval_every=40)
    outcome = made.run()
    assert taken == [*range(1, 25), *range(21, 41)]
    assert outcome.progress.returns == 1
    kept = list_snapshots(made.folder)
    assert list(kept) == list(range(1, 41)) == outcome.progress.snapshots
    for path in kept.values():
        model = LanguageModel("gru", 7, 5, 1)
        load_snapshot(path, model)
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_an_early_stop_keeps_the_last_weights(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", lr=1e-12, optimizer="SGD", patience=2, eval_every=3, snapshots=2)
    outcome = made.run()
    assert outcome.reason == "early stop"
    assert list(list_snapshots(made.folder)) == [1, outcome.progress.step]
    assert outcome.progress.step < 40


def test_damaged_foreign_and_linked_snapshots_are_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    model = LanguageModel("gru", 7, 5, 1)
    save_snapshot(folder, 12, model.state_dict())
    (path,) = list_snapshots(folder).values()
    assert path.name == "step-0000012.safetensors"
    with pytest.raises(FailureError, match="shape"):
        load_snapshot(path, LanguageModel("gru", 7, 6, 1))
    flip_byte(path, -5 % path.stat().st_size)
    with pytest.raises(FailureError, match="damaged"):
        load_snapshot(path, model)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path.unlink()
    path.symlink_to(precious)
    save_snapshot(folder, 12, model.state_dict())
    assert precious.read_text() == "mine"
    keep_snapshots(folder, [])
    assert list_snapshots(folder) == {}
    folder.snapshots.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.snapshots.symlink_to(elsewhere)
    with pytest.raises(FailureError, match="link"):
        save_snapshot(folder, 12, model.state_dict())
    assert list(elsewhere.iterdir()) == []


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(MisuseError, match="--snapshots"):
        Settings(snapshots=-1)
