"""Rounds of products, linear states and costs against counts by hand."""

from __future__ import annotations

import pytest

from elman.equations import Recurrence, cell, zoo

ROUNDS = {
    **dict.fromkeys(["sru", "qrnn-f", "mingru", "minlstm", "indrnn"], 0),
    **dict.fromkeys(["rnn", "lstm", "gru-reset-after", "ran", "highway", "layernorm-lstm"], 1),
    **dict.fromkeys(["gru", "mut1", "mut2", "mut3", "mgu", "mlstm"], 2),
}


@pytest.mark.parametrize(("name", "rounds"), sorted(ROUNDS.items()))
def test_rounds_of_products(name: str, rounds: int) -> None:
    stages = cell(name).stages
    assert len(stages) - 1 == rounds
    assert stages[0].products == ()
    assert len(cell(name).derivative.stages) - 1 == rounds


@pytest.mark.parametrize("name", zoo())
def test_stages_hold_every_node_of_the_step_once_and_in_order(name: str) -> None:
    nodes = cell(name).graph.nodes
    done = {i for i, node in enumerate(nodes) if node.phase != "step" or not node.args}
    for number, stage in enumerate(cell(name).stages):
        assert stage.index == number
        assert all(nodes[i].op == "product" and set(nodes[i].args) <= done for i in stage.products)
        done |= set(stage.products)
        for i in stage.pointwise:
            assert nodes[i].op != "product"
            assert set(nodes[i].args) <= done
            assert i not in done
            done.add(i)
    assert done == set(range(len(nodes)))


def test_what_lies_between_the_products_of_mut3() -> None:
    recurrence = cell("mut3")
    nodes = recurrence.graph.nodes
    before, first, second = recurrence.stages
    assert [nodes[i].op for i in before.pointwise] == ["tanh"]
    assert {nodes[i].name for i in first.products} == {"Whz", "Whr"}
    assert [nodes[i].name for i in second.products] == ["Whh"]


LINEAR = {"sru": ("c",), "mingru": ("h",), "minlstm": ("h",), "qrnn-f": ("h",)}


@pytest.mark.parametrize("name", zoo())
def test_linear_states_of_the_zoo(name: str) -> None:
    assert cell(name).linear_states == LINEAR.get(name, ())


@pytest.mark.parametrize(
    ("update", "linear"),
    [
        ("a * h + W @ x", True),
        ("-(h - a) / (2 + W @ x)", True),
        ("h", True),
        ("h * (W @ x) * a + h * 2 - (1 - h)", True),
        ("a * h + c", False),
        ("h * h", False),
        ("h ** 2", False),
        ("1 / h", False),
        ("tanh(h)", False),
        ("U @ h", False),
        ("norm(h, a, b)", False),
        ("a * (W @ x)", False),
    ],
)
def test_linear_is_a_times_h_plus_b_with_both_free_of_every_state(update: str, linear: bool) -> None:
    recurrence = Recurrence(f"h = {update}\nc = tanh(R @ c + h)")
    assert ("h" in recurrence.linear_states) == linear
    assert "c" not in recurrence.linear_states


def test_cost_of_the_rnn_by_hand() -> None:
    cost = cell("rnn").cost(3, 5)
    assert cost.parameters == 5 * 3 + 5 * 5 + 5
    assert cost.forward.hoisted_flops == 2 * 5 * 3 + 5  # Wx @ x, + b
    assert cost.forward.recurrent_flops == 2 * 5 * 5 + 5 + 5  # Wh @ h, the sum, tanh
    assert cost.flops == cost.forward.flops == 35 + 60
    # h * h, 1 - ., g * ., and the transposed product
    assert cost.backward.recurrent_flops == 3 * 5 + 2 * 5 * 5
    # gradients of Wx and Wh, of x, and of b
    assert cost.backward.hoisted_flops == 2 * 5 * 3 + 2 * 5 * 5 + 2 * 5 * 3 + 5
    assert cost.flops_backward == 65 + 115
    # forward: Wh, the hoisted sum, h read, h written (which is also what is saved)
    assert cost.forward.bytes == cost.bytes == 4 * (25 + 5 + 5 + 5)
    # backward: Wh, h saved, the cotangent, the gradient of the sum (boundary and product are one), that of the old h
    assert cost.backward.bytes == 4 * (25 + 5 + 5 + 5 + 5)


def test_cost_of_the_lstm_by_hand() -> None:
    n, m = 7, 3
    cost = cell("lstm").cost(m, n)
    assert cost.parameters == 4 * (n * m + n * n + n)
    assert cost.forward.hoisted_flops == 4 * (2 * n * m + n)
    assert cost.forward.recurrent_flops == 4 * (2 * n * n + n) + 4 * n + 5 * n  # sums, gates, f*c i*g + tanh o*
    assert cost.backward.recurrent_flops >= 4 * 2 * n * n
    assert cost.backward.hoisted_flops == 4 * (2 * n * n + 2 * n * m + 2 * n * m + n) + 3 * m  # 3 sums into dx


def test_constant_inputs_cost_nothing_a_step() -> None:
    assert cell("rnn-image").cost(3, 5, v=100).forward == cell("rnn").cost(3, 5).forward
    assert cell("rnn-image").cost(3, 5, v=100).parameters == cell("rnn").cost(3, 5).parameters + 500
    assert cell("rnn-image").cost(3, 5, v=100).backward == cell("rnn").cost(3, 5).backward


@pytest.mark.parametrize("name", zoo())
def test_backward_costs_about_twice_forward(name: str) -> None:
    recurrence = cell(name)
    cost = recurrence.cost(256, 256, **dict.fromkeys(recurrence.inputs, 8))
    assert 1.9 < cost.flops_backward / cost.flops < 2.1
    shapes = recurrence.parameters(256, 256, **dict.fromkeys(recurrence.inputs, 8)).values()
    assert cost.parameters == sum(s[0] * (s[1] if len(s) > 1 else 1) for s in shapes)
