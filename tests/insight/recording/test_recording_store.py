"""Recordings of a run: made once, kept with the run or in the cache, and made again when damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.errors import CancelledError, MisuseError
from elman.files import cache_folder
from elman.insight.recording import list_recordings, open_recording, record, recorded, store, untrained
from elman.models.language import LanguageModel
from elman.runs import LoadedRun, RunFolder, load, save_model, write_config

TEXT = "it was the best of times, it was the worst of times.\n" * 12


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    vocabulary = build("characters", [TEXT])
    model = LanguageModel("gru", vocabulary.size, hidden=8, layers=2)
    folder = RunFolder.create(tmp_path / "run")
    save_model(folder, model.state_dict(), step=3)
    write_config(
        folder.config,
        {
            "system": "language",
            "model": model.configuration(),
            "vocabulary": vocabulary.to_json(),
            "data": {},
            "training": {},
        },
    )
    return folder.path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recordings that were made, not found."""
    names: list[str] = []

    def counted(model: Any, vocabulary: Any, text: str, folder: Path, **options: Any) -> Any:
        names.append(folder.name)
        return record(model, vocabulary, text, folder, **options)

    monkeypatch.setattr(store, "record", counted)
    return names


def test_a_recording_is_made_once(run: Path, made: list[str]) -> None:
    first = recorded(run, TEXT)
    again = recorded(run, TEXT)
    assert first.path == again.path == run / "insight" / "recordings" / made[0]
    assert len(made) == 1
    assert (first.manifest["untrained"], first.manifest["seed"]) == (False, None)
    # spelt otherwise, and with the run open already
    recorded(run, TEXT, states=["h"], loaded=load(run))
    assert len(made) == 1


def test_what_it_depends_on_makes_another(run: Path, made: list[str]) -> None:
    recorded(run, TEXT)
    recorded(run, TEXT + "it")
    recorded(run, TEXT, gates=["z"])
    recorded(run, TEXT, streams=2, burn_in=20)
    recorded(run, TEXT, untrained_seed=0)
    recorded(run, TEXT, untrained_seed=1)
    model, vocabulary, config = load(run)
    recorded(run, TEXT, loaded=LoadedRun(model, vocabulary.with_unknown("error"), config))
    assert len(set(made)) == len(made) == 7
    recorded(run, TEXT, gates="z")
    assert len(made) == 7
    with torch.no_grad():
        model.readout_bias[0] += 1
    save_model(RunFolder(run), model.state_dict(), step=4)
    assert recorded(run, TEXT).path.name not in made[:-1]
    assert len(made) == 8


def test_recordings_are_listed_the_newest_first(run: Path) -> None:
    assert list_recordings(run) == []
    one, two = recorded(run, TEXT), recorded(run, TEXT, gates="all")
    assert [path for path, _ in list_recordings(run)] == [two.path, one.path]
    assert [manifest["cells"] for _, manifest in list_recordings(run)] == [two.cells, one.cells]
    (one.path / "manifest.json").write_text("{}")
    (run / "insight" / "recordings" / "stray").mkdir()
    assert [path for path, _ in list_recordings(run)] == [two.path]


@pytest.mark.parametrize("damage", ["cut", "file", "link"])
def test_a_damaged_one_is_made_again(run: Path, tmp_path: Path, made: list[str], damage: str) -> None:
    path = recorded(run, TEXT).path
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    (elsewhere / "text.txt").write_text("other")
    if damage == "cut":
        elsewhere.rename(path)
    elif damage == "file":
        path.write_text("not a folder")
    else:
        path.symlink_to(elsewhere)
    again = recorded(run, TEXT)
    assert (again.path, len(made)) == (path, 2)
    assert open_recording(path).text == TEXT
    if damage == "link":
        assert (elsewhere / "text.txt").read_text() == "other"


def test_a_run_that_cannot_be_written_has_its_recordings_in_the_cache(
    run: Path, tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "cache"))
    (run / "insight").write_text("in the way")  # root may write anywhere, so a mode would not do
    recording = recorded(run, TEXT)
    assert cache_folder("recordings") in recording.path.parents
    assert recorded(run, TEXT).path == recording.path
    assert [path for path, _ in list_recordings(run)] == [recording.path]
    assert len(made) == 1


def test_a_link_in_a_run_does_not_lead_the_writer_away(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "precious").mkdir()
    (run / "insight").symlink_to(tmp_path / "precious")
    recording = recorded(run, TEXT)
    assert tmp_path / "cache" in recording.path.parents
    assert os.listdir(tmp_path / "precious") == []


def test_a_cancelled_one_leaves_nothing(run: Path) -> None:
    with pytest.raises(CancelledError):
        recorded(run, TEXT, cancel=lambda: True)
    assert os.listdir(run / "insight" / "recordings") == []


def test_one_that_somebody_else_made_meanwhile_is_taken(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten(model: Any, vocabulary: Any, text: str, folder: Path, **options: Any) -> Any:
        record(model, vocabulary, text, folder, **options)
        return record(model, vocabulary, text, folder, **options)

    monkeypatch.setattr(store, "record", beaten)
    assert recorded(run, TEXT).length == len(TEXT)


def test_a_misuse_is_not_taken_for_a_finished_one(run: Path) -> None:
    with pytest.raises(MisuseError, match="too large"):
        recorded(run, TEXT, limit_bytes=10)
    with pytest.raises(MisuseError, match="no run folder"):
        recorded(run / "none", TEXT)


def test_the_untrained_network_is_what_training_begins_with(run: Path) -> None:
    before = torch.random.get_rng_state()
    fresh = untrained(run, 7)
    assert torch.equal(torch.random.get_rng_state(), before)
    # the run's own weights are those of seed 7, never trained
    for name, tensor in load(run).model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], tensor)
    other = untrained(run, 8)
    assert not torch.equal(other.model.embedding.weight, fresh.model.embedding.weight)
    assert not other.model.training


def test_the_baseline_says_that_it_is_one(run: Path) -> None:
    baseline = recorded(run, TEXT, untrained_seed=3)
    assert (baseline.manifest["untrained"], baseline.manifest["seed"]) == (True, 3)
    trained = recorded(run, TEXT)
    assert baseline.groups == trained.groups
    assert (baseline.values != trained.values).mean() > 0.5
    assert np.array_equal(baseline.ids, trained.ids)
