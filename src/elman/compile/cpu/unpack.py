"""Gradients of matrices out of the order in which they are added up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from torch import Tensor

from elman.compile.cpu.flow import counting, integer
from elman.compile.cpu.target import Target
from elman.compile.cpu.threads import parallel, threads_for
from elman.compile.cpu.toolchain import load_code
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors
from elman.compile.cpu.workspace import empty

_SLOTS = ("product", "units", "depth", "slots", "results", "hidden", "threads")


def unpack(product: Tensor, slots: int, hidden: int, target: Target) -> list[Tensor]:
    """Matrices from a product of slots' gradients with an operand.

    result[slot][unit * lanes + lane, k] = product[unit, k, slot * lanes + lane]

    Args:
        product: [vectors of units, K, slots * lanes], contiguous float32.
        slots: how many matrices.
        hidden: their rows, which may not fill the last vector.
        target: this machine.

    Returns:
        By slot a matrix [hidden, K] in memory of its own.
    """
    units, depth, _ = product.shape
    results = [empty((hidden, depth)) for _ in range(slots)]
    places = np.array([each.data_ptr() for each in results], dtype=np.int64)
    threads = threads_for(units)
    values = (product.data_ptr(), units, depth, slots, places.ctypes.data, hidden, threads)
    context = np.array(values, dtype=np.int64)
    code = load_code("unpack", lambda: _source(target), target)
    parallel(code.address("unpack"), context.ctypes.data, threads)
    return results


def _source(target: Target) -> str:
    module = ir.Module("unpack")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "unpack")
    context, thread = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, target.lanes)
    lanes = integer(target.lanes)
    names: Sequence[str] = _SLOTS
    slot = {name: b.load(b.gep(context, [integer(i)], source_etype=I64), typ=I64) for i, name in enumerate(names)}
    product, results = (b.inttoptr(slot[name], POINTER) for name in ("product", "results"))
    with (
        counting(b, thread, slot["units"], slot["threads"]) as unit,
        counting(b, integer(0), slot["slots"], integer(1)) as number,
    ):
        place = b.load(b.gep(results, [number], source_etype=I64), typ=I64)
        first = b.mul(unit, lanes)
        result = b.gep(b.inttoptr(place, POINTER), [b.mul(first, slot["depth"])], source_etype=F32)
        left = b.sub(slot["hidden"], first)
        with counting(b, integer(0), slot["depth"], integer(1)) as k:
            row = b.add(b.mul(b.add(b.mul(unit, slot["depth"]), k), slot["slots"]), number)
            vector = v.load(b.gep(product, [b.mul(row, lanes)], source_etype=F32))
            for lane in range(target.lanes):
                with b.if_then(b.icmp_signed("<", integer(lane), left), likely=True):
                    at = b.add(b.mul(integer(lane), slot["depth"]), k)
                    b.store(b.extract_element(vector, ir.Constant(I32, lane)), b.gep(result, [at], source_etype=F32))
    b.ret_void()
    return str(module)
