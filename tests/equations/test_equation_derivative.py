"""The derivative against finite differences: for every cell of the zoo, every operation and random recurrences."""

from __future__ import annotations

import numpy as np
import pytest
from generated_recurrences import recurrences
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interpreter import Array, Values, draw, run_derivative, run_graph

from elman.equations import OPS, Derivative, Graph, Recurrence, cell, differentiate, zoo

STEP = 1e-6


def gradients(graph: Graph, derivative: Derivative, values: Values, cotangents: Values) -> dict[str | int, Array]:
    """The gradient of every previous state, boundary node and matrix."""
    forward = run_graph(graph, values)
    backward = run_derivative(derivative, forward, values, cotangents)
    found: dict[str | int, Array] = {name: backward[node] for name, node in derivative.states.items()}
    found |= {outer: backward[node] for outer, node in derivative.boundary.items()}
    for matrix, argument, gradient in derivative.weights:
        found[matrix] = found.get(matrix, 0.0) + np.outer(backward[gradient], forward[argument])
    return found


def check(graph: Graph, derivative: Derivative, values: Values, seed: int = 0, *, kinks: bool = False) -> None:
    """Compare along random directions; with `kinks`, points where the two one-sided slopes differ are left out."""
    random = np.random.default_rng(seed)
    cotangents = {name: random.normal(size=4) for name in graph.states}
    forward = run_graph(graph, values)
    matrices = {name for name, _, _ in derivative.weights}
    outer = {i: forward[i] for i in derivative.boundary}

    def loss(names: Values, fixed: dict[int, Array]) -> float:
        nodes = run_graph(graph, names, fixed)
        return float(sum(cotangents[name] @ nodes[new] for name, new in graph.states.items()))

    for key, gradient in gradients(graph, derivative, values, cotangents).items():
        point = outer[key] if isinstance(key, int) else values[key]
        direction = random.normal(size=np.shape(point))

        def moved(by: float, key: str | int = key, point: Array = point, direction: Array = direction) -> float:
            if isinstance(key, int):
                return loss(values, outer | {key: point + by * direction})
            # the products outside the differentiated nodes may use the same matrix: their values stay
            frozen = dict(outer) if key in matrices else {}
            return loss(values | {key: point + by * direction}, frozen)

        right, left = (moved(STEP) - moved(0)) / STEP, (moved(0) - moved(-STEP)) / STEP
        scale = 1 + abs(right) + abs(left)
        if kinks and abs(right - left) > 1e-3 * scale:
            continue
        expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-5, abs=1e-6 * scale), key


@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("seed", [0, 1])
def test_zoo(name: str, seed: int) -> None:
    recurrence = cell(name)
    values = draw(recurrence, seed)
    check(recurrence.graph, recurrence.derivative, values, seed)
    everything = frozenset(i for i, node in enumerate(recurrence.graph.nodes) if node.args)
    whole = differentiate(recurrence.graph, everything)
    check(recurrence.graph, whole, values, seed)
    assert {name for name, _, _ in whole.weights} == set(recurrence.matrices)
    leaves = {recurrence.graph.nodes[i].name for i in whole.boundary}
    assert leaves == {*recurrence.vectors, "x", *recurrence.inputs}


@pytest.mark.parametrize("name", zoo())
def test_zoo_with_a_mask(name: str) -> None:
    recurrence = cell(name).with_recurrent_mask()
    check(recurrence.graph, recurrence.derivative, draw(recurrence, 2))


@settings(max_examples=120, deadline=None)
@given(recurrences(), st.integers(0, 2**32 - 1), st.booleans())
def test_generated(recurrence: Recurrence, seed: int, everything: bool) -> None:
    values = draw(recurrence, seed)
    graph = recurrence.graph
    assume(all(np.abs(value).max() < 1e3 for value in run_graph(graph, values)))
    inner = frozenset(i for i, node in enumerate(graph.nodes) if node.args) if everything else None
    check(graph, differentiate(graph, inner), values, seed, kinks=True)


