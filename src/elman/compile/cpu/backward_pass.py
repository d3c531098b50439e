"""One pass backward through time, and the products of gradients that follow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.calls import new
from elman.compile.cpu.copies import Jobs
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.fold import fold
from elman.compile.cpu.meeting import COUNTER, MEETING
from elman.compile.cpu.memory import Layout, Memory
from elman.compile.cpu.packing import pack_columns, units_of
from elman.compile.cpu.passes import (
    OPERANDS,
    Kept,
    Key,
    Kind,
    Operands,
    input_rows,
    operand_memory,
    packed_passes,
    padded,
)
from elman.compile.cpu.products import outer, times
from elman.compile.cpu.products_copies import tile_shape
from elman.compile.cpu.programs import Context, Program, backward_program
from elman.compile.cpu.rounds import SLOTS, Pass
from elman.compile.cpu.workspace import empty
from elman.equations import Recurrence


@dataclass(frozen=True)
class _Plan:
    """What all backward passes of one program and of the same sizes have in common.

    Attributes:
        layout: their memory, operands and what the forward pass kept apart.
        names: by kind of buffer (what stands before the colon) their names.
        weights: (key, pass, spread, chunks, units) of what is packed for the loop.
    """

    layout: Layout
    names: dict[str, tuple[str, ...]]
    weights: tuple[tuple[str, Pass, int, int, int], ...]


@lru_cache(maxsize=256)
def _plan(program: Program, hidden: int, batch: int, rows: int, threads: int, meetings: int) -> _Plan:
    lanes = program.target.lanes
    units = units_of(hidden, lanes)
    layout, names, weights = Layout(), dict[str, list[str]](), []
    for name, buffer in program.loop.buffers.items():
        what = name.partition(":")[0]
        names.setdefault(what, []).append(name)
        if what == "carry":
            layout.part("scratch", name, 2 * batch, units * lanes)
        elif what == "dvector":
            layout.part("scratch", name, threads, units * lanes)
        elif what == "dinput":
            layout.own(name, rows, units * lanes)
        elif what in ("drows", "keep", "sum", "operand"):
            layout.part("scratch", name, batch, lanes if buffer.narrow else units * lanes)
    if meetings:
        layout.part("scratch", MEETING, meetings, COUNTER)
    for key, one, spread in packed_passes(program):
        chunks, places = units_of(hidden, spread * lanes), len(one.matrices)
        run = len(next(iter(one.matrices.values())))
        weights.append((key, one, spread, chunks, units))
        if not program.loop.half:
            layout.part("scratch", f"{key}.weights", chunks, units * run * lanes * places * spread * lanes)
    return _Plan(layout, {what: tuple(each) for what, each in names.items()}, tuple(weights))


def backward(
    kind: Kind,
    operands: Operands,
    kept: Kept,
    sequences: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    wanted: Collection[Key],
) -> dict[Key, Tensor]:
    """Go back through all steps.

    Args:
        kind: as of the forward pass.
        operands: as of the forward pass.
        kept: what it left.
        sequences: by state the gradient of its sequence [rows, hidden].
        final: by state the gradient of its last value [B, hidden].
        wanted: whose gradients are asked for; if that of one matrix is, those of all come.

    Returns:
        The gradients that there are.
    """
    step = backward_step(kind.recurrence)
    extent, gather = kept.extent, operands.index is not None
    program = backward_program(kind.recurrence, kind.target, kind.half, kind.exact, gather, tuple(sequences))
    context = Context(program, extent, kind.hidden)
    plan = _plan(program, kind.hidden, extent.batch, extent.rows, context.threads, context.meetings)
    memory, jobs = plan.layout.memory(), Jobs(kind.target)
    context.meet(memory, jobs)
    slots = _slots_memory(kind, extent, len(step.slots)) if step.slots else None
    _place_operands(kind, operands, kept, sequences, program, context, jobs)
    _place_results(kind, extent, plan, memory, slots, final, context, jobs)
    _pack(kind, operands, plan, memory, slots, context, jobs)
    jobs.run()
    context.run()

    folded = _Folded(kind, operands, slots)
    done, found = Jobs(kind.target), dict[Key, Tensor]()
    if slots is not None and any(what == "matrix" for what, _ in wanted):
        for name, gradient in _matrix_gradients(kind, operands, kept, slots, folded, done).items():
            found["matrix", name] = gradient
    for key in wanted:
        what, which = key
        if what == "input":
            found[key] = _input_gradient(kind, operands, folded, memory.get(f"dinput:{which}"), int(which))
        elif what != "matrix" and f"{_BUFFERS[what]}:{which}" in memory:
            found[key] = _taken(kind, memory, f"{_BUFFERS[what]}:{which}", extent.batch, done)
    done.run()
    return found


#: By kind of operand the buffer in which its gradient is added up.
_BUFFERS = {"state": "carry", "vector": "dvector", "rows": "drows"}


def _place_operands(
    kind: Kind,
    operands: Operands,
    kept: Kept,
    sequences: Mapping[str, Tensor],
    program: Program,
    context: Context,
    jobs: Jobs,
) -> None:
    """Give the loop what it reads: gradients that arrive, operands, and what the forward pass left."""
    context.index(operands.index)
    for name in program.loop.buffers:
        what, _, key = name.partition(":")
        if what == "given":
            context.put(name, padded(sequences[key].to(kind.dtype), kind, jobs))
        elif what in ("state", "half", "stored"):
            piece = kept.memory.pieces[name]
            table = None if what == "stored" else kept.extent.full
            context.place(name, kept.memory.address(name), piece.nbytes, kept.memory.tensors[piece.tensor], table)
        elif what in OPERANDS:
            tensor = _input(kind, operands, kept, int(key), jobs) if what == "input" else None
            if tensor is None:
                tensor = operand_memory(kind, operands, what, int(key), jobs)
            else:
                context.numbers({f"{name}.stride": tensor.stride(0) * tensor.element_size()})
            context.put(name, tensor)


def _input(kind: Kind, operands: Operands, kept: Kept, node: int, jobs: Jobs) -> Tensor:
    known = kept.memory.tensors.get(f"input:{node}")
    return input_rows(kind, operands.inputs[node], jobs) if known is None else known


def _place_results(
    kind: Kind,
    extent: Extent,
    plan: _Plan,
    memory: Memory,
    slots: Tensor | None,
    final: Mapping[str, Tensor],
    context: Context,
    jobs: Jobs,
) -> None:
    """Give the loop room for what it writes, zero where it adds up."""
    for what, names in plan.names.items():
        for name in names:
            if name not in memory:
                continue
            piece, address = memory.pieces[name], memory.address(name)
            owner = memory.tensors[piece.tensor]
            context.place(name, address, piece.nbytes, owner, extent.alternating if what == "carry" else None)
            arriving = final.get(name.partition(":")[2]) if what == "carry" else None
            if arriving is not None:
                for half in range(2):
                    jobs.copy(address + half * piece.nbytes // 2, piece.width, arriving, piece.width)
            elif what in ("carry", "dvector", "drows"):
                jobs.zeros(address, piece.rows, piece.width)
    if slots is not None:
        context.put(SLOTS, slots)
        strides = {"stride": slots.stride(0), "slot": slots.stride(1), "units": slots.stride(2)}
        context.numbers({f"{SLOTS}.{what}": n * slots.element_size() for what, n in strides.items()})


def _pack(
    kind: Kind, operands: Operands, plan: _Plan, memory: Memory, slots: Tensor | None, context: Context, jobs: Jobs
) -> None:
    """Give the loop its weights."""
    for key, one, spread, chunks, units in plan.weights:
        places = sorted(one.matrices)
        run = len(one.matrices[places[0]])
        if kind.half:
            packed = pack_columns(one, operands.matrices, spread, kind.target.lanes)
            context.weights(key, packed.data_ptr(), packed.nbytes, (1, run * kind.padded // 2, 0), packed)
            continue
        assert slots is not None  # a product reads one
        name = f"{key}.weights"
        address, nbytes, lanes = memory.address(name), memory.pieces[name].nbytes, kind.target.lanes
        matrices = [operands.matrices[matrix] for place in places for matrix in one.matrices[place]]
        jobs.columns(address, matrices, run, spread, chunks)
        context.weights(key, address, nbytes, (units, run * lanes, slots.stride(2) * 4), memory.tensors["scratch"])


def _taken(kind: Kind, memory: Memory, name: str, batch: int, jobs: Jobs) -> Tensor:
    """A gradient out of the memory in which it was added up."""
    piece, hidden = memory.pieces[name], kind.hidden
    if name.startswith("dvector"):
        result = new((hidden,))
        jobs.sum(result.data_ptr(), memory.address(name), piece.rows, piece.width, hidden)
        return result
    result = new((batch, hidden))
    jobs.move(result.data_ptr(), hidden, memory.address(name), piece.width, batch, hidden)
    return result


def _slots_memory(kind: Kind, extent: Extent, slots: int) -> Tensor:
    """Room for gradients of products' results, [rows, slot, vector of units, lane].

    In bfloat16 a row stands in one piece, as torch's matrix product takes it; in float32 rows of one vector of units
    and all slots stand one after another, as our own takes it.
    """
    lanes = kind.target.lanes
    units = kind.padded // lanes
    if kind.half:
        return empty((extent.rows, slots, units, lanes), kind.dtype)
    return new((units, extent.rows, slots, lanes)).permute(1, 2, 0, 3)


class _Folded:
    """Gradients of products with inputs, by row of the inputs: of a table each row's uses are added up."""

    def __init__(self, kind: Kind, operands: Operands, slots: Tensor | None):
        self.kind, self.index, self._slots, self._done = kind, operands.index, slots, operands.index is None
        self.size = next((len(value) for value in operands.inputs.values()), 0)

    @property
    def slots(self) -> Tensor:
        """[row of inputs, slot, vector of units, lane]."""
        assert self._slots is not None  # asked for only where a product has a slot
        if not self._done:
            self._slots, self._done = self.rows(self._slots), True
        return self._slots

    def rows(self, gradients: Tensor) -> Tensor:
        """Gradients [rows, slot, vector of units, lane] by row of the inputs."""
        return gradients if self.index is None else fold(gradients, self.index, self.size, self.kind.target)


