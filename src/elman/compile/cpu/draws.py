"""Softmax, filters and the draw of one symbol, in float64: the same numbers as :mod:`elman.generate.filters`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from llvmlite import ir
from numpy.typing import NDArray
from torch import Tensor

from elman.compile.cpu.cuts import define_cut
from elman.compile.cpu.doubles import Doubles, log
from elman.compile.cpu.flow import F64, integer, loop, place, real, search, variable
from elman.compile.cpu.readout import PADDING
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I64, POINTER


class Slot(IntEnum):
    """What the array of a request holds: sizes, addresses, and numbers as the bits of a float64."""

    SIZE = 0
    FILTERED = 1
    SCORES = 2
    WEIGHTS = 3
    CANDIDATES = 4
    CANDIDATE_WEIGHTS = 5
    ONES = 6
    BANS = 7
    TEMPERATURE = 8
    TOP_K = 9
    TOP_P = 10
    LOG_MIN_P = 11


@dataclass(frozen=True, slots=True)
class Request:
    """How to draw, and the memory that a draw needs.

    Attributes:
        slots: int64, by :class:`Slot`.
        memory: what the slots point to.
    """

    slots: NDArray[np.int64]
    memory: Tensor


def request(
    size: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    banned: Collection[int] = (),
) -> Request:
    """Lay out a request; the filters' arguments are those of :class:`elman.generate.filters.Filters`, checked there.

    Args:
        size: symbols V.
    """
    padded = -(-size // PADDING) * PADDING
    # behind the candidates there is room for one vector
    memory = torch.zeros(6, padded + PADDING, dtype=torch.float64)
    ones, bans = memory[4], memory[5]
    ones[:] = 1.0
    bans[list(banned)] = -math.inf
    # p = 1, p = 0 and k = V keep all
    k = 0 if top_k is None or top_k >= size else top_k
    p = 1.0 if top_p is None else top_p
    low = -math.inf if not min_p else math.log(min_p)
    filtered = bool(banned) or temperature != 1 or k > 0 or p < 1 or low > -math.inf
    slots = np.zeros(len(Slot), np.int64)
    slots[[Slot.SIZE, Slot.FILTERED]] = padded, filtered
    slots[Slot.SCORES : Slot.BANS + 1] = [row.data_ptr() for row in memory]
    slots[Slot.TEMPERATURE :] = np.array([temperature, k, p, low], np.float64).view(np.int64)
    return Request(slots, memory)


def define_draw(module: ir.Module, target: Target) -> ir.Function:
    """Add the draw to a module.

    Args:
        module: gets the function.
        target: decides how many doubles are worked on at once.

    Returns:
        ``i64 draw(request, logits, double maximum, double u, i64 given, logprob)``: the symbol that inverts the
        filtered distribution at u, or -1 where the filters leave none; a given symbol (0 or more) is taken instead.
        ``logprob`` gets its log-probability before the filters. The logits are float32 [padded], -inf behind the last
        symbol, without NaN and with the given finite maximum.
    """
    function = ir.Function(module, ir.FunctionType(I64, [POINTER, POINTER, F64, F64, I64, POINTER]), "draw")
    function.linkage = "internal"
    slots, logits, maximum, u, given, logprob = function.args
    b = ir.IRBuilder(function.append_basic_block())
    # two registers a vector: the latency of one hides behind the other
    d = Doubles(b, target.lanes)
    slot = {which: b.load(place(b, slots, integer(which), I64), typ=I64) for which in Slot}
    size = slot[Slot.SIZE]
    array = {which: b.inttoptr(slot[which], POINTER) for which in Slot if Slot.SCORES <= which <= Slot.BANS}
    number = {which: b.bitcast(slot[which], F64) for which in Slot if which >= Slot.TEMPERATURE}
    scores, weights = array[Slot.SCORES], array[Slot.WEIGHTS]
    invert, cut = _define_invert(module, d.lanes), define_cut(module, d.lanes)

    def shifted(i: ir.Value) -> ir.Value:
        single = b.load(place(b, logits, i, F32), typ=ir.VectorType(F32, d.lanes), align=4)
        return b.fsub(b.fpext(single, d.type), d.spread(maximum))

    def chosen(value: ir.Value) -> None:
        # log p_i = (z_i - max) - log sum_j exp(z_j - max)
        logit = b.fpext(b.load(place(b, logits, value, F32), typ=F32), F64)
        b.store(b.fsub(b.fsub(logit, maximum), log_total), logprob)
        b.ret(value)

    total = _exponentials(d, size, shifted, weights)
    log_total = log(b, total)
    with b.if_then(b.icmp_signed(">=", given, integer(0))):
        chosen(given)
    with b.if_then(b.icmp_signed("==", slot[Slot.FILTERED], integer(0))):
        chosen(b.call(invert, [size, weights, u]))

    def allowed(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        value = b.fadd(b.fsub(shifted(i), d.spread(log_total)), d.at(array[Slot.BANS], i))
        d.put(value, scores, i)
        return [d.at_least(carried[0], value)]

    best = d.extreme(">", loop(b, integer(0), size, d.lanes, [d.number(-math.inf)], allowed)[1][0])
    with b.if_then(b.fcmp_ordered("==", best, real(-math.inf))):
        b.ret(integer(-1))
    with b.if_then(b.fcmp_ordered("==", number[Slot.TEMPERATURE], real(0.0))):
        chosen(search(b, size, lambda i: b.fcmp_ordered("==", b.load(place(b, scores, i), typ=F64), best)))
    top = variable(b, best)
    with b.if_then(b.fcmp_unordered("!=", number[Slot.TEMPERATURE], real(1.0))):

        def heated(i: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            value = b.fsub(d.at(scores, i), d.spread(best))
            d.put(b.fdiv(value, d.spread(number[Slot.TEMPERATURE])), scores, i)
            return []

        loop(b, integer(0), size, d.lanes, [], heated)
        b.store(real(0.0), top)
    best = b.load(top, typ=F64)
    candidates = array[Slot.CANDIDATES], array[Slot.CANDIDATE_WEIGHTS]
    with b.if_then(b.fcmp_ordered(">", number[Slot.TOP_K], real(0.0))):
        fill, k = real(-math.inf), number[Slot.TOP_K]
        b.call(cut, [scores, array[Slot.ONES], scores, fill, *candidates, size, best, k, real(1.0)])
    total = _exponentials(d, size, lambda i: b.fsub(d.at(scores, i), d.spread(best)), weights)
    with b.if_then(b.fcmp_ordered("<", number[Slot.TOP_P], real(1.0))):
        p = number[Slot.TOP_P]
        b.call(cut, [scores, weights, weights, real(0.0), *candidates, size, best, p, total])
    limit = d.spread(b.fadd(best, number[Slot.LOG_MIN_P]))

    def likely(i: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        value = d.select(">=", d.at(scores, i), limit, d.at(weights, i), d.number(0.0))
        d.put(value, weights, i)
        return []

    loop(b, integer(0), size, d.lanes, [], likely)
    chosen(b.call(invert, [size, weights, u]))
    return function


def _exponentials(d: Doubles, size: ir.Value, source: Callable[[ir.Value], ir.Value], result: ir.Value) -> ir.Value:
    """Store e^x of every x; returns their sum."""

    def body(i: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        value = d.exp(source(i))
        d.put(value, result, i)
        return [d.builder.fadd(carried[0], value)]

    return d.total(loop(d.builder, integer(0), size, d.lanes, [d.number(0.0)], body)[1][0])


def _define_invert(module: ir.Module, lanes: int) -> ir.Function:
    """``i64 invert(i64 size, weights, double u)``: the least i with u F < F_i = w_0 + ... + w_i, F the sum of all.

    The sums of blocks are added one after the other, so that F is exactly what the search arrives at.
    """
    function = ir.Function(module, ir.FunctionType(I64, [I64, POINTER, F64]), "invert")
    function.linkage = "internal"
    size, weights, u = function.args
    b = ir.IRBuilder(function.append_basic_block())
    d = Doubles(b, lanes)
    width = integer(lanes)

    def block_sum(i: ir.Value) -> ir.Value:
        return d.total(d.at(weights, i))

    _, (total,) = loop(b, integer(0), size, lanes, [real(0.0)], lambda i, carried: [b.fadd(carried[0], block_sum(i))])
    target = b.fmul(u, total)
    below, last_rise = variable(b, real(0.0)), variable(b, integer(-1))

    def passes(i: ir.Value, weight: ir.Value) -> ir.Value:
        # where it passes, ``below`` stays the sum of what comes before
        known = b.load(below, typ=F64)
        reached = b.fadd(known, weight)
        stop = b.fcmp_ordered(">", reached, target)
        b.store(b.select(stop, known, reached), below)
        b.store(b.select(b.fcmp_ordered(">", reached, known), i, b.load(last_rise, typ=I64)), last_rise)
        return stop

    block = search(b, b.sdiv(size, width), lambda i: passes(i, block_sum(b.mul(i, width))))
    first = b.mul(block, width)
    left = b.sub(size, first)
    few = b.select(b.icmp_signed("<", left, width), left, width)
    b.store(integer(-1), last_rise)
    inside = search(b, few, lambda i: passes(i, b.load(place(b, weights, b.add(first, i)), typ=F64)))
    with b.if_then(b.icmp_signed("<", inside, few)):
        b.ret(b.add(first, inside))
    # added one by one the weights of the block fell short of its sum: the draw belongs to the last that counted
    rise = b.load(last_rise, typ=I64)
    with b.if_then(b.icmp_signed(">=", rise, integer(0))):
        b.ret(b.add(first, rise))
    # u F rounded up to F itself: the draw belongs to the last symbol that has any mass
    last = b.sub(b.add(first, few), integer(1))

    def has_weight(i: ir.Value) -> ir.Value:
        return b.fcmp_ordered(">", b.load(place(b, weights, b.sub(last, i)), typ=F64), real(0.0))

    b.ret(b.sub(last, search(b, last, has_weight)))
    return function
