"""The graph means what the text says, and is built as documented."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from generated_recurrences import recurrences
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import draw, run_graph, step_of_text

from elman.equations import OPS, EquationError, Graph, Recurrence, cell, zoo
from elman.errors import MisuseError


def check_well_formed(graph: Graph) -> None:
    used = {*graph.states.values(), *(argument for node in graph.nodes for argument in node.args)}
    for index, node in enumerate(graph.nodes):
        assert len(node.args) == OPS[node.op].arity
        assert all(argument < index for argument in node.args), "arguments stand before their users"
        assert index in used, "nothing unused is kept"
        phases = [graph.nodes[argument].phase for argument in node.args]
        if phases:
            assert node.phase == max(phases, key=["once", "sequence", "step"].index)
    assert len(set(graph.nodes)) == len(graph.nodes), "equal values are one node"


def check_same_as_text(recurrence: Recurrence, seed: int) -> None:
    values = draw(recurrence, seed)
    expected = step_of_text(recurrence.equations, values)
    nodes = run_graph(recurrence.graph, values)
    for name, new in recurrence.graph.states.items():
        np.testing.assert_allclose(nodes[new], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", zoo())
def test_zoo_graph_equals_its_text(name: str) -> None:
    check_well_formed(cell(name).graph)
    for seed in range(3):
        check_same_as_text(cell(name), seed)


@settings(max_examples=150, deadline=None)
@given(recurrences(), st.integers(0, 2**32 - 1))
def test_generated_graph_equals_its_text(recurrence: Recurrence, seed: int) -> None:
    check_well_formed(recurrence.graph)
    check_same_as_text(recurrence, seed)


def test_a_state_is_read_old_before_its_line_and_new_after_it() -> None:
    recurrence = Recurrence("a = c\nc = 0.5 * c + W @ x\nb = c\nh = tanh(a + 2 * b + h)")
    assert recurrence.states == ("c", "h")
    values = draw(recurrence, 0)
    new_c = 0.5 * values["c"] + values["W"] @ values["x"]
    nodes = run_graph(recurrence.graph, values)
    np.testing.assert_allclose(nodes[recurrence.graph.states["c"]], new_c)
    np.testing.assert_allclose(nodes[recurrence.graph.states["h"]], np.tanh(values["c"] + 2 * new_c + values["h"]))


def test_a_name_may_be_assigned_again() -> None:
    recurrence = Recurrence("h = W @ x + U @ h\nh = tanh(h)")
    assert recurrence.states == ("h",)
    values = draw(recurrence, 1)
    new = run_graph(recurrence.graph, values)[recurrence.graph.states["h"]]
    np.testing.assert_allclose(new, np.tanh(values["W"] @ values["x"] + values["U"] @ values["h"]))


def test_the_sum_adds_what_is_known_before_the_loop_first() -> None:
    graph = Recurrence("h = tanh(Wx @ x + Wh @ h + b)").graph
    total = graph.nodes[graph.nodes[graph.states["h"]].args[0]]
    before, last = (graph.nodes[argument] for argument in total.args)
    assert total.op == "add"
    assert before.phase == "sequence"
    assert {graph.nodes[a].op for a in before.args} == {"product", "vector"}
    assert (last.op, last.name) == ("product", "Wh")


def test_sums_are_reordered_across_lines_and_signs() -> None:
    recurrence = Recurrence("a = U @ h - b\nh = tanh(-(a - W @ x) - (p - V @ v))", inputs=("v",))
    graph = recurrence.graph
    total = graph.nodes[graph.nodes[graph.states["h"]].args[0]]
    assert total.op == "sub"
    assert [graph.nodes[a].phase for a in total.args] == ["sequence", "step"]
    assert graph.nodes[total.args[1]].name == "U"
    check_same_as_text(recurrence, 2)


def test_a_shared_sum_is_not_taken_apart() -> None:
    graph = Recurrence("a = U @ h + b\nh = tanh(a + W @ x) * a").graph
    assert sum(node.op == "add" for node in graph.nodes) == 2


def test_common_subexpressions_are_one_node_and_numbers_are_folded() -> None:
    graph = Recurrence("h = sigmoid(W @ x) * h + (1 - sigmoid(W @ x)) * (2 * 3 - 5)").graph
    assert sum(node.op == "sigmoid" for node in graph.nodes) == 1
    assert [node.value for node in graph.nodes if node.op == "const"] == [1.0]


def test_what_no_state_needs_is_dropped_with_its_parameters() -> None:
    recurrence = Recurrence("q = sigmoid(Wq @ x + bq)\nh = tanh(W @ x + U @ h)")
    assert list(recurrence.parameters(3, 4)) == ["W", "U"]


def test_parameters_stand_in_the_order_of_first_use() -> None:
    assert list(cell("lstm").parameters(3, 4)) == [f"{kind}{gate}" for gate in "ifog" for kind in ("W", "U", "b")]
    assert cell("lstm").parameters(3, 4)["Wi"] == (4, 3)
    assert cell("lstm").parameters(3, 4)["Ui"] == (4, 4)
    assert cell("lstm").parameters(3, 4)["bi"] == (4,)
    assert list(Recurrence("h = tanh(b + U @ h + W @ x)").parameters(3, 4)) == ["b", "U", "W"]


def test_phases_of_products() -> None:
    graph = cell("rnn-image").graph
    phases = {node.name: node.phase for node in graph.nodes if node.op == "product"}
    assert phases == {"Wx": "sequence", "Wh": "step", "Wv": "once"}


def test_widths_of_inputs() -> None:
    recurrence = cell("rnn-image")
    assert recurrence.parameters(3, 4, v=5) == {"Wx": (4, 3), "Wh": (4, 4), "Wv": (4, 5), "b": (4,)}
    assert recurrence.square == frozenset()
    assert cell("mut1").square == cell("mut2").square == {"x"}
    assert cell("mut3").square == frozenset()
    assert Recurrence("h = tanh(U @ h + v + x)", inputs=("v",)).square == {"x", "v"}
    assert Recurrence("h = tanh(W @ x + W @ h + x)").parameters(4, 4) == {"W": (4, 4)}
    assert Recurrence("y = x\nh = tanh(W @ y + U @ h)").square == frozenset()
    assert Recurrence("h2 = tanh(U @ h + V @ h2)\nh = x").square == {"x"}


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"input": 3, "hidden": 4}, "give v="),
        ({"input": 3, "hidden": 4, "v": 0}, "at least 1"),
        ({"input": 3, "hidden": 4, "v": 2, "w": 2}, "no constant input 'w'"),
        ({"input": 3.0, "hidden": 4, "v": 2}, "whole number"),
    ],
)
def test_wrong_sizes_are_refused(sizes: dict, said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        cell("rnn-image").parameters(**sizes)


def test_an_elementwise_input_must_be_as_wide_as_the_states() -> None:
    with pytest.raises(MisuseError, match="x elementwise"):
        cell("mut1").parameters(3, 4)


def test_the_output() -> None:
    assert cell("lstm").output == "h"
    assert Recurrence(cell("lstm").equations, output="c").output == "c"
    assert cell("sru").states == ("c", "h")
    assert cell("sru").output == "h", "what the last line assigns leaves, though no line reads it"
    assert Recurrence(cell("sru").equations, output="c").states == ("c",)
    with pytest.raises(EquationError, match="not a state"):
        Recurrence(cell("lstm").equations, output="i")


def test_equality_is_of_the_equations_and_not_of_their_layout() -> None:
    one = Recurrence("h = tanh(W @ x + U @ h)", name="one")
    assert one == Recurrence("# a comment\n\n  h = tanh( W@x+\n      U@h )  # more")
    assert hash(one) == hash(Recurrence("h=tanh(W@x+U@h)"))
    assert one != Recurrence("h = tanh(U @ h + W @ x)")
    assert Recurrence("c = h\nh = c * h") != Recurrence("c = h\nh = c * h * 1")
    text = "a = 0.5 * a + h\nh = tanh(U @ a)"
    assert Recurrence(text, output="a") != Recurrence(text, output="h")


def test_a_recurrence_is_immutable_and_can_be_copied_and_sent() -> None:
    recurrence = cell("gru")
    with pytest.raises(AttributeError):
        recurrence.output = "z"  # type: ignore[misc]
    for other in (copy.deepcopy(recurrence), pickle.loads(pickle.dumps(recurrence))):
        assert other == recurrence
        assert other.graph == recurrence.graph
        assert other.derivative == recurrence.derivative


def test_the_text_is_kept_as_given() -> None:
    text = "\r\n# mine\r\n\th = tanh(W @ x +\r\n U @ h) # so\r\n"
    assert Recurrence(text).equations == text


def test_mask_on_what_states_send_into_products() -> None:
    recurrence = cell("gru").with_recurrent_mask()
    assert recurrence.inputs == ("mask",)
    assert recurrence.square == {"mask"}
    assert recurrence.equations == cell("gru").equations
    assert recurrence.parameters(3, 4) == cell("gru").parameters(3, 4)
    assert recurrence != cell("gru")
    values = draw(recurrence, 3)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    x, h, m = values["x"], values["h"], values["mask"]
    r = sigmoid(values["Wr"] @ x + values["Ur"] @ (m * h) + values["br"])
    z = sigmoid(values["Wz"] @ x + values["Uz"] @ (m * h) + values["bz"])
    n = np.tanh(values["Wh"] @ x + values["Uh"] @ (m * (r * h)) + values["bh"])
    new = run_graph(recurrence.graph, values)[recurrence.graph.states["h"]]
    np.testing.assert_allclose(new, z * h + (1 - z) * n)
    check_well_formed(recurrence.graph)
    masks = [n for n in recurrence.graph.nodes if n.op == "mul" and recurrence.graph.nodes[n.args[0]].name == "mask"]
    assert len(masks) == 2, "the two products with h share one masked h"


@pytest.mark.parametrize("name", zoo())
def test_a_mask_of_ones_changes_nothing(name: str) -> None:
    plain, with_mask = cell(name), cell(name).with_recurrent_mask("dropped")
    values = draw(with_mask, 4) | {"dropped": np.ones(4)}
    one, other = run_graph(plain.graph, values), run_graph(with_mask.graph, values)
    for state in plain.states:
        np.testing.assert_allclose(other[with_mask.graph.states[state]], one[plain.graph.states[state]])


@pytest.mark.parametrize("name", ["h", "Ur", "x", "tanh", "not plain", "_m", "lambda", ""])
def test_a_mask_needs_a_free_name(name: str) -> None:
    with pytest.raises(MisuseError, match="mask"):
        cell("gru").with_recurrent_mask(name)