def _matrix_gradients(
    kind: Kind, operands: Operands, kept: Kept, slots: Tensor, folded: _Folded, jobs: Jobs
) -> dict[str, Tensor]:
    """For every matrix the sum over rows of gradient times operand: one product for each run of slots.

    What stands alone is in order only when the jobs are done.
    """
    parts: dict[str, list[Tensor]] = {}
    uses = Counter(matrix for matrix, _, _ in backward_step(kind.recurrence).weights)
    for argument, runs in gradient_runs(kind.recurrence):
        operand = _operand(kind, operands, kept, argument)
        gradients = folded.slots if argument in operands.inputs else slots
        for run in runs:
            depth = operands.matrices[run[0][1]].shape[1]
            at_once = jobs if all(uses[matrix] == 1 for _, matrix in run) else Jobs(kind.target)
            products = _outer(kind, gradients, operand[:, :depth], run[0][0], run[-1][0] + 1, at_once)
            if at_once is not jobs:
                at_once.run()
            for (_, matrix), product in zip(run, products, strict=True):
                parts.setdefault(matrix, []).append(product)
    return {matrix: sum(each[1:], start=each[0]) for matrix, each in parts.items()}


def _outer(kind: Kind, slots: Tensor, operand: Tensor, first: int, last: int, jobs: Jobs) -> Sequence[Tensor]:
    """By slot the sum over rows of its gradient times an operand [rows, K]: [hidden, K] in float32."""
    if slots.dtype == torch.bfloat16:
        gradient = slots[:, first:last].reshape(slots.shape[0], -1)
        product = torch.mm(gradient.t(), operand).view(last - first, kind.padded, -1)
        return [each[: kind.hidden].float() for each in product]
    lanes = kind.target.lanes
    product = outer(_blocks(slots), operand, first * lanes, (last - first) * lanes)
    results = [new((kind.hidden, operand.shape[1])) for _ in range(first, last)]
    jobs.unpack(product, results)
    return results


