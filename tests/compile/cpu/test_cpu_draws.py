"""The compiled softmax, filters and draw, against the functions in numpy."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from llvmlite import ir

from elman.compile.cpu.doubles import Doubles, log
from elman.compile.cpu.draws import define_draw, request
from elman.compile.cpu.flow import F64, integer, loop, place
from elman.compile.cpu.target import Target, host_target, named_target
from elman.compile.cpu.threads import parallel
from elman.compile.cpu.toolchain import Code, compile_object
from elman.compile.cpu.vectors import I64, POINTER
from elman.generate.filters import Filters, draw, log_softmax

COARSE = st.integers(-40, 40).map(lambda n: n / 4)  # coarse, so that ties are common
WILD = st.tuples(st.integers(-999, 999), st.integers(-2, 34)).map(lambda pair: pair[0] * 10.0 ** pair[1])
UNIFORM = st.floats(0, 1, exclude_max=True)
_KEPT: list[Any] = []


def entry(target: Target, write: Any) -> int:
    """The address of ``void f(i64* ctx, i64 thread)``; write(module, builder, slots) writes it."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "entry")
    b = ir.IRBuilder(function.append_basic_block())
    slots = [b.load(place(b, function.args[0], integer(i), I64), typ=I64) for i in range(6)]
    write(module, b, slots)
    b.ret_void()
    code = Code(compile_object(str(module), target))
    _KEPT.append(code)
    return code.address("entry")


def write_draw(target: Target) -> Any:
    def write(module: ir.Module, b: ir.IRBuilder, slots: list[ir.Value]) -> None:
        # request, logits, numbers (maximum, u, log-probability), given, result
        function = define_draw(module, target)
        pointers = [b.inttoptr(slot, POINTER) for slot in slots]
        maximum, u = (b.load(place(b, pointers[2], integer(i)), typ=F64) for i in range(2))
        logprob = place(b, pointers[2], integer(2))
        b.store(b.call(function, [*pointers[:2], maximum, u, slots[3], logprob]), pointers[4])

    return write


@pytest.fixture(scope="module", params=["host", "x86-64"])
def address(request: pytest.FixtureRequest) -> int:
    host = host_target()
    if request.param != "host" and host.name not in ("avx2", "avx512"):
        pytest.skip("this machine has no lesser target")
    target = host if request.param == "host" else named_target(request.param)
    return entry(target, write_draw(target))


def compiled(address: int, scores: Any, u: float, given_id: int = -1, **filters: Any) -> tuple[int, float]:
    """The symbol drawn from one row of scores, and its log-probability."""
    how = request(len(scores), **filters)
    logits = np.full(-(-len(scores) // 16) * 16, -np.inf, np.float32)
    logits[: len(scores)] = scores
    numbers, result = np.array([scores.max(), u, np.nan]), np.zeros(1, np.int64)
    ctx = [how.slots.ctypes.data, logits.ctypes.data, numbers.ctypes.data, given_id, result.ctypes.data, 0]
    parallel(address, np.array(ctx, np.int64).ctypes.data, 1)
    return int(result[0]), float(numbers[2])


def agrees(symbol: int, scores: Any, u: float, filters: dict[str, Any]) -> bool:
    """Whether the reference draws the symbol, or would if its numbers were moved by what rounding may move them."""
    logprobs = log_softmax(scores[None].astype(np.float64))
    # what stands first moves nothing, and is nearly always all that is tried
    for p_step, m_step, u_step in product((0.0, -1e-12, 1e-12), repeat=3):
        moved = dict(filters, banned=frozenset(filters.get("banned", ())))
        if "top_p" in moved:
            moved["top_p"] = min(max(moved["top_p"] + p_step, 1e-300), 1.0)
        if "min_p" in moved:
            moved["min_p"] = min(moved["min_p"] * (1 + m_step), 1.0)
        uniform = min(max(u + u_step, 0.0), 1 - 2**-53)
        if symbol == draw(Filters(**moved)(logprobs), np.array([uniform]))[0]:
            return True
    return False


@st.composite
def rows(draw: Any, elements: Any) -> Any:
    size = draw(st.integers(1, 70))
    scores = draw(arrays(np.float32, size, elements=elements, fill=elements))
    ruled_out = draw(st.lists(st.integers(0, size - 1), max_size=3))
    scores[ruled_out] = -np.inf
    if scores.max() == -np.inf:
        scores[draw(st.integers(0, size - 1))] = 0.0
    return scores


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.one_of(st.sampled_from([0.0, 1.0, 1e-300, 1e300]), st.floats(0.05, 20)),
        "top_k": st.integers(1, 80),
        "top_p": st.one_of(st.floats(0.01, 0.999), st.sampled_from([0.25, 0.5, 1.0, 1e-300])),
        "min_p": st.floats(0, 1),
    },
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(rows(COARSE), rows(WILD)), UNIFORM, FILTERS, st.data())
def test_a_draw_is_that_of_the_reference(address: int, scores: Any, u: float, filters: Any, data: Any) -> None:
    banned = data.draw(st.sets(st.integers(0, len(scores) - 1), max_size=4))
    left = np.delete(scores, list(banned))
    symbol, logprob = compiled(address, scores, u, banned=banned, **filters)
    if not len(left) or left.max() == -np.inf:
        assert symbol == -1
        return
    assert agrees(symbol, scores, u, {**filters, "banned": banned})
    expected = log_softmax(scores.astype(np.float64))[symbol]
    assert logprob == pytest.approx(expected, rel=4e-16, abs=4e-15)


