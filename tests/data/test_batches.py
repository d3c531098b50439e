"""Streams: every token once, exact resume, tiny texts, shares of several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data.batches import IGNORED, Streams
from elman.data.tokens import prepare
from elman.errors import MisuseError

sizes = st.tuples(st.integers(2, 200), st.integers(1, 12), st.integers(1, 15))


@given(sizes)
def test_every_token_is_a_target_once(size: tuple[int, int, int]) -> None:
    length, batch, unroll = size
    streams = Streams(np.arange(length), batch, unroll)
    targets: list[int] = []
    previous = None
    for step in range(streams.steps):
        window = streams.next()
        assert window.inputs.shape == window.targets.shape
        assert window.inputs.shape[1] == streams.batch
        assert window.inputs.dtype == window.targets.dtype == torch.int64
        assert torch.equal(window.inputs + 1, window.targets)
        assert window.fresh == (step == 0)
        if previous is not None:
            assert torch.equal(window.inputs[0], previous)
        previous = window.targets[-1]
        targets += window.targets.flatten().tolist()
    assert streams.epoch == 1
    lost = (length - 1) % streams.batch
    assert sorted(targets) == list(range(1, length - lost))
    assert streams.predicted == len(targets)
    assert streams.next().fresh


@given(sizes, st.integers(0, 30), st.integers(0, 30))
def test_resume_continues_exactly(size: tuple[int, int, int], before: int, after: int) -> None:
    tokens = np.arange(size[0], dtype=np.uint8)
    streams = Streams(tokens, *size[1:])
    for _ in range(before):
        streams.next()
    resumed = Streams(tokens, *size[1:])
    resumed.load_state_dict(streams.state_dict())
    for _ in range(after):
        one, other = streams.next(), resumed.next()
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
        assert one.fresh == other.fresh
    assert streams.epoch == resumed.epoch


def test_another_text_or_batch_cannot_be_resumed() -> None:
    state = Streams(np.arange(100), 4, 5).state_dict()
    for streams in (Streams(np.arange(100), 5, 5), Streams(np.arange(120), 4, 5)):
        with pytest.raises(MisuseError, match="same text and batch"):
            streams.load_state_dict(state)
    with pytest.raises(MisuseError, match="before the beginning"):
        Streams(np.arange(9), 1, 1).position = -1


@given(st.integers(2, 300), st.integers(1, 4), st.integers(1, 12), st.integers(1, 9))
def test_processes_share_the_streams(length: int, world: int, batch: int, unroll: int) -> None:
    tokens = np.arange(length)
    whole = Streams(tokens, batch, unroll)
    if whole.batch < world:
        with pytest.raises(MisuseError, match="each needs one"):
            Streams(tokens, batch, unroll, rank=0, world=world)
        return
    shares = [Streams(tokens, batch, unroll, rank=rank, world=world) for rank in range(world)]
    assert sum(share.rows for share in shares) == whole.rows == whole.batch
    assert max(share.rows for share in shares) - min(share.rows for share in shares) <= 1
    for _ in range(whole.steps + 1):
        windows = [share.next() for share in shares]
        expected = whole.next()
        assert torch.equal(torch.cat([window.inputs for window in windows], 1), expected.inputs)
        assert torch.equal(torch.cat([window.targets for window in windows], 1), expected.targets)
        assert {window.fresh for window in windows} == {expected.fresh}


def test_tiny_texts_get_smaller_batches_and_say_so() -> None:
    streams = Streams(np.arange(10), 50, 50)
    assert (streams.batch, streams.unroll) == (1, 9)
    assert "batch 1 and unroll 9" in streams.notices[0]
    assert Streams(np.arange(2), 1, 1).notices == []
    streams = Streams(np.arange(1001), 50, 50)
    assert (streams.batch, streams.unroll, streams.length) == (20, 50, 50)


@pytest.mark.parametrize(
    ("length", "batch", "unroll", "world"),
    [(1, 1, 1, 1), (0, 1, 1, 1), (9, 0, 1, 1), (9, 1, 0, 1), (9, 2, 1, 3)],
)
def test_what_cannot_be(length: int, batch: int, unroll: int, world: int) -> None:
    with pytest.raises(MisuseError):
        Streams(np.arange(length), batch, unroll, world=world)


def test_unpredicted_tokens_are_ignored_as_targets_only() -> None:
    window = Streams(np.array([1, 5, 2, 1, 6, 2]), 1, 5, ignore=frozenset({1})).next()
    assert window.inputs.flatten().tolist() == [1, 5, 2, 1, 6]
    assert window.targets.flatten().tolist() == [5, 2, IGNORED, 6, 2]


def test_streams_over_a_mapped_file_survive_letting_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.data.batches._HELD", 1)
    path = tmp_path / "text.txt"
    path.write_text("abcdefgh" * 500)
    corpus = prepare([path])
    mapped, held = Streams(corpus.train, 3, 7), Streams(corpus.train.copy(), 3, 7)
    for _ in range(300):
        assert torch.equal(mapped.next().inputs, held.next().inputs)
