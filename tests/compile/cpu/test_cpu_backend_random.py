"""Random recurrences, and shapes of equations that are easily got wrong, on the compiled backend."""

from __future__ import annotations

import random

import pytest
from cpu_cases import check, needs_backend, needs_bf16, operands, random_recurrence

from elman.equations import Recurrence

pytestmark = needs_backend

FIXED = {
    "a state that is another's new value": "g = d + c\nh = tanh(W @ x + U @ h + g)\nc = 0.5 * h\nd = h",
    "a state that is x": "h = tanh(c + U @ h)\nc = x",
    "a state that is a vector": "h = tanh(c * h + W @ x)\nc = b",
    "a state that only waits": "s = c * h\nc = c\nh = tanh(W @ x + s)",
    "the states change places": "s = h\nh = c + 0.1 * x\nc = s",
    "a state that nobody reads": "s = c\nh = tanh(W @ x + U @ h)\nc = sin(V @ h)",
    "an input that nobody reads": "h = tanh(U @ h) + 0.5 * h",
    "no product": "h = tanh(x * h + x)",
    "no parameter": "c = sin(h + c)\nh = 0.5 * c + 0.1 * x",
    "products of functions of x": "h = tanh(W @ tanh(x) + V @ (x * x) + U @ h + A @ x)",
    "one matrix twice": "h = tanh(U @ h + U @ (h * h)) + 0.1 * tanh(U @ c)\nc = tanh(U @ c + W @ x)",
    "one matrix on both sides of time": "h = tanh(U @ h + W @ x)\nc = tanh(U @ h) + 0.1 * c",
    "the same term twice": "a = U @ h\nh = tanh(a + a + W @ x + W @ x)",
    "a sum in a sum": "a = U @ h + W @ x\nb = a + V @ h\nh = tanh(a + b) * sigmoid(b)",
    "signs": "h = tanh(-(W @ x) - U @ h - (V @ h - A @ x) + (-(B @ h)))",
    "x with a minus beside a product": "h = tanh(h - x) * tanh(W @ x)",
    "x with a minus in many places": "a = W @ x\nh = tanh((h - x) * a - (V @ x) * (-x)) - 0.1 * x * tanh(-(A @ x) + a)",
    "a difference": "h = sin(W @ h - V @ x)",
    "a new state in a product": "c = tanh(W @ x + c)\nh = tanh(U @ c + V @ (c * h)) + 0.1 * h",
    "three products one after another": "a = tanh(A @ h)\nb = tanh(B @ (a * h) + x)\nh = tanh(C @ (a + b) + b)",
    "nine products": "\n".join(
        [f"g{i} = sigmoid(W{i} @ x + U{i} @ h)" for i in range(9)]
        + [f"h = tanh({' * '.join(f'g{i}' for i in range(9))} - h)"]
    ),
    "a linear recurrence": "h = W @ x + U @ h",
    "a product beside nothing": "h = U @ h",
    "norms of norms": "h = norm(tanh(norm(U @ h, g, 0) + norm(x, k, b)), g, b) * 0.5",
    "a norm without a product": "h = tanh(norm(h + x, g, b) + norm(x, k, 0))",
    "a constant input in a product": "h = tanh(W @ x + U @ h + A @ v)",
    "a constant input by element": "h = tanh(v * h + W @ x) * v + norm(v, g, b)",
    "a constant input both ways": "h = tanh(U @ (h + A @ v) + v * x)",
    "a product with a vector": "h = tanh(W @ x + h + U @ p)",
    "a product with a function of a vector": "h = tanh(U @ (h + p) + U @ tanh(p))",
    "powers": "h = tanh(h ** 2 - h ** 3 + h ** 7 + W @ x + 0.1 * (U @ h) ** 8)",
    "all functions": "h = tanh(exp(-abs(h)) + log(2 + sin(W @ x)) - sqrt(0.5 + h * h) + cos(h) / (2 + softplus(x)) + "
    "elu(U @ h) + leaky_relu(h - 0.3) + hard_sigmoid(2 * h) + maximum(h, x) - minimum(U @ h, 0.3) + relu(h + x))",
}


def given_for(text: str, **sizes):
    inputs = ("v",) if " v" in text or "(v" in text else ()
    return operands(Recurrence(text, output="h", inputs=inputs), **sizes)


def choose(seed: int) -> tuple[dict, bool]:
    """Sizes and whether all states are asked for."""
    pick = random.Random(seed)
    steps, batch = pick.choice([1, 2, 5, 9]), pick.choice([1, 2, 3, 5, 8, 13])
    lengths = None if pick.random() < 0.5 else [pick.randint(1, steps) for _ in range(batch)]
    sizes = {
        "steps": steps,
        "batch": batch,
        "hidden": pick.choice([1, 15, 16, 17, 20, 33, 48]),
        "width": pick.choice([None, 1, 8, 17]),
        "lengths": lengths,
        "seed": seed,
    }
    return sizes, pick.random() < 0.5


@pytest.mark.parametrize("what", FIXED)
def test_equations_that_are_easily_got_wrong(what: str) -> None:
    check(given_for(FIXED[what]))


@pytest.mark.slow
@needs_bf16
@pytest.mark.parametrize("what", FIXED)
@pytest.mark.parametrize("lengths", [None, [4, 1, 5, 5, 2]])
def test_the_same_under_autocast(what: str, lengths: list[int] | None) -> None:
    check(given_for(FIXED[what], lengths=lengths), half=True)


@pytest.mark.parametrize(
    "text", ["100 * norm(x, g, 0) + sin(x)", "sin(x) - 100 * norm(x, g, 0)", "100 * norm(h + x, g, 0)"]
)
def test_gradients_that_cancel_leave_nothing_behind(text: str) -> None:
    # a norm of one unit has no slope: its gradient is the difference of two equal numbers, large ones beside the rest
    check(given_for(f"h = tanh({text}) + sin(x) + U @ h", hidden=1, width=1))


@pytest.mark.parametrize("seed", range(15))
def test_a_random_recurrence(seed: int) -> None:
    sizes, every_state = choose(seed)
    check(operands(random_recurrence(seed), **sizes), every_state=every_state)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(15, 240))
def test_many_random_recurrences(seed: int) -> None:
    sizes, every_state = choose(seed)
    check(operands(random_recurrence(seed), **sizes), every_state=every_state)


@pytest.mark.slow
@needs_bf16
@pytest.mark.parametrize("seed", range(1000, 1080))
def test_random_recurrences_under_autocast(seed: int) -> None:
    sizes, every_state = choose(seed)
    # no kinks: what rounds to the other side of one has the slope of that side
    sizes["hidden"], sizes["batch"], sizes["lengths"] = max(sizes["hidden"], 15), max(sizes["batch"], 5), None
    check(operands(random_recurrence(seed, smooth=True), **sizes), True, every_state, floor=5e-2)
