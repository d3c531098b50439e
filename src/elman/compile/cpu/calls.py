"""Calls of machine code, and whole series of them again with other memory.

What a pass tells machine code are arrays of addresses and sizes. For operands of the same shapes they differ from call
to call in nothing but where the memory lies. So a pass that came twice is recorded: its calls, and for every address
the tensor that it belongs to. From then on the arrays are filled in at once.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile.cpu.threads import parallel
from elman.compile.cpu.workspace import empty

#: How many series are kept.
LIMIT = 256
#: Sizes are smaller than this, addresses larger.
_LEAST_ADDRESS = 1 << 32
_ALIGNED = 64

Results = tuple[Tensor, ...]
_Call = tuple[int, NDArray[np.int64], int, bool]


def call(function: int, array: NDArray[np.int64], threads: int, together: bool = False) -> None:
    """Call ``function(array, thread)`` for every thread, and wait for the last.

    Args:
        function: the address of machine code ``void f(i64* context, i64 thread)``.
        array: its context, which is not changed.
        threads: into how many parts the work is cut.
        together: the parts wait for each other; see :func:`elman.compile.cpu.threads.parallel`.
    """
    recording = _here.recording
    if recording is not None:
        recording.calls.append((function, array.copy(), threads, together))
    parallel(function, array.ctypes.data, threads, together)


def new(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor in memory of the workspace that only calls of machine code write to."""
    tensor = empty(shape, dtype)
    if _here.recording is not None:
        _here.recording.made.append(tensor)
    return tensor


def repeated(
    key: Hashable,
    operands: Sequence[Tensor],
    constants: Sequence[Tensor],
    compute: Callable[[], tuple[Results, Any]],
) -> tuple[Results, Any]:
    """What ``compute`` gives, by the calls that it made for other operands where they are known.

    Args:
        key: decides, together with nothing else than the memory of the operands, which calls are made.
        operands: what they read; all that is not in ``constants`` or made by :func:`new`.
        constants: what they read that is the same tensor for every call with this key.
        compute: makes the calls; gives tensors of :func:`new`, and something that depends on the key only.
    """
    with _lock:
        known = _known.get(key)
        _known[key] = known or _SEEN
        _known.move_to_end(key)
        if len(_known) > LIMIT:
            _known.popitem(last=False)
    if isinstance(known, Series):
        return known.run(operands), known.about
    if known is not _SEEN or _here.recording is not None:
        return compute()
    recording = _here.recording = _Recording()
    try:
        results, about = compute()
    finally:
        _here.recording = None
    series = recording.finish(operands, constants, results, about)
    with _lock:
        _known[key] = series or _REFUSED
    return results, about


class Series:
    """Recorded calls.

    Args:
        calls: function, array, threads and whether they wait for each other.
        bases: for every address in the arrays, put together, its place, the number of its tensor and the bytes from
            there; tensors are counted through operands, what is made, and one for everything that is no result.
        made: shapes and types of the results.
        room: bytes of what is no result.
        about: see :func:`repeated`.
        constants: kept alive.
    """

    def __init__(
        self,
        calls: Sequence[_Call],
        bases: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        made: Sequence[tuple[tuple[int, ...], torch.dtype]],
        room: int,
        about: Any,
        constants: Sequence[Tensor],
    ):
        self.about, self._constants = about, tuple(constants)
        self._array = np.concatenate([array for _, array, *_ in calls])
        self._where, self._which, self._offset = bases
        self._made, self._room = tuple(made), room
        starts = np.cumsum([0, *(8 * len(array) for _, array, *_ in calls)]).tolist()
        self._calls = [(function, start, *how) for (function, _, *how), start in zip(calls, starts, strict=False)]

    def run(self, operands: Sequence[Tensor]) -> Results:
        """Make the calls.

        Args:
            operands: as they were recorded, in memory of their own.

        Returns:
            New results.
        """
        room = empty((self._room,), torch.uint8)
        results = tuple([empty(shape, dtype) for shape, dtype in self._made])
        addresses = [each.data_ptr() for each in (*operands, *results, room)]
        array = self._array.copy()
        array[self._where] = np.array(addresses, dtype=np.int64)[self._which] + self._offset
        begin = array.ctypes.data
        for function, start, threads, together in self._calls:
            parallel(function, begin + start, threads, together)
        return results


class _Recording:
    """The calls of one thread while they are made, and the memory made for them, which is kept until the end."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.made: list[Tensor] = []

    def finish(
        self, operands: Sequence[Tensor], constants: Sequence[Tensor], results: Results, about: Any
    ) -> Series | None:
        """The series; None if some address is not one of the operands', the constants' or of what was made."""
        wanted = {id(tensor) for tensor in results}
        rest = [tensor for tensor in self.made if id(tensor) not in wanted]
        if len(rest) + len(results) != len(self.made) or len(wanted) != len(results) or not self.calls:
            return None  # a result that torch has made, or the same one twice
        room = len(operands) + len(results)
        spans = [(*_span(tensor), number, 0) for number, tensor in enumerate((*operands, *results))]
        size = 0
        for tensor in rest:
            spans.append((*_span(tensor), room, size))
            size += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        spans += [(*_span(tensor), -1, 0) for tensor in constants]
        spans.sort()
        if any(second[0] < first[1] for first, second in pairwise(spans)):
            return None  # two operands share memory: an address may be one's or the other's
        array = np.concatenate([each for _, each, *_ in self.calls])
        places = np.flatnonzero(array >= _LEAST_ADDRESS)
        begins = np.array([span[0] for span in spans], dtype=np.int64)
        found = np.searchsorted(begins, array[places], side="right") - 1
        where, which, offset = [], [], []
        for place, index in zip(places.tolist(), found.tolist(), strict=True):
            begin, end, number, further = spans[index]
            if index < 0 or int(array[place]) >= end:
                return None
            if number >= 0:
                where.append(place)
                which.append(number)
                offset.append(int(array[place]) - begin + further)
        bases = (np.array(where, np.int64), np.array(which, np.int64), np.array(offset, np.int64))
        return Series(self.calls, bases, [(tuple(each.shape), each.dtype) for each in results], size, about, constants)


def _span(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor begins, and where its last element ends."""
    begin = tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + (last + 1) * tensor.element_size()


class _Here(threading.local):
    recording: _Recording | None = None


_SEEN, _REFUSED = "seen once", "cannot be repeated"
_here = _Here()
_lock = threading.Lock()
_known: OrderedDict[Hashable, Series | str] = OrderedDict()


def _after_fork() -> None:
    # another thread may have held it
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