@settings(max_examples=100, deadline=None)
@given(rows(COARSE), st.data())
def test_a_given_symbol_is_only_scored(address: int, scores: Any, data: Any) -> None:
    symbol = data.draw(st.integers(0, len(scores) - 1))
    chosen, logprob = compiled(address, scores, 0.5, symbol, temperature=0.0, banned={symbol})
    assert chosen == symbol
    assert logprob == pytest.approx(log_softmax(scores.astype(np.float64))[symbol], abs=4e-15)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"top_k": 40},
        {"top_k": 9000},
        {"top_p": 0.9},
        {"top_p": 0.999},
        {"min_p": 0.05},
        {"temperature": 0.7, "top_k": 300, "top_p": 0.8, "min_p": 0.01, "banned": {1, 2, 3}},
    ],
)
@pytest.mark.parametrize("levels", [None, 7])
def test_a_large_vocabulary(address: int, filters: Any, levels: int | None) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(0, 3, 10_007).astype(np.float32)
    if levels is not None:  # many ties, so that a border runs through equals
        scores = np.round(scores / 12 * levels) / levels * 4
        scores = scores.astype(np.float32)
    for u in (*generator.random(20), 0.0, 1 - 2**-53):
        assert agrees(compiled(address, scores, float(u), **filters)[0], scores, float(u), filters)


@pytest.mark.parametrize("filters", [{"top_k": 7}, {"top_p": 0.3}, {"min_p": 0.5}, {"top_k": 20, "top_p": 0.5}])
def test_what_may_be_drawn_is_what_the_reference_keeps(address: int, filters: Any) -> None:
    scores = np.round(np.random.default_rng(1).normal(0, 2, 65) * 2).astype(np.float32)
    kept = np.flatnonzero(np.isfinite(Filters(**filters)(log_softmax(scores[None].astype(np.float64)))[0]))
    uniforms = np.linspace(0, 1, 4001)[:-1]
    assert {compiled(address, scores, float(u), **filters)[0] for u in uniforms} == set(kept)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.8, 0.9])
def test_a_share_of_equal_symbols(address: int, p: float) -> None:
    for size in (2, 10, 65, 130):
        scores = np.zeros(size, np.float32)
        expected = draw(Filters(top_p=p)(log_softmax(np.zeros((1, size)))), np.array([1 - 2**-53]))[0]
        assert compiled(address, scores, 1 - 2**-53, top_p=p)[0] == expected


@pytest.mark.parametrize("filters", [{"top_p": 0.5}, {"top_k": 2, "top_p": 0.9}, {"min_p": 0.1}])
def test_a_banned_symbol_far_above_all_others(address: int, filters: Any) -> None:
    scores = np.array([0.0, 3e29, 7e12, 890.0, 0.0], np.float32)
    for u in (0.0, 0.3, 0.65, 1 - 2**-53):
        banned = {**filters, "banned": {1}}
        assert agrees(compiled(address, scores, u, **banned)[0], scores, u, banned)


@pytest.mark.parametrize("size", [15, 16, 40, 65])
def test_the_last_uniform_draws_no_symbol_without_mass(address: int, size: int) -> None:
    # e^-200 is too little to change a sum of 1
    scores = np.full(size, -200, np.float32)
    scores[3] = 0
    assert compiled(address, scores, 1 - 2**-53)[0] == 3


def write_functions(target: Target) -> Any:
    def write(module: ir.Module, b: ir.IRBuilder, slots: list[ir.Value]) -> None:
        # x <= 0, e^x, x >= 1, log x, count
        d = Doubles(b, target.lanes)
        arrays = [b.inttoptr(slot, POINTER) for slot in slots]

        def exponential(i: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            d.put(d.exp(d.at(arrays[0], i)), arrays[1], i)
            return []

        def logarithm(i: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            b.store(log(b, b.load(place(b, arrays[2], i), typ=F64)), place(b, arrays[3], i))
            return []

        loop(b, integer(0), slots[4], target.lanes, [], exponential)
        loop(b, integer(0), slots[4], 1, [], logarithm)

    return write


@pytest.mark.parametrize("name", ["host", "x86-64"])
def test_exponential_and_logarithm(name: str) -> None:
    host = host_target()
    if name != "host" and host.name not in ("avx2", "avx512"):
        pytest.skip("this machine has no lesser target")
    target = host if name == "host" else named_target(name)
    generator = np.random.default_rng(2)
    below = np.concatenate(
        [-generator.exponential(1, 4000), -750 * generator.random(4000), [0.0, -math.inf, -1e300, -5e-324] * 16]
    )
    above = np.concatenate(
        [1 + generator.random(4000), np.exp(20 * generator.random(4000)), [1.0, 2.0, 3.0, 2.0**40] * 16]
    )
    powers, logarithms = np.full_like(below, np.nan), np.full_like(above, np.nan)
    ctx = np.array([*(a.ctypes.data for a in (below, powers, above, logarithms)), len(below), 0], np.int64)
    parallel(entry(target, write_functions(target)), ctx.ctypes.data, 1)
    with np.errstate(under="ignore"):
        exact = np.exp(below.astype(np.longdouble))
    error = np.abs(powers.astype(np.longdouble) - exact) / np.spacing(np.maximum(exact.astype(np.float64), 5e-324))
    assert error.max() < 1.1
    exact = np.log(above.astype(np.longdouble))
    error = np.abs(logarithms.astype(np.longdouble) - exact) / np.spacing(exact.astype(np.float64))
    assert error.max() < 1.0
