"""One pass forward and one backward through time, on tensors that autograd does not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.calls import new
from elman.compile.cpu.copies import Jobs
from elman.compile.cpu.eight import pack_eight, row_bytes
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.gathered import gathered, multiplied_first
from elman.compile.cpu.meeting import COUNTER, MEETING
from elman.compile.cpu.memory import Layout, Memory
from elman.compile.cpu.packing import pack_rows, units_of
from elman.compile.cpu.programs import Context, Program, forward_program
from elman.compile.cpu.rounds import Buffer, Pass
from elman.compile.cpu.target import Target
from elman.compile.cpu.values import forward_step
from elman.compile.cpu.workspace import empty
from elman.equations import Recurrence

#: Buffers that operands stand in.
OPERANDS = ("gathered", "input", "vector", "rows")
#: The tensor of all that the backward pass reads, sequences that are results and operands apart.
KEPT = "kept"

#: ("matrix" or "state", name) or ("input", "vector" or "rows", node id).
Key = tuple[str, str | int]


@dataclass(frozen=True)
class Operands:
    """What a pass computes with; none of it is changed.

    Attributes:
        matrices: by name [hidden, K].
        states: by name the initial values [B, hidden].
        inputs: by node id what is as wide as x, [rows, width], in the order of the extent; with an index a table.
        vectors: by node id [hidden].
        rows: by node id [B, hidden].
        index: for each row of the extent the row of the table, or None.
    """

    matrices: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    inputs: Mapping[int, Tensor]
    vectors: Mapping[int, Tensor]
    rows: Mapping[int, Tensor]
    index: Tensor | None = None


@dataclass(frozen=True)
class Kind:
    """Which code a pass runs.

    Attributes:
        recurrence: one step.
        target: the machine.
        half: products in bfloat16.
        hidden: the width.
        wanted: states whose sequences are results.
    """

    recurrence: Recurrence
    target: Target
    half: bool
    hidden: int
    wanted: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether the width is a multiple of the vector."""
        return self.hidden % self.target.lanes == 0

    @property
    def padded(self) -> int:
        """The width of rows in memory."""
        return units_of(self.hidden, self.target.lanes) * self.target.lanes

    def sequence(self, state: str) -> str:
        """The name of the buffer that has all steps of a state."""
        return f"{'half' if self.half else 'state'}:{state}"

    @property
    def dtype(self) -> torch.dtype:
        """Of what products read."""
        return torch.bfloat16 if self.half else torch.float32


@dataclass(frozen=True)
class Kept:
    """What a forward pass leaves: the wanted states' sequences, and what its backward pass reads."""

    memory: Memory
    extent: Extent


@dataclass(frozen=True)
class _Weights:
    """The packed weights of one pass of a loop: its key in the context, what is packed, and in which form."""

    key: str
    one: Pass
    spread: int
    chunks: int
    depth: int


@dataclass(frozen=True)
class Plan:
    """What all forward passes of one program and of the same sizes have in common.

    Attributes:
        layout: their memory.
        states: (state, name of the buffer, whether all of its steps are kept).
        operands: (what, node id, buffer) of buffers that operands stand in.
        others: names of all other buffers.
        weights: what is packed.
    """

    layout: Layout
    states: tuple[tuple[str, str, bool], ...]
    operands: tuple[tuple[str, int, Buffer], ...]
    others: tuple[str, ...]
    weights: tuple[_Weights, ...]


