"""Gates that are computed again from stored states, against the lines of the equations run one by one in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import Case, make_case, recurrences
from equations.interpreter import step_of_text
from hypothesis import given, settings
from torch import Tensor

from elman.compile import run
from elman.compile.intermediates import named_values
from elman.equations import Recurrence, cell, zoo
from elman.errors import MisuseError


def states_before(case: Case) -> dict[str, Tensor]:
    """What every step starts from, from a run of the whole sequence."""
    outputs = run(
        case.recurrence, case.parameters, case.x, case.state, case.constants, backend="reference", every_state=True
    ).outputs
    return {name: torch.cat([case.state[name][None], outputs[name][:-1]]) for name in case.recurrence.states}


def by_lines(case: Case) -> dict[str, np.ndarray]:
    """Every name of the text at every step and row [T, B, width], each step begun from what the last one left."""
    steps, batch = case.x.shape[:2]
    known = {name: tensor.detach().numpy() for name, tensor in case.parameters.items()}
    found: dict[str, list[np.ndarray]] = {}
    for row in range(batch):
        current = {name: tensor[row].detach().numpy() for name, tensor in case.state.items()}
        constants = {name: tensor[row].detach().numpy() for name, tensor in case.constants.items()}
        for step in range(steps):
            values = step_of_text(
                case.recurrence.equations, known | constants | current | {"x": case.x[step, row].detach().numpy()}
            )
            width = len(next(iter(current.values())))
            current = {name: np.broadcast_to(values[name], (width,)) for name in current}
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    return {
        name: np.stack(series).reshape(batch, steps, -1).swapaxes(0, 1)
        for name, series in found.items()
        if all(value is not None for value in series)
    }


def recompute(case: Case) -> dict[str, Tensor]:
    parameters = {name: tensor.detach() for name, tensor in case.parameters.items()}
    return named_values(case.recurrence, parameters, case.x, states_before(case), constants=case.constants)


def assigned(recurrence: Recurrence) -> set[str]:
    """The names on the left of the lines, states left out."""
    lines = (line.partition("#")[0] for line in recurrence.equations.splitlines())
    return {line.partition("=")[0].strip() for line in lines if "=" in line} - set(recurrence.states)


@pytest.mark.parametrize("name", zoo())
def test_every_name_of_every_cell_is_what_its_line_says(name: str) -> None:
    case = make_case(cell(name), steps=5, batch=3, hidden=4)
    found, expected = recompute(case), by_lines(case)
    assert set(found) == assigned(case.recurrence)
    for gate, values in found.items():
        assert values.dtype == torch.float64
        np.testing.assert_allclose(values.detach().numpy(), expected[gate], rtol=1e-10, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(recurrences())
def test_names_of_random_equations(recurrence: Recurrence) -> None:
    case = make_case(recurrence, steps=3, batch=2, hidden=3)
    found, expected = recompute(case), by_lines(case)
    assert set(found) <= assigned(recurrence)
    for name, values in found.items():
        wide = np.broadcast_to(expected[name], values.shape)
        np.testing.assert_allclose(values.detach().numpy(), wide, rtol=1e-9, atol=1e-9)
    # what is left out is a number, or reads a parameter that no state needs
    for name in assigned(recurrence) - set(found):
        assert name not in expected or expected[name].shape[-1] == 1


LOST = """
same = sigmoid(W @ x + U @ h)
twin = sigmoid(W @ x + U @ h)
product = U @ h
squared = product * product
alias = h
seen = x
tenth = 0.1
lost = tanh(Nobody @ x)
on = lost + same
spare = same - twin
h = tanh(same + b)
"""


def test_names_that_the_graph_lost_are_found() -> None:
    case = make_case(Recurrence(LOST), hidden=4)
    found, expected = recompute(case), by_lines(case)
    # a number is no gate; the matrix Nobody exists nowhere, for no state needs it
    assert set(found) == {"same", "twin", "product", "squared", "alias", "seen", "spare"}
    for name, values in found.items():
        np.testing.assert_allclose(values.detach().numpy(), expected[name], rtol=1e-12, atol=1e-12)
    assert found["seen"].shape == case.x.shape


def test_of_a_name_that_is_assigned_twice_the_last_counts() -> None:
    case = make_case(Recurrence("g = W @ x\nh = tanh(g + U @ h)\ng = h * h", output="h"))
    found, expected = recompute(case), by_lines(case)
    np.testing.assert_allclose(found["g"].detach().numpy(), expected["h"] ** 2, rtol=1e-12)


def test_a_mask_on_the_states_changes_no_name() -> None:
    plain = cell("gru")
    assert plain.with_recurrent_mask("mask").intermediates == plain.intermediates


def test_only_what_is_asked_for_is_computed() -> None:
    case = make_case(cell("lstm"))
    before = states_before(case)
    needed = {name: case.parameters[name] for name in ("Wf", "Uf", "bf")}
    found = named_values(case.recurrence, needed, case.x, before, ["f"])
    assert torch.equal(found["f"], recompute(case)["f"])
    with pytest.raises(MisuseError, match=r"no gate .c.*i, f, o, g"):
        named_values(case.recurrence, case.parameters, case.x, before, ["f", "c"])
