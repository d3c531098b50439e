"""The register tile: sums of products of a few rows with a few vectors of units, one loop over k for each operand."""

from __future__ import annotations

from llvmlite import ir

from elman.compile.cpu.rounds import SLOTS, Group, Pass, Round
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import BF16, F32, I32, I64, POINTER, Vectors, declare

Sums = list[list[ir.Value]]


def begun(module: ir.Module, name: str, group: Group) -> ir.Function:
    """A function with the arguments of :func:`products_function`, and without a body."""
    arguments = [POINTER] + [POINTER, I64, I64, I64, I64, POINTER] * len(group.passes)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return function


def products_function(
    module: ir.Module, name: str, group: Group, one: Round, rows: int, target: Target, half: bool, across: int
) -> ir.Function:
    """A function that computes a group of accumulators for some rows and one chunk of units.

    Its arguments: where the sums go, [row][accumulator of the round][spread] vectors; then for each pass the operand's
    first row, bytes from row to row, outer and inner number of iterations, bytes of the operand an outer iteration,
    and the packed weights [k][accumulator of the pass][spread] vectors. An element of k is a float or two bfloat16.

    Args:
        module: gets the function.
        name: of the function.
        group: the accumulators.
        one: the round that they belong to.
        rows: how many rows.
        target: what it will run on.
        half: operands and weights are bfloat16.
        across: accumulators of the whole round.
    """
    function = begun(module, name, group)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, target.lanes)
    vectors = len(group.values) * one.spread
    sums: Sums = [[v.number(0.0)] * vectors for _ in range(rows)]
    for number, each in enumerate(group.passes):
        pointer, stride, outer, inner, step, weights = function.args[1 + 6 * number : 7 + 6 * number]
        _Tile(v, each, one.spread, rows, half, stride).write(sums, pointer, outer, inner, step, weights)
    for row in range(rows):
        for column in range(vectors):
            place = (row * across * one.spread + column) * 4 * target.lanes
            v.store(sums[row][column], v.offset(function.args[0], ir.Constant(I64, place)))
    b.ret_void()
    return function


