"""Top-k and top-p without sorting.

Both are one search: the symbols from the likeliest downwards stay while the weight of those before them is below a
target, where a symbol weighs 1 (top-k, target k) or its probability (top-p, target p). The score at which that ends is
found by halving the range of the candidates' scores, which leaves fewer of them each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from elman.compile.cpu.doubles import Doubles
from elman.compile.cpu.flow import F64, integer, loop, place, real, search, variable
from elman.compile.cpu.vectors import I64, POINTER

# Symbols that are e^64 times rarer than the best one are all looked at.
_DOUBLINGS = 7

Condition = Callable[[ir.Value], ir.Value]


def define_cut(module: ir.Module, lanes: int) -> ir.Function:
    """Rule out the symbols before which the likelier ones weigh a target or more; of equals the lower id comes first.

    ``void cut(scores, weights, result, double fill, candidates, candidate_weights, i64 size, double best, double
    target, double unit)``: result gets fill where a symbol is ruled out and stays elsewhere; it may be the scores. The
    best score is given, the target is in units. Equal scores must have equal weights.
    """
    kinds = [POINTER, POINTER, POINTER, F64, POINTER, POINTER, I64, F64, F64, F64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "cut")
    function.linkage = "internal"
    scores, weights, result, fill, candidates, candidate_weights, size, best, target, unit = function.args
    b = ir.IRBuilder(function.append_basic_block())
    d = Doubles(b, lanes)

    def copied(
        start: ir.Value, stop: ir.Value, sources: tuple[ir.Value, ir.Value], count: ir.Value, keep: Condition
    ) -> ir.Value:
        """Append to the candidates what is kept: always stored, counted if kept, so that no branch is mispredicted."""

        def body(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            value, weight = (b.load(place(b, source, i), typ=F64) for source in sources)
            b.store(value, place(b, candidates, carried[0]))
            b.store(weight, place(b, candidate_weights, carried[0]))
            return [b.add(carried[0], b.zext(keep(value), I64))]

        return loop(b, start, stop, 1, [count], body)[1][0]

    # few symbols are near the best one: look at ever more, until they weigh enough, before one is copied
    distance = variable(b, real(-1.0))
    goal = b.fmul(target, unit)

    def reaches(_: ir.Value) -> ir.Value:
        floor = b.load(distance, typ=F64)

        def upper(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            difference = b.fsub(d.at(scores, i), d.spread(best))
            return [b.fadd(carried[0], d.select(">", difference, d.spread(floor), d.at(weights, i), d.number(0.0)))]

        weight = d.total(loop(b, integer(0), size, lanes, [d.number(0.0)], upper)[1][0])
        enough = b.fcmp_ordered(">=", weight, goal)
        b.store(b.select(enough, floor, b.fadd(floor, floor)), distance)
        return enough

    near = b.icmp_signed("<", search(b, integer(_DOUBLINGS), reaches), integer(_DOUBLINGS))
    floor = b.select(near, b.load(distance, typ=F64), real(-math.inf))

    def is_above_floor(value: ir.Value) -> ir.Value:
        # the difference, as the sum of a huge score and the floor would be the score
        return b.fcmp_ordered(">", b.fsub(value, best), floor)

    def candidates_of(block: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        count = variable(b, carried[0])
        differences = b.fsub(d.at(scores, block), d.spread(best))
        with b.if_then(d.any(b.fcmp_ordered(">", differences, d.spread(floor)))):
            end = b.add(block, integer(lanes))
            b.store(copied(block, end, (scores, weights), carried[0], is_above_floor), count)
        return [b.load(count, typ=I64)]

    _, (count,) = loop(b, integer(0), size, lanes, [integer(0)], candidates_of)
    value, room = _halve(d, candidates, candidate_weights, count, target, goal, unit, copied)

    def keep(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        score = d.at(scores, i)
        d.put(d.select(">=", score, d.spread(value), d.at(result, i), d.spread(fill)), result, i)
        equal = d.select("==", score, d.spread(value), d.number(1.0), d.number(0.0))
        return [b.fadd(carried[0], equal)]

    equals = d.total(loop(b, integer(0), size, lanes, [d.number(0.0)], keep)[1][0])
    with b.if_then(b.fcmp_ordered(">", equals, room)):

        def keep_first(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            equal = b.fcmp_ordered("==", b.load(place(b, scores, i), typ=F64), value)
            seen = b.fadd(carried[0], b.uitofp(equal, F64))
            known = b.load(place(b, result, i), typ=F64)
            surplus = b.and_(equal, b.fcmp_ordered(">", seen, room))
            b.store(b.select(surplus, fill, known), place(b, result, i))
            return [seen]

        loop(b, integer(0), size, 1, [real(0.0)], keep_first)
    b.ret_void()
    return function


def _halve(
    d: Doubles,
    candidates: ir.Value,
    weights: ir.Value,
    count: ir.Value,
    target: ir.Value,
    goal: ir.Value,
    unit: ir.Value,
    copied: Callable[..., ir.Value],
) -> tuple[ir.Value, ir.Value]:
    """The score at which the target is reached, and how many symbols of exactly this score stay."""
    b = d.builder
    left, above = variable(b, count), variable(b, real(0.0))
    head, narrow, after = (b.append_basic_block(name) for name in ("halve", "narrow", "halved"))
    b.branch(head)
    b.position_at_end(head)
    count = b.load(left, typ=I64)
    # the last vector is filled up with what changes neither extremes nor sums
    first = integer(0)
    d.put(d.spread(b.load(candidates, typ=F64)), candidates, count)
    d.put(d.number(0.0), weights, count)

    def range_of(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        value = d.at(candidates, i)
        return [d.at_most(value, carried[0]), d.at_least(value, carried[1])]

    start = [d.number(math.inf), d.number(-math.inf)]
    _, (low_lanes, high_lanes) = loop(b, first, count, d.lanes, start, range_of)
    low, high = d.extreme("<", low_lanes), d.extreme(">", high_lanes)
    middle = b.fadd(low, b.fmul(b.fsub(high, low), real(0.5)))
    limit = b.select(b.fcmp_ordered("<=", middle, low), high, middle)

    def upper(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        return [
            b.fadd(carried[0], d.select(">=", d.at(candidates, i), d.spread(limit), d.at(weights, i), d.number(0.0)))
        ]

    before = b.load(above, typ=F64)
    reached = b.fadd(before, d.total(loop(b, first, count, d.lanes, [d.number(0.0)], upper)[1][0]))
    enough = b.fcmp_ordered(">=", reached, goal)
    # one score is left above the limit and it reaches the target, or no score is left below it
    done = b.select(enough, b.fcmp_ordered("==", limit, high), b.fcmp_ordered("==", limit, low))
    b.cbranch(done, after, narrow)
    b.position_at_end(narrow)
    b.store(b.select(enough, before, reached), above)
    remaining = copied(
        first, count, (candidates, weights), first,
        lambda value: b.icmp_signed("==", b.fcmp_ordered(">=", value, limit), enough),
    )  # fmt: skip
    b.store(remaining, left)
    b.branch(head)
    b.position_at_end(after)
    # of equal symbols those stay before which there is too little, in the reference's arithmetic: a text may begin with
    # scores that are all equal, and which share of them p is must not depend on rounding
    place_of = search(b, count, lambda i: b.fcmp_ordered("==", b.load(place(b, candidates, i), typ=F64), limit))
    share = b.fdiv(b.load(place(b, weights, place_of), typ=F64), unit)
    total = variable(b, b.fdiv(before, unit))

    def reaches(_: ir.Value) -> ir.Value:
        more = b.fadd(b.load(total, typ=F64), share)
        b.store(more, total)
        return b.fcmp_ordered(">=", b.fsub(more, share), target)

    fitting = search(b, count, reaches)
    fitting = b.select(b.icmp_signed("==", fitting, integer(0)), integer(1), fitting)
    return limit, b.select(enough, b.sitofp(fitting, F64), real(math.inf))