@lru_cache(maxsize=256)
def forward_plan(
    program: Program,
    hidden: int,
    wanted: tuple[str, ...],
    whole: frozenset[str],
    batch: int,
    rows: int,
    widths: tuple[int, ...],
    meetings: int = 0,
) -> Plan:
    """How a forward program gets its memory.

    Args:
        program: the code.
        hidden: the width of a state.
        wanted: states whose sequences are results.
        whole: states of which every step is kept; of the others two.
        batch, rows: of the extent.
        widths: of the matrices, in the order of the recurrence.
        meetings: counters of threads that wait for each other.
    """
    lanes, half = program.target.lanes, program.loop.half
    padded = units_of(hidden, lanes) * lanes
    layout, states, operands, others, weights = Layout(), list[tuple[str, str, bool]](), [], [], []
    for name, buffer in program.loop.buffers.items():
        what, _, key = name.partition(":")
        dtype = torch.bfloat16 if buffer.half else torch.float32
        if what in ("state", "half"):
            every = key in whole and buffer.half == half
            states.append((key, name, every))
            if every and key in wanted:
                layout.own(name, batch + rows, padded, dtype)
            else:
                layout.part(KEPT if every else "scratch", name, batch + rows if every else 2 * batch, padded, dtype)
        elif what in OPERANDS:
            operands.append((what, int(key or 0), buffer))
        else:
            others.append(name)
            tensor, count = KEPT if what == "stored" else "scratch", rows if buffer.row == "cur" else batch
            layout.part(tensor, name, count, lanes if buffer.narrow else padded, dtype)
    if meetings:
        layout.part("scratch", MEETING, meetings, COUNTER)
    width_of = dict(zip(program.matrices, widths, strict=True))
    for key, one, spread in packed_passes(program):
        depth, chunks = width_of[one.matrices[min(one.matrices)][0]], units_of(hidden, lanes * spread)
        weights.append(_Weights(key, one, spread, chunks, depth))
        if program.loop.eight:
            layout.part("scratch", f"{key}.bytes", batch, row_bytes(depth) // 4)
        elif not half:
            layout.part("scratch", f"{key}.weights", chunks, depth * len(one.matrices) * spread * lanes)
    return Plan(layout, tuple(states), tuple(operands), tuple(others), tuple(weights))


def packed_passes(program: Program) -> list[tuple[str, Pass, int]]:
    """All passes of a program's loop: each one's key in the context, and the spread of its round."""
    return [
        (f"{r}.{g}.{p}", each, one.spread)
        for r, one in enumerate(program.loop.rounds)
        for g, group in enumerate(one.groups)
        for p, each in enumerate(group.passes)
    ]


def forward(kind: Kind, operands: Operands, extent: Extent, train: bool) -> tuple[Kept, dict[str, Tensor]]:
    """Run all steps.

    Args:
        kind: which code.
        operands: the numbers.
        extent: the rows over time.
        train: keep what the backward pass needs.

    Returns:
        What the backward pass reads, with the wanted states' sequences [B + rows, padded], the initial values first;
        by state the last values [B, hidden].
    """
    if multiplied_first(kind, operands, extent):
        operands = replace(operands, index=extent.order)
    gather = operands.index is not None
    program = forward_program(kind.recurrence, kind.target, kind.half, kind.exact, gather, train, kind.wanted)
    context = Context(program, extent, kind.hidden)
    whole = kept_states(kind, train)
    memory = fill_forward(kind, operands, extent, program, context, whole)
    context.run()
    final = _last(kind, operands, extent, memory, whole)
    memory.tensors.pop("scratch", None)
    return Kept(memory, extent), final


def kept_states(kind: Kind, train: bool) -> frozenset[str]:
    """States of which a forward pass keeps every step."""
    read = backward_step(kind.recurrence).read_states if train else frozenset()
    return read.union(kind.wanted)


def fill_forward(
    kind: Kind, operands: Operands, extent: Extent, program: Program, context: Context, whole: frozenset[str]
) -> Memory:
    """Give a forward program its memory, with the initial states and the weights in it.

    Args:
        kind, operands, extent: as of :func:`forward`.
        program: the code.
        context: of the program; is filled.
        whole: states of which every step is kept; of the others two.

    Returns:
        The memory, with the rows of inputs that had to be copied.
    """
    context.index(operands.index)
    matrices, hidden, batch = operands.matrices, kind.hidden, extent.batch
    widths = tuple([each.shape[1] for each in matrices.values()])
    plan = forward_plan(program, hidden, kind.wanted, whole, batch, extent.rows, widths, context.meetings)
    memory, jobs = plan.layout.memory(), Jobs(kind.target)
    context.meet(memory, jobs)
    for state, name, every in plan.states:
        piece, initial = memory.pieces[name], operands.states[state]
        address, owner = memory.address(name), memory.tensors[piece.tensor]
        context.place(name, address, piece.nbytes, owner, extent.full if every else extent.alternating)
        if piece.dtype == torch.float32:
            jobs.copy(address, piece.width, initial, piece.width)
        else:
            memory[name][:batch, :hidden].copy_(initial)
            memory[name][:batch, hidden:].zero_()
    for what, node, buffer in plan.operands:
        tensor = operand_memory(kind, operands, what, node, jobs)
        context.put(buffer.name, tensor)
        if what in ("input", "gathered"):
            context.numbers({f"{buffer.name}.stride": tensor.stride(0) * tensor.element_size()})
            if what == "input" and tensor is not operands.inputs[node]:
                memory.tensors[buffer.name] = tensor
    for name in plan.others:
        piece = memory.pieces[name]
        context.place(name, memory.address(name), piece.nbytes, memory.tensors[piece.tensor])
    for each in plan.weights:
        if program.loop.eight:
            packed, room = pack_eight(each.one, matrices, each.spread, kind.target.lanes), f"{each.key}.bytes"
            iterations = each.depth, -(-each.depth // 4), row_bytes(each.depth)
            context.weights(each.key, packed.data_ptr(), packed.nbytes, iterations, packed)
            context.place(room, memory.address(room), memory.pieces[room].nbytes, memory.tensors["scratch"])
            continue
        if kind.half:
            packed = pack_rows(each.one, matrices, each.spread, kind.target.lanes)
            context.weights(each.key, packed.data_ptr(), packed.nbytes, (1, packed.shape[1], 0), packed)
            continue
        weights, address = memory.pieces[f"{each.key}.weights"], memory.address(f"{each.key}.weights")
        parts = [matrices[each.one.matrices[place][0]] for place in sorted(each.one.matrices)]
        jobs.rows(address, parts, each.spread, each.chunks)
        context.weights(each.key, address, weights.nbytes, (1, each.depth, 0), memory.tensors["scratch"])
    jobs.run()
    return memory


def _last(kind: Kind, operands: Operands, extent: Extent, memory: Memory, whole: frozenset[str]) -> dict[str, Tensor]:
    """Every row's value after its own last step, by state."""
    final: dict[str, Tensor] = {}
    jobs, batch, hidden = Jobs(kind.target), extent.batch, kind.hidden
    for state in operands.states:
        every = state in whole and not kind.half
        if not extent.even:
            table = extent.full if every else extent.alternating
            lengths = (extent.counts.unsqueeze(1) > torch.arange(batch, device="cpu")).sum(0)
            rows = table[lengths] + torch.arange(batch, device="cpu")
            final[state] = memory[f"state:{state}"][rows, :hidden]
            continue
        start = extent.rows if every else extent.steps % 2 * batch
        final[state] = new((batch, hidden))
        source = memory.address(f"state:{state}") + start * kind.padded * 4
        jobs.move(final[state].data_ptr(), hidden, source, kind.padded, batch, hidden)
    jobs.run()
    return final


def operand_memory(kind: Kind, operands: Operands, what: str, node: int, jobs: Jobs) -> Tensor:
    """The memory of an operand as the loops read it, itself or a copy, which is there when the jobs are done."""
    if what == "gathered":
        return gathered(kind, operands)
    if what == "input":
        return input_rows(kind, operands.inputs[node], jobs)
    if what == "vector":
        return padded(operands.vectors[node].float().unsqueeze(0), kind, jobs)
    return padded(operands.rows[node].float(), kind, jobs)


def input_rows(kind: Kind, tensor: Tensor, jobs: Jobs) -> Tensor:
    """An input as the loops read it: whole vectors where x is used elementwise, rows at multiples of four bytes."""
    width = tensor.shape[-1]
    if "x" in kind.recurrence.square:
        wanted = kind.padded
    else:
        wanted = width + width % 2 if kind.half else width
    if tensor.dtype == kind.dtype and wanted == width:
        return tensor if tensor.stride(-1) == 1 or width == 1 else tensor.contiguous()
    if tensor.dtype == kind.dtype == torch.float32:
        return padded(tensor, kind, jobs)
    rows = empty((tensor.shape[0], wanted), kind.dtype)
    rows[:, width:] = 0
    rows[:, :width].copy_(tensor)
    return rows


def padded(tensor: Tensor, kind: Kind, jobs: Jobs) -> Tensor:
    """A matrix of the states' width, its rows filled up to whole vectors when the jobs are done."""
    missing = kind.padded - tensor.shape[-1]
    if not missing:
        return tensor.contiguous()
    if tensor.dtype != torch.float32:
        return functional.pad(tensor, (0, missing))
    result = new((tensor.shape[0], kind.padded))
    jobs.copy(result.data_ptr(), kind.padded, tensor, kind.padded)
    return result


def inputs_of(recurrence: Recurrence) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Node ids of the inputs, vectors and rows that a recurrence's passes take."""
    step = forward_step(recurrence, False)
    return step.inputs, step.vectors, step.rows


def operand_keys(recurrence: Recurrence) -> list[Key]:
    """What every tensor that a pass takes is, in their order."""
    inputs, vectors, rows = inputs_of(recurrence)
    keys: list[Key] = [("matrix", name) for name in recurrence.matrices]
    keys += [("state", name) for name in recurrence.states]
    keys += [("input", node) for node in inputs]
    keys += [("vector", node) for node in vectors]
    keys += [("rows", node) for node in rows]
    return keys


def operands_of(recurrence: Recurrence, tensors: Sequence[Tensor], index: Tensor | None = None) -> Operands:
    """The operands of a pass from tensors in the order of :func:`operand_keys`."""
    rest = iter(tensors)
    inputs, vectors, rows = inputs_of(recurrence)
    return Operands(
        {name: next(rest) for name in recurrence.matrices},
        {name: next(rest) for name in recurrence.states},
        {node: next(rest) for node in inputs},
        {node: next(rest) for node in vectors},
        {node: next(rest) for node in rows},
        index,
    )
