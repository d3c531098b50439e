"""Streams of poses: what they leave out, and what variations keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.data.video.poses import BONES, JHMDB_JOINTS, STREAMS, mirror_of, stream, vary
from elman.errors import MisuseError

LENGTHS = torch.tensor([6, 3])


def poses(seed: int = 0, joints: int = 15, axes: int = 2) -> torch.Tensor:
    frames = torch.randn(6, 2, joints, axes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frames[3:, 1] = frames[2, 1]
    return frames


def by_hand(clip: np.ndarray, name: str) -> np.ndarray:
    """The formulas of the page, joint by joint."""
    centre = [sum(joint for joint in frame) / len(frame) for frame in clip]
    squares = [np.sum((joint - middle) ** 2) for frame, middle in zip(clip, centre, strict=True) for joint in frame]
    size = np.sqrt(np.mean(squares))
    rows = []
    for t, frame in enumerate(clip):
        row: list[float] = []
        if name == "joints":
            for joint in frame:
                row += list((joint - centre[t]) / size)
            row += list((centre[t] - sum(centre) / len(centre)) / size)
        elif name == "differences":
            for j, joint in enumerate(frame):
                row += list((joint - clip[max(t - 1, 0)][j]) / size)
        else:
            for i in range(len(frame)):
                row += [float(np.linalg.norm(frame[i] - frame[j]) / size) for j in range(i + 1, len(frame))]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("axes", [2, 3])
def test_streams_are_the_formulas(name: str, axes: int) -> None:
    frames = poses(axes=axes)
    found, lengths = stream(frames, LENGTHS, name)
    assert torch.equal(lengths, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        np.testing.assert_allclose(found[:length, row], by_hand(frames[:length, row].numpy(), name), atol=1e-12)


@pytest.mark.parametrize("name", STREAMS)
def test_neither_place_nor_size_of_the_body_is_seen(name: str) -> None:
    frames = poses()
    moved, _ = stream(3.7 * frames + torch.tensor([5.0, -2.0]), LENGTHS, name)
    torch.testing.assert_close(moved, stream(frames, LENGTHS, name)[0])


@pytest.mark.parametrize("name", ["joints", "distances"])
def test_frames_in_another_order_are_the_same_frames(name: str) -> None:
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    lengths = torch.tensor([6, 6])
    torch.testing.assert_close(stream(poses()[order], lengths, name)[0], stream(poses(), lengths, name)[0][order])


def test_a_body_that_stands_still_at_one_point_gives_finite_numbers() -> None:
    for name in STREAMS:
        assert torch.isfinite(stream(torch.zeros(4, 1, 15, 2), torch.tensor([4]), name)[0]).all()


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(MisuseError, match="joints, differences, distances"):
        stream(poses(), LENGTHS, "flow")


def test_the_mirror_exchanges_left_and_right_and_is_its_own_inverse() -> None:
    other = mirror_of(15)
    assert other is not None
    assert [other[place] for place in other] == list(range(15))
    for place, name in enumerate(JHMDB_JOINTS):
        swapped = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert JHMDB_JOINTS[other[place]] == swapped
    assert mirror_of(17) is None


def test_bones_join_every_joint_to_the_body() -> None:
    reached = {1}
    for _ in BONES:
        reached |= {b for a, b in BONES if a in reached} | {a for a, b in BONES if b in reached}
    assert reached == set(range(15))
    assert len(BONES) == 14


def test_variations_are_drawn_from_the_generator_and_stay_small() -> None:
    frames = poses()
    assert vary(frames, LENGTHS, 0.0, torch.Generator()) is frames
    first, again = (vary(frames, LENGTHS, 1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, vary(frames, LENGTHS, 1.0, torch.Generator().manual_seed(4)))
    # turning and stretching by 20 % change no distance by more than 20 %, and noise little more
    mirrored = frames[:, :, mirror_of(15)]
    for row in range(2):
        distances = stream(first, LENGTHS, "distances")[0][:, row]
        gap = min(
            (distances - stream(side, LENGTHS, "distances")[0][:, row]).abs().mean() for side in (frames, mirrored)
        )
        assert 0 < gap < 0.4


def test_half_of_the_clips_are_mirrored() -> None:
    frames = poses()[:, :1].expand(-1, 400, -1, -1).contiguous()
    lengths = torch.full((400,), 6)
    varied = vary(frames, lengths, 0.2, torch.Generator().manual_seed(0))
    turned = frames[:, :, mirror_of(15)] * torch.tensor([-1.0, 1.0])
    near = (varied - frames).square().mean((0, 2, 3))
    far = (varied - turned).square().mean((0, 2, 3))
    share = float((far < near).double().mean())
    assert 0.4 < share < 0.6
