"""Widths, batches and lengths that do not fit vectors, tiles and threads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from cpu_cases import Given, assert_close, check, needs_backend, needs_bf16, operands, run_on

from elman.equations import Recurrence, cell

pytestmark = needs_backend

WIDTHS = (1, 15, 16, 17, 31, 33, 100, 128, 200)
BATCHES = (1, 2, 3, 4, 5, 6, 7, 13, 31, 64, 65)
HALVES = [False, pytest.param(True, marks=needs_bf16)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width: int, half: bool) -> None:
    # one recurrence: code depends on whether the width fills its vectors, on nothing else
    for batch, steps, inputs in ((3, 2, width), (1, 3, 17), (9, 1, 1)):
        # a gradient of one number: nothing evens out what bfloat16 rounds away
        check(operands(cell("gru"), steps, batch, width, inputs), half, floor=0.15 if half and width == 1 else None)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: int, half: bool) -> None:
    check(operands(cell("gru"), 3, batch, 17, 15), half)


@pytest.mark.parametrize("name", ["lstm", "gru", "mut1", "layernorm-lstm", "sru"])
def test_one_row_whose_inputs_are_multiplied_first(name: str) -> None:
    recurrence = cell(name)
    for hidden in (64, 128):
        given = operands(recurrence, 9, 1, hidden, 20)
        check(given)
        # the same as with a second row, when the loop multiplies them itself
        twice = replace(
            given,
            x=given.x.expand(-1, 2, -1),
            state={name: tensor.expand(2, -1) for name, tensor in given.state.items()},
            constants={name: tensor.expand(2, -1) for name, tensor in given.constants.items()},
        )
        (outputs, final), (both, last) = run_on(given, "cpu"), run_on(twice, "cpu")
        assert_close({n: t[:, :1] for n, t in both.items()}, {n: t.detach() for n, t in outputs.items()})
        assert_close({n: t[:1] for n, t in last.items()}, {n: t.detach() for n, t in final.items()})


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm-gru", "mut1", "mlstm", "indrnn"])
def test_every_width_with_every_batch(name: str, half: bool) -> None:
    pick = random.Random(name)
    for hidden in WIDTHS:
        for batch in BATCHES:
            steps = pick.choice([1, 2, 2, 3])
            lengths = None if pick.random() < 0.5 else [pick.randint(1, steps) for _ in range(batch)]
            # a norm of products with one number has no slope
            given = operands(cell(name), steps, batch, hidden, pick.choice(WIDTHS[1:]), lengths=lengths)
            # a gradient of few terms may hang on one rounding
            few = hidden == 1 or batch < 4
            check(given, half, floor=(0.3 if few else 5e-2) if half else 1e-3 if few else None)


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["lstm", "gru", "mut1"])
def test_fifty_steps(name: str, half: bool) -> None:
    check(operands(cell(name), 50, 13, 33), half, floor=5e-2 if half else None)


LENGTHS = {
    "all equal and shorter": [3] * 5,
    "all equal and full": [6] * 5,
    "all one": [1] * 5,
    "one row": [4],
    "rising": [1, 2, 3, 4, 5, 6],
    "falling": [6, 5, 4, 3, 2, 1],
    "one long": [1, 1, 1, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    "many": [1 + (7 * i) % 6 for i in range(65)],
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("what", LENGTHS)
def test_ragged(what: str, half: bool) -> None:
    lengths = LENGTHS[what]
    check(operands(cell("gru"), 6, len(lengths), 17, 15, lengths=lengths), half)
    check(operands(cell("gru"), 6, len(lengths), 17, 15, lengths=lengths), half, every_state=False)


@pytest.mark.parametrize("lengths", [None, [1 + (5 * i) % 4 for i in range(29)]])
@pytest.mark.usefixtures("threads")
def test_threads_change_nothing_but_the_last_bits(lengths: list[int] | None) -> None:
    # the height of a register tile, and with it the order of additions, follows from the rows of a thread
    given = operands(cell("gru"), 4, 29, 17, 15, lengths=lengths)
    torch.set_num_threads(1)
    check(given)
    expected = run_on(given, "cpu")
    for count in (2, 3, 7):
        torch.set_num_threads(count)
        found = run_on(given, "cpu")
        assert_close(found[0], expected[0])
        assert_close(found[1], expected[1])
        check(given)


@pytest.mark.usefixtures("threads")
def test_equal_calls_give_equal_bits() -> None:
    given = operands(cell("gru"), 4, 29, 17, 15)
    torch.set_num_threads(2)
    expected = run_on(given, "cpu")[0]["h"]
    assert all(torch.equal(run_on(given, "cpu")[0]["h"], expected) for _ in range(10))


UNDEFINED_AT_ZERO = {
    "log": "s = h\nh = 0.1 * log(x * x) + 0.1 * (U @ tanh(log(x * x))) + 0.1 * h",
    "a quotient of states": "h = tanh(U @ (x / (h * h)) + x / c)\nc = 1 / h + V @ (1 / c)",
    "a quotient in a norm": "h = tanh(norm(1 / x, g, b) + norm(U @ h, k, b) + log(abs(c)))\nc = 1 / (c * c + x)",
    "a root": "h = tanh(U @ sqrt(h * h) + 0.1 / sqrt(x * x))",
    "a vector below": "h = tanh(U @ h + h / p + log(p * p) * x + A @ (h / p))",
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("what", UNDEFINED_AT_ZERO)
def test_what_stands_beyond_the_width_stays_there(what: str, half: bool) -> None:
    def far_from_zero(tensor: torch.Tensor) -> torch.Tensor:
        away = torch.where(tensor < 0, tensor - 1, tensor + 1) if tensor.dim() != 2 or len(tensor) == 5 else tensor
        return away.detach().requires_grad_()

    given = operands(Recurrence(UNDEFINED_AT_ZERO[what], output="h"), 3, 5, 17).map(far_from_zero)
    check(given, half, floor=1e-1 if half else None)
    ragged = Given(given.recurrence, given.parameters, given.x, given.state, {}, torch.tensor([1, 3, 2, 3, 1]))
    check(ragged, half, floor=1e-1 if half else None)


@pytest.mark.slow
def test_a_hundred_thousand_steps() -> None:
    given = operands(cell("gru"), 100_000, 2, 5, 3)
    (h,) = run_on(given, "cpu", every_state=False)[0].values()
    exact = run_on(given.to(torch.float64), "reference", every_state=False)[0]["h"].detach()
    assert (h.detach() - exact).abs().max() < 1e-4
    h.square().mean().backward()
    copy = given.to(torch.float64)
    run_on(copy, "reference", every_state=False)[0]["h"].square().mean().backward()
    for name, leaf in given.leaves().items():
        right = copy.leaves()[name].grad
        assert leaf.grad is not None
        assert right is not None
        assert (leaf.grad - right).abs().max() <= 1e-3 * right.abs().max(), name
