"""The order in which training examples are read: a new one each epoch, decided by a seed alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError

# batches of similar length are cut from so many batches' examples at a time, so that their order stays random
_POOL = 50


class Epochs:
    """Batches of row numbers, every example once an epoch.

    With lengths, examples of similar length come together (less padding): a random order is cut into pools, each pool
    sorted by length and cut into batches, and the batches of the whole epoch are shuffled.

    Args:
        count: training examples N.
        batch: examples a batch; the last of an epoch has what remains.
        seed: of all orders.
        lengths: [N], time steps of each example.

    Raises:
        MisuseError: no example, or a batch below 1.
    """

    def __init__(self, count: int, batch: int, seed: int, *, lengths: NDArray[np.integer] | None = None) -> None:
        if count < 1:
            raise MisuseError("There is no training example.")
        if batch < 1:
            raise MisuseError(f"A batch of {batch} examples is none; it takes at least 1.")
        if lengths is not None and len(lengths) != count:
            raise MisuseError(f"{len(lengths)} lengths do not fit {count} examples.")
        self.count, self.size, self.seed = count, batch, seed
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._drawn, self._batch = 0, 0
        self._order: list[NDArray[np.int64]] = []
        self._order_of = -1

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.size)

    @property
    def epoch(self) -> float:
        """Epochs read so far, with the share of the present one."""
        return self._drawn + self._batch / self.steps

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and batch, from 0, that :meth:`next` gives next."""
        return self._drawn, self._batch

    def next(self) -> NDArray[np.int64]:
        """Rows of the next batch."""
        if self._order_of != self._drawn:
            self._order, self._order_of = self._shuffled(self._drawn), self._drawn
        rows = self._order[self._batch]
        self._batch += 1
        if self._batch == self.steps:
            self._drawn, self._batch = self._drawn + 1, 0
        return rows

    def state_dict(self) -> dict[str, int]:
        """The place, as JSON values."""
        return {"epoch": self._drawn, "batch": self._batch, "count": self.count, "size": self.size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises:
            MisuseError: it belongs to other data or to another batch.
        """
        if (state.get("count"), state.get("size")) != (self.count, self.size):
            raise MisuseError(
                f"The stored place is in {state.get('count')} examples by {state.get('size')}, "
                f"these are {self.count} by {self.size}."
            )
        self._drawn, self._batch = int(state["epoch"]), int(state["batch"])

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(self.count)
        if self._lengths is not None:
            pool = _POOL * self.size
            order = np.concatenate(
                [
                    rows[np.argsort(self._lengths[rows], kind="stable")]
                    for rows in np.split(order, range(pool, self.count, pool))
                ]
            )
        batches = np.split(order, range(self.size, self.count, self.size))
        if self._lengths is not None:
            batches = [batches[place] for place in random.permutation(len(batches))]
        return batches
