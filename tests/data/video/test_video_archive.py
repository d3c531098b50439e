"""Archives of poses and drawings: what is read, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data.video.archive import read_archive
from elman.errors import ElmanError, FailureError, MisuseError


def poses(**changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "poses": random.normal(size=(9, 15, 2)).astype(np.float32),
        "lengths": np.array([4, 2, 3]),
        "labels": np.array(["run", "jump", "run"]),
    }
    arrays |= changes
    return {name: array for name, array in arrays.items() if array is not None}


def written(folder: Path, **arrays: Any) -> Path:
    path = folder / "clips.npz"
    np.savez(path, **arrays)
    return path


def test_poses_come_back_clip_by_clip(tmp_path: Path) -> None:
    arrays = poses(descriptions=np.array(["a man runs", " ", "he runs"]))
    clips = read_archive(written(tmp_path, **arrays))
    assert clips.kind == "poses"
    assert clips.labels == ("run", "jump", "run")
    assert clips.classes == ("jump", "run")
    assert clips.descriptions == (("a man runs",), (), ("he runs",))
    frames, lengths = clips.batch([1, 2])
    assert lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(frames[:, 1].numpy(), arrays["poses"][6:])


def test_drawings_take_their_labels_by_number(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        points=np.array([[0, 0], [255, 10], [3, 4]], dtype=np.uint8),
        pen_up=np.array([0, 1, 1], dtype=np.uint8),
        lengths=np.array([2, 1], dtype=np.int32),
        labels=np.array([1, 0], dtype=np.int16),
        names=np.array(["cat", "house"]),
    )
    clips = read_archive(path)
    assert clips.kind == "drawings"
    assert clips.labels == ("house", "cat")
    assert clips.frames.tolist() == [[0, 0, 0], [255, 10, 1], [3, 4, 1]]


def test_clips_with_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    broken = poses()
    broken["poses"][5, 3, 1] = np.nan
    notices: list[str] = []
    clips = read_archive(written(tmp_path, **broken), notices)
    assert clips.names == ("clips.npz:0", "clips.npz:2")
    assert clips.lengths.tolist() == [4, 3]
    assert "1 clips hold numbers that are not finite" in notices[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"poses": None}, "clips are read from poses"),
        ({"poses": np.zeros((9, 15))}, "poses is \\[9, 15\\]"),
        ({"poses": np.full((9, 15, 2), "x")}, "must hold numbers"),
        ({"lengths": None}, "lengths must be there"),
        ({"lengths": np.array([4, 2, 2])}, "sum to 8, but there are 9"),
        ({"lengths": np.array([9, 0])}, "a clip has 1 to"),
        ({"labels": np.array(["run"])}, "labels is \\[1\\]; there are 3 clips"),
        ({"labels": np.array([0, 1, 2]), "names": np.array(["run", "jump"])}, "labels go from 0 to 2; names has 2"),
        ({"descriptions": np.array([1, 2, 3])}, "must be 3 texts"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        read_archive(written(tmp_path, **poses(**changes)))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = written(tmp_path, **poses(labels=np.array([{"a": 1}, {}, {}], dtype=object)))
    with pytest.raises(FailureError, match="of plain arrays"):
        read_archive(path)


def test_a_damaged_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    content = written(tmp_path, **poses()).read_bytes()
    for place in range(0, len(content) - 1, 97):
        (tmp_path / "cut.npz").write_bytes(content[:place])
        with pytest.raises(ElmanError):
            read_archive(tmp_path / "cut.npz")
    with pytest.raises(MisuseError, match="cannot be read"):
        read_archive(tmp_path / "none.npz")


def test_the_real_archives_are_what_they_are_said_to_be(shared_data: Path) -> None:
    train, test = (read_archive(shared_data / "video" / f"jhmdb_poses.{part}.npz") for part in ("train", "test"))
    assert (len(train), len(test)) == (433, 176)
    assert len(train.classes) == 14
    assert train.classes == test.classes
    drawings = read_archive(shared_data / "strokes" / "quickdraw.npz")
    assert (len(drawings), len(drawings.classes)) == (9570, 345)
