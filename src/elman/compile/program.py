"""Straight-line programs: what one time step does, as a flat list of torch calls on numbered registers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from elman.compile.operations import Function

ABSENT = -1


class Instruction(NamedTuple):
    """One call: ``registers[result] = function(a, b, c, out=out)``; operands that are ABSENT are left out."""

    function: Function
    a: int
    b: int
    c: int
    out: int
    result: int


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that instructions write into, [B, units * hidden] a time step.

    Attributes:
        register: of the step's whole piece.
        units: how many hidden vectors lie side by side; 0 means one number a row.
        slices: (register, first unit, one past the last unit) of parts that are used on their own.
        kept: backward reads it, so every time step has its own.
    """

    register: int
    units: int
    slices: tuple[tuple[int, int, int], ...]
    kept: bool


@dataclass
class Registers:
    """Hands out register numbers by what they hold."""

    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def __call__(self, *key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def alias(self, register: int, *key: Hashable) -> None:
        """Let a key name a register that exists."""
        self._numbers[key] = register


@dataclass(slots=True)
class Task:
    """An instruction and every register that holds something new once it has run."""

    instruction: Instruction
    writes: tuple[int, ...]
    also_reads: tuple[int, ...] = ()


def instruction(function: Function, operands: Sequence[int], out: int, result: int) -> Instruction:
    """An instruction with one to three operands."""
    a, b, c = (*operands, ABSENT, ABSENT)[:3]
    return Instruction(function, a, b, c, out, result)


def schedule(tasks: Sequence[Task]) -> tuple[Instruction, ...]:
    """The instructions in an order in which every register is written before it is read."""
    writer = {register: number for number, task in enumerate(tasks) for register in task.writes}
    done: list[bool | None] = [None] * len(tasks)  # False: waits for what it reads
    ordered: list[Instruction] = []
    for root in range(len(tasks)):
        pending = [root]
        while pending:
            number = pending[-1]
            if done[number]:
                pending.pop()
                continue
            task = tasks[number]
            reads = (*task.instruction[1:4], *task.also_reads)
            waits = [writer[r] for r in reads if r in writer and writer[r] != number and not done[writer[r]]]
            if waits:
                assert done[number] is None, "instructions wait for one another"
                done[number] = False
                pending.extend(waits)
                continue
            done[number] = True
            ordered.append(task.instruction)
            pending.pop()
    return tuple(ordered)


def execute(program: Sequence[Instruction], registers: list[Tensor]) -> None:
    """Run one step."""
    for function, a, b, c, out, result in program:
        if out < 0:
            if b < 0:
                registers[result] = function(registers[a])
            elif c < 0:
                registers[result] = function(registers[a], registers[b])
            else:
                registers[result] = function(registers[a], registers[b], registers[c])
        elif b < 0:
            registers[result] = function(registers[a], out=registers[out])
        elif c < 0:
            registers[result] = function(registers[a], registers[b], out=registers[out])
        else:
            registers[result] = function(registers[a], registers[b], registers[c], out=registers[out])
