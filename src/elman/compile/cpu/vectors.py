"""Vectors of floats in LLVM IR: types, loads and stores, and every pointwise operation of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

F32, I32, I64, I1 = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.IntType(1)
POINTER = ir.PointerType()


class BFloatType(ir.Type):
    """bfloat16, which llvmlite's builder does not have."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloatType)

    def __hash__(self) -> int:
        return hash(BFloatType)


BF16 = BFloatType()
_MAGIC = 12582912.0  # 1.5 * 2^23: adding it rounds a float to a whole number, which then stands in its low bits


class Vectors:
    """Writes operations on vectors of ``lanes`` floats at the end of a builder's block."""

    def __init__(self, builder: ir.IRBuilder, lanes: int):
        self.builder, self.lanes = builder, lanes
        self.type = ir.VectorType(F32, lanes)
        self.integers = ir.VectorType(I32, lanes)
        self.halves = ir.VectorType(BF16, lanes)

    def number(self, value: float) -> ir.Constant:
        """The vector that has one number in every lane, rounded to float32."""
        return ir.Constant(self.type, [ir.Constant(F32, value)] * self.lanes)

    def whole(self, value: int) -> ir.Constant:
        """The integer vector that has one number in every lane."""
        return ir.Constant(self.integers, [ir.Constant(I32, value)] * self.lanes)

    def offset(self, pointer: ir.Value, nbytes: ir.Value) -> ir.Value:
        """The pointer some bytes further."""
        return self.builder.gep(pointer, [nbytes], source_etype=ir.IntType(8))

    def load(self, pointer: ir.Value, half: bool = False) -> ir.Value:
        """A vector from memory; from bfloat16 if ``half``."""
        if half:
            return self.builder.fpext(self.builder.load(pointer, typ=self.halves, align=2), self.type)
        return self.builder.load(pointer, typ=self.type, align=4)

    def store(self, value: ir.Value, pointer: ir.Value, half: bool = False) -> None:
        """A vector to memory; rounded to bfloat16 if ``half``."""
        if half:
            self.builder.store(self.builder.fptrunc(value, self.halves), pointer, align=2)
        else:
            self.builder.store(value, pointer, align=4)

    def spread(self, scalar: ir.Value) -> ir.Value:
        """The vector that has one value in every lane."""
        return _spread(self.builder, scalar, self.lanes)

    def lane_numbers(self) -> ir.Constant:
        """0, 1, 2, ..."""
        return ir.Constant(self.integers, [ir.Constant(I32, lane) for lane in range(self.lanes)])

    def intrinsic(self, name: str, *operands: ir.Value) -> ir.Value:
        """A call of LLVM's intrinsic on vectors of floats."""
        function = declare(self.builder.module, f"llvm.{name}.v{self.lanes}f32", self.type, [self.type] * len(operands))
        return self.builder.call(function, operands)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, in one rounding where the machine has that."""
        return self.intrinsic("fmuladd", a, b, c)

    def select(self, condition: str, a: ir.Value, b: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
        """``yes`` where a compares to b as the ordered condition says, else ``no`` (also where a or b is NaN)."""
        return self.builder.select(self.builder.fcmp_ordered(condition, a, b), yes, no)

    def at_most(self, a: ir.Value, limit: ir.Value) -> ir.Value:
        """The smaller of the two; a where a is NaN."""
        return self.select("<", limit, a, limit, a)

    def at_least(self, a: ir.Value, limit: ir.Value) -> ir.Value:
        """The larger of the two; a where a is NaN."""
        return self.select(">", limit, a, limit, a)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """Horner's rule, the highest power first."""
        value: ir.Value = self.number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.number(coefficient))
        return value

    def sum(self, value: ir.Value) -> ir.Value:
        """The sum over the lanes, in every lane."""
        step = self.lanes // 2
        while step:
            swapped = [lane ^ step for lane in range(self.lanes)]
            mask = ir.Constant(self.integers, [ir.Constant(I32, lane) for lane in swapped])
            value = self.builder.fadd(value, self.builder.shuffle_vector(value, value, mask))
            step //= 2
        return value


def declare(module: ir.Module, name: str, result: ir.Type, operands: Sequence[ir.Type]) -> ir.Function:
    """An external function of a module, declared once."""
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, ir.FunctionType(result, operands), name)


