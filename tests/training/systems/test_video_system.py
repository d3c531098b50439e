"""Training, resuming, evaluating and fusing models of clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from video_cases import QUIET, SETTINGS, wishes, write_drawings, write_poses

from elman.errors import FailureError, MisuseError
from elman.models.video.classifier import fuse
from elman.runs import load
from elman.training.systems import resume_run
from elman.training.systems.video.data import ClipOptions, film_reader, read_footage
from elman.training.systems.video.run import class_numbers, evaluate_run, judged, train


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_poses(tmp_path_factory.mktemp("clips") / "poses.npz")


@pytest.fixture(scope="module")
def run(poses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ordered"
    train([str(poses)], ClipOptions(split="60/20/20", vary=0.0, stretch=1.0), wishes(votes="late"), out)
    return out


def rows(run: Path, part: str | None = "test", sources: list[str] | None = None, **options: Any) -> dict[str, Any]:
    return dict(evaluate_run(load(run, systems=("video",)), run, sources, part, options).rows)


def test_order_is_learned_by_a_recurrence_and_by_no_control(poses: Path, run: Path, tmp_path: Path) -> None:
    ordered = rows(run)
    assert ordered["clips"] == 24
    assert ordered["accuracy"] > 0.9
    # the same model, fed the frames in another order
    assert ordered["accuracy_of_shuffled_frames"] < 0.8
    options = ClipOptions(split="60/20/20", vary=0.0, stretch=1.0)
    train([str(poses)], options, wishes(None), tmp_path / "frames")
    assert rows(tmp_path / "frames")["accuracy"] < 0.8
    train([str(poses)], replace(options, shuffled=True), wishes(votes="late"), tmp_path / "shuffled")
    assert rows(tmp_path / "shuffled")["accuracy"] < 0.8


def test_other_clips_are_all_judged(run: Path, tmp_path: Path) -> None:
    other = write_poses(tmp_path / "other.npz", seed=0, clips=31)
    found = rows(run, None, [str(other)])
    assert found["clips"] == 31
    assert found["accuracy"] > 0.9
    strange = dict(np.load(other))
    strange["labels"] = np.where(strange["labels"] == "rise", "swim", strange["labels"])
    np.savez(tmp_path / "strange.npz", **strange)
    with pytest.raises(MisuseError, match="labelled 'swim', which the run does not know"):
        rows(run, None, [str(tmp_path / "strange.npz")])


def test_a_batch_judges_each_clip_as_alone(run: Path, poses: Path) -> None:
    loaded = load(run, systems=("video",), backend="reference")
    footage = read_footage([str(poses)], ClipOptions(split="60/20/20"), describe=False)
    some = footage.parts["test"][:7]
    together, nats = judged(loaded.model, footage, some)
    alone = [judged(loaded.model, footage, some[place : place + 1]) for place in range(7)]
    np.testing.assert_allclose(together, np.concatenate([found for found, _ in alone]), atol=1e-5)
    assert nats == pytest.approx(np.mean([each for _, each in alone]), abs=1e-4)


def test_two_streams_are_fused_with_a_weight_from_the_validation_part(poses: Path, run: Path, tmp_path: Path) -> None:
    options = ClipOptions(split="60/20/20", stream="differences", vary=0.0, stretch=1.0)
    other = tmp_path / "differences"
    train([str(poses)], options, wishes(settings=replace(SETTINGS, steps=20)), other)
    found = rows(run, **{"with": str(other)})
    assert 0 <= found["weight_of_the_other"] <= 1
    # the figures are those of the probabilities, put together by hand
    sides, targets = [], np.empty(0)
    for place in (run, other):
        loaded = load(place, systems=("video",))
        stream = loaded.config["data"]["options"]["stream"]
        footage = read_footage([str(poses)], ClipOptions(split="60/20/20", stream=stream), describe=False)
        held = footage.parts["test"]
        sides.append(judged(loaded.model, footage, held)[0])
        targets = class_numbers(footage, ("fall", "rise"))[held]
    assert found["accuracy_of_the_other"] == pytest.approx(float((sides[1].argmax(1) == targets).mean()))
    for share in (0.0, 0.3, 1.0):
        mixed = fuse(sides, (1 - share, share)).argmax(1) == targets
        assert rows(run, **{"with": str(other), "weight": share})["fused_accuracy"] == pytest.approx(
            float(mixed.mean())
        )
    for wrong, sentence in (({"weight": 0.5}, "name that with"), ({"with": str(other), "weight": 2.0}, "no share")):
        with pytest.raises(MisuseError, match=sentence):
            rows(run, **wrong)
    train([str(poses)], replace(options, split="80/20"), wishes(settings=replace(SETTINGS, steps=2)), tmp_path / "cut")
    with pytest.raises(MisuseError, match="divided otherwise"):
        rows(run, "valid", **{"with": str(tmp_path / "cut")})


def test_a_resumed_training_is_the_one_that_was_not_stopped(poses: Path, tmp_path: Path) -> None:
    options = ClipOptions(split="80/20")
    half, whole = replace(SETTINGS, steps=12, checkpoint_every=6), replace(SETTINGS, steps=24, checkpoint_every=6)
    train([str(poses)], options, wishes(settings=replace(whole, schedule="constant")), tmp_path / "whole")
    train([str(poses)], options, wishes(settings=replace(half, schedule="constant")), tmp_path / "half")
    resume_run(tmp_path / "half", steps=24, reports=QUIET)
    first, second = (load(tmp_path / name, systems=("video",)).model.state_dict() for name in ("whole", "half"))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    write_poses(poses.parent / "changed.npz", seed=3)
    with pytest.raises(FailureError, match="not those that"):
        resume_run(tmp_path / "half", steps=30, sources=[str(poses.parent / "changed.npz")], reports=QUIET)


@pytest.mark.parametrize("stream", ["points", "pictures"])
def test_drawings_are_named(tmp_path: Path, stream: str) -> None:
    data = [str(write_drawings(tmp_path / "drawings.npz"))]
    options = ClipOptions(stream=stream, split="70/15/15", vary=0.0)
    train(data, options, wishes("gru", settings=replace(SETTINGS, steps=100)), tmp_path / "run")
    assert rows(tmp_path / "run")["accuracy"] > 0.85


def test_drawings_are_described(tmp_path: Path) -> None:
    data = [str(write_drawings(tmp_path / "drawings.npz"))]
    options = ClipOptions(stream="pictures", split="70/15/15", vary=0.0)
    train(data, options, wishes("gru", "s2vt", replace(SETTINGS, steps=60)), tmp_path / "run")
    found = rows(tmp_path / "run")
    # all drawings have one stroke: a sentence is right if the name is
    assert found["exact"] > 0.6
    assert found["right_words_in_any_order"] == found["exact"]
    assert found["nats_a_word"] < 0.4
    with pytest.raises(MisuseError, match="no option 'with'"):
        rows(tmp_path / "run", **{"with": "other"})
    with pytest.raises(MisuseError, match="--model frames cannot"):
        train(data, options, wishes(None, "s2vt"), tmp_path / "none")


@pytest.mark.slow
def test_what_came_first_is_told_by_s2vt_and_not_by_a_mean(tmp_path: Path) -> None:
    data = [str(write_drawings(tmp_path / "drawings.npz"))]
    options = ClipOptions(stream="pictures", split="70/15/15", pairs=150, vary=0.0)
    found = {}
    for way in ("mean-pool", "s2vt"):
        settings = replace(SETTINGS, steps=260, lr=5e-3)
        train(data, options, wishes("lstm", way, settings, hidden=32), tmp_path / way)
        found[way] = rows(tmp_path / way)
    assert found["s2vt"]["exact"] > 0.85
    assert found["s2vt"]["exact_of_shuffled_frames"] < 0.8
    assert found["mean-pool"]["right_words_in_any_order"] > 0.85
    assert found["mean-pool"]["exact"] < 0.75


def test_a_resumed_describer_is_the_one_that_was_not_stopped(tmp_path: Path) -> None:
    data = [str(write_drawings(tmp_path / "drawings.npz"))]
    options = ClipOptions(stream="pictures", split="70/30", pairs=24)
    steps = replace(SETTINGS, schedule="constant", checkpoint_every=2, batch=8)
    for name, count in (("whole", 6), ("half", 4)):
        chosen = wishes("gru", "mean-pool", replace(steps, steps=count), dropout=0.3)
        train(data, options, chosen, tmp_path / name)
    resume_run(tmp_path / "half", steps=6, reports=QUIET)
    first, second = (load(tmp_path / name, systems=("video",)).model.state_dict() for name in ("whole", "half"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_motion_is_the_difference_of_frames_and_small_pictures_are_bounded(tmp_path: Path) -> None:
    from elman.training.systems.video.data import stream_of

    raw = torch.randn(5, 2, 3)
    lengths = torch.tensor([5, 4])
    motion, _ = stream_of("films", raw, lengths, "motion")
    assert torch.equal(motion[0], torch.zeros(2, 3))
    torch.testing.assert_close(motion.cumsum(0) + raw[0], raw)
    with pytest.raises(MisuseError, match="4 to 512 pixels"):
        film_reader(ClipOptions(side=1000))
    with pytest.raises(MisuseError, match="needs --weights"):
        film_reader(ClipOptions(encoder="resnet18"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stream": "flow"}, "poses have joints, differences, distances"),
        ({"names": ("cat",)}, "--names and --pairs are for drawings"),
        ({"pairs": 4}, "--names and --pairs are for drawings"),
        ({"vary": -1.0}, "--vary is -1"),
        ({"stretch": 0.0}, "--stretch 0"),
        ({"split": "1/99"}, "leaves no clip to train on"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    poses: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(MisuseError, match=sentence):
        train([str(poses)], ClipOptions(**options), wishes(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_record_that_is_damaged_is_refused(run: Path) -> None:
    loaded = load(run, systems=("video",))
    for entry, value in (("rate", "fast"), ("split", 85), ("names", 3), ("colour", 1), ("stream", ["joints"])):
        data = loaded.config["data"] | {"options": loaded.config["data"]["options"] | {entry: value}}
        with pytest.raises(FailureError, match="does not say how its clips were read"):
            evaluate_run(loaded._replace(config=loaded.config | {"data": data}), run, None, "test", {})
    with pytest.raises(FailureError, match="names 1 classes, and its model has 2"):
        evaluate_run(loaded._replace(config=loaded.config | {"classes": ["one"]}), run, None, "test", {})


def test_a_run_says_what_it_was_trained_on(run: Path, poses: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["system"] == "video"
    assert config["classes"] == ["fall", "rise"]
    assert config["data"]["sources"] == [str(poses)]
    assert config["data"]["clips"] == {"train": 72, "valid": 24, "test": 24}
    assert config["data"]["options"]["stream"] == "joints"
    assert config["model"]["votes"] == "late"