def _blocks(slots: Tensor) -> Tensor:
    """Gradients [rows, slot, vector of units, lane] as they lie in memory in float32, [vector of units, rows, ...]."""
    return slots.permute(2, 0, 1, 3).flatten(2)


@lru_cache(maxsize=256)
def gradient_runs(recurrence: Recurrence) -> tuple[tuple[int, list[list[tuple[int, str]]]], ...]:
    """By operand (its node id) the (slot, matrix) of its products, neighbouring slots together."""
    weights = backward_step(recurrence).weights
    arguments = dict.fromkeys(argument for _, argument, _ in weights)
    return tuple((a, _runs(sorted((slot, matrix) for matrix, other, slot in weights if other == a))) for a in arguments)


def _runs(items: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Neighbouring slots together."""
    runs: list[list[tuple[int, str]]] = []
    for slot, matrix in items:
        if runs and runs[-1][-1][0] + 1 == slot:
            runs[-1].append((slot, matrix))
        else:
            runs.append([(slot, matrix)])
    return runs


def _operand(kind: Kind, operands: Operands, kept: Kept, argument: int) -> Tensor:
    """What a matrix was applied to, [rows, width]."""
    node = kind.recurrence.graph.nodes[argument]
    if argument in operands.inputs:
        if operands.index is not None:
            return operands.inputs[argument].float().contiguous()
        jobs = Jobs(kind.target)
        found = _input(kind, operands, kept, argument, jobs)
        jobs.run()
        return found
    if node.op != "state":
        return kept.memory[f"stored:{argument}"]
    memory = kept.memory[kind.sequence(node.name)]
    extent = kept.extent
    if extent.even:
        return memory[: extent.rows]
    starts = torch.repeat_interleave(extent.full[:-1] - extent.current[:-1], extent.counts)
    return memory.index_select(0, starts + torch.arange(extent.rows, device="cpu"))


def _input_gradient(kind: Kind, operands: Operands, folded: _Folded, elementwise: Tensor | None, node: int) -> Tensor:
    """The gradient [rows, width] of what is as wide as x."""
    total = None if elementwise is None else _narrowed(kind, folded, elementwise)
    for run in dict(gradient_runs(kind.recurrence)).get(node, []):
        total = _times(kind, folded.slots, [operands.matrices[matrix] for _, matrix in run], run[0][0], total)
    if total is None:
        return torch.zeros_like(operands.inputs[node])
    return total


def _narrowed(kind: Kind, folded: _Folded, elementwise: Tensor) -> Tensor:
    """Gradients [rows, padded] by row of the inputs, without what fills their vectors."""
    if folded.index is None and kind.exact:
        return elementwise
    if folded.index is None:
        result, jobs = new((len(elementwise), kind.hidden)), Jobs(kind.target)
        rows, width = elementwise.shape
        jobs.move(result.data_ptr(), kind.hidden, elementwise.data_ptr(), width, rows, kind.hidden)
        jobs.run()
        return result
    wide = folded.rows(elementwise.view(len(elementwise), 1, -1, kind.target.lanes))
    return wide.reshape(len(wide), -1)[:, : kind.hidden].contiguous()


def _times(kind: Kind, slots: Tensor, matrices: list[Tensor], first: int, add: Tensor | None) -> Tensor:
    """The sum over slots, from the first on, of gradients [rows, padded] times matrices [hidden, K]: [rows, K].

    It is added to ``add``, which may be changed, if that is given.
    """
    count, width, lanes = len(matrices), matrices[0].shape[1], kind.target.lanes
    if slots.dtype == torch.bfloat16:
        weight = functional.pad(torch.stack(matrices), (0, 0, 0, kind.padded - kind.hidden))
        gradient = slots[:, first : first + count].reshape(slots.shape[0], -1)
        product = torch.mm(gradient, weight.flatten(0, 1).to(kind.dtype))
        return product if add is None else add + product
    packed = new((count * kind.padded * units_of(width, lanes) * lanes,))
    jobs, vectors = Jobs(kind.target), tile_shape(kind.target)[1]
    jobs.columns(packed.data_ptr(), matrices, count, vectors, units_of(width, vectors * lanes), narrow=True)
    jobs.run()
    return times(_blocks(slots), packed, width, first * lanes, count * lanes, add)