def _spread(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    kind = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), None)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def _exp(v: Vectors, x: ir.Value) -> ir.Value:
    # exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; 2^n in two factors, so that both ends come out right
    b = v.builder
    x = v.at_least(v.at_most(x, v.number(89.0)), v.number(-104.0))
    whole, r = _reduce(v, x)
    half = b.ashr(whole, v.whole(1))
    scaled = b.fmul(_exp_reduced(v, r), _two_to(v, half))
    return b.fmul(scaled, _two_to(v, b.sub(whole, half)))


def _reduce(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    b = v.builder
    shifted = v.fma(x, v.number(1.4426950408889634), v.number(_MAGIC))
    n = b.fsub(shifted, v.number(_MAGIC))
    whole = b.sub(b.bitcast(shifted, v.integers), v.whole(0x4B400000))
    r = v.fma(n, v.number(-0.693359375), x)
    return whole, v.fma(n, v.number(2.12194440e-4), r)


def _exp_reduced(v: Vectors, r: ir.Value) -> ir.Value:
    # the minimax polynomial of Cephes' expf
    tail = v.polynomial(
        r, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
    )
    return v.fma(v.builder.fmul(r, r), tail, v.builder.fadd(r, v.number(1.0)))


def _two_to(v: Vectors, whole: ir.Value) -> ir.Value:
    b = v.builder
    return b.bitcast(b.shl(b.add(whole, v.whole(127)), v.whole(23)), v.type)


def _sigmoid(v: Vectors, x: ir.Value) -> ir.Value:
    # 1 / (1 + exp(-x)); beyond the clamp the value is below float32's normal numbers, or 1
    b = v.builder
    x = v.at_least(v.at_most(b.fneg(x), v.number(87.0)), v.number(-87.0))
    whole, r = _reduce(v, x)
    power = b.fmul(_exp_reduced(v, r), _two_to(v, whole))
    return b.fdiv(v.number(1.0), b.fadd(v.number(1.0), power))


_TANH_NUMERATOR = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _tanh(v: Vectors, x: ir.Value) -> ir.Value:
    # the rational minimax approximation 13/6 that Eigen uses
    b = v.builder
    x = v.at_least(v.at_most(x, v.number(7.90531110763549805)), v.number(-7.90531110763549805))
    square = b.fmul(x, x)
    numerator = b.fmul(v.polynomial(square, _TANH_NUMERATOR), x)
    return b.fdiv(numerator, v.polynomial(square, _TANH_DENOMINATOR))


def _log(v: Vectors, x: ir.Value) -> ir.Value:
    # x = 2^e m with sqrt(1/2) <= m < sqrt(2); log x = e ln 2 + log m, the polynomial of Cephes' logf
    b = v.builder
    small = b.fcmp_ordered("<", x, v.number(1.17549435e-38))
    normal = b.select(small, b.fmul(x, v.number(8388608.0)), x)
    bits = b.bitcast(normal, v.integers)
    exponent = b.sub(b.lshr(bits, v.whole(23)), v.whole(126))
    mantissa = b.bitcast(b.or_(b.and_(bits, v.whole(0x7FFFFF)), v.whole(0x3F000000)), v.type)
    low = b.fcmp_ordered("<", mantissa, v.number(0.70710678118))
    e = b.fsub(b.sitofp(exponent, v.type), b.select(low, v.number(1.0), v.number(0.0)))
    e = b.fsub(e, b.select(small, v.number(23.0), v.number(0.0)))
    m = b.fsub(b.select(low, b.fadd(mantissa, mantissa), mantissa), v.number(1.0))
    series = v.polynomial(
        m,
        (
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ),
    )
    square = b.fmul(m, m)
    value = v.fma(e, v.number(-2.12194440e-4), b.fmul(b.fmul(m, square), series))
    value = v.fma(v.number(-0.5), square, value)
    value = v.fma(e, v.number(0.693359375), b.fadd(m, value))
    value = b.select(b.fcmp_ordered("==", x, v.number(float("inf"))), x, value)
    value = b.select(b.fcmp_ordered("==", x, v.number(0.0)), v.number(float("-inf")), value)
    return b.select(b.fcmp_unordered("<", x, v.number(0.0)), v.number(float("nan")), value)


def _softplus(v: Vectors, x: ir.Value) -> ir.Value:
    # log(1 + e^x) = max(x, 0) + log1p(e), e = exp(-|x|); log1p(e) = log(u) e / (u - 1) with u the rounded 1 + e
    b = v.builder
    e = _exp(v, b.fneg(v.intrinsic("fabs", x)))
    u = b.fadd(v.number(1.0), e)
    excess = b.fsub(u, v.number(1.0))
    nothing = b.fcmp_ordered("==", excess, v.number(0.0))
    ratio = b.fdiv(e, b.select(nothing, v.number(1.0), excess))
    tail = b.select(nothing, e, b.fmul(_log(v, u), ratio))
    return b.fadd(v.at_least(x, v.number(0.0)), tail)


def _elu(v: Vectors, x: ir.Value) -> ir.Value:
    # exp(x) - 1 = 2 t / (1 - t), t = tanh(x / 2), keeps its digits near 0
    b = v.builder
    t = _tanh(v, b.fmul(v.at_most(x, v.number(0.0)), v.number(0.5)))
    return v.select(">", x, v.number(0.0), x, b.fdiv(b.fadd(t, t), b.fsub(v.number(1.0), t)))


def _sign(v: Vectors, x: ir.Value) -> ir.Value:
    zero = v.number(0.0)
    return v.select(">", x, zero, v.number(1.0), v.select("<", x, zero, v.number(-1.0), zero))


def _leaky_relu(v: Vectors, x: ir.Value) -> ir.Value:
    return v.select(">", x, v.number(0.0), x, v.builder.fmul(x, v.number(0.01)))


def _hard_sigmoid(v: Vectors, x: ir.Value) -> ir.Value:
    shifted = v.builder.fadd(x, v.number(3.0))
    clipped = v.at_most(v.at_least(shifted, v.number(0.0)), v.number(6.0))
    return v.builder.fmul(clipped, v.number(1.0 / 6.0))


def _extreme(condition: str) -> Callable[..., ir.Value]:
    def function(v: Vectors, a: ir.Value, b: ir.Value) -> ir.Value:
        # NaN in either operand stays, as in torch
        chosen = v.select(condition, a, b, a, b)
        return v.builder.select(v.builder.fcmp_unordered("uno", a, a), a, chosen)

    return function


#: Every pointwise operation of a graph but "power", as a function of the vectors that it reads.
POINTWISE: dict[str, Callable[..., ir.Value]] = {
    "add": lambda v, a, b: v.builder.fadd(a, b),
    "sub": lambda v, a, b: v.builder.fsub(a, b),
    "mul": lambda v, a, b: v.builder.fmul(a, b),
    "div": lambda v, a, b: v.builder.fdiv(a, b),
    "neg": lambda v, a: v.builder.fneg(a),
    "maximum": _extreme(">"),
    "minimum": _extreme("<"),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": lambda v, a: v.at_least(a, v.number(0.0)),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "exp": _exp,
    "log": _log,
    "sqrt": lambda v, a: v.intrinsic("sqrt", a),
    "abs": lambda v, a: v.intrinsic("fabs", a),
    "sin": lambda v, a: v.intrinsic("sin", a),
    "cos": lambda v, a: v.intrinsic("cos", a),
    "hard_sigmoid": _hard_sigmoid,
    "sign": _sign,
    "greater": lambda v, a, b: v.select(">", a, b, v.number(1.0), v.number(0.0)),
}

#: What costs little enough to be computed again instead of kept.
CHEAP = frozenset(
    {"add", "sub", "mul", "neg", "maximum", "minimum", "relu", "leaky_relu", "abs", "sign", "greater", "hard_sigmoid"}
)


def pointwise(v: Vectors, op: str, operands: Sequence[ir.Value], value: float) -> ir.Value:
    """The vector of an operation of the graph.

    Args:
        v: where to write.
        op: a pointwise key of :data:`elman.equations.graph.OPS`.
        operands: vectors.
        value: the exponent of "power".
    """
    if op != "power":
        return POINTWISE[op](v, *operands)
    exponent, result = int(value), None
    square = operands[0]
    while exponent:
        if exponent & 1:
            result = square if result is None else v.builder.fmul(result, square)
        exponent >>= 1
        if exponent:
            square = v.builder.fmul(square, square)
    return result
