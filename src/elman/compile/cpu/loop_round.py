"""One round of a loop as LLVM IR: products into a scratch memory, then what follows them."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from elman.compile.cpu.eight import define_quantise, eight_function
from elman.compile.cpu.flow import counting, integer
from elman.compile.cpu.loop_context import has_stride, load_slot
from elman.compile.cpu.rounds import SLOTS, Buffer, Group, Loop, Pass
from elman.compile.cpu.target import Target
from elman.compile.cpu.tiles import products_function
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors, pointwise


def write_round(module: ir.Module, loop: Loop, target: Target, slots: dict[str, int], number: int) -> ir.Function:
    """Add ``void round(context, i64 t, i64 thread, i64 threads, i64 begin, i64 end, scratch)`` to a module.

    It does one round of step t, for the thread's share of the rows and the vectors of units from begin to end - 1.

    Args:
        module: gets the function.
        loop: what the round belongs to.
        target: what it will run on.
        slots: of the context; see :func:`elman.compile.cpu.loop_context.context_slots`.
        number: of the round.
    """
    kinds = [POINTER, *[I64] * 5, POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), f"round_{number}")
    function.linkage = "internal"
    function.attributes.add("noinline")
    _RoundWriter(loop, target, slots, function, number).write()
    return function


class _RoundWriter:
    """Writes one round: for units, for rows: products into the scratch memory, then row by row what follows."""

    def __init__(self, loop: Loop, target: Target, slots: dict[str, int], function: ir.Function, number: int):
        self.loop, self.target, self.number, self.one = loop, target, number, loop.rounds[number]
        self.lanes, self.function, self.places = target.lanes, function, slots
        self.context, self.t, self.thread, self.threads, self.begin, self.end, self.scratch = function.args
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.accumulators = [position for group in self.one.groups for position in group.values]
        self.functions = [
            [self._function(g, group, rows) for rows in range(1, self.one.rows + 1)]
            for g, group in enumerate(self.one.groups)
        ]
        self._rows: dict[tuple[str, str], ir.Value] = {}
        self._slots: dict[str, ir.Value] = {}

    def _function(self, g: int, group: Group, rows: int) -> ir.Function:
        """The tile of a group and some rows."""
        module, target, across = self.function.module, self.target, len(self.accumulators)
        name = f"products_{self.number}_{g}_{rows}"
        if self.loop.eight:
            return eight_function(module, name, group, self.one, rows, target, across)
        return products_function(module, name, group, self.one, rows, target, self.loop.half, across)

    def slot(self, name: str) -> ir.Value:
        return self._slots[name]

    def write(self) -> None:
        b = self.b
        self._slots = {name: load_slot(b, self.context, self.places, name) for name in self._names()}
        self.units = self.slot("units")
        self.row_bytes = b.mul(self.units, integer(4 * self.lanes))
        at_step = b.gep(b.inttoptr(self.slot("counts"), POINTER), [self.t], source_etype=I64)
        alive = b.load(at_step, typ=I64, align=8)
        for buffer in self._buffers():
            self._rows[buffer.name, buffer.row] = self._first_row(buffer)
        if not self.one.groups:
            self._without_products(alive)
            return
        if self.loop.eight:
            self._quantise(alive)
        spread = self.one.spread
        chunks = [b.sdiv(b.add(edge, integer(spread - 1)), integer(spread)) for edge in (self.begin, self.end)]
        group = self.slot("group")
        first = b.mul(self.thread, group)
        stride = b.mul(self.threads, group)
        with counting(b, chunks[0], chunks[1], integer(1)) as chunk, counting(b, first, alive, stride) as start:
            left = b.sub(alive, start)
            rows = b.select(b.icmp_signed("<", left, group), left, group)
            tiles = b.sdiv(b.add(rows, integer(self.one.rows - 1)), integer(self.one.rows))
            with counting(b, integer(0), tiles, integer(1)) as tile:
                begin = b.sdiv(b.mul(rows, tile), tiles)
                end = b.sdiv(b.mul(rows, b.add(tile, integer(1))), tiles)
                row, count = b.add(start, begin), b.sub(end, begin)
                self._products(chunk, row, count)
                with counting(b, integer(0), integer(spread), integer(1)) as inner:
                    unit = b.add(b.mul(chunk, integer(spread)), inner)
                    with b.if_then(b.icmp_signed("<", unit, self.units)):
                        self._epilogue(unit, inner, row, count)
        b.ret_void()

    def _quantise(self, alive: ir.Value) -> None:
        """Put the operands of all rows into 8 bits; one thread has them all."""
        b, module = self.b, self.function.module
        function = module.globals.get("quantise") or define_quantise(module, self.target)
        for g, group in enumerate(self.one.groups):
            for p, one in enumerate(group.passes):
                key = f"{self.number}.{g}.{p}"
                depth, step = self.slot(f"{key}.outer"), self.slot(f"{key}.step")
                with counting(b, integer(0), alive, integer(1)) as row:
                    operand = self._address(b, one.operand, row, None, one.start)
                    b.call(function, [operand, depth, self._bytes(key, row, step)])

    def _bytes(self, key: str, row: ir.Value, step: ir.Value) -> ir.Value:
        address = self.b.add(self.slot(f"{key}.bytes"), self.b.mul(row, step))
        return self.b.inttoptr(address, POINTER)

    def _without_products(self, alive: ir.Value) -> None:
        """Row by row, in the order of memory."""
        b, group = self.b, self.slot("group")
        with counting(b, b.mul(self.thread, group), alive, b.mul(self.threads, group)) as start:
            left = b.sub(alive, start)
            rows = b.select(b.icmp_signed("<", left, group), left, group)
            with (
                counting(b, start, b.add(start, rows), integer(1)) as row,
                counting(b, self.begin, self.end, integer(1)) as unit,
            ):
                self._epilogue(unit, integer(0), row, integer(1))
        b.ret_void()

    def _names(self) -> list[str]:
        prefixes = tuple(f"{self.number}.{g}.{p}." for g, one in enumerate(self.one.groups)
                         for p in range(len(one.passes)))  # fmt: skip
        used = {buffer.name for buffer in self._buffers()}
        names = [name for name in self.places if prefixes and name.startswith(prefixes)]
        names += [name for name in self.places if name.rsplit(".", 1)[0] in used or name in used]
        return [*dict.fromkeys([*names, "group", "counts", "cur", "index", "units", "width"])]

    def _buffers(self) -> list[Buffer]:
        """What this round touches, apart from what it need not."""
        found = [buffer for _, buffer, _ in self.one.stores] + [buffer for _, buffer in self.one.sums]
        found += [one.operand for group in self.one.groups for one in group.passes]
        seen: set[int] = set()
        pending = [position for position, _, _ in self.one.stores] + [position for position, _ in self.one.sums]
        while pending:
            position = pending.pop()
            if position in seen:
                continue
            seen.add(position)
            if self._is_loaded(position):
                found.append(self.loop.loads[position][0])
                given = self.loop.given.get(self.loop.values[position].name)
                if self.loop.values[position].op == "cotangent" and given is not None:
                    found.append(given)
            else:
                pending.extend(self.loop.values[position].args)
        return list(dict.fromkeys(found))

    def _is_loaded(self, position: int) -> bool:
        value = self.loop.values[position]
        if position not in self.loop.loads:
            return False
        return value.op == "mean" or value.level < self.one.level or (value.level == 0 and self._is_leaf(position))

    def _is_leaf(self, position: int) -> bool:
        value = self.loop.values[position]
        return not value.args and not value.parts

    def _first_row(self, buffer: Buffer) -> ir.Value:
        b = self.b
        if buffer.row in ("prev", "new"):
            t = b.add(self.t, integer(1)) if buffer.row == "new" else self.t
            table = b.inttoptr(self.slot(f"{buffer.name}.rows"), POINTER)
        elif buffer.row in ("cur", "index"):
            t, table = self.t, b.inttoptr(self.slot("cur"), POINTER)
        else:
            return integer(0)
        return b.load(b.gep(table, [t], source_etype=I64), typ=I64, align=8)

    def _address(self, b: ir.IRBuilder, buffer: Buffer, row: ir.Value, unit: ir.Value | None, slot: int) -> ir.Value:
        """Where a vector of a row stands; the row's beginning without a unit."""
        size = 2 if buffer.half else 4
        base = b.inttoptr(self.slot(buffer.name), POINTER)
        if buffer.row == "none":
            row = integer(0)
        elif buffer.row == "thread":
            row = self.thread
        else:
            row = b.add(self._rows[buffer.name, buffer.row], row)
            if buffer.row == "index":
                index = b.gep(b.inttoptr(self.slot("index"), POINTER), [row], source_etype=I64)
                row = b.load(index, typ=I64, align=8)
        if buffer.narrow:
            return b.gep(base, [b.mul(row, integer(4 * self.lanes))], source_etype=ir.IntType(8))
        if has_stride(buffer):
            stride = self.slot(f"{buffer.name}.stride")
        else:
            stride = b.lshr(self.row_bytes, integer(1)) if buffer.half else self.row_bytes
        place = b.mul(row, stride)
        if unit is not None:
            apart = self.slot(f"{SLOTS}.units") if buffer.name == SLOTS else integer(size * self.lanes)
            place = b.add(place, b.mul(unit, apart))
        if buffer.name == SLOTS:
            place = b.add(place, b.mul(integer(slot), self.slot(f"{SLOTS}.slot")))
        elif buffer.name == "gathered":
            place = b.add(place, b.mul(integer(slot), self.row_bytes))
        return b.gep(base, [place], source_etype=ir.IntType(8))

    def _products(self, chunk: ir.Value, row: ir.Value, count: ir.Value) -> None:
        b = self.b
        offset = 0
        for g, group in enumerate(self.one.groups):
            arguments = [b.gep(self.scratch, [integer(offset * self.one.spread * 4 * self.lanes)],
                               source_etype=ir.IntType(8))]  # fmt: skip
            for p, one in enumerate(group.passes):
                arguments += self._pass_arguments(f"{self.number}.{g}.{p}", one, chunk, row)
            offset += len(group.values)
            self._call_for_rows(self.functions[g], count, arguments)

    def _pass_arguments(self, key: str, one: Pass, chunk: ir.Value, row: ir.Value) -> list[ir.Value]:
        b = self.b
        outer, inner = self.slot(f"{key}.outer"), self.slot(f"{key}.inner")
        vectors = len(one.matrices) * self.one.spread
        if self.loop.eight:
            step, size = self.slot(f"{key}.step"), b.mul(b.add(inner, integer(2)), integer(vectors * self.lanes * 4))
            weights = b.inttoptr(b.add(self.slot(f"{key}.weights"), b.mul(chunk, size)), POINTER)
            return [self._bytes(key, row, step), step, outer, inner, step, weights]
        stride = b.mul(b.mul(outer, inner), integer(vectors * self.lanes * 4))
        weights = b.inttoptr(b.add(self.slot(f"{key}.weights"), b.mul(chunk, stride)), POINTER)
        operand = self._address(b, one.operand, row, None, one.start)
        if has_stride(one.operand):
            row_stride = self.slot(f"{one.operand.name}.stride")
        else:
            row_stride = b.lshr(self.row_bytes, integer(1)) if one.operand.half else self.row_bytes
        return [operand, row_stride, outer, inner, self.slot(f"{key}.step"), weights]

    def _call_for_rows(self, functions: list[ir.Function], count: ir.Value, arguments: list[ir.Value]) -> None:
        b = self.b
        after = self.function.append_basic_block("counted")
        blocks = [self.function.append_basic_block(f"rows_{rows}") for rows in range(1, len(functions) + 1)]
        switch = b.switch(count, blocks[-1])
        for rows, (block, function) in enumerate(zip(blocks, functions, strict=True), 1):
            if rows < len(functions):
                switch.add_case(integer(rows), block)
            b.position_at_end(block)
            b.call(function, arguments)
            b.branch(after)
        b.position_at_end(after)

    def _epilogue(self, unit: ir.Value, inner: ir.Value, row: ir.Value, count: ir.Value) -> None:
        """The pointwise work of one vector of units, for some rows."""
        before, function = self.b, self.function
        header = before.block
        body, after = function.append_basic_block("row"), function.append_basic_block("rows_done")
        b = ir.IRBuilder(body)
        index = b.phi(I64)
        index.add_incoming(integer(0), header)
        v = Vectors(b, self.lanes)
        totals = {buffer.name: b.phi(v.type) for _, buffer, _ in self.one.stores if buffer.row == "thread"}
        mask = None if self.loop.exact else self._mask(Vectors(before, self.lanes), unit)
        value = self._evaluator(v, Vectors(before, self.lanes), unit, inner, b.add(row, index), index)
        for position, buffer in self.one.sums:
            self._add_up(v, value(position), buffer, b.add(row, index), unit, mask)
        for position, buffer, slot in self.one.stores:
            result = value(position)
            if buffer.row == "thread":
                total = b.fadd(totals[buffer.name], result)
                totals[buffer.name].add_incoming(total, body)
                totals[buffer.name].add_incoming(v.number(0.0), header)
                totals[buffer.name] = total
                continue
            place = self._address(b, buffer, b.add(row, index), unit, slot)
            if buffer.name.startswith("drows:"):
                result = b.fadd(v.load(place), result)
            if mask is not None and (buffer.half or buffer.name == SLOTS):
                result = b.select(mask, result, v.number(0.0))
            v.store(result, place, buffer.half)
        following = b.add(index, integer(1))
        index.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, count), body, after)
        before.branch(body)
        before.position_at_end(after)
        last = Vectors(before, self.lanes)
        for _, buffer, slot in self.one.stores:
            if buffer.row == "thread":
                place = self._address(before, buffer, row, unit, slot)
                last.store(before.fadd(last.load(place), totals[buffer.name]), place)

    def _mask(self, v: Vectors, unit: ir.Value) -> ir.Value:
        b = v.builder
        left = b.trunc(b.sub(self.slot("width"), b.mul(unit, integer(self.lanes))), I32)
        return b.icmp_signed("<", v.lane_numbers(), v.spread(left))

    def _add_up(
        self, v: Vectors, value: ir.Value, buffer: Buffer, row: ir.Value, unit: ir.Value, mask: ir.Value | None
    ) -> None:
        b = v.builder
        if mask is not None:
            value = b.select(mask, value, v.number(0.0))
        place = self._address(b, buffer, row, None, 0)
        known = b.select(b.icmp_signed("==", unit, integer(0)), v.number(0.0), v.load(place))
        v.store(b.fadd(known, value), place)

    def _evaluator(
        self, v: Vectors, outside: Vectors, unit: ir.Value, inner: ir.Value, row: ir.Value, index: ir.Value
    ) -> Callable[[int], ir.Value]:
        """A function that writes down a value, once each."""
        b, one = v.builder, self.one
        known: dict[int, ir.Value] = {}
        across = len(self.accumulators) * one.spread

        def loaded(position: int) -> ir.Value:
            value = self.loop.values[position]
            buffer, slot = self.loop.loads[position]
            if buffer.row == "none":
                return outside.load(self._address(outside.builder, buffer, row, unit, slot))
            result = v.load(self._address(b, buffer, row, unit, slot), buffer.half)
            if value.op == "mean":
                width = outside.builder.uitofp(self.slot("width"), F32)
                share = outside.builder.fdiv(ir.Constant(F32, 1.0), width)
                return b.fmul(v.sum(result), outside.spread(share))
            given = self.loop.given.get(value.name) if value.op == "cotangent" else None
            if given is not None:
                result = b.fadd(result, v.load(self._address(b, given, row, unit, 0), given.half))
            return result

        def compute(position: int) -> ir.Value:
            value = self.loop.values[position]
            if value.op == "const":
                return v.number(value.number)
            if self._is_loaded(position):
                return loaded(position)
            if value.op == "products":
                place = self.accumulators.index(position) * one.spread
                offset = b.add(b.mul(index, integer(across)), b.add(integer(place), inner))
                return v.load(v.offset(self.scratch, b.mul(offset, integer(4 * self.lanes))))
            return pointwise(v, value.op, [emit(argument) for argument in value.args], value.number)

        def emit(position: int) -> ir.Value:
            if position not in known:
                known[position] = compute(position)
            return known[position]

        return emit
