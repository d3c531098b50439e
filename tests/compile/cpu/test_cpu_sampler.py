"""The compiled sampling loop, on layers that are simple enough to be computed in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir
from numpy.typing import NDArray

from elman.compile.cpu.flow import integer, loop, offset, place
from elman.compile.cpu.sampler import Layer, Sampler, StateBuffer, Status, check
from elman.compile.cpu.sampler_ir import sampler_source
from elman.compile.cpu.target import host_target, named_target
from elman.compile.cpu.toolchain import compile_object, load_code
from elman.compile.cpu.vectors import F32, I64, POINTER
from elman.errors import FailureError, MisuseError
from elman.generate.filters import Filters, draw, log_softmax

_ALIVE: list[Any] = []


@pytest.fixture(autouse=True, scope="module")
def no_cache_on_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_CACHE", "off")
        yield


def layer_source() -> str:
    """c = x + c_before / 2, h = c / 4; x is a row of a table by token, or of what the layer below wrote.

    ctx: t0, t1, rows, stride, the two c, the two h, the two x, tokens (0 for none).
    """
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "layer")
    b = ir.IRBuilder(function.append_basic_block())
    slots = [b.load(place(b, function.args[0], integer(i), I64), typ=I64) for i in range(11)]
    parity, rows, stride, tokens = slots[0], slots[2], slots[3], slots[10]
    other = b.sub(integer(1), parity)

    def pick(first: int, which: ir.Value) -> ir.Value:
        flag = b.icmp_signed("==", which, integer(0))
        return b.inttoptr(b.select(flag, slots[first], slots[first + 1]), POINTER)

    new, old, output, x = pick(4, parity), pick(4, other), pick(6, parity), pick(8, parity)
    has_tokens = b.icmp_signed("!=", tokens, integer(0))
    nbytes = b.mul(stride, integer(4))

    def row(index: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
        # without tokens the row itself is read, from some readable place
        where = b.select(has_tokens, b.inttoptr(tokens, POINTER), function.args[0])
        token = b.load(place(b, where, b.select(has_tokens, index, integer(0)), I64), typ=I64)
        source = b.select(has_tokens, token, index)

        def unit(i: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            def at(pointer: ir.Value, line: ir.Value) -> ir.Value:
                return place(b, offset(b, pointer, b.mul(line, nbytes)), i, F32)

            half, quarter = ir.Constant(F32, 0.5), ir.Constant(F32, 0.25)
            value = b.fadd(b.load(at(x, source), typ=F32), b.fmul(half, b.load(at(old, index), typ=F32)))
            b.store(value, at(new, index))
            b.store(b.fmul(quarter, value), at(output, index))
            return []

        loop(b, integer(0), stride, 1, [], unit)
        return []

    loop(b, integer(0), rows, 1, [], row)
    b.ret_void()
    return str(module)


@dataclass
class Stack:
    """Layers above each other, a readout, and the same in numpy."""

    tokens: NDArray[np.int64]
    layers: list[Layer]
    states: list[StateBuffer]
    table: NDArray[np.float32]
    weight: torch.Tensor
    bias: torch.Tensor
    c: list[NDArray[np.float32]]

    @property
    def stride(self) -> int:
        return self.table.shape[1]

    def sampler(self, **arguments: Any) -> Sampler:
        return Sampler(self.layers, self.weight, self.bias, self.tokens, self.stride, states=self.states, **arguments)

    def step(self, ids: NDArray[np.int64], rows: Any = slice(None)) -> NDArray[np.float64]:
        """The next scores, from the state in ``c``; only the chosen rows take the step."""
        x = self.table[ids]
        for c in self.c:
            c[rows] = x + c[rows] / 2
            x = c[rows] / 4
        hidden = self.c[-1] / 4
        weight = self.weight.numpy()
        return hidden[:, : weight.shape[1]].astype(np.float64) @ weight.T.astype(np.float64) + self.bias.numpy()


def make(rows: int, size: int, hidden: int, depth: int, stride: int | None = None, seed: int = 0) -> Stack:
    generator = np.random.default_rng(seed)
    stride = stride or hidden
    code = load_code(f"test layer {layer_source()}", layer_source, host_target())
    tokens = np.zeros(rows, np.int64)
    table = generator.normal(0, 2, (size, stride)).astype(np.float32)
    alive: list[Any] = [table]
    layers, states = [], []
    below = [table.ctypes.data] * 2
    for depth_index in range(depth):
        c, h = np.zeros((2, rows, stride), np.float32), np.zeros((2, rows, stride), np.float32)
        c_addresses, outputs = (tuple(part.ctypes.data for part in both) for both in (c, h))
        fed = tokens.ctypes.data if depth_index == 0 else 0
        ctx = np.array([0, 0, rows, stride, *c_addresses, *outputs, *below, fed], np.int64)
        layers.append(Layer(code.address("layer"), ctx.ctypes.data, outputs))
        states.append(StateBuffer(c_addresses, 4 * stride))
        alive += [c, h, ctx]
        below = list(outputs)
    weight = torch.from_numpy(generator.normal(0, 6 / hidden**0.5, (size, hidden)).astype(np.float32))
    bias = torch.from_numpy(generator.normal(0, 1, size).astype(np.float32))
    # the sampler holds addresses only
    _ALIVE.extend(alive)
    zeros = [np.zeros((rows, stride), np.float32) for _ in range(depth)]
    return Stack(tokens, layers, states, table, weight, bias, zeros)


def reference(
    stack: Stack, uniforms: NDArray[np.float64], filters: Filters, follows: dict[int, int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The loop of :func:`elman.generate.generate`."""
    scores = np.zeros((uniforms.shape[1], stack.weight.shape[0]))
    ids, logprobs = [], []
    for u in uniforms:
        known = log_softmax(scores)
        drawn = draw(filters(known), u)
        ids.append(drawn)
        logprobs.append(known[np.arange(len(drawn)), drawn])
        scores = stack.step(drawn)
        fed = [row for row, symbol in enumerate(drawn.tolist()) if symbol in (follows or {})]
        if fed:
            scores = stack.step(np.array([(follows or {})[int(drawn[row])] for row in fed]), fed)
    return np.array(ids), np.array(logprobs)


