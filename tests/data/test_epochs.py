"""Every example once an epoch, in an order that the seed alone decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.epochs import Epochs
from elman.errors import MisuseError


@given(count=st.integers(1, 300), batch=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), by_length=st.booleans())
def test_every_example_is_read_once_an_epoch(count: int, batch: int, seed: int, by_length: bool) -> None:
    lengths = np.random.default_rng(seed).integers(1, 50, count) if by_length else None
    epochs = Epochs(count, batch, seed, lengths=lengths)
    orders = []
    for epoch in range(2):
        rows = [epochs.next() for _ in range(epochs.steps)]
        assert sorted(np.concatenate(rows)) == list(range(count))
        assert all(len(part) <= batch for part in rows)
        assert epochs.place == (epoch + 1, 0)
        assert epochs.epoch == epoch + 1
        orders.append(np.concatenate(rows).tolist())
    again = Epochs(count, batch, seed, lengths=lengths)
    assert np.concatenate([again.next() for _ in range(again.steps)]).tolist() == orders[0]


@given(at=st.integers(0, 40))
def test_a_stored_place_goes_on_with_the_same_rows(at: int) -> None:
    lengths = np.arange(100) % 17 + 1
    first = Epochs(100, 8, 3, lengths=lengths)
    for _ in range(at):
        first.next()
    second = Epochs(100, 8, 3, lengths=lengths)
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        assert first.next().tolist() == second.next().tolist()


def test_orders_differ_from_epoch_to_epoch_and_from_seed_to_seed() -> None:
    epochs = Epochs(1000, 1000, 5)
    first, second = epochs.next().tolist(), epochs.next().tolist()
    assert first != second
    assert first != Epochs(1000, 1000, 6).next().tolist()


def test_lengths_bring_similar_examples_together_and_long_batches_are_not_last() -> None:
    lengths = np.random.default_rng(0).integers(1, 101, 4000)

    def padded(epochs: Epochs) -> float:
        rows = [epochs.next() for _ in range(epochs.steps)]
        return sum(len(part) * int(lengths[part].max()) for part in rows) / lengths.sum()

    assert padded(Epochs(4000, 32, 1)) > 1.8
    assert padded(Epochs(4000, 32, 1, lengths=lengths)) < 1.1
    epochs = Epochs(4000, 32, 1, lengths=lengths)
    longest = [int(lengths[epochs.next()].max()) for _ in range(epochs.steps)]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MisuseError, match="no training example"):
        Epochs(0, 4, 1)
    with pytest.raises(MisuseError, match="at least 1"):
        Epochs(4, 0, 1)
    with pytest.raises(MisuseError, match="lengths"):
        Epochs(4, 2, 1, lengths=np.ones(3, dtype=int))
    with pytest.raises(MisuseError, match="examples by"):
        Epochs(4, 2, 1).load_state_dict(Epochs(5, 2, 1).state_dict())
