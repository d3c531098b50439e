"""The time loop: a plan's programs run forward and backward over tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from elman.compile.operations import number
from elman.compile.plan import Plan
from elman.compile.program import Buffer, Instruction, execute

Stream = tuple[int, Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Operands:
    """What a loop is given, in the order in which :func:`pack` puts it.

    Attributes:
        addends: for each group the tensor that is added to its product ([T, B, n * hidden], [n * hidden] or
            [B, n * hidden]), or None.
        free: by node id what the loop reads from outside.
        matrices: by name, [hidden, width].
        states: by name the initial values, [B, hidden].
    """

    addends: tuple[Tensor | None, ...]
    free: dict[int, Tensor]
    matrices: dict[str, Tensor]
    states: dict[str, Tensor]

    @classmethod
    def unpack(cls, plan: Plan, tensors: Sequence[Tensor]) -> Operands:
        """The operands from the tensors that :meth:`pack` gave."""
        rest = iter(tensors)
        return cls(
            tuple(next(rest) if group.addends else None for group in plan.groups),
            {node: next(rest) for node in plan.free},
            {name: next(rest) for name in plan.matrices},
            {name: next(rest) for name in plan.read},
        )

    def pack(self) -> list[Tensor]:
        """All tensors, flat."""
        addends = [addend for addend in self.addends if addend is not None]
        return [*addends, *self.free.values(), *self.matrices.values(), *self.states.values()]


@dataclass(frozen=True, slots=True)
class Sizes:
    """T steps of B rows of H units; products in the type `low` if that is given (autocast)."""

    steps: int
    batch: int
    hidden: int
    low: torch.dtype | None


class Memory:
    """The tensors of a program's buffers."""

    def __init__(self, buffers: Sequence[Buffer], tensors: Sequence[Tensor], steps: int, hidden: int):
        self.streams: list[Stream] = []  # registers that hold another tensor at every step
        self.constant: list[tuple[int, Tensor]] = []
        self._series: dict[int, Tensor] = {}
        for buffer, tensor in zip(buffers, tensors, strict=True):
            self._add(buffer.register, tensor, steps)
            for register, start, stop in buffer.slices:
                self._add(register, tensor[..., start * hidden : stop * hidden], steps)

    def _add(self, register: int, tensor: Tensor, steps: int) -> None:
        if len(tensor) == steps:
            self._series[register] = tensor
            self.streams.append((register, tensor.unbind(0)))
        else:
            self.constant.append((register, tensor[0]))

    def series(self, register: int) -> Tensor:
        """The values of a register at all steps."""
        return self._series[register]

    @staticmethod
    def allocate(
        buffers: Sequence[Buffer], like: Tensor, sizes: Sizes, kept: bool, zeroed: Collection[int] = ()
    ) -> list[Tensor]:
        """Memory for every step of the buffers that are kept, if any are to be, and for one step of the others."""
        tensors = []
        for buffer in buffers:
            shape = (
                sizes.steps if buffer.kept and kept else 1,
                sizes.batch,
                buffer.units * sizes.hidden if buffer.units else 1,
            )
            tensors.append(like.new_zeros(shape) if buffer.register in zeroed else like.new_empty(shape))
        return tensors