EXPRESSIONS = {
    "power": "(0.3 * h) ** 5 + h ** 2 + h ** 3",
    "norm": "norm(h, gain, bias)",
    "mean": "norm(h, h, h)",
    "div": "W @ x / (3 + h) + h / (2 + sin(h))",
    "maximum": "maximum(h, p) * maximum(0.1, h)",
    "minimum": "minimum(h, p) * minimum(h, 0.1)",
    "neg": "-(h * h)",
    "add": "h + h + 1",
    "sub": "(1 - h) * (h - p) * (p - h)",
    "mul": "2 * h * (h * 3)",
    "log": "log(3 + h)",
    "sqrt": "sqrt(3 + h)",
    "product": "U @ (h * (U @ h))",
}
DERIVATIVE_ONLY = {"saved", "cotangent", "product_transposed", "sign", "greater"}
LEAVES = {"input", "state", "vector", "const"}


@pytest.mark.parametrize("op", sorted(set(OPS) - DERIVATIVE_ONLY - LEAVES))
def test_every_operation(op: str) -> None:
    recurrence = Recurrence(f"h = {EXPRESSIONS.get(op, f'{op}(h)')}")
    assert op in {node.op for node in recurrence.graph.nodes}
    for seed in range(3):
        check(recurrence.graph, recurrence.derivative, draw(recurrence, seed), seed)


@pytest.mark.parametrize(
    ("text", "left"), [("maximum(h, c)", 0.5), ("minimum(h, c)", 0.5), ("relu(h)", 0.0), ("abs(h)", 0.0)]
)
def test_at_a_kink_the_gradient_is_torch_s(text: str, left: float) -> None:
    recurrence = Recurrence(f"c = c + 0 * h\nh = {text}", output="h")
    values = {"h": np.zeros(4), "c": np.zeros(4)}
    forward = run_graph(recurrence.graph, values)
    cotangents = {"h": np.ones(4), "c": np.zeros(4)}
    derivative = recurrence.derivative
    backward = run_derivative(derivative, forward, values, {k: cotangents[k] for k in recurrence.states})
    np.testing.assert_array_equal(backward[derivative.states["h"]], left)


def test_a_state_that_no_past_reaches() -> None:
    recurrence = Recurrence("y = h + c\nh = tanh(W @ x)\nc = U @ y")
    derivative = recurrence.derivative
    new = recurrence.graph.states["h"]
    assert recurrence.graph.nodes[new].phase == "sequence"
    assert derivative.nodes[derivative.boundary[new]].op == "cotangent"
    check(recurrence.graph, derivative, draw(recurrence, 0))


def test_states_that_hand_on_and_keep_and_forget() -> None:
    recurrence = Recurrence("y = tanh(U @ h + d + k + once)\nd = h\nk = k\nonce = b\nh = y")
    derivative = recurrence.derivative
    assert recurrence.graph.nodes[recurrence.graph.states["once"]].op == "vector"
    assert set(derivative.states) == set(recurrence.states)
    check(recurrence.graph, derivative, draw(recurrence, 0))
    unread = Recurrence("c = f * c\nh = tanh(c)")
    assert set(unread.derivative.states) == {"c"}, "the gradient of an h that nothing reads is zero and absent"


def test_equal_new_values_of_two_states_add_their_cotangents() -> None:
    recurrence = Recurrence("h = tanh(U @ h + c)\nc = h")
    assert recurrence.graph.states["h"] == recurrence.graph.states["c"]
    check(recurrence.graph, recurrence.derivative, draw(recurrence, 0))


def test_only_what_is_needed_is_saved() -> None:
    graph, derivative = cell("lstm").graph, cell("lstm").derivative
    saved = [graph.nodes[i].op for i in derivative.saved]
    assert sorted(saved) == ["sigmoid", "sigmoid", "sigmoid", "state", "tanh", "tanh"]
    assert cell("rnn").derivative.saved == (cell("rnn").graph.states["h"],)
    assert [graph.nodes[a].name for _, a, _ in derivative.weights] == ["h"] * 4


def test_the_derivative_is_well_formed_and_needs_only_transposed_products() -> None:
    for name in zoo():
        derivative = cell(name).derivative
        read = {a for node in derivative.nodes for a in node.args}
        read |= {*derivative.states.values(), *derivative.boundary.values()}
        read |= {gradient for _, _, gradient in derivative.weights}
        assert read == set(range(len(derivative.nodes))), "every node is needed"
        for index, node in enumerate(derivative.nodes):
            assert all(a < index for a in node.args)
            assert node.op in OPS
            assert node.op != "product"
