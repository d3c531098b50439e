"""Loops as machine code, and their contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.calls import call
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.loops import context_slots, write_loop
from elman.compile.cpu.rounds import Loop, backward_loop, forward_loop
from elman.compile.cpu.target import Target
from elman.compile.cpu.threads import threads_for
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
    recurrence: Recurrence, target: Target, half: bool, exact: bool, gather: bool, train: bool, wanted: tuple[str, ...]
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
    """
    step = forward_step(recurrence, gather)
    backward = backward_step(recurrence) if train else None
    loop = forward_loop(step, backward, target, half, exact, wanted, gather)
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


def _program(kind: str, recurrence: Recurrence, loop: Loop, target: Target) -> Program:
    graph = recurrence.graph
    what = f"{kind} {loop.half} {loop.exact} {graph.output} {dict(graph.states)} {graph.nodes}"
    code = load_code(what, lambda: write_loop(loop, target), target)
    return Program(loop, context_slots(loop), code, code.address("run"), target, tuple(recurrence.matrices))


class Context:
    """The array of addresses and sizes that a program is called with.

    Args:
        program: what will be called.
        extent: the rows over time.
        width: of the hidden state.
        threads: how many share the rows; default torch's number.

    Attributes:
        array: what the program gets.
        pieces: which of its slots are addresses, and how many bytes may be touched from there on.
    """

    def __init__(self, program: Program, extent: Extent, width: int, threads: int | None = None):
        self.program = program
        self.array = np.zeros(len(program.slots), dtype=np.int64)
        lanes = program.target.lanes
        self._kept: list[object] = [extent]
        self.pieces: list[tuple[int, int]] = []
        self.threads = threads_for(extent.batch) if threads is None else threads
        share = -(-extent.batch // self.threads)
        self.numbers(
            {
                "t0": 0,
                "t1": extent.steps,
                "threads": self.threads,
                # rows that end early would leave a thread without work if each had one long run of them
                "group": share if extent.even else min(share, 8),
                "counts": extent.counts.data_ptr(),
                "cur": extent.current.data_ptr(),
                "units": -(-width // lanes),
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
        call(self.program.address, self.array, self.threads)
