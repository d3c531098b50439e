"""What the loops of matrix products are written with: parts of the work, and copies of what they multiply."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from elman.compile.cpu.flow import counting, integer
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors, declare

#: Steps in a chunk, at most.
CHUNK = 256
#: What the array of the entry "pack" holds: addresses, and sizes in floats.
PACK = ("matrix", "packed", "down", "across", "depth", "columns", "row_stride", "column_stride")
_ADDRESSES = ("gradients", "operand", "matrix", "weights", "packed", "result", "scratch")
#: Rows of a matrix that are packed together: so much of its lines and of the packed ones stays in the first cache.
_BAND = 64


def tile_shape(target: Target) -> tuple[int, int]:
    """Rows and vectors of the tile whose sums fill the registers, with room for a row of vectors and a scalar."""
    if target.registers >= 32:
        return 6, 4
    # without a fused multiply-add a product needs a register of its own
    return (6, 2) if target.lanes > 4 else (4, 2)


def variable(b: ir.IRBuilder, kind: ir.Type, count: int = 1) -> ir.Value:
    """Memory for values that change, which the compiler turns into registers."""
    # in the entry block: elsewhere the stack would grow at every turn of a loop
    with b.goto_entry_block():
        return b.alloca(kind, size=count)


def least(b: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """The smaller of two signed numbers."""
    return b.select(b.icmp_signed("<", left, right), left, right)


def round_up(b: ir.IRBuilder, value: ir.Value, unit: int) -> ir.Value:
    """value / unit, rounded up."""
    return b.udiv(b.add(value, integer(unit - 1)), integer(unit))


def float_at(b: ir.IRBuilder, pointer: ir.Value, index: ir.Value) -> ir.Value:
    """The address so many floats further."""
    return b.gep(pointer, [index], source_etype=F32)


def entry(module: ir.Module, name: str, slots: Sequence[str]) -> tuple[ir.IRBuilder, dict[str, ir.Value], ir.Value]:
    """A new entry: its builder, the slots by name (of the scratch memory the thread's part), the thread."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), name)
    array, thread = function.args
    b = ir.IRBuilder(function.append_basic_block())
    at = {}
    for index, slot in enumerate(slots):
        value = b.load(b.gep(array, [integer(index)], source_etype=I64), typ=I64)
        at[slot] = b.inttoptr(value, POINTER) if slot in _ADDRESSES else value
    if "scratch" in at:
        at["scratch"] = float_at(b, at["scratch"], b.mul(thread, at["scratch_size"]))
    return b, at, thread


def share(
    b: ir.IRBuilder, at: dict[str, ir.Value], thread: ir.Value, sizes: tuple[ir.Value, ir.Value]
) -> tuple[tuple[ir.Value, ir.Value], tuple[ir.Value, ir.Value]]:
    """The ranges of a thread in the grid of down x across threads over two sizes."""

    def part(size: ir.Value, place: ir.Value, parts: ir.Value) -> tuple[ir.Value, ir.Value]:
        return b.udiv(b.mul(size, place), parts), b.udiv(b.mul(size, b.add(place, integer(1))), parts)

    down, across = at["down"], at["across"]
    return part(sizes[0], b.udiv(thread, across), down), part(sizes[1], b.urem(thread, across), across)


def write_pack(module: ir.Module, target: Target) -> None:
    """Packs [depth, columns] as [panel][depth][column]; the last panel ends with its last vector, filled with zeros."""
    b, at, thread = entry(module, "pack", PACK)
    size = tile_shape(target)[1] * target.lanes
    (panel0, panel1), (k0, k1) = share(b, at, thread, (round_up(b, at["columns"], size), at["depth"]))
    four = ir.VectorType(F32, 4)
    with counting(b, panel0, panel1, integer(1)) as panel, counting(b, k0, k1, integer(_BAND)) as begin:
        corner = b.mul(panel, integer(size))
        left = b.sub(at["columns"], corner)
        width = b.mul(least(b, integer(size // target.lanes), round_up(b, left, target.lanes)), integer(target.lanes))
        end = least(b, b.add(begin, integer(_BAND)), k1)
        destination = float_at(b, at["packed"], b.mul(corner, at["depth"]))
        with counting(b, integer(0), width, integer(4)) as column:
            source = float_at(b, at["matrix"], b.mul(b.add(corner, column), at["column_stride"]))

            def element(k: ir.Value, index: ir.Value, source: ir.Value = source) -> ir.Value:
                return float_at(b, source, b.add(b.mul(k, at["row_stride"]), b.mul(index, at["column_stride"])))

            def place(k: ir.Value, column: ir.Value = column) -> ir.Value:
                return float_at(b, destination, b.add(b.mul(k, width), column))

            inside = b.sub(left, column)
            with b.if_else(b.icmp_signed(">=", inside, integer(4))) as (whole, partial):
                with whole, b.if_else(b.icmp_signed("==", at["column_stride"], integer(1))) as (rows, strided):
                    with rows, counting(b, begin, end, integer(1)) as k:
                        b.store(b.load(element(k, integer(0)), typ=four, align=4), place(k), align=4)
                    with strided, counting(b, begin, end, integer(1)) as k:
                        value: ir.Value = ir.Constant(four, None)
                        for index in range(4):
                            single = b.load(element(k, integer(index)), typ=F32, align=4)
                            value = b.insert_element(value, single, ir.Constant(I32, index))
                        b.store(value, place(k), align=4)
                with partial, counting(b, begin, end, integer(1)) as k:
                    b.store(ir.Constant(four, None), place(k), align=4)
                    with counting(b, integer(0), inside, integer(1)) as index:
                        single = b.load(element(k, index), typ=F32, align=4)
                        b.store(single, float_at(b, place(k), index), align=4)
    b.ret_void()


def pack_columns(
    b: ir.IRBuilder,
    at: dict[str, ir.Value],
    rows: int,
    row: ir.Value,
    steps: ir.Value,
    first: ir.Value,
    last: ir.Value,
) -> None:
    """Copy panels of ``rows`` columns of the operand so that each panel is one piece, [panel][step][column]."""
    pieces = [4] * (rows // 4) + [2] * (rows % 4 // 2)
    whole = least(b, last, b.udiv(at["depth"], integer(rows)))
    size = b.mul(steps, integer(rows))

    def place(panel: ir.Value, step: ir.Value) -> tuple[ir.Value, ir.Value]:
        line = b.mul(b.add(row, step), at["operand_stride"])
        source = float_at(b, at["operand"], b.add(line, b.mul(panel, integer(rows))))
        packed = b.add(b.mul(b.sub(panel, first), size), b.mul(step, integer(rows)))
        return source, float_at(b, at["scratch"], packed)

    def copy(start: ir.Value, stop: ir.Value, count: int) -> None:
        # a few rows at a time: so many streams are read, and what is written fills whole lines of the cache
        with counting(b, start, stop, integer(count)) as step, counting(b, first, whole, integer(1)) as panel:
            for further in range(count):
                source, packed = place(panel, b.add(step, integer(further)))
                _fetch(b, float_at(b, source, b.mul(at["operand_stride"], integer(4))))
                done = 0
                for piece in pieces:
                    kind = ir.VectorType(F32, piece)
                    value = b.load(float_at(b, source, integer(done)), typ=kind, align=4)
                    b.store(value, float_at(b, packed, integer(done)), align=4)
                    done += piece

    even = b.and_(steps, integer(-4))
    copy(integer(0), even, 4)
    copy(even, steps, 1)
    with b.if_then(b.icmp_signed("<", whole, last)), counting(b, integer(0), steps, integer(1)) as step:
        source, packed = place(whole, step)
        with counting(b, integer(0), b.urem(at["depth"], integer(rows)), integer(1)) as column:
            b.store(b.load(float_at(b, source, column), typ=F32, align=4), float_at(b, packed, column), align=4)


def copy_rows(
    v: Vectors, at: dict[str, ir.Value], row0: ir.Value, row1: ir.Value, k: ir.Value, steps: ir.Value
) -> None:
    """Copy ``steps`` columns of some rows, from as many blocks as they lie in, into lines of CHUNK floats."""
    b = v.builder
    lanes = integer(v.lanes)
    with counting(b, b.udiv(k, at["width"]), _round_up_by(b, b.add(k, steps), at["width"]), integer(1)) as block:
        begin = b.mul(block, at["width"])
        start = b.select(b.icmp_signed(">", k, begin), k, begin)
        length = b.sub(least(b, b.add(begin, at["width"]), b.add(k, steps)), start)
        column = b.add(at["start"], b.sub(start, begin))
        corner = b.add(b.mul(block, at["block_stride"]), column)
        with counting(b, row0, row1, integer(1)) as row:
            source = float_at(b, at["matrix"], b.add(corner, b.mul(row, at["row_stride"])))
            line = b.add(b.mul(b.sub(row, row0), integer(CHUNK)), b.sub(start, k))
            packed = float_at(b, at["scratch"], line)
            whole = b.sub(length, b.urem(length, lanes))
            with counting(b, integer(0), whole, lanes) as index:
                v.store(v.load(float_at(b, source, index)), float_at(b, packed, index))
            with counting(b, whole, length, integer(1)) as index:
                b.store(b.load(float_at(b, source, index), typ=F32, align=4), float_at(b, packed, index), align=4)


def _fetch(b: ir.IRBuilder, pointer: ir.Value) -> None:
    """Ask for a line that is read soon; where nothing lies, nothing happens."""
    function = declare(b.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])
    b.call(function, [pointer, *(ir.Constant(I32, value) for value in (0, 3, 1))])


def _round_up_by(b: ir.IRBuilder, value: ir.Value, unit: ir.Value) -> ir.Value:
    return b.udiv(b.sub(b.add(value, unit), integer(1)), unit)
