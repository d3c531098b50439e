"""Parallel streams over a token array, for truncated backpropagation through time with carried state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from elman.data.token_cache import release
from elman.errors import MisuseError

IGNORED = -100  # the target that torch's cross-entropy leaves out
_HELD = 64 << 20  # bytes of a mapped token file that are read before its memory is let go


def geometry(tokens: int, batch: int, unroll: int) -> tuple[int, int, int]:
    """What a text of so many tokens can carry of the streams and steps that were asked for.

    Every stream should fill one window at least: a short text gets fewer streams.

    Returns:
        Streams, steps of a window, and tokens that each stream predicts in a pass.
    """
    predicted = tokens - 1
    batch = min(batch, max(predicted // unroll, 1))
    length = predicted // batch
    return batch, min(unroll, length), length


def windows(length: int, unroll: int) -> int:
    """Windows of a pass over streams of that length, the last one as short as what remains."""
    return -(-length // unroll)


class Window(NamedTuple):
    """One step of truncated BPTT.

    Attributes:
        inputs: int64 [T, B].
        targets: int64 [T, B]; the tokens one step later, -100 where nothing is to be predicted.
        fresh: a pass begins here, so the carried state must be the initial one.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    fresh: bool


class Streams:
    """B contiguous streams side by side over one token array.

    Stream b is tokens[b*L : (b+1)*L] with L = (len(tokens) - 1) // B; its targets are one token further, so
    every token but the first is a target exactly once in a pass, except for the last (len(tokens) - 1) % B.
    The last window of a pass is as short as what remains. Streams begin at the same places in every pass.

    A text that is too short gets fewer streams, then a shorter unroll; :attr:`notices` says so.

    Args:
        tokens: ids, one dimension, any integer type; may be a mapped file.
        batch: B, over all processes together.
        unroll: T, the largest number of steps of a window.
        rank: which share of the streams this process has.
        world: number of processes; each has neighbouring streams, as many as another or one more.
        ignore: ids that are never predicted; as targets they become -100.

    Raises:
        MisuseError: a batch or unroll below 1, fewer than two tokens, or fewer streams than processes.
    """

    def __init__(
        self,
        tokens: npt.NDArray[Any],
        batch: int,
        unroll: int,
        *,
        rank: int = 0,
        world: int = 1,
        ignore: frozenset[int] = frozenset(),
    ) -> None:
        if batch < 1 or unroll < 1:
            raise MisuseError(f"Batch {batch} and unroll {unroll} must both be at least 1.")
        if len(tokens) < 2:
            raise MisuseError(f"{len(tokens)} tokens are too few: 2 are needed, one to read and one to predict.")
        self.notices: list[str] = []
        self.batch, self.unroll, self.length = geometry(len(tokens), batch, unroll)
        if (self.batch, self.unroll) != (batch, unroll):
            self.notices.append(
                f"{len(tokens):,} tokens are too few for {batch} streams of {unroll} steps; "
                f"batch {self.batch} and unroll {self.unroll} are used."
            )
        if not 0 <= rank < world <= self.batch:
            raise MisuseError(
                f"{self.batch} streams cannot be shared by {world} processes; each needs one. "
                "Give a larger --batch or a longer text, or start fewer processes."
            )
        mine = slice(rank * self.batch // world, (rank + 1) * self.batch // world)
        used = self.batch * self.length
        self._inputs = tokens[:used].reshape(self.batch, self.length)[mine]
        self._targets = tokens[1 : used + 1].reshape(self.batch, self.length)[mine]
        self._ignore = sorted(ignore)
        self._position = 0
        self._read = 0

    @property
    def steps(self) -> int:
        """Windows in a pass."""
        return windows(self.length, self.unroll)

    @property
    def rows(self) -> int:
        """Streams of this process."""
        return len(self._inputs)

    @property
    def predicted(self) -> int:
        """Tokens that a pass predicts, over all processes, ignored ones included."""
        return self.batch * self.length

    @property
    def position(self) -> int:
        """Steps taken by each stream since the beginning of the first pass."""
        return self._position

    @position.setter
    def position(self, steps: int) -> None:
        if steps < 0:
            raise MisuseError(f"A position of {steps} steps is before the beginning.")
        self._position = steps

    @property
    def epoch(self) -> float:
        """Passes done, with the fraction of the present one."""
        return self._position / self.length

    def next(self) -> Window:
        """The next window; after the last of a pass the first one of the next.

        Returns:
            Inputs and targets [T, B / world] and whether the state must be reset before them.
        """
        at = self._position % self.length
        steps = min(self.unroll, self.length - at)
        inputs = _turned(self._inputs[:, at : at + steps])
        targets = _turned(self._targets[:, at : at + steps])
        for unpredicted in self._ignore:
            targets[targets == unpredicted] = IGNORED
        self._position += steps
        self._let_go(inputs.size)
        return Window(torch.from_numpy(inputs), torch.from_numpy(targets), at == 0)

    def state_dict(self) -> dict[str, int]:
        """Where the streams stand, as plain JSON."""
        return {"position": self._position, "batch": self.batch, "length": self.length}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue exactly where :meth:`state_dict` was taken; the unroll and the processes may differ.

        Raises:
            MisuseError: it belongs to other tokens or another batch.
        """
        if (state.get("batch"), state.get("length")) != (self.batch, self.length):
            raise MisuseError(
                f"The stored position is of {state.get('batch')} streams of {state.get('length')} tokens, "
                f"but these are {self.batch} streams of {self.length}: resume with the same text and batch."
            )
        self.position = int(state["position"])

    def _let_go(self, tokens: int) -> None:
        # Pages of a mapped file count as memory of the process until they are given back; each stream touches
        # its own.
        self._read += max(tokens * self._inputs.itemsize, len(self._inputs) * 16384)
        if self._read >= _HELD:
            release(self._inputs)
            self._read = 0


def _turned(streams: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """[B, T] of any integer type as a contiguous int64 [T, B] that shares no memory with it."""
    return np.array(streams.T, dtype=np.int64, order="C")
