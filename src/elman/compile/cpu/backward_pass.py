"""One pass backward through time, and the products of gradients that follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.fold import fold
from elman.compile.cpu.packing import pack_columns
from elman.compile.cpu.passes import Kept, Key, Kind, Operands, buffer_memory, input_rows, padded
from elman.compile.cpu.products import outer, pack_times, times
from elman.compile.cpu.programs import Context, backward_program
from elman.compile.cpu.rounds import SLOTS
from elman.compile.cpu.unpack import unpack
from elman.compile.cpu.workspace import empty, zeros


def backward(
    kind: Kind,
    operands: Operands,
    kept: Kept,
    sequences: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    wanted_inputs: Sequence[int],
    want_matrices: bool,
) -> dict[Key, Tensor]:
    """Go back through all steps.

    Args:
        kind: as of the forward pass.
        operands: as of the forward pass.
        kept: what it left.
        sequences: by state the gradient of its sequence [rows, hidden].
        final: by state the gradient of its last value [B, hidden].
        wanted_inputs: node ids of inputs whose gradient is asked for.
        want_matrices: whether gradients of matrices are asked for.

    Returns:
        The gradients that there are.
    """
    extent, lanes = kept.extent, kind.target.lanes
    step = backward_step(kind.recurrence)
    gather = operands.index is not None
    program = backward_program(kind.recurrence, kind.target, kind.half, kind.exact, gather, tuple(sequences))
    context = Context(program, extent, kind.hidden)
    context.index(operands.index)
    made: dict[str, Tensor] = {}
    slots: Tensor | None = None
    for name, buffer in program.loop.buffers.items():
        what, _, key = name.partition(":")
        if what == "carry":
            made[name] = zeros((2 * extent.batch, kind.padded))
            if key in final:
                made[name].view(2, extent.batch, -1)[:, :, : kind.hidden] = final[key]
            context.put(name, made[name], extent.alternating)
        elif what == "given":
            made[name] = padded(sequences[key].to(kind.dtype), kind)
            context.put(name, made[name])
        elif what in ("state", "half"):
            context.put(name, kept.memory[name], extent.full)
        elif name == SLOTS:
            made[name] = slots = _slots_memory(kind, extent, len(step.slots))
            context.put(name, slots)
            strides = {"stride": slots.stride(0), "slot": slots.stride(1), "units": slots.stride(2)}
            context.numbers({f"{name}.{what}": n * slots.element_size() for what, n in strides.items()})
        elif what == "dvector":
            made[name] = zeros((context.threads, kind.padded))
            context.put(name, made[name])
        elif what == "drows":
            made[name] = zeros((extent.batch, kind.padded))
            context.put(name, made[name])
        elif what == "input":
            rows = kept.memory[name] if name in kept.memory else input_rows(kind, operands.inputs[int(key)])
            context.put(name, rows)
            context.numbers({f"{name}.stride": rows.stride(0) * rows.element_size()})
        elif name in kept.memory:
            context.put(name, kept.memory[name])
        else:
            assert what != "stored"  # the forward pass computed it
            made[name] = buffer_memory(buffer, operands, extent, kind, program)
            context.put(name, made[name])
    for r, one in enumerate(program.loop.rounds):
        for g, group in enumerate(one.groups):
            for p, each in enumerate(group.passes):
                packed = pack_columns(each, operands.matrices, one.spread, lanes, kind.half, blocked=not kind.half)
                run = len(next(iter(each.matrices.values())))
                if kind.half:
                    context.weights(f"{r}.{g}.{p}", packed, 1, run * kind.padded // 2, 0)
                else:
                    units = kind.padded // lanes
                    context.weights(f"{r}.{g}.{p}", packed, units, run * lanes, made[SLOTS].stride(2) * 4)
    context.run()
    hidden = kind.hidden
    folded = _Folded(kind, operands, slots)
    found: dict[Key, Tensor] = {}
    if want_matrices and slots is not None:
        for name, gradient in _matrix_gradients(kind, operands, kept, slots, folded).items():
            found["matrix", name] = gradient
    for name in operands.states:
        found["state", name] = made[f"carry:{name}"][: extent.batch, :hidden]
    for node in wanted_inputs:
        found["input", node] = _input_gradient(kind, operands, folded, made.get(f"dinput:{node}"), node)
    for node in step.vectors:
        found["vector", node] = made[f"dvector:{node}"].sum(0)[:hidden]
    for node in step.rows:
        found["rows", node] = made[f"drows:{node}"][:, :hidden]
    return found


def _slots_memory(kind: Kind, extent: Extent, slots: int) -> Tensor:
    """Room for gradients of products' results, [rows, slot, vector of units, lane].

    In bfloat16 a row stands in one piece, as torch's matrix product takes it; in float32 rows of one vector of units
    and all slots stand one after another, as our own takes it.
    """
    lanes = kind.target.lanes
    units = kind.padded // lanes
    if kind.half:
        return empty((extent.rows, slots, units, lanes), kind.dtype)
    return empty((units, extent.rows, slots, lanes), kind.dtype).permute(1, 2, 0, 3)


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


def _matrix_gradients(kind: Kind, operands: Operands, kept: Kept, slots: Tensor, folded: _Folded) -> dict[str, Tensor]:
    """For every matrix the sum over rows of gradient times operand: one product for each run of slots."""
    step = backward_step(kind.recurrence)
    found: dict[str, Tensor] = {}
    for argument in dict.fromkeys(argument for _, argument, _ in step.weights):
        operand = _operand(kind, operands, kept, argument)
        gradients = folded.slots if argument in operands.inputs else slots
        mine = sorted((slot, matrix) for matrix, a, slot in step.weights if a == argument)
        for run in _runs(mine):
            first, last = run[0][0], run[-1][0] + 1
            products = _outer(kind, gradients, operand[:, : operands.matrices[run[0][1]].shape[1]], first, last)
            for slot, matrix in run:
                part = products[slot - first]
                found[matrix] = found[matrix] + part if matrix in found else part
    return found


def _outer(kind: Kind, slots: Tensor, operand: Tensor, first: int, last: int) -> Sequence[Tensor]:
    """By slot the sum over rows of its gradient times an operand [rows, K]: [hidden, K] in float32."""
    if slots.dtype == torch.bfloat16:
        gradient = slots[:, first:last].reshape(slots.shape[0], -1)
        product = torch.mm(gradient.t(), operand).view(last - first, kind.padded, -1)
        return [each[: kind.hidden].float() for each in product]
    lanes = kind.target.lanes
    blocks = slots.permute(2, 0, 1, 3).flatten(2)
    product = outer(blocks, operand, first * lanes, (last - first) * lanes)
    return unpack(product, last - first, kind.hidden, kind.target)


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
        return (
            operands.inputs[argument].float().contiguous()
            if operands.index is not None
            else kept.memory[f"input:{argument}"]
        )
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
    step = backward_step(kind.recurrence)
    total: Tensor | None = None
    if elementwise is not None:
        wide = folded.rows(elementwise.view(len(elementwise), 1, -1, kind.target.lanes))
        total = wide.reshape(len(wide), -1)[:, : kind.hidden]
    mine = sorted((slot, matrix) for matrix, argument, slot in step.weights if argument == node)
    for run in _runs(mine):
        first, last = run[0][0], run[-1][0] + 1
        weight = torch.stack([operands.matrices[matrix] for _, matrix in run])
        weight = functional.pad(weight, (0, 0, 0, kind.padded - kind.hidden))
        part = _times(kind, folded.slots, weight, first, last)
        total = part if total is None else total + part
    if total is None:
        return torch.zeros_like(operands.inputs[node])
    return total


def _times(kind: Kind, slots: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
    """The sum over slots of gradients [rows, padded] times matrices [slot, padded, K]: [rows, K]."""
    if slots.dtype == torch.bfloat16:
        gradient = slots[:, first:last].reshape(slots.shape[0], -1)
        return torch.mm(gradient, weight.flatten(0, 1).to(kind.dtype))
    lanes = kind.target.lanes
    blocks = slots.permute(2, 0, 1, 3).flatten(2)
    packed = pack_times(weight.view(last - first, -1, lanes, weight.shape[2]).transpose(0, 1).flatten(0, 2))
    return times(blocks, packed, weight.shape[2], first * lanes, (last - first) * lanes)
