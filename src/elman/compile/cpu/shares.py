"""How threads share the rows and the units of a loop.

Rows do not depend on each other, so that threads with rows of their own never wait; but each of them reads all the
weights, and a thread without a row has nothing to do. Threads that share the units of the same rows read a part of the
weights each, and wait for each other before every round that multiplies.
"""

from __future__ import annotations

import time

import torch

from elman.compile.cpu.rounds import Loop

#: [0] counts how often somebody was waited for longer than a running thread would need.
LATE = torch.zeros(8, dtype=torch.int64, device="cpu")
#: Seconds without shared units after that.
_APART = 1.0

# Nanoseconds, measured on one processor (see docs/benchmarks.md). What decides is their proportion.
#: To read a vector of 16 weights from the second cache or the third, which on that processor is as fast.
_READ = 0.75
#: To multiply it by the numbers of one row.
_MULTIPLY = 0.3
#: To wait for one other thread, if that is punctual.
_WAIT = 250.0
#: To fetch 16 numbers that another thread has written.
_FETCH = 15.0
#: How much faster shared units must seem: threads that wait for each other suffer from other programs.
_WORTH = 1.2
#: Rows a thread from which on multiplying takes longer than reading.
_FEW = 3


class _Crowd:
    """How many had come late when somebody last asked, and until when nobody is to wait for anybody."""

    def __init__(self) -> None:
        self.seen, self.until, self.count = 0, 0.0, LATE.numpy()


_crowd = _Crowd()


def crowded(batch: int) -> bool:
    """Whether other programs lately kept threads from their meetings, so that they had better not wait for each other.

    Args:
        batch: rows B; where they are many, units are not shared anyway.
    """
    threads = torch.get_num_threads()
    if threads == 1 or batch > _FEW * threads:
        return False
    count, now = int(_crowd.count[0]), time.monotonic()
    if count != _crowd.seen:
        _crowd.seen, _crowd.until = count, now + _APART
    return now < _crowd.until


def shares(loop: Loop, batch: int, units: int, lanes: int, threads: int, apart: bool = False) -> tuple[int, int]:
    """Among how many threads the rows of a loop are shared, and among how many the units of the same rows.

    Args:
        loop: what the threads will run.
        batch: rows B.
        units: vectors of units.
        lanes: floats in one.
        threads: how many there are.
        apart: do not share units.
    """
    rows = max(1, min(threads, batch))
    if not loop.divisible or apart or threads == 1 or batch > _FEW * threads:
        return rows, 1
    best, chosen = _nanoseconds(loop, batch, units, lanes, rows, 1) / _WORTH, (rows, 1)
    for ways in range(2, threads + 1):
        groups = max(1, min(threads // ways, batch))
        time = _nanoseconds(loop, batch, units, lanes, groups, ways)
        if time < best:
            best, chosen = time, (groups, ways)
    return chosen


def _nanoseconds(loop: Loop, batch: int, units: int, lanes: int, groups: int, ways: int) -> float:
    """About how long a step's products take, operands taken to be as wide as the states."""
    rows = -(-batch // groups)
    widest = max(one.spread for one in loop.rounds)
    blocks = -(-units // widest)
    own = min(units, -(-blocks // ways) * widest)
    passes = [one for each in loop.rounds for group in each.groups for one in group.passes]
    matrices = sum(len(names) for one in passes for names in one.matrices.values())
    depth = units * lanes / (2 if loop.half else 1)
    # in vectors of 16
    products = own * lanes / 16 * depth * matrices
    operands = {one.operand.name: len(next(iter(one.matrices.values()))) for one in passes}
    moved = sum(runs for name, runs in operands.items() if not name.startswith("input:"))
    lines = rows * depth / 16 * moved * (ways - 1) / ways
    meetings = sum(1 for one in loop.rounds if one.groups) if ways > 1 else 0
    return products * max(_READ, rows * _MULTIPLY) + meetings * _WAIT * ways + lines * _FETCH
