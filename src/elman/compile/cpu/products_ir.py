"""The loops of the matrix products outside the time loop, as LLVM IR.

A tile of the result stays in registers, ``rows`` rows of ``vectors`` vectors, while the inner loop adds one outer
product a step. What is summed over is cut into chunks, which are added up in the result: what a tile reads of a chunk
is then still in a near cache when the next tile reads it. Scalars come from a copy that lies in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from elman.compile.cpu.flow import counting, integer
from elman.compile.cpu.products_copies import (
    CHUNK,
    copy_rows,
    entry,
    float_at,
    least,
    pack_columns,
    round_up,
    share,
    tile_shape,
    variable,
    write_pack,
)
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I1, I32, I64, POINTER, Vectors, declare

#: What the array of the entry "outer" holds: addresses, and sizes in floats, rows, vectors or tiles.
OUTER = (
    *("gradients", "operand", "result", "scratch", "scratch_size", "down", "across"),
    *("rows", "depth", "operand_stride", "panel", "start", "width", "count", "chunk", "span"),
)
#: The same of the entry "times".
TIMES = (
    *("matrix", "weights", "result", "scratch", "scratch_size", "down", "across"),
    *("rows", "depth", "columns", "row_stride", "block_stride", "start", "width", "chunk", "span", "add"),
)

_Address = Callable[[int, ir.Value], ir.Value]


def outer_source(target: Target) -> str:
    """The IR of the entry "outer": result[b, k, w] = sum over rows of gradients[b, row, start + w] operand[row, k]."""
    module = ir.Module()
    rows, vectors = tile_shape(target)
    tiles = [_outer_tile(module, target.lanes, rows, count) for count in range(1, vectors + 1)]
    b, at, thread = entry(module, "outer", OUTER)
    sources, results = (variable(b, POINTER, vectors) for _ in range(2))
    across = round_up(b, at["count"], vectors), round_up(b, at["depth"], rows)
    (group0, group1), (panel0, panel1) = share(b, at, thread, across)
    each = b.udiv(at["width"], integer(target.lanes))
    with counting(b, panel0, panel1, at["span"]) as first, counting(b, integer(0), at["rows"], at["chunk"]) as row:
        last = least(b, b.add(first, at["span"]), panel1)
        steps = least(b, at["chunk"], b.sub(at["rows"], row))
        pack_columns(b, at, rows, row, steps, first, last)
        with counting(b, group0, group1, integer(1)) as group:
            start = b.mul(group, integer(vectors))
            for index in range(vectors):
                # past the last vector the table repeats it; no tile reads it there
                vector = least(b, b.add(start, integer(index)), b.sub(at["count"], integer(1)))
                block, offset = b.udiv(vector, each), b.mul(b.urem(vector, each), integer(target.lanes))
                line = b.mul(b.add(b.mul(block, at["rows"]), row), at["panel"])
                source = float_at(b, at["gradients"], b.add(line, b.add(at["start"], offset)))
                cell = b.mul(block, b.mul(at["depth"], at["width"]))
                for pointers, pointer in ((sources, source), (results, float_at(b, at["result"], b.add(cell, offset)))):
                    b.store(pointer, b.gep(pointers, [integer(index)], source_etype=POINTER))
            present = least(b, integer(vectors), b.sub(at["count"], start))
            with counting(b, first, last, integer(1)) as panel:
                packed = float_at(b, at["scratch"], b.mul(b.sub(panel, first), b.mul(steps, integer(rows))))
                column = b.mul(panel, integer(rows))
                arguments = [
                    *(packed, sources, at["panel"], steps, results, b.mul(column, at["width"]), at["width"]),
                    *(b.sub(at["depth"], column), b.icmp_signed("==", row, integer(0))),
                ]
                _choose(b, present, tiles, arguments)
    b.ret_void()
    return str(module)


def times_source(target: Target) -> str:
    """The IR of the entries "pack" and "times".

    result[row, n] = sum over block, w of matrix[block, row, start + w] weights[block * width + w, n]
    """
    module = ir.Module()
    write_pack(module, target)
    rows, vectors = tile_shape(target)
    tiles = [_times_tile(module, target.lanes, rows, count) for count in range(1, vectors + 1)]
    b, at, thread = entry(module, "times", TIMES)
    panel = integer(vectors * target.lanes)
    across = round_up(b, at["rows"], rows), round_up(b, at["columns"], vectors * target.lanes)
    (tile0, tile1), (panel0, panel1) = share(b, at, thread, across)
    with counting(b, tile0, tile1, at["span"]) as first, counting(b, integer(0), at["depth"], at["chunk"]) as k:
        last = least(b, b.add(first, at["span"]), tile1)
        steps = least(b, at["chunk"], b.sub(at["depth"], k))
        row0 = b.mul(first, integer(rows))
        copy_rows(Vectors(b, target.lanes), at, row0, least(b, b.mul(last, integer(rows)), at["rows"]), k, steps)
        begins = b.and_(b.icmp_signed("==", k, integer(0)), b.icmp_signed("==", at["add"], integer(0)))
        with counting(b, panel0, panel1, integer(1)) as index:
            column = b.mul(index, panel)
            left = b.sub(at["columns"], column)
            present = least(b, integer(vectors), round_up(b, left, target.lanes))
            line = b.mul(k, b.mul(present, integer(target.lanes)))
            source = float_at(b, at["weights"], b.add(b.mul(column, at["depth"]), line))
            with counting(b, first, last, integer(1)) as tile:
                row = b.mul(tile, integer(rows))
                packed = float_at(b, at["scratch"], b.mul(b.sub(row, row0), integer(CHUNK)))
                result = float_at(b, at["result"], b.add(b.mul(row, at["columns"]), column))
                arguments = [packed, source, steps, result, at["columns"], b.sub(at["rows"], row), left, begins]
                _choose(b, present, tiles, arguments)
    b.ret_void()
    return str(module)


def _choose(b: ir.IRBuilder, count: ir.Value, tiles: Sequence[ir.Function], arguments: Sequence[ir.Value]) -> None:
    """Call the tile of so many vectors."""
    end = b.append_basic_block()
    cases = [b.append_basic_block() for _ in tiles]
    switch = b.switch(count, cases[-1])
    for index, (case, tile) in enumerate(zip(cases, tiles, strict=True)):
        if case is not cases[-1]:
            switch.add_case(integer(index + 1), case)
        b.position_at_end(case)
        b.call(tile, arguments)
        b.branch(end)
    b.position_at_end(end)


def _tile(module: ir.Module, name: str, kinds: Sequence[ir.Type]) -> tuple[ir.IRBuilder, Sequence[ir.Value]]:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return ir.IRBuilder(function.append_basic_block()), function.args


def _outer_tile(module: ir.Module, lanes: int, rows: int, vectors: int) -> ir.Function:
    kinds = [POINTER, POINTER, I64, I64, POINTER, I64, I64, I64, I1]
    b, arguments = _tile(module, f"outer{vectors}", kinds)
    packed, sources, stride, steps, results, offset, width, valid, begins = arguments
    v = Vectors(b, lanes)

    def entries(table: ir.Value) -> list[ir.Value]:
        places = (b.gep(table, [integer(index)], source_etype=POINTER) for index in range(vectors))
        return [b.load(place, typ=POINTER) for place in places]

    source, result = entries(sources), [float_at(b, pointer, offset) for pointer in entries(results)]
    sums = _sums(
        v,
        (rows, vectors),
        steps,
        lambda row, step: float_at(b, packed, b.add(b.mul(step, integer(rows)), integer(row))),
        lambda column, step: float_at(b, source[column], b.mul(step, stride)),
    )
    _finish(v, sums, valid, begins, lambda row, column: float_at(b, result[column], b.mul(integer(row), width)))
    b.ret_void()
    return b.function


def _times_tile(module: ir.Module, lanes: int, rows: int, vectors: int) -> ir.Function:
    kinds = [POINTER, POINTER, I64, POINTER, I64, I64, I64, I1]
    b, arguments = _tile(module, f"times{vectors}", kinds)
    packed, source, steps, result, width, valid, columns, begins = arguments
    v = Vectors(b, lanes)
    sums = _sums(
        v,
        (rows, vectors),
        steps,
        lambda row, step: float_at(b, packed, b.add(step, integer(row * CHUNK))),
        lambda column, step: float_at(b, source, b.add(b.mul(step, integer(vectors * lanes)), integer(column * lanes))),
    )

    def place(row: int, column: int) -> ir.Value:
        return float_at(b, result, b.add(b.mul(integer(row), width), integer(column * lanes)))

    with b.if_else(b.icmp_signed(">=", columns, integer(vectors * lanes))) as (whole, partial):
        with whole:
            _finish(v, sums, valid, begins, place)
        with partial:
            # all vectors of the tile but the last are whole
            left = b.sub(columns, integer((vectors - 1) * lanes))
            mask = b.icmp_signed("<", v.lane_numbers(), v.spread(b.trunc(left, I32)))
            _finish(v, sums, valid, begins, place, mask)
    b.ret_void()
    return b.function


def _sums(
    v: Vectors, shape: tuple[int, int], steps: ir.Value, scalar: _Address, vector: _Address
) -> list[list[ir.Value]]:
    """sum over step of scalar(row, step) vector(column, step), for the rows and columns of a tile."""
    b, (rows, vectors) = v.builder, shape
    cells = [[variable(b, v.type) for _ in range(vectors)] for _ in range(rows)]
    for cell in (cell for row in cells for cell in row):
        b.store(v.number(0.0), cell)

    with counting(b, integer(0), steps, integer(1)) as step:
        right = [v.load(vector(column, step)) for column in range(vectors)]
        for row, line in enumerate(cells):
            left = v.spread(b.load(scalar(row, step), typ=F32, align=4))
            for column, cell in enumerate(line):
                b.store(v.fma(left, right[column], b.load(cell, typ=v.type)), cell)
    return [[b.load(cell, typ=v.type) for cell in line] for line in cells]


def _finish(
    v: Vectors,
    sums: list[list[ir.Value]],
    valid: ir.Value,
    begins: ir.Value,
    place: Callable[[int, int], ir.Value],
    mask: ir.Value | None = None,
) -> None:
    """Store a tile's sums if it begins, else add them; rows from ``valid`` and the masked lanes are not there."""
    b = v.builder
    with b.if_else(begins) as (store, add):
        for branch, old in ((store, False), (add, True)):
            with branch:
                for row, line in enumerate(sums):
                    with b.if_then(b.icmp_signed(">", valid, integer(row))):
                        for column, value in enumerate(line):
                            _write(v, value, place(row, column), old, mask if column == len(line) - 1 else None)


def _write(v: Vectors, value: ir.Value, pointer: ir.Value, old: bool, mask: ir.Value | None) -> None:
    b = v.builder
    if mask is None:
        v.store(b.fadd(v.load(pointer), value) if old else value, pointer)
        return
    suffix, align = f"v{v.lanes}f32.p0", ir.Constant(I32, 4)
    if old:
        load = declare(b.module, f"llvm.masked.load.{suffix}", v.type, [POINTER, I32, mask.type, v.type])
        value = b.fadd(b.call(load, [pointer, align, mask, v.number(0.0)]), value)
    store = declare(b.module, f"llvm.masked.store.{suffix}", ir.VoidType(), [v.type, POINTER, I32, mask.type])
    b.call(store, [value, pointer, align, mask])