@lru_cache(maxsize=512)
def _in_type(program: tuple[Instruction, ...], low: torch.dtype) -> tuple[Instruction, ...]:
    """The program with its matrix products in a lower precision, their results added in full precision."""

    def mm(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
        result = torch.mm(a.to(low), b)
        return result.to(a.dtype) if out is None else out.copy_(result)

    def addmm(base: Tensor, a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
        return torch.add(base, torch.mm(a.to(low), b), out=out)

    exchange: dict[Callable[..., Tensor], Callable[..., Tensor]] = {torch.mm: mm, torch.addmm: addmm}
    return tuple(i._replace(function=exchange.get(i.function, i.function)) for i in program)


def _stack(plan: Plan, matrices: dict[str, Tensor], low: torch.dtype | None) -> list[Tensor]:
    """For each group its matrices below one another."""
    stacked = []
    for group in plan.groups:
        parts = [matrices[name] for name in group.matrices]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        stacked.append(whole if low is None else whole.to(low))
    return stacked


def _set_common(plan: Plan, operands: Operands, registers: list[Tensor], like: Tensor) -> list[Stream]:
    """Fill the registers that both programs read; returns those that change from step to step."""
    streams: list[Stream] = []
    for register, value in plan.numbers:
        registers[register] = number(value, like)
    for node, tensor in operands.free.items():
        register = plan.register("f", node)
        if plan.graph.nodes[node].phase == "sequence":
            streams.append((register, tensor.unbind(0)))
        else:
            registers[register] = tensor
    return streams


@dataclass(frozen=True, slots=True)
class Unrolled:
    """What a forward loop leaves.

    Attributes:
        sequences: by state its values [T, B, hidden], of those that were asked for or that backward needs.
        final: by state its last value [B, hidden].
        buffers: memory of the forward program; whole only if it was recorded.
    """

    sequences: dict[str, Tensor]
    final: dict[str, Tensor]
    buffers: list[Tensor]


def forward(plan: Plan, operands: Operands, sizes: Sizes, wanted: Collection[str], record: bool) -> Unrolled:
    """Run a sequence.

    Args:
        plan: of the recurrence.
        operands: what it is given.
        sizes: its sizes.
        wanted: states whose sequences are asked for.
        record: keep what backward needs.
    """
    like = next(iter(operands.states.values()))
    registers: list[Tensor] = [like] * len(plan.register)
    streams = _set_common(plan, operands, registers, like)
    stacked = _stack(plan, operands.matrices, sizes.low)
    for k, (group, weight) in enumerate(zip(plan.groups, stacked, strict=True)):
        registers[plan.register("down", k)] = weight.t()
        addend = operands.addends[k]
        if addend is not None and group.varies:
            streams.append((plan.register("addend", k), addend.unbind(0)))
        elif addend is not None:
            registers[plan.register("addend", k)] = addend
    buffers = Memory.allocate(plan.forward.buffers, like, sizes, record)
    memory = Memory(plan.forward.buffers, buffers, sizes.steps, sizes.hidden)
    streams += memory.streams
    for register, tensor in memory.constant:
        registers[register] = tensor
    sequences: dict[str, Tensor] = {}
    news: list[tuple[str, int]] = []
    for name in plan.read:
        whole = name in wanted or (record and name in plan.forward.kept_states)
        # a state that is not kept alternates between two places: the old value is read while the new one is written
        tensor = like.new_empty(sizes.steps if whole else 2, sizes.batch, sizes.hidden)
        views = tensor.unbind(0)
        new = plan.register("new", name)
        streams.append((new, views if whole else [views[t % 2] for t in range(sizes.steps)]))
        news.append((name, new))
        if whole:
            sequences[name] = tensor
    previous = [(register, plan.register("new", name)) for register, name in plan.leaves]
    for register, name in plan.leaves:
        registers[register] = operands.states[name]
    program = plan.forward.instructions if sizes.low is None else _in_type(plan.forward.instructions, sizes.low)
    for t in range(sizes.steps):
        for register, series in streams:
            registers[register] = series[t]
        execute(program, registers)
        for register, new in previous:
            registers[register] = registers[new]
    return Unrolled(sequences, {name: registers[new] for name, new in news}, buffers)


def backward(
    plan: Plan,
    operands: Operands,
    sizes: Sizes,
    unrolled: Unrolled,
    arriving: dict[str, Tensor | None],
    arriving_final: dict[str, Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of everything that a loop was given.

    Args:
        plan: of the recurrence.
        operands: as the forward loop had them.
        sizes: as the forward loop had them.
        unrolled: what the forward loop recorded.
        arriving: by state the gradient of its sequence.
        arriving_final: by state the gradient of its last value.
        needed: for each tensor of :meth:`Operands.pack` whether its gradient is wanted.

    Returns:
        Gradients in the order of :meth:`Operands.pack`.
    """
    like = next(iter(operands.states.values()))
    registers: list[Tensor] = [like] * len(plan.register)
    streams = _set_common(plan, operands, registers, like)
    stacked = _stack(plan, operands.matrices, sizes.low)
    for k, (group, weight) in enumerate(zip(plan.groups, stacked, strict=True)):
        registers[plan.register("up", k)] = weight
        for j in range(len(group.matrices)):
            registers[plan.register("up", k, j)] = weight[j * sizes.hidden : (j + 1) * sizes.hidden]
    recorded = Memory(plan.forward.buffers, unrolled.buffers, sizes.steps, sizes.hidden)
    partial = [
        plan.register("gradients", k)
        for k, group in enumerate(plan.groups)
        if plan.backward.groups[k] < len(group.matrices)
    ]
    gradients = Memory(
        plan.backward.buffers,
        Memory.allocate(plan.backward.buffers, like, sizes, True, partial),
        sizes.steps,
        sizes.hidden,
    )
    streams += recorded.streams + gradients.streams
    for register, tensor in recorded.constant + gradients.constant:
        registers[register] = tensor
    for name, sequence in unrolled.sequences.items():
        values = sequence.unbind(0)
        streams.append((plan.register("new", name), values))
        streams += [(register, (operands.states[name], *values[:-1])) for register, leaf in plan.leaves if leaf == name]
    zero = torch.zeros_like(like)
    given = ((name, arriving_final.get(name)) for name in plan.read)
    carried = {name: zero if value is None else value for name, value in given}
    outputs = {name: value.unbind(0) for name, value in arriving.items() if value is not None}
    cotangents = [(name, plan.register("cotangent", name), outputs.get(name)) for name in plan.read]
    program = plan.backward.instructions if sizes.low is None else _in_type(plan.backward.instructions, sizes.low)
    for t in range(sizes.steps - 1, -1, -1):
        for register, series in streams:
            registers[register] = series[t]
        for name, register, views_ in cotangents:
            registers[register] = carried[name] if views_ is None else torch.add(carried[name], views_[t])
        execute(program, registers)
        carried = dict.fromkeys(plan.read, zero)
        for name, register in plan.backward.carries:
            carried[name] = registers[register]

    results: list[Tensor | None] = []
    free = dict(plan.backward.free)
    position = iter(needed)
    for k, addend in enumerate(operands.addends):
        if addend is not None:
            whole = gradients.series(plan.register("gradients", k))
            results.append(_reduce(whole, addend) if next(position) and plan.backward.groups[k] else None)
    for node, tensor in operands.free.items():
        wanted = next(position) and node in free
        results.append(_reduce(gradients.series(free[node]), tensor) if wanted else None)
    matrices_needed = [name for name in operands.matrices if next(position)]
    weights = _weight_gradients(plan, operands, sizes, unrolled, recorded, gradients, matrices_needed)
    results += [weights.get(name) for name in operands.matrices]
    results += [
        carried[name].expand(sizes.batch, sizes.hidden).clone() if next(position) else None for name in operands.states
    ]
    return results


def _reduce(gradient: Tensor, like: Tensor) -> Tensor:
    """Sum the gradients of all steps and rows over what was repeated."""
    return gradient if gradient.shape == like.shape else gradient.sum_to_size(like.shape)


def _weight_gradients(
    plan: Plan,
    operands: Operands,
    sizes: Sizes,
    unrolled: Unrolled,
    recorded: Memory,
    gradients: Memory,
    needed: Collection[str],
) -> dict[str, Tensor]:
    """The matrices' gradients: for every group one product over all T * B rows."""
    total: dict[str, Tensor] = {}
    leaves = dict(plan.leaves)
    places = {plan.register("new", name): name for name in plan.read}
    for k, group in enumerate(plan.groups):
        if not plan.backward.groups[k] or not set(group.matrices) & set(needed):
            continue
        rows = gradients.series(plan.register("gradients", k)).flatten(0, 1)
        register = plan.register("f", group.argument)
        if sizes.low is not None:
            rows = rows.to(sizes.low)
        like = next(iter(operands.states.values()))
        if register in leaves:
            # row by row the argument was the state before: the initial one, then all but the last
            state = leaves[register]
            first, rest = operands.states[state].to(rows.dtype), unrolled.sequences[state][:-1].flatten(0, 1)
            weight = torch.mm(rows[: sizes.batch].t(), first)
            if len(rest):
                weight = torch.addmm(weight, rows[sizes.batch :].t(), rest.to(rows.dtype))
        else:
            series = unrolled.sequences[places[register]] if register in places else recorded.series(register)
            weight = torch.mm(rows.t(), series.flatten(0, 1).to(rows.dtype))
        weight = weight.to(like.dtype)
        for name, part in zip(group.matrices, weight.split(sizes.hidden), strict=True):
            if name in needed:
                total[name] = total[name] + part if name in total else part
    return total
