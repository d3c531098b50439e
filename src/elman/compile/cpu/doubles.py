"""Vectors of float64 in LLVM IR, with the exponential and the logarithm that a softmax needs."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from elman.compile.cpu.flow import F64, integer, place, real
from elman.compile.cpu.vectors import I64, Vectors, declare

# fdlibm's ln 2 in two parts; a whole number below 2^20 times the first is exact
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# 1.5 * 2^52: adding it rounds a double to a whole number, which then stands in its low bits
_MAGIC, _MAGIC_BITS = 6755399441055744.0, 0x4338000000000000


class Doubles(Vectors):
    """Writes operations on vectors of ``lanes`` doubles."""

    def __init__(self, builder: ir.IRBuilder, lanes: int):
        super().__init__(builder, lanes)
        self.type = ir.VectorType(F64, lanes)
        self.integers = ir.VectorType(I64, lanes)

    def number(self, value: float) -> ir.Constant:
        """The vector that has one number in every lane."""
        return ir.Constant(self.type, [ir.Constant(F64, value)] * self.lanes)

    def whole(self, value: int) -> ir.Constant:
        """The integer vector that has one number in every lane."""
        return ir.Constant(self.integers, [ir.Constant(I64, value)] * self.lanes)

    def at(self, pointer: ir.Value, i: ir.Value) -> ir.Value:
        """The vector that begins with the i-th double."""
        return self.builder.load(place(self.builder, pointer, i), typ=self.type, align=8)

    def put(self, value: ir.Value, pointer: ir.Value, i: ir.Value) -> None:
        """Store a vector that begins with the i-th double."""
        self.builder.store(value, place(self.builder, pointer, i), align=8)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, in one rounding where the machine has that."""
        name = f"llvm.fmuladd.v{self.lanes}f64"
        return self.builder.call(declare(self.builder.module, name, self.type, [self.type] * 3), [a, b, c])

    def total(self, value: ir.Value) -> ir.Value:
        """The sum over the lanes, a scalar."""
        return self._fold(value, lambda a, b: self.builder.fadd(a, b))

    def extreme(self, condition: str, value: ir.Value) -> ir.Value:
        """The largest (">") or smallest ("<") lane, a scalar."""
        return self._fold(value, lambda a, b: self.builder.select(self.builder.fcmp_ordered(condition, a, b), a, b))

    def any(self, mask: ir.Value) -> ir.Value:
        """Whether a condition is true in some lane, an i1."""
        bits = self.builder.bitcast(mask, ir.IntType(self.lanes))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def _fold(self, value: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(start, start + lanes)))
                for start in (0, lanes)
            ]
            low, high = (self.builder.shuffle_vector(value, value, half) for half in halves)
            value = combine(low, high)
        return self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    def exp(self, x: ir.Value) -> ir.Value:
        """e^x for x <= 0, -inf included; within about one unit of the last place, subnormal results too."""
        # e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; 2^n in two factors, so that small results come out right
        b = self.builder
        x = self.at_least(x, self.number(-746.0))
        shifted = self.fma(x, self.number(1 / math.log(2)), self.number(_MAGIC))
        n = b.fsub(shifted, self.number(_MAGIC))
        r = self.fma(n, self.number(-_LN2_LOW), self.fma(n, self.number(-_LN2_HIGH), x))
        # Taylor's series to r^13 / 13!, whose remainder is below 2^-57, the sum by Estrin: 1 + (r + r^2 (...))
        square = b.fmul(r, r)
        power, terms = square, [self.number(1 / math.factorial(n)) for n in range(2, 14)]
        pairs = [self.fma(high, r, low) for low, high in zip(terms[::2], terms[1::2], strict=True)]
        fourth = b.fmul(power, power)
        quads = [self.fma(high, power, low) for low, high in zip(pairs[::2], pairs[1::2], strict=True)]
        series = self.fma(self.fma(quads[2], fourth, quads[1]), fourth, quads[0])
        series = b.fadd(self.number(1.0), self.fma(square, series, r))
        whole = b.sub(b.bitcast(shifted, self.integers), self.whole(_MAGIC_BITS))
        half = b.ashr(whole, self.whole(1))
        return b.fmul(b.fmul(series, self._two_to(half)), self._two_to(b.sub(whole, half)))

    def _two_to(self, whole: ir.Value) -> ir.Value:
        b = self.builder
        return b.bitcast(b.shl(b.add(whole, self.whole(1023)), self.whole(52)), self.type)


def log(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """log x of a scalar x >= 1, as in fdlibm (e_log.c): below one unit of the last place."""
    # x = 2^e (1 + f), sqrt(1/2) < 1 + f < sqrt(2); s = f / (2 + f); log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + R(s^2)))
    bits = b.bitcast(x, I64)
    mantissa = b.bitcast(b.or_(b.and_(bits, integer(2**52 - 1)), integer(1023 << 52)), F64)
    large = b.fcmp_ordered(">", mantissa, real(math.sqrt(2)))
    e = b.sitofp(b.add(b.sub(b.lshr(bits, integer(52)), integer(1023)), b.zext(large, I64)), F64)
    f = b.fsub(b.select(large, b.fmul(mantissa, real(0.5)), mantissa), real(1.0))
    s = b.fdiv(f, b.fadd(f, real(2.0)))
    z = b.fmul(s, s)
    rest: ir.Value = real(1.479819860511658591e-01)
    for coefficient in (
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    ):
        rest = b.fadd(b.fmul(rest, z), real(coefficient))
    rest = b.fmul(rest, z)
    half = b.fmul(b.fmul(f, f), real(0.5))
    low = b.fadd(b.fmul(s, b.fadd(half, rest)), b.fmul(e, real(_LN2_LOW)))
    return b.fsub(b.fmul(e, real(_LN2_HIGH)), b.fsub(b.fsub(half, low), f))
