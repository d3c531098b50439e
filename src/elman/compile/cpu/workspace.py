"""Memory for what kernels write, kept when a tensor dies and given to the next one.

A large tensor of torch's often begins as untouched pages, and having the system fill them in costs many times what a
kernel needs to write them; huge pages make it several times cheaper, memory that was used before makes it free.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.errors import MisuseError

SMALL = 64 << 10
_HUGE = 2 << 20


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor on the CPU with whatever its memory happens to hold.

    The memory begins at a multiple of 64 bytes. It goes back to the pool when the tensor and all its views are gone.
    The tensor is no view and can be pickled, shared and shrunk, but not, as with any memory that torch did not
    allocate itself, resized beyond its first size. Below 64 KiB, where malloc keeps its memory, it is torch's own.

    Args:
        shape: its sizes.
        dtype: its type.
    """
    elements = math.prod(shape)
    size = elements * dtype.itemsize
    if size < SMALL or min(shape) < 0:
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
    loan = _pool.lend(size)
    if loan is None:
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
    # Shaped by resize_, which makes no view: torch forbids some things to views that a Function returns.
    return torch.frombuffer(loan, dtype=dtype, count=elements).resize_(tuple(shape))


def zeros(shape: Sequence[int]) -> Tensor:
    """A float32 tensor of zeros on the CPU, whatever torch's defaults are; as :func:`empty`."""
    return empty(shape, torch.float32).zero_()


def release() -> int:
    """Give the pool's free memory back to the system.

    Returns:
        How much, in bytes.
    """
    return _pool.shrink(0)


@dataclass(frozen=True, slots=True)
class Held:
    """What the pool holds, in bytes: ``lent`` to living tensors, and ``free``."""

    lent: int
    free: int


def held() -> Held:
    """What the pool holds now."""
    return _pool.held()


@cache
def free_limit() -> int:
    """How many bytes of free memory are kept, at most.

    ``ELMAN_WORKSPACE_MB`` decides, else a quarter of the machine's (or its container's) memory: free memory was in use
    at once not long ago, so that a step whose tensors fit into a quarter runs without the system, and three quarters
    stay for everything else.

    Raises:
        MisuseError: ``ELMAN_WORKSPACE_MB`` is not a whole number.
    """
    if asked := os.environ.get("ELMAN_WORKSPACE_MB"):
        if not asked.isdecimal():
            raise MisuseError(f"ELMAN_WORKSPACE_MB is {asked!r}; it must be a whole number of megabytes, such as 512.")
        return int(asked) << 20
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
            memory = min(memory, int(Path(limit).read_text(encoding="ascii")))
    return memory // 4


def rounded(size: int) -> int:
    """The size of the block that serves a request: four sizes a power of two, so that less than a quarter is idle."""
    quarter = 1 << max((size - 1).bit_length() - 3, 12)
    return -(-size // quarter) * quarter


class _Block:
    """A piece of memory that is lent as a whole: ``array`` is all of it, ``freed`` says when it last came back."""

    __slots__ = ("array", "freed", "size")

    def __init__(self, size: int) -> None:
        huge = size >= _HUGE
        # Huge pages must begin at their own multiples; what is cut off is never touched and so costs nothing.
        memory = mmap.mmap(-1, size + _HUGE if huge else size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole: npt.NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
        begin = -whole.ctypes.data % _HUGE if huge else 0
        if huge:
            # Only what they fill, or the last one would reach beyond the block.
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE, begin, size // _HUGE * _HUGE)
        self.array = whole[begin : begin + size]
        self.size = size
        self.freed = 0


class _Loan(np.ndarray[Any, np.dtype[np.uint8]]):
    """A block as torch holds it: when torch lets go of it, the block goes back."""

    block: _Block | None = None

    def __del__(self) -> None:
        block, self.block = self.block, None
        if block is not None:
            _pool.returned.append(block)
            _pool.settle()


class _Pool:
    """Free blocks by their size.

    A tensor can die anywhere: in another thread, and in the garbage collector while this very thread holds the lock.
    So a dying one puts its block into ``returned``, whose methods are atomic, and does not wait for the lock; who has
    the lock sorts in what lies there, and looks again after leaving it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[_Block] = deque()
        self.free: dict[int, deque[_Block]] = {}
        self.free_bytes = 0
        self.lent_bytes = 0
        self.clock = count(1)

    def lend(self, size: int) -> _Loan | None:
        """A loan of at least so many bytes, or None if the system has no memory."""
        free_limit()  # a mistake in it is better told here than where a tensor dies
        size = rounded(size)
        with self.lock:
            if self.returned:
                self._sort_in()
            blocks = self.free.get(size)
            block = blocks.pop() if blocks else None
            if block is not None:
                self.free_bytes -= size
            self.lent_bytes += size
        if self.returned:
            self.settle()
        if block is None:
            block = self._new(size)
            if block is None:
                with self.lock:
                    self.lent_bytes -= size
                return None
        loan = block.array.view(_Loan)
        loan.block = block
        return loan

    def settle(self) -> None:
        """Sort in what came back, unless somebody else is at it; they look again once they have left the lock."""
        while self.returned and self.lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self.lock.release()

    def shrink(self, limit: int) -> int:
        """Keep at most so many free bytes; gives how many went."""
        with self.lock:
            gone = self._sort_in() + self._drop(limit)
        self.settle()
        return gone

    def held(self) -> Held:
        with self.lock:
            self._sort_in()
            now = Held(self.lent_bytes, self.free_bytes)
        self.settle()
        return now

    def _new(self, size: int) -> _Block | None:
        for _ in range(2):
            try:
                return _Block(size)
            except (OSError, OverflowError):
                self.shrink(0)
        return None

    def _sort_in(self) -> int:
        while self.returned:
            block = self.returned.popleft()
            block.freed = next(self.clock)
            if (blocks := self.free.get(block.size)) is None:
                blocks = self.free[block.size] = deque()
            blocks.append(block)
            self.free_bytes += block.size
            self.lent_bytes -= block.size
        return self._drop(free_limit())

    def _drop(self, limit: int) -> int:
        """Let go of what was free the longest until the rest is within the limit; gives how many bytes went."""
        before = self.free_bytes
        while self.free_bytes > limit:
            oldest = min((blocks for blocks in self.free.values() if blocks), key=lambda blocks: blocks[0].freed)
            self.free_bytes -= oldest.popleft().size
        return before - self.free_bytes


_pool = _Pool()


def _after_fork() -> None:
    # Another thread may have been inside the lock. What is free stays with the parent; what is lent comes back here.
    global _pool
    lent = _pool.lent_bytes - sum(block.size for block in _pool.returned)
    _pool = _Pool()
    _pool.lent_bytes = lent


os.register_at_fork(after_in_child=_after_fork)