class _Tile:
    """Writes the loops of one pass."""

    def __init__(self, v: Vectors, each: Pass, spread: int, rows: int, half: bool, stride: ir.Value):
        self.v, self.b, self.each, self.rows, self.half = v, v.builder, each, rows, half
        self.columns = [place * spread + i for place in sorted(each.matrices) for i in range(spread)]
        self.stride = [self.b.mul(stride, ir.Constant(I64, row)) for row in range(rows)]
        busy = rows * len(self.columns)
        # an addition takes some cycles: with few sums in flight further sets of them keep the units busy
        self.sets = 4 if busy <= 4 else 2 if busy <= 8 else 1

    def write(
        self, sums: Sums, pointer: ir.Value, outer: ir.Value, inner: ir.Value, step: ir.Value, weights: ir.Value
    ) -> None:
        """Add the pass's products to the sums."""
        if self.each.operand.name != SLOTS:
            self._inner(sums, pointer, inner, weights)
            return
        b = self.b
        before, body = b.block, b.append_basic_block("outer")
        after = b.append_basic_block("outer_done")
        b.branch(body)
        b.position_at_end(body)
        index, place, weight = b.phi(I64), b.phi(POINTER), b.phi(POINTER)
        phis = [[b.phi(self.v.type) for _ in self.columns] for _ in range(self.rows)]
        inside = [list(row) for row in sums]
        for row in range(self.rows):
            for i, column in enumerate(self.columns):
                phis[row][i].add_incoming(sums[row][column], before)
                inside[row][column] = phis[row][i]
        self._inner(inside, place, inner, weight)
        size = ir.Constant(I64, len(self.columns) * self.v.lanes * 4)
        following = b.add(index, ir.Constant(I64, 1))
        for phi, start, end in (
            (index, ir.Constant(I64, 0), following),
            (place, pointer, self.v.offset(place, step)),
            (weight, weights, self.v.offset(weight, b.mul(inner, size))),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(end, b.block)
        for row in range(self.rows):
            for i, column in enumerate(self.columns):
                phis[row][i].add_incoming(inside[row][column], b.block)
                sums[row][column] = inside[row][column]
        b.cbranch(b.icmp_signed("<", following, outer), body, after)
        b.position_at_end(after)

    def _inner(self, sums: Sums, pointer: ir.Value, count: ir.Value, weights: ir.Value) -> None:
        b = self.b
        if self.sets == 1:
            self._loop([sums], pointer, ir.Constant(I64, 0), count, weights)
            return
        zeros = [[self.v.number(0.0)] * len(sums[0]) for _ in range(self.rows)]
        sets = [sums, *([list(row) for row in zeros] for _ in range(self.sets - 1))]
        whole = b.and_(count, ir.Constant(I64, -self.sets))
        self._loop(sets, pointer, ir.Constant(I64, 0), whole, weights)
        for more in sets[1:]:
            for row in range(self.rows):
                for column in self.columns:
                    sums[row][column] = b.fadd(sums[row][column], more[row][column])
        self._loop([sums], pointer, whole, count, weights)

    def _loop(self, sets: list[Sums], pointer: ir.Value, start: ir.Value, stop: ir.Value, weights: ir.Value) -> None:
        """For k from start to stop, as many at a time as there are sets."""
        b = self.b
        before, body = b.block, b.append_basic_block("k")
        after = b.append_basic_block("k_done")
        b.cbranch(b.icmp_signed("<", start, stop), body, after)
        b.position_at_end(body)
        k = b.phi(I64)
        phis = [[[b.phi(self.v.type) for _ in self.columns] for _ in range(self.rows)] for _ in sets]
        for number in range(len(sets)):
            self._step(phis[number], pointer, b.add(k, ir.Constant(I64, number)), weights, sets[number], before)
        following = b.add(k, ir.Constant(I64, len(sets)))
        k.add_incoming(start, before)
        k.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, stop), body, after)
        b.position_at_end(after)
        for number, sums in enumerate(sets):
            for row in range(self.rows):
                for i, column in enumerate(self.columns):
                    phi = phis[number][row][i]
                    done = b.phi(self.v.type)
                    done.add_incoming(sums[row][column], before)
                    done.add_incoming(phi.incomings[1][0], body)
                    sums[row][column] = done

    def _step(
        self, phis: Sums, pointer: ir.Value, k: ir.Value, weights: ir.Value, sums: Sums, before: ir.Block
    ) -> None:
        """sum[row][column] += operand[row][k] * weight[k][column]."""
        b, v = self.b, self.v
        first = b.mul(k, ir.Constant(I64, len(self.columns) * v.lanes * 4))
        kind = ir.VectorType(BF16, 2 * v.lanes) if self.half else v.type
        columns = []
        for i in range(len(self.columns)):
            place = v.offset(weights, b.add(first, ir.Constant(I64, i * v.lanes * 4)))
            columns.append(b.load(place, typ=kind, align=4))
        for row in range(self.rows):
            place = v.offset(pointer, b.add(self.stride[row], b.shl(k, ir.Constant(I64, 2))))
            number = v.spread(b.load(place, typ=I32 if self.half else F32, align=2 if self.half else 4))
            if self.half:
                number = b.bitcast(number, kind)
            for i, column in enumerate(self.columns):
                phi = phis[row][i]
                phi.add_incoming(sums[row][column], before)
                phi.add_incoming(self._multiply(columns[i], number, phi), b.block)

    def _multiply(self, weight: ir.Value, number: ir.Value, total: ir.Value) -> ir.Value:
        if not self.half:
            return self.v.fma(weight, number, total)
        kind = ir.VectorType(BF16, 2 * self.v.lanes)
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        function = declare(self.b.module, name, self.v.type, [self.v.type, kind, kind])
        return self.b.call(function, [total, weight, number])
