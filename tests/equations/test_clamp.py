"""A held value is what every later reader of the step and the next step see, and nobody before."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import numpy as np
import pytest
from generated_recurrences import recurrences
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import Values, draw, run_graph, step_of_text

from elman.equations import Recurrence, cell, zoo
from elman.errors import MisuseError


def assigned(recurrence: Recurrence) -> list[str]:
    """The names that the equations assign, in their order."""
    targets = [statement.targets[0].id for statement in ast.parse(recurrence.equations).body]  # type: ignore[attr-defined]
    return list(dict.fromkeys(targets))


def step_with_holds(recurrence: Recurrence, names: Sequence[str], values: Values) -> Values:
    """One step line by line, each name being held when the last line that assigns it has run."""
    lines = [ast.unparse(statement) for statement in ast.parse(recurrence.equations).body]
    targets = [line.split(" = ")[0] for line in lines]
    values = dict(values)
    for index, line in enumerate(lines):
        values = step_of_text(line, values)
        name = targets[index]
        if name in names and name not in targets[index + 1 :]:
            before = values[name]
            values[name] = None if before is None else values[f"keep_{name}"] * before + values[f"put_{name}"]
    return values


def check_holds(recurrence: Recurrence, names: Sequence[str], seed: int) -> None:
    held = recurrence.with_clamp(names)
    assert (held.states, held.output) == (recurrence.states, recurrence.output)
    assert (held.matrices, held.vectors, held.gains) == (recurrence.matrices, recurrence.vectors, recurrence.gains)
    values = draw(held, seed)
    expected = step_with_holds(recurrence, names, values)
    nodes = run_graph(held.graph, values)
    for name, new in held.graph.states.items():
        np.testing.assert_allclose(nodes[new], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def elementwise(recurrence: Recurrence) -> list[str]:
    """The assigned names that are of hidden width at the sizes of the interpreter, so that they can be held."""
    values = step_of_text(recurrence.equations, draw(recurrence, 0))
    return [name for name in assigned(recurrence) if values[name] is not None and np.shape(values[name]) == (4,)]


@pytest.mark.parametrize("name", zoo())
def test_every_value_of_the_zoo_can_be_held(name: str) -> None:
    recurrence = cell(name)
    check_holds(recurrence, recurrence.states, 0)
    for each in elementwise(recurrence):
        check_holds(recurrence, [each], 1)


@settings(max_examples=80, deadline=None)
@given(recurrences(), st.integers(0, 2**32 - 1), st.data())
def test_values_of_any_recurrence_can_be_held(recurrence: Recurrence, seed: int, data: st.DataObject) -> None:
    check_holds(recurrence, data.draw(st.lists(st.sampled_from(recurrence.states), min_size=1, unique=True)), seed)


@pytest.mark.parametrize("name", zoo())
def test_keep_one_and_put_nothing_changes_nothing(name: str) -> None:
    recurrence = cell(name)
    held = recurrence.with_clamp(recurrence.states)
    values = draw(recurrence, 3)
    neutral = {each: np.full(4, float(each.startswith("keep_"))) for each in held.inputs if each not in values}
    plain, same = run_graph(recurrence.graph, values), run_graph(held.graph, {**values, **neutral})
    for state in recurrence.states:
        np.testing.assert_array_equal(same[held.graph.states[state]], plain[recurrence.graph.states[state]])


def test_a_copy_is_held_for_itself() -> None:
    recurrence = Recurrence(
        "d = h\na = tanh(W @ x)\nc = a\ne = a + c + d\nh = e + U @ h + d + c + s\ns = h\n", output="h"
    )
    values = draw(recurrence.with_clamp(["d", "c", "s"]), 5)
    for name, readers in (("d", ("h",)), ("c", ("h",)), ("s", ())):
        held = recurrence.with_clamp([name])
        plain = step_of_text(recurrence.equations, values)
        new = run_graph(held.graph, values)
        value = values[f"keep_{name}"] * plain[name] + values[f"put_{name}"]
        for state in recurrence.states:
            found = new[held.graph.states[state]]
            same = np.allclose(found, plain[state])
            assert same == (state != name and state not in readers and not (state == "s" and "h" in readers)), state
            if state == name:
                np.testing.assert_allclose(found, value)
    # a is what c copies: it does not change with c
    np.testing.assert_allclose(
        run_graph(recurrence.with_clamp(["c"]).graph, {**values, "keep_c": np.zeros(4), "put_c": np.zeros(4)})[
            recurrence.with_clamp(["c"]).graph.states["h"]
        ],
        np.tanh(values["W"] @ values["x"]) + 2 * values["h"] + values["U"] @ values["h"] + values["s"],
    )


def test_a_name_that_is_assigned_twice_is_held_after_the_second_time() -> None:
    recurrence = Recurrence("h = W @ x + U @ h\ng = 2 * h\nh = tanh(h) + g")
    held = recurrence.with_clamp(["h"])
    assert held.equations.count("keep_h") == 1
    values = draw(held, 2)
    first = values["W"] @ values["x"] + values["U"] @ values["h"]
    expected = values["keep_h"] * (np.tanh(first) + 2 * first) + values["put_h"]
    np.testing.assert_allclose(run_graph(held.graph, values)[held.graph.states["h"]], expected)


def test_a_held_recurrence_is_another_one_with_a_text_of_its_own() -> None:
    plain, held = cell("lstm"), cell("lstm").with_clamp(["c"])
    assert held != plain
    assert held == cell("lstm").with_clamp(["c"])
    assert held != cell("lstm").with_clamp(["h"])
    assert Recurrence(held.equations, inputs=held.inputs) == held
    assert (held.title, held.name) == (plain.title, plain.name)
    assert held.inputs == ("keep_c", "put_c")
    assert {"keep_c", "put_c"} <= held.square
    assert [stage.products for stage in held.stages] != []
    assert "f" in held.intermediates.names


def test_a_mask_may_follow_and_not_precede() -> None:
    held = cell("gru").with_clamp(["h"]).with_recurrent_mask()
    assert held.inputs == ("keep_h", "put_h", "mask")
    with pytest.raises(MisuseError, match="Clamp first"):
        cell("gru").with_recurrent_mask().with_clamp(["h"])


def test_names_of_the_inputs_are_free_or_chosen() -> None:
    recurrence = Recurrence("keep_h = W @ x\nh = tanh(keep_h + put_h * h)")
    held = recurrence.with_clamp(["h"])
    assert len({*held.inputs, "keep_h", "put_h"}) == 4
    assert recurrence.clamp_names(["h"]) == {"h": held.inputs}
    assert recurrence.with_clamp({"h": ("k", "p")}).inputs == ("k", "p")
    long = Recurrence(f"{'s' * 40} = tanh(W @ x + U @ {'s' * 40})")
    assert all(len(name) <= 40 for name in long.with_clamp(long.states).inputs)


def test_constant_inputs_stay() -> None:
    assert cell("rnn-image").with_clamp(["h"]).inputs == ("v", "keep_h", "put_h")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["q"], "No equation assigns 'q'"),
        (["Wi"], "No equation assigns 'Wi'"),
        (["x"], "No equation assigns 'x'"),
        ({"c": ("f", "p")}, "cannot read 'f'"),
        ({"c": ("Wi", "p")}, "cannot read 'Wi'"),
        ({"c": ("k", "k")}, "cannot read 'k'"),
        ({"c": ("tanh", "p")}, "cannot read 'tanh'"),
        ({"c": ("1k", "p")}, "cannot read '1k'"),
        ({"c": ("hidden", "p")}, "cannot read 'hidden'"),
        ({"c": ("k", "p"), "h": ("p", "q")}, "clamp of h cannot read 'p'"),
    ],
)
def test_names_that_cannot_be_are_refused(names: list[str] | dict[str, tuple[str, str]], match: str) -> None:
    with pytest.raises(MisuseError, match=match):
        cell("lstm").with_clamp(names)
