"""Gradients of a table's rows: what arrives at every use of a row, added up."""

from __future__ import annotations

import numpy as np
import torch
from llvmlite import ir
from torch import Tensor

from elman.compile.cpu.calls import call, new
from elman.compile.cpu.flow import counting, integer
from elman.compile.cpu.target import Target
from elman.compile.cpu.threads import threads_for
from elman.compile.cpu.toolchain import load_code
from elman.compile.cpu.vectors import I64, POINTER, Vectors

_SLOTS = (
    *("source", "source_row", "source_slot", "source_unit", "result", "result_row", "result_slot", "result_unit"),
    *("rows", "slots", "units", "size", "index", "threads"),
)


def fold(gradients: Tensor, index: Tensor, size: int, target: Target) -> Tensor:
    """result[index[row]] += gradients[row], for every row.

    Args:
        gradients: [rows, slots, units, lanes] in float32 or bfloat16, contiguous in the last dimension.
        index: [rows] int64, each in 0 .. size - 1.
        size: rows of the table.
        target: this machine.

    Returns:
        [size, slots, units, lanes] in float32, in memory vector of units by vector of units.
    """
    rows, slots, units, lanes = gradients.shape
    half = gradients.dtype == torch.bfloat16
    result = new((units, size, slots, lanes)).permute(1, 2, 0, 3)
    threads = threads_for(units)
    strides = [n * gradients.element_size() for n in gradients.stride()[:3]]
    places = [n * 4 for n in result.stride()[:3]]
    sizes = [rows, slots, units, size]
    values = [gradients.data_ptr(), *strides, result.data_ptr(), *places, *sizes, index.data_ptr(), threads]
    code = load_code(f"fold {half}", lambda: _source(target, half), target)
    call(code.address("fold"), np.array(values, dtype=np.int64), threads)
    return result


def _source(target: Target, half: bool) -> str:
    module = ir.Module("fold")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "fold")
    context, thread = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, target.lanes)
    slot = {
        name: b.load(b.gep(context, [integer(i)], source_etype=I64), typ=I64, align=8) for i, name in enumerate(_SLOTS)
    }
    index = b.inttoptr(slot["index"], POINTER)
    with counting(b, thread, slot["units"], slot["threads"]) as unit:
        source_unit = b.add(slot["source"], b.mul(unit, slot["source_unit"]))
        result_unit = b.add(slot["result"], b.mul(unit, slot["result_unit"]))
        # of one vector of units all rows and slots stand side by side
        with counting(b, integer(0), b.mul(slot["size"], slot["slots"]), integer(1)) as place:
            v.store(v.number(0.0), b.inttoptr(b.add(result_unit, b.mul(place, slot["result_slot"])), POINTER))
        with counting(b, integer(0), slot["rows"], integer(1)) as row:
            place = b.load(b.gep(index, [row], source_etype=I64), typ=I64, align=8)
            source_row = b.add(source_unit, b.mul(row, slot["source_row"]))
            result_row = b.add(result_unit, b.mul(place, slot["result_row"]))
            with counting(b, integer(0), slot["slots"], integer(1)) as number:
                source = b.inttoptr(b.add(source_row, b.mul(number, slot["source_slot"])), POINTER)
                result = b.inttoptr(b.add(result_row, b.mul(number, slot["result_slot"])), POINTER)
                v.store(b.fadd(v.load(result), v.load(source, half)), result)
    b.ret_void()
    return str(module)
