"""Products with inputs that are known before the loop begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from elman.compile.cpu.calls import new
from elman.compile.cpu.copies import Jobs
from elman.compile.cpu.products import pack_times, times
from elman.compile.cpu.products_copies import tile_shape
from elman.compile.cpu.values import forward_step

if TYPE_CHECKING:
    from elman.compile.cpu.extents import Extent
    from elman.compile.cpu.passes import Kind, Operands

#: Fewer steps are not worth it.
_STEPS = 8


def multiplied_first(kind: Kind, operands: Operands, extent: Extent) -> bool:
    """Whether all steps are multiplied by the matrices on x before the loop, as the rows of a table are.

    With one row a step reads every weight for one multiplication, and takes as long as the reading. Six steps at a
    time read the matrices on x once.
    """
    if operands.index is not None or kind.half or extent.batch > 1 or extent.steps < _STEPS:
        return False
    return bool(forward_step(kind.recurrence, True).gathered) and _in_panels(kind, operands)


def _in_panels(kind: Kind, operands: Operands) -> bool:
    """Whether each panel of packed weights is one matrix's."""
    alone = all(len(key) == 1 for key in forward_step(kind.recurrence, True).gathered)
    return alone and len(operands.inputs) == 1 and kind.hidden % (tile_shape(kind.target)[1] * kind.target.lanes) == 0


def gathered(kind: Kind, operands: Operands) -> Tensor:
    """All products with inputs for each row of them: [rows, slot * padded]."""
    keys = forward_step(kind.recurrence, True).gathered
    if not kind.half and _in_panels(kind, operands):
        (value,) = operands.inputs.values()
        vectors, size = tile_shape(kind.target)[1], kind.hidden * value.shape[1]
        packed, jobs = new((len(keys) * size,)), Jobs(kind.target)
        for slot, ((matrix, _),) in enumerate(keys):
            chunks = kind.hidden // (vectors * kind.target.lanes)
            jobs.rows(packed.data_ptr() + slot * size * 4, [operands.matrices[matrix]], vectors, chunks)
        jobs.run()
        return times(value.float().contiguous(), packed, len(keys) * kind.hidden)
    table: Tensor | None = None
    for argument, value in operands.inputs.items():
        names = [[matrix for matrix, a in key if a == argument] for key in keys]
        if not any(names):
            continue
        weight = _stacked(kind, [[operands.matrices[matrix] for matrix in each] for each in names], value.shape[1])
        table = times(value.float().contiguous(), pack_times(weight.t()), len(weight), add=table)
    assert table is not None  # there is a key, so there is an input
    return table


def _stacked(kind: Kind, parts: list[list[Tensor]], width: int) -> Tensor:
    """Sums of matrices [hidden, width] below each other, each filled up to whole vectors of units."""
    stack, jobs = new((len(parts) * kind.padded, width)), Jobs(kind.target)
    for slot, matrices in enumerate(parts):
        begin, rows = stack.data_ptr() + slot * kind.padded * width * 4, kind.hidden if matrices else 0
        if matrices:
            jobs.copy(begin, width, sum(matrices[1:], start=matrices[0]), width)
        if rows < kind.padded:
            jobs.zeros(begin + rows * width * 4, kind.padded - rows, width)
    jobs.run()
    return stack
