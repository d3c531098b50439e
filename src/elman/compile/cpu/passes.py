"""One pass forward and one backward through time, on tensors that autograd does not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.extents import Extent
from elman.compile.cpu.packing import pack_rows, units_of
from elman.compile.cpu.products import pack_times, times
from elman.compile.cpu.programs import Context, Program, forward_program
from elman.compile.cpu.rounds import Buffer
from elman.compile.cpu.target import Target
from elman.compile.cpu.values import forward_step
from elman.compile.cpu.workspace import empty
from elman.equations import Recurrence

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
    """What a forward pass leaves: by buffer's name its memory."""

    memory: dict[str, Tensor]
    extent: Extent


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
    gather = operands.index is not None
    program = forward_program(kind.recurrence, kind.target, kind.half, kind.exact, gather, train, kind.wanted)
    context = Context(program, extent, kind.hidden)
    whole = frozenset(kind.wanted) | (backward_step(kind.recurrence).read_states if train else frozenset())
    memory = fill_forward(kind, operands, extent, program, context, whole)
    context.run()
    final = {}
    for state in operands.states:
        table = extent.full if state in whole and not kind.half else extent.alternating
        final[state] = _last(memory[f"state:{state}"], table, extent, kind)
    return Kept({name: memory[name] for name in memory if _is_kept(kind, name, whole)}, extent), final


def _is_kept(kind: Kind, name: str, whole: frozenset[str]) -> bool:
    """Whether a buffer of the forward pass is a result or read by the backward pass."""
    what, _, key = name.partition(":")
    return what in ("stored", "input") or (name == kind.sequence(key) and key in whole)


def fill_forward(
    kind: Kind, operands: Operands, extent: Extent, program: Program, context: Context, whole: frozenset[str]
) -> dict[str, Tensor]:
    """Give a forward program its memory, with the initial states and the weights in it.

    Args:
        kind, operands, extent: as of :func:`forward`.
        program: the code.
        context: of the program; is filled.
        whole: states of which every step is kept; of the others two.

    Returns:
        By buffer's name its memory.
    """
    context.index(operands.index)
    memory: dict[str, Tensor] = {}
    for name, buffer in program.loop.buffers.items():
        if buffer.row == "prev" or buffer.row == "new":
            continue
        memory[name] = buffer_memory(buffer, operands, extent, kind, program)
        context.put(name, memory[name])
        if f"{name}.stride" in program.slots:
            context.numbers({f"{name}.stride": memory[name].stride(0) * memory[name].element_size()})
    for state, initial in operands.states.items():
        for name in (f"state:{state}", f"half:{state}"):
            if name not in program.loop.buffers:
                continue
            half = name.startswith("half")
            every = state in whole and half == kind.half
            rows = extent.batch + extent.rows if every else 2 * extent.batch
            memory[name] = empty((rows, kind.padded), torch.bfloat16 if half else torch.float32)
            memory[name][: extent.batch, : kind.hidden].copy_(initial)
            if half and not kind.exact:
                memory[name][: extent.batch, kind.hidden :].zero_()
            context.put(name, memory[name], extent.full if every else extent.alternating)
    for r, one in enumerate(program.loop.rounds):
        for g, group in enumerate(one.groups):
            for p, each in enumerate(group.passes):
                packed = pack_rows(each, operands.matrices, one.spread, kind.target.lanes, kind.half)
                context.weights(f"{r}.{g}.{p}", packed, 1, packed.shape[1], 0)
    return memory


def _last(memory: Tensor, table: Tensor, extent: Extent, kind: Kind) -> Tensor:
    """Every row's value after its own last step."""
    if extent.even:
        start = int(table[extent.steps])
        return memory[start : start + extent.batch, : kind.hidden].clone()
    lengths = (extent.counts.unsqueeze(1) > torch.arange(extent.batch, device="cpu")).sum(0)
    return memory[table[lengths] + torch.arange(extent.batch, device="cpu"), : kind.hidden]


def buffer_memory(buffer: Buffer, operands: Operands, extent: Extent, kind: Kind, program: Program) -> Tensor:
    """The memory of a buffer that is no state: an operand, or room for results."""
    what, _, key = buffer.name.partition(":")
    lanes = kind.target.lanes
    if what == "gathered":
        return _gathered(kind, operands)
    if what == "input":
        return input_rows(kind, operands.inputs[int(key)])
    if what == "vector":
        return padded(operands.vectors[int(key)].float(), kind)
    if what == "rows":
        return padded(operands.rows[int(key)].float(), kind)
    rows = {"cur": extent.rows, "zero": extent.batch}[buffer.row]
    return empty((rows, lanes if buffer.narrow else kind.padded), torch.bfloat16 if buffer.half else torch.float32)


def _gathered(kind: Kind, operands: Operands) -> Tensor:
    """All products with inputs for each row of the table: [size, slot * padded]."""
    keys = forward_step(kind.recurrence, True).gathered
    table: Tensor | None = None
    for argument, value in operands.inputs.items():
        names = [[matrix for matrix, a in key if a == argument] for key in keys]
        if not any(names):
            continue
        zero = value.new_zeros(kind.hidden, value.shape[1], dtype=torch.float32)
        parts = [sum((operands.matrices[matrix] for matrix in each), start=zero) if each else zero for each in names]
        weight = functional.pad(torch.stack(parts), (0, 0, 0, kind.padded - kind.hidden)).flatten(0, 1)
        table = times(value.float().contiguous(), pack_times(weight.t()), len(weight), add=table)
    assert table is not None  # there is a key, so there is an input
    return table


def input_rows(kind: Kind, tensor: Tensor) -> Tensor:
    """An input as the loops read it: whole vectors where x is used elementwise, rows at multiples of four bytes."""
    width = tensor.shape[-1]
    if "x" in kind.recurrence.square:
        wanted = kind.padded
    else:
        wanted = width + width % 2 if kind.half else width
    if tensor.dtype == kind.dtype and wanted == width:
        return tensor if tensor.stride(-1) == 1 or width == 1 else tensor.contiguous()
    rows = empty((tensor.shape[0], wanted), kind.dtype)
    rows[:, width:] = 0
    rows[:, :width].copy_(tensor)
    return rows


def padded(tensor: Tensor, kind: Kind) -> Tensor:
    missing = kind.padded - tensor.shape[-1]
    return functional.pad(tensor, (0, missing)) if missing else tensor.contiguous()


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
