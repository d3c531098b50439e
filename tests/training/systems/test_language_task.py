"""The language model in the loop: carried state, accumulation, words, limits in minutes, reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import elman
from elman.data.vocabulary import build
from elman.equations import cell
from elman.models.language import LanguageModel
from elman.runs import RunFolder
from elman.training.choose import Request
from elman.training.corpus import TextOptions
from elman.training.loop import Outcome
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems.language.run import Wishes, train_language_model
from elman.training.systems.language.task import LanguageTask


def task(accumulate: int = 1, **sizes: Any) -> LanguageTask:
    torch.manual_seed(0)
    vocabulary = build("characters", ["abcdefg"])
    tokens = np.random.default_rng(1).integers(0, 7, 400).astype(np.uint8)
    settings = Settings(**{"batch": 6, "unroll": 5, "accumulate": accumulate, **sizes})
    return LanguageTask(LanguageModel("lstm", 7, hidden=5, layers=2), vocabulary, tokens, tokens[:0], settings)


def gradients(made: LanguageTask, batches: int) -> tuple[list[float], list[torch.Tensor]]:
    losses = []
    for _ in range(batches):
        made.model.zero_grad()
        made.advance()
        losses.append(float(made.gradients()))
    return losses, [p.grad.clone() for p in made.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_accumulation_equals_the_whole_batch(groups: int) -> None:
    losses, whole = gradients(task(), 3)
    parts_losses, parts = gradients(task(groups), 3)
    assert parts_losses == pytest.approx(losses, rel=1e-5)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_state_is_carried_and_reset_at_a_new_pass() -> None:
    made = task()
    model = made.model.eval()
    state = None
    for _ in range(made.streams.steps * 2):
        at_start = made.streams.epoch == int(made.streams.epoch)
        made.advance()
        loss = float(made.gradients())
        inputs, targets = made._batch  # type: ignore[misc]
        state = None if at_start else state
        with torch.no_grad():
            scores, state = model(inputs, state)
        assert loss == pytest.approx(float(functional.cross_entropy(scores.flatten(0, 1), targets.flatten())), rel=1e-5)


def test_the_gradient_may_be_asked_for_again() -> None:
    made = task()
    made.model.eval()
    made.advance()
    first = float(made.gradients())
    assert float(made.gradients()) == first
    made.advance()
    assert float(made.gradients()) != first


def train(text: Path, out: Path, sizes: dict[str, Any], **settings: Any) -> tuple[Outcome, RunFolder, dict[str, Any]]:
    options = settings.pop("reading", TextOptions())
    recurrence = cell(settings.pop("cell", "lstm"))
    more = {name: settings.pop(name) for name in ("tied", "recurrent_dropout", "input_dropout") if name in settings}
    made = Settings(**{"threads": 1, "device": "cpu", "sample_length": 0, **settings})
    request = Request(**{"precision": "fp32", **sizes}, settings=made)
    return train_language_model(
        [str(text)], recurrence, options, Wishes(request, reports=Reports(quiet=True), **more), out
    )


SMALL = {"hidden": 16, "layers": 1, "batch": 8, "unroll": 20, "dropout": 0.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "RMSprop", "schedule": "step", "lr_floor": 0.1},
        {"optimizer": "SGD", "schedule": "plateau", "clip_by": "value", "clip": 0.1},
        {"optimizer": "LBFGS", "schedule": "constant", "steps": 15},
        {"averaging": 0.9, "weight_decay": 0.01},
        {"accumulate": 2, "tied": True, "input_dropout": 0.1, "recurrent_dropout": 0.2},
        {"cell": "mut1"},
        {"cell": "gru-reset-after", "recurrent_dropout": 0.3},
    ],
    ids=lambda settings: "-".join(map(str, settings)),
)
def test_it_learns_under_every_kind_of_setting(tmp_path: Path, text_file: Path, settings: dict[str, Any]) -> None:
    outcome, folder, _ = train(text_file, tmp_path / "run", SMALL, **{"steps": 120, **settings})
    assert outcome.reason == "done"
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    valid = [line["valid_nats"] for line in lines if "valid_nats" in line]
    assert min(valid) < valid[0] - 0.1
    assert outcome.progress.best_nats == pytest.approx(min(valid))
    assert all({"step", "seconds", "tokens", "train_nats"} <= set(line) for line in lines if "event" not in line)
    assert folder.loss_plot.read_bytes().startswith(b"\x89PNG")
    model, vocabulary, config = elman.load(folder.path)
    assert config["data"]["tokens"]["train"] > 10_000
    assert model.vocabulary_size == vocabulary.size


def test_best_weights_are_kept_when_later_ones_are_worse(tmp_path: Path, text_file: Path) -> None:
    """The run's weights are those of the best evaluation, the checkpoint's those of the last step."""
    from elman.training.compare import Text, loss

    outcome, folder, _ = train(
        text_file, tmp_path / "run", {**SMALL, "eval_every": 5}, steps=60, lr_floor=0, optimizer="SGD",
        schedule="constant", clip=0.0, optimizer_options={"momentum": 0.95},
    )  # fmt: skip
    progress = outcome.progress
    model, vocabulary, config = elman.load(folder.path)
    corpus = TextOptions(**config["data"]["options"]).read(config["data"]["sources"], vocabulary)
    text = Text("valid", corpus.valid, {}, corpus.train[:0])
    assert loss(model, vocabulary, text, 32).nats == pytest.approx(progress.best_nats, abs=0.01)
    assert progress.best_nats is not None
    assert progress.valid_nats is not None
    assert progress.best_nats <= progress.valid_nats


def test_early_stopping_stops(tmp_path: Path, text_file: Path) -> None:
    outcome, _, _ = train(
        text_file,
        tmp_path / "run",
        {**SMALL, "eval_every": 2, "lr": 1e-9},
        steps=500,
        patience=3,
        optimizer="SGD",
    )
    assert outcome.reason == "early stop"
    assert outcome.progress.step < 500


def test_a_limit_in_minutes_is_met(tmp_path: Path, text_file: Path) -> None:
    outcome, folder, config = train(text_file, tmp_path / "run", {}, minutes=0.1)
    assert outcome.reason == "done"
    assert 3 < outcome.progress.seconds < 12
    assert any("hidden" in reason for reason in config["training"]["chosen"])
    assert folder.model.exists()


def test_words_with_sentence_marks(tmp_path: Path, text_file: Path) -> None:
    outcome, folder, _ = train(text_file, tmp_path / "run", SMALL, steps=60, reading=TextOptions(kind="words"))
    model, vocabulary, _ = elman.load(folder.path)
    assert vocabulary.kind == "words"
    assert vocabulary.unpredicted
    assert outcome.progress.best_nats is not None
    assert outcome.progress.best_nats < np.log(model.vocabulary_size)


def test_no_validation_part_keeps_the_last_weights(tmp_path: Path, text_file: Path) -> None:
    outcome, folder, _ = train(text_file, tmp_path / "run", SMALL, steps=20, reading=TextOptions(split="100/0"))
    assert outcome.progress.best_nats is None
    assert elman.load(folder.path).model.vocabulary_size > 10


@pytest.mark.parametrize("content", ["ab", "ab" * 5, "hello world, " * 4])
def test_tiny_texts_train(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text(content)
    outcome, folder, _ = train(path, tmp_path / "run", {}, steps=3, reading=TextOptions(split="100/0"))
    assert outcome.progress.step == 3
    assert folder.model.exists()


def test_tensorboard_files_hold_the_losses(tmp_path: Path, text_file: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    request = Request(**SMALL, settings=Settings(steps=20, threads=1, sample_length=0, device="cpu"))
    wishes = Wishes(request, reports=Reports(quiet=True, tensorboard=True))
    outcome, folder, _ = train_language_model([str(text_file)], cell("lstm"), TextOptions(), wishes, tmp_path / "run")
    board = events.EventAccumulator(str(folder.path / "tensorboard"))
    board.Reload()
    assert board.Scalars("valid_nats")[-1].value == pytest.approx(outcome.progress.valid_nats)


def test_a_missing_plot_library_costs_no_training(
    tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome, folder, _ = train(text_file, tmp_path / "run", SMALL, steps=5)
    assert outcome.reason == "done"
    assert not folder.loss_plot.exists()
    assert "elman[plot]" in capsys.readouterr().err
