"""Products in 8 bits for sampling: weights with a scale for each unit, operands with a scale for each row and step.

    w[u, k] ~ s[u] v[u, k]            v whole, -127 .. 127, s[u] = max over k of |w[u, k]| / 127
    x[k] ~ t (q[k] - 128)             q whole, 1 .. 255, t = max over k of |x[k]| / 127
    sum over k of w[u, k] x[k] ~ s[u] t (sum over k of v[u, k] q[k] - 128 sum over k of v[u, k])

The sums of whole numbers are exact. Four k at a time are one instruction where the processor has VNNI, which takes one
operand without a sign: hence the 128.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from llvmlite import ir
from torch import Tensor
from torch.nn import functional

from elman.compile.cpu.flow import integer, loop, offset
from elman.compile.cpu.rounds import Group, Pass, Round
from elman.compile.cpu.target import Target
from elman.compile.cpu.tiles import begun
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors, declare
from elman.errors import MisuseError

#: More columns than this could overflow a sum of 32 bits.
LIMIT = 1 << 16
#: Bytes before the numbers of a row: its scale, and what keeps the numbers at multiples of 16.
_HEAD = 16
#: Below it a row counts as zero: 127 over it must be finite.
_LEAST = 1e-30
_BYTE = ir.IntType(8)


def row_bytes(depth: int) -> int:
    """Bytes of an operand's row of so many numbers."""
    return _HEAD + -(-depth // 16) * 16


def pack_eight(one: Pass, matrices: Mapping[str, Tensor], spread: int, lanes: int) -> Tensor:
    """A forward pass's matrices [hidden, K] in 8 bits.

    Args:
        one: the pass.
        matrices: by name.
        spread: vectors of units for each accumulator.
        lanes: floats in a vector.

    Returns:
        Bytes [chunk][what]: -128 times the sum of each unit's whole numbers as int32 and each unit's scale as float32,
        both [accumulator][spread][lane], then the numbers [four of k][accumulator][spread][lane][k of the four].

    Raises:
        MisuseError: more columns than :data:`LIMIT`.
    """
    stack = torch.stack([matrices[one.matrices[place][0]].detach().float() for place in sorted(one.matrices)])
    count, hidden, depth = stack.shape
    if depth > LIMIT:
        raise MisuseError(f"A matrix of {depth} columns is too wide for 8 bits; {LIMIT} fit. Draw in fp32 or bf16.")
    stack = functional.pad(stack, (0, -depth % 4, 0, -hidden % (spread * lanes)))
    scales = stack.abs().amax(2) / 127
    whole = (stack / torch.where(scales > 0, scales, 1.0).unsqueeze(2)).round().to(torch.int8)
    chunks = whole.shape[1] // (spread * lanes)

    def by_chunk(numbers: Tensor) -> Tensor:
        shaped = numbers.view(count, chunks, spread, lanes).transpose(0, 1).contiguous()
        return shaped.view(chunks, -1).view(torch.uint8)

    sums = -128 * whole.sum(2, dtype=torch.int32)
    numbers = whole.view(count, chunks, spread, lanes, -1, 4).permute(1, 4, 0, 2, 3, 5).contiguous()
    return torch.cat((by_chunk(sums), by_chunk(scales), numbers.view(chunks, -1).view(torch.uint8)), 1).contiguous()


def define_quantise(module: ir.Module, target: Target) -> ir.Function:
    """``void quantise(source, i64 count, result)``: a row of floats in 8 bits.

    The result is the scale as float32, at :data:`_HEAD` the numbers, then 128 up to a multiple of four. A number that
    is not finite makes the scale so.

    Args:
        module: gets the function.
        target: decides the vectors.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64, POINTER]), "quantise")
    function.linkage = "internal"
    function.attributes.add("noinline")
    source, count, result = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    wide, narrow = Vectors(b, target.lanes), Vectors(b, 1)

    def magnitude(v: Vectors, k: ir.Value, largest: ir.Value) -> ir.Value:
        # as whole numbers magnitudes are in the same order, and what is not a number is the largest
        bits = b.and_(b.bitcast(v.load(b.gep(source, [k], source_etype=F32)), v.integers), v.whole(0x7FFFFFFF))
        return b.select(b.icmp_signed(">", bits, largest), bits, largest)

    whole = b.sub(count, integer(target.lanes - 1))
    k, (most,) = loop(b, integer(0), whole, target.lanes, [wide.whole(0)], lambda k, m: [magnitude(wide, k, m[0])])
    reduce = declare(module, f"llvm.vector.reduce.smax.v{target.lanes}i32", I32, [wide.integers])
    start = b.insert_element(narrow.whole(0), b.call(reduce, [most]), ir.Constant(I32, 0))
    _, (most,) = loop(b, k, count, 1, [start], lambda k, m: [magnitude(narrow, k, m[0])])
    largest = b.bitcast(b.extract_element(most, ir.Constant(I32, 0)), F32)
    small = b.fcmp_ordered("<=", largest, ir.Constant(F32, _LEAST))
    plain = b.fcmp_ordered(">", largest, ir.Constant(F32, _LEAST))
    zero = ir.Constant(F32, 0.0)
    b.store(b.select(small, zero, b.fdiv(largest, ir.Constant(F32, 127.0))), result, align=4)
    factor = b.select(plain, b.fdiv(ir.Constant(F32, 127.0), largest), zero)

    def convert(v: Vectors, k: ir.Value) -> list[ir.Value]:
        # added to 1.5 * 2^23, a number is rounded to a whole one, which then stands in the low bits
        number = v.load(b.gep(source, [k], source_etype=F32))
        shifted = v.fma(number, v.spread(factor), v.number(12582912.0 + 128.0))
        numbers = b.trunc(b.bitcast(shifted, v.integers), ir.VectorType(_BYTE, v.lanes))
        b.store(numbers, b.gep(offset(b, result, integer(_HEAD)), [k], source_etype=_BYTE), align=1)
        return []

    k, _ = loop(b, integer(0), whole, target.lanes, [], lambda k, _: convert(wide, k))
    loop(b, k, count, 1, [], lambda k, _: convert(narrow, k))
    end = b.and_(b.add(count, integer(3)), integer(-4))

    def fill(k: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        b.store(ir.Constant(_BYTE, -128), b.gep(offset(b, result, integer(_HEAD)), [k], source_etype=_BYTE))
        return []

    loop(b, count, end, 1, [], fill)
    b.ret_void()
    return function


def eight_function(
    module: ir.Module, name: str, group: Group, one: Round, rows: int, target: Target, across: int
) -> ir.Function:
    """As :func:`elman.compile.cpu.tiles.products_function`, for operands and weights in 8 bits.

    An operand's first row is what ``quantise`` wrote, its inner number of iterations that of fours of k; the outer
    number and the bytes of an outer iteration are not used.
    """
    function = begun(module, name, group)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(b, target.lanes)
    line, written = 4 * target.lanes, set[int]()
    for number, each in enumerate(group.passes):
        operand, stride, _, inner, _, weights = function.args[1 + 6 * number : 7 + 6 * number]
        columns = [place * one.spread + i for place in sorted(each.matrices) for i in range(one.spread)]
        starts = [offset(b, operand, b.mul(stride, integer(row))) for row in range(rows)]
        numbers = offset(b, weights, integer(2 * len(columns) * line))
        sums = [b.load(offset(b, weights, integer(i * line)), typ=v.integers, align=4) for i in range(len(columns))]

        def four(
            k: ir.Value,
            carried: list[ir.Value],
            numbers: ir.Value = numbers,
            starts: list[ir.Value] = starts,
            width: int = len(columns),
        ) -> list[ir.Value]:
            at = offset(b, numbers, b.mul(k, integer(width * line)))
            weight = [b.load(offset(b, at, integer(i * line)), typ=v.integers, align=4) for i in range(width)]
            place = b.add(b.shl(k, integer(2)), integer(_HEAD))
            inputs = [b.load(offset(b, start, place), typ=I32, align=4) for start in starts]
            return [
                _dot(v, carried[row * width + i], inputs[row], weight[i], target)
                for row in range(rows)
                for i in range(width)
            ]

        _, totals = loop(b, integer(0), inner, 1, sums * rows, four)
        for row in range(rows):
            scale = v.spread(b.load(starts[row], typ=F32, align=4))
            for i, column in enumerate(columns):
                own = v.load(offset(b, weights, integer((len(columns) + i) * line)))
                value = b.fmul(b.sitofp(totals[row * len(columns) + i], v.type), b.fmul(own, scale))
                place = offset(b, function.args[0], integer((row * across * one.spread + column) * line))
                v.store(b.fadd(v.load(place), value) if column in written else value, place)
        written.update(columns)
    b.ret_void()
    return function


def _dot(v: Vectors, total: ir.Value, four: ir.Value, weights: ir.Value, target: Target) -> ir.Value:
    """total + the sum over four k of bytes without a sign times bytes with one."""
    b = v.builder
    if target.vnni:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * v.lanes}"
        function = declare(b.module, name, v.integers, [v.integers] * 3)
        return b.call(function, [total, v.spread(four), weights])
    if target.name == "neon":
        for k in range(4):
            own = b.ashr(b.shl(weights, v.whole(24 - 8 * k)), v.whole(24))
            number = b.and_(b.lshr(four, ir.Constant(I32, 8 * k)), ir.Constant(I32, 255))
            total = b.add(total, b.mul(own, v.spread(number)))
        return total
    # pairs of 16 bits: k = 0 and 2, then 1 and 3
    pairs = ir.VectorType(ir.IntType(16), 2 * v.lanes)
    eight = ir.Constant(pairs, [ir.Constant(pairs.element, 8)] * pairs.count)
    words, mask = b.bitcast(weights, pairs), ir.Constant(I32, 0x00FF00FF)
    even, odd = b.ashr(b.shl(words, eight), eight), b.ashr(words, eight)
    names = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
    madd = declare(b.module, names[v.lanes], v.integers, [pairs, pairs])
    for own, number in ((even, b.and_(four, mask)), (odd, b.and_(b.lshr(four, ir.Constant(I32, 8)), mask))):
        total = b.add(total, b.call(madd, [own, b.bitcast(v.spread(number), pairs)]))
    return total