def in_blocks(sampler: Sampler, uniforms: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Run in blocks of odd and even lengths."""
    sampler.scores[:] = 0
    parts = []
    for block in np.split(uniforms, [7, 8, 20]):
        ids, logprobs, status = sampler.run(block)
        assert status == Status.DONE
        parts.append((ids, logprobs))
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


@pytest.mark.parametrize(
    ("rows", "size", "hidden", "depth", "filters"),
    [
        (1, 65, 128, 1, Filters()),
        (1, 65, 32, 2, Filters(temperature=0.7)),
        (3, 20, 17, 3, Filters(top_k=5, banned=frozenset({0, 3}))),
        (7, 130, 5, 1, Filters(temperature=1.3, top_p=0.8)),
        (5, 16, 1, 2, Filters(temperature=0)),
        (2, 1, 4, 1, Filters()),
        (2, 40, 9, 1, Filters(0.9, 30, 0.95, 0.02, frozenset({7}))),
    ],
)
def test_the_loop_draws_what_the_reference_draws(rows: int, size: int, hidden: int, depth: int, filters: Any) -> None:
    uniforms = np.random.default_rng(3).random((40, rows))
    stack = make(rows, size, hidden, depth, stride=hidden + 3)
    sampler = stack.sampler(
        temperature=filters.temperature, top_k=filters.top_k, top_p=filters.top_p, min_p=filters.min_p,
        banned=filters.banned,
    )  # fmt: skip
    ids, logprobs = in_blocks(sampler, uniforms)
    expected_ids, expected = reference(stack, uniforms, filters)
    assert ids.tolist() == expected_ids.tolist()
    assert logprobs == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("rows", [1, 6])
def test_what_follows_a_symbol_is_fed_to_its_row_alone(rows: int) -> None:
    uniforms = np.random.default_rng(4).random((40, rows))
    follows = {2: 5, 3: 0, 7: 7}
    stack = make(rows, 10, 12, 2)
    ids, logprobs = in_blocks(stack.sampler(follows=follows), uniforms)
    expected_ids, expected = reference(stack, uniforms, Filters(), follows)
    assert np.isin(expected_ids, list(follows)).any(axis=1).any()
    assert ids.tolist() == expected_ids.tolist()
    assert logprobs == pytest.approx(expected, abs=2e-5)


def test_a_lesser_target_draws_the_same() -> None:
    if host_target().name not in ("avx2", "avx512"):
        pytest.skip("this machine has no lesser target")
    uniforms = np.random.default_rng(7).random((40, 3))
    filters = {"temperature": 0.8, "top_k": 12, "top_p": 0.9}
    host, _ = in_blocks(make(3, 37, 21, 2).sampler(**filters), uniforms)
    lesser, _ = in_blocks(make(3, 37, 21, 2).sampler(**filters, target=named_target("x86-64")), uniforms)
    assert host.tolist() == lesser.tolist()


@pytest.mark.parametrize("name", ["neon", "avx2"])
def test_it_compiles_for_other_machines(name: str) -> None:
    image = compile_object(sampler_source(named_target(name), "bf16"), named_target(name))
    assert image.startswith(b"\x7fELF")


def test_scoring_gives_the_log_probabilities_that_drawing_gave() -> None:
    uniforms = np.random.default_rng(5).random((30, 4))
    ids, logprobs = in_blocks(make(4, 33, 20, 2).sampler(temperature=0.5), uniforms)
    scorer = make(4, 33, 20, 2).sampler()
    scorer.scores[:] = 0
    again, status = scorer.score(ids)
    assert status == Status.DONE
    assert again.tolist() == logprobs.tolist()


@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_small_weights_give_nearly_the_same_scores(format: Any) -> None:
    ids = np.random.default_rng(6).integers(0, 50, (12, 2))
    found = []
    for name in ("fp32", format):
        sampler = make(2, 50, 64, 1).sampler(format=name)
        sampler.scores[:] = 0
        found.append(sampler.score(ids)[0])
    assert found[1] == pytest.approx(found[0], abs=0.5)
    assert (found[1] != found[0])[1:].all()


def test_the_scores_after_a_block_are_those_of_the_next_symbol() -> None:
    stack = make(2, 9, 6, 1)
    sampler = stack.sampler()
    sampler.scores[:] = 0
    ids, _, _ = sampler.run(np.full((3, 2), 0.4))
    assert sampler.parity == 1
    for drawn in ids:
        expected = stack.step(drawn)
    assert sampler.scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("value", "status", "text"),
    [
        (float("nan"), Status.NOT_FINITE, "not finite"),
        (float("inf"), Status.NOT_FINITE, "not finite"),
        (float("-inf"), Status.DONE, None),
    ],
)
def test_scores_that_are_no_numbers_end_the_block(value: float, status: Status, text: str | None) -> None:
    stack = make(2, 20, 6, 1)
    stack.bias[3] = value
    sampler = stack.sampler()
    sampler.scores[:] = 0
    ids, logprobs, ended = sampler.run(np.full((5, 2), 0.3))
    assert ended == status
    if text is None:
        assert len(ids) == 5
        check(ended)
        return
    # the first symbol comes from the scores that were given
    assert len(ids) == len(logprobs) == 1
    with pytest.raises(FailureError, match=text):
        check(ended)


def test_no_symbol_left() -> None:
    stack = make(1, 4, 6, 1)
    for arguments, first in (({"banned": {0, 1, 2, 3}}, 0.0), ({}, -np.inf)):
        sampler = stack.sampler(**arguments)
        sampler.scores[:] = first
        ids, _, status = sampler.run(np.full((2, 1), 0.3))
        assert (len(ids), status) == (0, Status.NO_SYMBOL)
        with pytest.raises(FailureError, match="no symbol left"):
            check(status)


def test_messages_are_those_of_the_reference() -> None:
    for bad, status in ((-np.inf, Status.NO_SYMBOL), (np.nan, Status.NOT_FINITE)):
        with pytest.raises(FailureError) as expected:
            log_softmax(np.array([[bad]]))
        with pytest.raises(FailureError) as found:
            check(status)
        assert str(found.value) == str(expected.value)


def test_wrong_sizes_are_refused() -> None:
    stack = make(2, 4, 6, 1)
    with pytest.raises(MisuseError, match="stride of 5"):
        Sampler(stack.layers, stack.weight, stack.bias, stack.tokens, 5)
    sampler = stack.sampler()
    with pytest.raises(MisuseError, match=r"must be \[n, 2\]"):
        sampler.run(np.zeros((3, 1)))
    with pytest.raises(MisuseError, match="0 to 3"):
        sampler.score(np.array([[0, 4]]))
