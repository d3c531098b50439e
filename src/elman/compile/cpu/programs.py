"""Loops as machine code, and their contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.calls import call
from elman.compile.cpu.copies import Jobs
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.loop_context import context_slots
from elman.compile.cpu.loops import write_loop
from elman.compile.cpu.meeting import MEETING
from elman.compile.cpu.memory import Memory
from elman.compile.cpu.rounds import Loop, backward_loop, forward_loop
from elman.compile.cpu.shares import LATE, crowded, shares
from elman.compile.cpu.target import Target
from elman.compile.cpu.toolchain import Code, load_code
from elman.compile.cpu.values import forward_step
from elman.equations import Recurrence


@dataclass(frozen=True, eq=False)
class Program:
    """Machine code of a loop.

    Attributes:
        loop: what it computes.
        slots: by name the position in its context.
        code: keeps the machine code loaded.
        address: of the function ``run``.
        target: what it was compiled for.
        matrices: names of the recurrence's.
    """

    loop: Loop
    slots: dict[str, int]
    code: Code
    address: int
    target: Target
    matrices: tuple[str, ...]


@lru_cache(maxsize=512)
def forward_program(
    recurrence: Recurrence,
    target: Target,
    half: bool,
    exact: bool,
    gather: bool,
    train: bool,
    wanted: tuple[str, ...],
    eight: bool = False,
) -> Program:
    """The forward loop of a recurrence.

    Args:
        recurrence: one step.
        target: the machine.
        half: products in bfloat16.
        exact: the hidden width is a multiple of the vector.
        gather: products with inputs come as rows of a table.
        train: keep what the backward loop needs.
        wanted: states whose sequences are results.
        eight: products in 8 bits; one thread only.
    """
    step = forward_step(recurrence, gather)
    backward = backward_step(recurrence) if train else None
    loop = replace(forward_loop(step, backward, target, half, exact, wanted, gather), eight=eight)
    return _program(f"forward {gather} {train} {wanted}", recurrence, loop, target)


@lru_cache(maxsize=512)
def backward_program(
    recurrence: Recurrence, target: Target, half: bool, exact: bool, gather: bool, given: tuple[str, ...]
) -> Program:
    """The backward loop of a recurrence.

    Args:
        recurrence, target, half, exact, gather: as of :func:`forward_program`.
        given: states whose sequences have gradients.
    """
    loop = backward_loop(backward_step(recurrence), recurrence.states, given, target, half, exact, gather)
    return _program(f"backward {gather} {given}", recurrence, loop, target)


@lru_cache(maxsize=512)
def _shares(program: Program, batch: int, units: int, threads: int, apart: bool) -> tuple[int, int]:
    return shares(program.loop, batch, units, program.target.lanes, threads, apart)


def _program(kind: str, recurrence: Recurrence, loop: Loop, target: Target) -> Program:
    graph = recurrence.graph
    what = f"{kind} {loop.half} {loop.eight} {loop.exact} {graph.output} {dict(graph.states)} {graph.nodes}"
    code = load_code(what, lambda: write_loop(loop, target), target)
    return Program(loop, context_slots(loop), code, code.address("run"), target, tuple(recurrence.matrices))


class Context:
    """The array of addresses and sizes that a program is called with.

    Args:
        program: what will be called.
        extent: the rows over time.
        width: of the hidden state.
        alone: on one thread; by default on those of torch, as :func:`elman.compile.cpu.shares.shares` says.

    Attributes:
        threads: among how many the rows are shared.
        ways: among how many threads the units of the same rows are shared.
        array: what the program gets.
        pieces: which of its slots are addresses, and how many bytes may be touched from there on.
    """

    def __init__(self, program: Program, extent: Extent, width: int, alone: bool = False):
        self.program = program
        self.array = np.zeros(len(program.slots), dtype=np.int64)
        lanes = program.target.lanes
        self._kept: list[object] = [extent]
        self.pieces: list[tuple[int, int]] = []
        units = -(-width // lanes)
        threads = 1 if alone else torch.get_num_threads()
        self.threads, self.ways = _shares(program, extent.batch, units, threads, crowded(extent.batch))
        share = -(-extent.batch // self.threads)
        self.numbers(
            {
                "t0": 0,
                "t1": extent.steps,
                "threads": self.threads,
                "ways": self.ways,
                # rows that end early would leave a thread without work if each had one long run of them
                "group": share if extent.even else min(share, 8),
                "counts": extent.counts.data_ptr(),
                "cur": extent.current.data_ptr(),
                "units": units,
                "width": width,
            }
        )
        self.pieces += [
            (program.slots["counts"], extent.counts.nbytes),
            (program.slots["cur"], extent.current.nbytes),
        ]

    def numbers(self, values: Mapping[str, int]) -> None:
        """Set slots."""
        slots, array = self.program.slots, self.array
        for name, value in values.items():
            array[slots[name]] = value

    def index(self, index: Tensor | None) -> None:
        """Say which row of the tables each row of the extent reads."""
        if index is not None:
            self.place("index", index.data_ptr(), index.nbytes, index)

    @property
    def meetings(self) -> int:
        """How many counters the threads need to wait for each other."""
        return self.threads if self.ways > 1 else 0

    def meet(self, memory: Memory, jobs: Jobs) -> None:
        """Give the threads the counters at which they wait for each other, if they do."""
        if self.meetings:
            piece = memory.pieces[MEETING]
            self.place(MEETING, memory.address(MEETING), piece.nbytes, memory.tensors[piece.tensor])
            jobs.zeros(memory.address(MEETING), piece.rows, piece.width)
            self.place("late", LATE.data_ptr(), LATE.nbytes, LATE)

    def place(self, name: str, address: int, nbytes: int, owner: object, rows: Tensor | None = None) -> None:
        """Give a buffer its memory, and its table of first rows if it has one.

        Args:
            name: of the slot.
            address: where it begins.
            nbytes: how much of it there is.
            owner: keeps it alive.
            rows: the table.
        """
        slot = self.program.slots[name]
        self.array[slot] = address
        self.pieces.append((slot, nbytes))
        self._kept.append(owner)
        if rows is not None:
            self.array[slot + 1] = rows.data_ptr()
            self.pieces.append((slot + 1, rows.nbytes))
            self._kept.append(rows)

    def put(self, name: str, tensor: Tensor) -> None:
        """As :meth:`place`, for a tensor whose rows may lie apart."""
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        self.place(name, tensor.data_ptr(), (last + 1) * tensor.element_size(), tensor)

    def weights(self, key: str, address: int, nbytes: int, iterations: tuple[int, int, int], owner: object) -> None:
        """Give a pass its packed weights, its numbers of iterations, outer and inner, and the operand's bytes each."""
        slot = self.program.slots[f"{key}.weights"]
        self.array[slot : slot + 4] = address, *iterations
        self.pieces.append((slot, nbytes))
        self._kept.append(owner)

    def run(self) -> None:
        """Call the program on all threads; comes back when all are done."""
        call(self.program.address, self.array, self.threads * self.ways, self.ways > 1)
