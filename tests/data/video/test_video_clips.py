"""Clips: batches, splits class by class, random orders, random paces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.video.clips import Clips, concatenate, divide, shuffled, stretched
from elman.errors import MisuseError


def made(lengths: list[int], labels: list[str | None] | None = None) -> Clips:
    count = sum(lengths)
    return Clips(
        "poses",
        torch.arange(count * 2, dtype=torch.float32).view(count, 2),
        np.array(lengths),
        tuple(labels or [None] * len(lengths)),
        ((),) * len(lengths),
        tuple(f"c{row}" for row in range(len(lengths))),
        "f",
    )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.data())
@settings(max_examples=50, deadline=None)
def test_a_batch_has_each_clip_and_then_its_last_frame(lengths: list[int], data: st.DataObject) -> None:
    clips = made(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    frames, own = clips.batch(rows)
    assert own.tolist() == [lengths[row] for row in rows]
    assert len(frames) == max(own)
    for column, row in enumerate(rows):
        begin = sum(lengths[:row])
        for t in range(len(frames)):
            expected = clips.frames[begin + min(t, lengths[row] - 1)]
            assert torch.equal(frames[t, column], expected)


def test_selected_and_joined_clips_are_the_same_clips() -> None:
    clips = made([3, 1, 4, 2], ["a", "b", "c", "d"])
    halves = concatenate([clips.select([2, 0]), clips.select([3, 1])])
    assert halves.labels == ("c", "a", "d", "b")
    assert halves.names == ("c2", "c0", "c3", "c1")
    for row, origin in enumerate([2, 0, 3, 1]):
        torch.testing.assert_close(halves.batch([row])[0], clips.batch([origin])[0])


def test_every_class_is_divided_in_the_order_of_the_source() -> None:
    labels = ["a", "b"] * 10 + ["a"] * 10
    parts = divide(labels, "70/20/10")
    whole = np.sort(np.concatenate(list(parts.values())))
    assert whole.tolist() == list(range(30))
    for name, share in (("a", 20), ("b", 10)):
        rows = [row for row, label in enumerate(labels) if label == name]
        own = {part: [row for row in places.tolist() if labels[row] == name] for part, places in parts.items()}
        assert [len(own[part]) for part in ("train", "valid", "test")] == [share * 7 // 10, share // 5, share // 10]
        # what follows each other stays together: neighbours in the source are often cut from one film
        assert own["train"] + own["valid"] + own["test"] == rows


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(MisuseError, match="leaves no clip to train on"):
        divide(["a", "b"], "40/60")


def test_shuffling_keeps_the_frames_of_each_clip_and_what_lies_beyond() -> None:
    lengths = torch.tensor([50, 7, 1])
    frames = torch.arange(150, dtype=torch.float32).view(50, 3, 1).expand(-1, -1, 4).contiguous()
    mixed = shuffled(frames, lengths, torch.Generator().manual_seed(0))
    for row, length in enumerate(lengths.tolist()):
        assert sorted(mixed[:length, row, 0].tolist()) == frames[:length, row, 0].tolist()
        assert torch.equal(mixed[length:, row], frames[length:, row])
    assert not torch.equal(mixed[:, 0], frames[:, 0])
    # every frame goes everywhere: the mean place of the first frame over many draws is the middle
    generator = torch.Generator().manual_seed(1)
    places = [int((shuffled(frames[:7, 1:2], lengths[1:2], generator)[:, 0, 0] == 1).nonzero()) for _ in range(700)]
    assert np.bincount(places, minlength=7).min() > 60


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.floats(0.2, 1.0), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_random_pace_goes_forward_through_a_piece_of_the_clip(lengths: list[int], shortest: float, seed: int) -> None:
    own = torch.tensor(lengths)
    frames = torch.arange(max(lengths), dtype=torch.float64).view(-1, 1, 1).expand(-1, len(lengths), 2).contiguous()
    played, new = stretched(frames, own, shortest, torch.Generator().manual_seed(seed))
    assert len(played) >= int(new.max())
    for row, length in enumerate(lengths):
        times = played[: int(new[row]), row, 0]
        assert 1 <= int(new[row]) <= length
        assert int(new[row]) >= 1 + int(np.floor((length - 1) * shortest - 0.5))
        assert times.min() >= -1e-9
        assert times.max() <= length - 1 + 1e-9
        steps = torch.diff(times)
        if len(steps):
            # frames that count their own time are played at one pace
            assert (steps >= -1e-9).all()
            torch.testing.assert_close(steps, steps.mean().expand_as(steps), atol=1e-5, rtol=1e-5)
            assert times[-1] - times[0] >= (length - 1) * shortest - 1e-4


def test_a_pace_of_one_changes_nothing() -> None:
    frames, lengths = torch.randn(5, 2, 3), torch.tensor([5, 2])
    played, new = stretched(frames, lengths, 1.0, torch.Generator())
    assert played is frames
    assert new is lengths
