"""A run folder that is cut short, damaged or hostile is refused with a sentence; a whole one opens anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests_support import flip_byte

import elman
from elman.data.vocabulary import build
from elman.errors import ElmanError, FailureError, MisuseError
from elman.models.language import LanguageModel
from elman.runs import (
    Checkpoint,
    RunFolder,
    latest_checkpoint,
    load,
    save_model,
    write_checkpoint,
    write_config,
)


def make_run(path: Path, **model: Any) -> tuple[RunFolder, LanguageModel]:
    torch.manual_seed(0)
    vocabulary = build("characters", ["hello world"])
    lm = LanguageModel("gru", vocabulary.size, hidden=6, layers=2, **model)
    folder = RunFolder.create(path)
    save_model(folder, lm.state_dict(), step=3)
    write_config(
        folder.config,
        {
            "system": "language",
            "model": lm.configuration(),
            "vocabulary": vocabulary.to_json(),
            "data": {},
            "training": {},
        },
    )
    return folder, lm.eval()


@pytest.mark.parametrize("tied", [False, True])
def test_load_gives_the_same_model(tmp_path: Path, tied: bool) -> None:
    folder, lm = make_run(tmp_path / "run", tied=tied)
    model, vocabulary, config = elman.load(folder.path)
    tokens = torch.randint(vocabulary.size, (7, 3))
    assert torch.equal(model(tokens)[0], lm(tokens)[0])
    assert not model.training
    assert config["model"]["hidden"] == 6
    assert vocabulary.decode(vocabulary.encode("hello").ids) == "hello"


def test_a_moved_folder_opens(tmp_path: Path) -> None:
    folder, _ = make_run(tmp_path / "run")
    folder.path.rename(tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").config["system"] == "language"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    folder, _ = make_run(tmp_path / "run")
    path = folder.path / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ElmanError) as refusal:
        load(folder.path)
    assert name in str(refusal.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_every_flipped_byte_is_noticed(tmp_path: Path, name: str) -> None:
    folder, _ = make_run(tmp_path / "run")
    path = folder.path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        flip_byte(path, place)
        with pytest.raises(ElmanError):
            load(folder.path)
        path.write_bytes(whole)
    assert load(folder.path).config["system"] == "language"


def rewrite(folder: RunFolder, change: Any) -> None:
    """Change a configuration and sign it anew, as somebody hostile would."""
    config = json.loads(folder.config.read_text())
    change(config)
    write_config(folder.config, config)


@pytest.mark.parametrize(
    "equations",
    [
        "h = __import__('os').system('true')",
        "h = (lambda: h)()",
        "h = [h for x in x]",
        "h = h.__class__",
        "h = " + "(" * 5000 + "h" + ")" * 5000,
        "h = tanh(W @ x",
        "",
        "h = h ** 999999999",
        "\x00",
        3,
        None,
    ],
)
def test_hostile_equations_are_refused(tmp_path: Path, equations: object) -> None:
    folder, _ = make_run(tmp_path / "run")
    rewrite(folder, lambda config: config["model"]["recurrence"].update(equations=equations))
    with pytest.raises(ElmanError, match=r"config\.json"):
        load(folder.path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden", 7),
        ("hidden", -1),
        ("hidden", 10**9),
        ("hidden", 10**30),
        ("hidden", "many"),
        ("layers", 3),
        ("layers", 0),
        ("layers", 10**8),
        ("vocabulary_size", 9),
        ("embedding", 5),
        ("tied", True),
        ("dropout", 7.0),
        ("surprise", 1),
    ],
)
def test_sizes_that_do_not_fit_the_weights_are_refused(tmp_path: Path, key: str, value: object) -> None:
    folder, _ = make_run(tmp_path / "run")
    rewrite(folder, lambda config: config["model"].update({key: value}))
    with pytest.raises(ElmanError):
        load(folder.path)


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    folder, lm = make_run(tmp_path / "run")
    tensors = lm.state_dict()
    tensors["readout_bias"] = torch.zeros(99)
    save_model(folder, tensors)
    with pytest.raises(FailureError, match="readout_bias has shape \\(99,\\)"):
        load(folder.path)


def test_weights_without_a_checksum_are_refused(tmp_path: Path) -> None:
    folder, lm = make_run(tmp_path / "run")
    save_file(lm.state_dict(), folder.model)
    with pytest.raises(FailureError, match="checksum"):
        load(folder.path)


def test_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    folder, _ = make_run(tmp_path / "run")
    rewrite(folder, lambda config: config.update(vocabulary=build("characters", ["ab"]).to_json()))
    with pytest.raises(FailureError, match="symbols"):
        load(folder.path)


@pytest.mark.parametrize(
    "vocabulary", [{}, {"kind": "characters"}, {"kind": "magic"}, {"kind": "characters", "symbols": [1]}]
)
def test_damaged_vocabulary_is_refused(tmp_path: Path, vocabulary: object) -> None:
    folder, _ = make_run(tmp_path / "run")
    rewrite(folder, lambda config: config.update(vocabulary=vocabulary))
    with pytest.raises(ElmanError):
        load(folder.path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no run folder"):
        load(tmp_path / "nothing")
    with pytest.raises(MisuseError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(MisuseError, match="not empty"):
        RunFolder.create(tmp_path)


def test_checkpoints_keep_the_newest_two_and_come_back(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    for step in (0, 10, 20):
        write_checkpoint(folder, step, {"a": torch.full((2,), float(step))}, {"step": step})
    found, damaged = latest_checkpoint(folder)
    assert isinstance(found, Checkpoint)
    assert (found.step, found.facts, found.tensors["a"].tolist()) == (20, {"step": 20}, [20.0, 20.0])
    assert damaged == []
    assert sorted(entry.name for entry in folder.resume.iterdir()) == ["step-000000010", "step-000000020"]
    write_checkpoint(folder, 20, {"a": torch.zeros(2)}, {"step": 20, "again": True})
    assert latest_checkpoint(folder)[0].facts["again"] is True


def test_damaged_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(FailureError, match="no checkpoint"):
        latest_checkpoint(folder)
    for step in (10, 20):
        write_checkpoint(folder, step, {"a": torch.zeros(5)}, {"step": step})
    flip_byte(folder.resume / "step-000000020" / "facts.json", 90)
    found, damaged = latest_checkpoint(folder)
    assert found.step == 10
    assert len(damaged) == 1
    (folder.resume / "step-000000010" / "tensors.safetensors").unlink()
    with pytest.raises(FailureError, match="No checkpoint"):
        latest_checkpoint(folder)
