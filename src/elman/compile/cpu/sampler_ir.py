"""The sampling loop as LLVM IR: draw, feed the symbol to the layers, read their output out, and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

from llvmlite import ir

from elman.compile.cpu.draws import define_draw
from elman.compile.cpu.flow import F64, integer, loop, offset, place, real, search, variable
from elman.compile.cpu.readout import PADDING, Format, define_readout
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I1, I64, POINTER, Vectors, declare


class Status(IntEnum):
    """How a block of steps ended."""

    DONE = 0
    NO_SYMBOL = 1
    NOT_FINITE = 2


class Slot(IntEnum):
    """What the array of the entry "sample" holds: sizes, addresses, and what it reports.

    LAYERS is a table of (function, ctx, output after parity 0, after parity 1), STATES one of (address after parity 0,
    after parity 1, bytes from row to row) of everything that a row's next step depends on. FOLLOWS is by symbol the one
    that is fed after it, or -1. One of UNIFORMS and GIVEN is 0; so is FOLLOWS where nothing follows anything.
    """

    ROWS = 0
    STEPS = 1
    PARITY = 2
    DONE = 3
    STATUS = 4
    UNIFORMS = 5
    GIVEN = 6
    IDS = 7
    LOGPROBS = 8
    LAYERS = 9
    DEPTH = 10
    TOKENS = 11
    STATES = 12
    STATE_COUNT = 13
    FOLLOWS = 14
    REQUEST = 15
    LOGITS = 16
    LOGIT_BYTES = 17
    MAXIMA = 18
    WEIGHTS = 19
    SCALES = 20
    BIAS = 21
    HIDDEN = 22
    PANELS = 23
    SINGLES = 24
    OUTPUT_BYTES = 25


_ADDRESSES = {
    *(Slot.UNIFORMS, Slot.GIVEN, Slot.IDS, Slot.LOGPROBS, Slot.LAYERS, Slot.TOKENS, Slot.STATES, Slot.FOLLOWS),
    *(Slot.REQUEST, Slot.LOGITS, Slot.MAXIMA, Slot.WEIGHTS, Slot.SCALES, Slot.BIAS),
}
_LAYER = ir.FunctionType(ir.VoidType(), [POINTER, I64])


def sampler_source(target: Target, format: Format) -> str:
    """The text of a module with the entry ``void sample(i64* ctx, i64 thread)``; ctx is laid out by :class:`Slot`.

    Args:
        target: what it will run on.
        format: of the readout's weights.
    """
    module = ir.Module("sampler")
    draw, readout = define_draw(module, target), define_readout(module, target, format)
    survey = _define_survey(module)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "sample")
    b = ir.IRBuilder(function.append_basic_block())
    ctx = function.args[0]
    slot: dict[Slot, ir.Value] = {which: b.load(place(b, ctx, integer(which), I64), typ=I64) for which in Slot}
    slot |= {which: b.inttoptr(slot[which], POINTER) for which in _ADDRESSES}
    rows = slot[Slot.ROWS]
    parity = variable(b, slot[Slot.PARITY])
    status = variable(b, integer(Status.DONE))
    nothing = ir.Constant(POINTER, None)
    has_followers = b.icmp_unsigned("!=", slot[Slot.FOLLOWS], nothing)
    is_given = b.icmp_unsigned("!=", slot[Slot.GIVEN], nothing)
    numbers = b.select(is_given, slot[Slot.GIVEN], slot[Slot.UNIFORMS])

    def each_row(write: Callable[[ir.Value], None]) -> None:
        def body(row: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            write(row)
            return []

        loop(b, integer(0), rows, 1, [], body)

    def logits_of(row: ir.Value) -> ir.Value:
        return offset(b, slot[Slot.LOGITS], b.mul(row, slot[Slot.LOGIT_BYTES]))

    def fails(row: ir.Value) -> ir.Value:
        """Find the maximum of a row; true where nothing can be drawn from it."""
        maximum = b.call(survey, [logits_of(row), b.lshr(slot[Slot.LOGIT_BYTES], integer(2))])
        b.store(maximum, place(b, slot[Slot.MAXIMA], row))
        ruled_out = b.fcmp_ordered("==", maximum, real(-math.inf))
        finite = b.fcmp_ordered("<", maximum, real(math.inf))
        now = b.select(finite, integer(Status.DONE), integer(Status.NOT_FINITE))
        now = b.select(ruled_out, integer(Status.NO_SYMBOL), now)
        b.store(now, status)
        return b.icmp_signed("!=", now, integer(Status.DONE))

    def draw_fails(step: ir.Value, row: ir.Value) -> ir.Value:
        index = b.add(b.mul(step, rows), row)
        given, uniform = (b.load(place(b, numbers, index, kind), typ=kind) for kind in (I64, F64))
        given = b.select(is_given, given, integer(-1))
        maximum = b.load(place(b, slot[Slot.MAXIMA], row), typ=F64)
        logprob = place(b, slot[Slot.LOGPROBS], index)
        symbol = b.call(draw, [slot[Slot.REQUEST], logits_of(row), maximum, uniform, given, logprob])
        for array in (Slot.IDS, Slot.TOKENS):
            b.store(symbol, place(b, slot[array], index if array == Slot.IDS else row, I64))
        none = b.icmp_signed("<", symbol, integer(0))
        b.store(b.select(none, integer(Status.NO_SYMBOL), integer(Status.DONE)), status)
        return none

    def feed() -> None:
        """One step of every layer; afterwards ``parity`` is that of the next one."""
        now = b.load(parity, typ=I64)

        def layer(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            entry = place(b, slot[Slot.LAYERS], b.mul(index, integer(4)), I64)
            function, arguments = (b.load(place(b, entry, integer(i), I64), typ=I64) for i in range(2))
            arguments = b.inttoptr(arguments, POINTER)
            b.store(now, arguments)
            b.store(b.add(now, integer(1)), place(b, arguments, integer(1), I64))
            b.call(b.inttoptr(function, _LAYER.as_pointer()), [arguments, integer(0)])
            return []

        loop(b, integer(0), slot[Slot.DEPTH], 1, [], layer)
        b.store(b.sub(integer(1), now), parity)

    def follower(step: ir.Value, row: ir.Value) -> ir.Value:
        index = b.add(b.mul(step, rows), row)
        symbol = b.load(place(b, slot[Slot.IDS], index, I64), typ=I64)
        return b.load(place(b, slot[Slot.FOLLOWS], symbol, I64), typ=I64)

    def keep_row(row: ir.Value, before: ir.Value, after: ir.Value) -> None:
        def state(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            entry = place(b, slot[Slot.STATES], b.mul(index, integer(3)), I64)
            nbytes = b.load(place(b, entry, integer(2), I64), typ=I64)
            start = b.mul(row, nbytes)
            source, goal = (
                offset(b, b.inttoptr(b.load(place(b, entry, side, I64), typ=I64), POINTER), start)
                for side in (before, after)
            )
            copy = declare(module, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [POINTER, POINTER, I64, I1])
            b.call(copy, [goal, source, nbytes, ir.Constant(I1, 0)])
            return []

        loop(b, integer(0), slot[Slot.STATE_COUNT], 1, [], state)

    def feed_followers(step: ir.Value) -> None:
        """Feed what follows the symbols of some rows; the other rows take the step too, and it is undone."""
        some = search(b, rows, lambda row: b.icmp_signed(">=", follower(step, row), integer(0)))
        with b.if_then(b.icmp_signed("<", some, rows)):

            def choose(row: ir.Value) -> None:
                following, own = follower(step, row), place(b, slot[Slot.TOKENS], row, I64)
                fed = b.select(b.icmp_signed("<", following, integer(0)), b.load(own, typ=I64), following)
                b.store(fed, own)

            def undo(row: ir.Value) -> None:
                with b.if_then(b.icmp_signed("<", follower(step, row), integer(0))):
                    keep_row(row, before=b.load(parity, typ=I64), after=now)

            each_row(choose)
            now = b.load(parity, typ=I64)
            feed()
            each_row(undo)

    def read_out() -> None:
        last = place(b, slot[Slot.LAYERS], b.sub(b.mul(slot[Slot.DEPTH], integer(4)), integer(1)), I64)
        # the outputs of a layer are its entry's last two numbers; the last step had the other parity
        output = b.load(place(b, last, b.neg(b.load(parity, typ=I64)), I64), typ=I64)
        matrix = [slot[which] for which in (Slot.WEIGHTS, Slot.SCALES, Slot.BIAS, Slot.HIDDEN)]
        panels = [slot[which] for which in (Slot.PANELS, Slot.SINGLES)]
        hidden = [b.inttoptr(output, POINTER), slot[Slot.OUTPUT_BYTES]]
        b.call(readout, [*matrix, *panels, *hidden, slot[Slot.LOGITS], slot[Slot.LOGIT_BYTES], rows])

    def step_ends(step: ir.Value) -> ir.Value:
        """One step; true where it could not be done."""
        failed = variable(b, ir.Constant(I1, 1))
        # every row is looked at before one is drawn from, as the reference does
        survey_ok = b.icmp_signed("==", search(b, rows, fails), rows)
        with b.if_then(survey_ok):
            drawn = b.icmp_signed("==", search(b, rows, lambda row: draw_fails(step, row)), rows)
            with b.if_then(drawn):
                feed()
                with b.if_then(has_followers):
                    feed_followers(step)
                read_out()
                b.store(ir.Constant(I1, 0), failed)
        return b.load(failed, typ=I1)

    done = search(b, slot[Slot.STEPS], step_ends)
    results = {Slot.DONE: done, Slot.STATUS: b.load(status, typ=I64), Slot.PARITY: b.load(parity, typ=I64)}
    for which, value in results.items():
        b.store(value, place(b, ctx, integer(which), I64))
    b.ret_void()
    return str(module)


def _define_survey(module: ir.Module) -> ir.Function:
    """``double survey(logits, i64 size)``: the largest number; NaN if there is one."""
    function = ir.Function(module, ir.FunctionType(F64, [POINTER, I64]), "survey")
    function.linkage = "internal"
    logits, size = function.args
    b = ir.IRBuilder(function.append_basic_block())
    v = Vectors(b, PADDING)
    masks = ir.VectorType(I1, PADDING)

    def body(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        value = v.load(place(b, logits, i, F32))
        return [v.at_least(carried[0], value), b.or_(carried[1], b.fcmp_unordered("uno", value, value))]

    start = [v.number(-math.inf), ir.Constant(masks, None)]
    _, (largest, strange) = loop(b, integer(0), size, PADDING, start, body)
    reduce = declare(module, f"llvm.vector.reduce.fmax.v{PADDING}f32", F32, [v.type])
    maximum = b.fpext(b.call(reduce, [largest]), F64)
    bits = b.bitcast(strange, ir.IntType(PADDING))
    b.ret(b.select(b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), real(math.nan), maximum))
    return function
