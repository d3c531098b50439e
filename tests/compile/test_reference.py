"""The reference engine against a second formulation, against finite differences, and against itself."""

from __future__ import annotations

import pytest
import torch
from cases import Case, assert_same, gradients, make_case, recurrences, run_node_by_node, weigh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.compile import run
from elman.equations import Recurrence, cell, zoo
from elman.errors import MisuseError

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def reference(case: Case, every_state: bool = True):
    result = run(
        case.recurrence,
        case.parameters,
        case.x,
        case.state,
        case.constants,
        backend="reference",
        every_state=every_state,
    )
    return result.outputs, result.final


def check_against_nodes(recurrence: Recurrence, seed: int = 0) -> None:
    case = make_case(recurrence, seed=seed)
    outputs, final = reference(case)
    expected, last = run_node_by_node(case)
    assert_same(outputs, expected)
    assert_same(final, last)
    assert_same(gradients(weigh(outputs, final), case), gradients(weigh(expected, last), case), 1e-8)


@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("masked", [False, True])
def test_zoo_equals_node_by_node(name: str, masked: bool) -> None:
    recurrence = cell(name)
    check_against_nodes(recurrence.with_recurrent_mask() if masked else recurrence)


@QUIET
@given(recurrences(), st.integers(0, 1000))
def test_random_recurrences_equal_node_by_node(recurrence: Recurrence, seed: int) -> None:
    check_against_nodes(recurrence, seed)


@pytest.mark.parametrize(
    "text",
    [
        "c = sin(c + h)\nh = tanh(W @ x)",  # the output is known before the loop
        "c = 0.5 * h + 0.1 * c\nh = W @ x + b",
        "g = tanh(W @ x)\nc = 0.5 * c + g * h\nh = sigmoid(c)",
        "h = tanh(U @ (h + h) + W @ x)",
        "h = tanh(U @ h + U @ c + W @ x)\nc = tanh(U @ c + W @ x)",
        "c = h\nh = tanh(W @ x + U @ c + c)",
        "d = c\nc = h\nh = tanh(W @ x + d)",
        "h = tanh(x + U @ h)",
        "h = tanh(x * h + x)",
        "h = W @ x + U @ h",
        "h = relu(U @ h) - relu(V @ h) + W @ x",
        "h = tanh(W @ (a * b) + U @ h + W2 @ x)",
        "h = sigmoid(norm(U @ h, g, 0) + norm(x, k, b))",
        "h = maximum(U @ h, h) * 0.5 + minimum(abs(h), x) * 0.2",
        "h = exp(-(h ** 2)) + log(1.5 + sin(W @ x)) * sqrt(1 + h ** 4)",
        "h = 0.5 * h",
        "h = tanh(U @ h)\nc = tanh(U @ h) + c * 0.1",
        "r = sigmoid(A @ h)\nz = sigmoid(B @ h)\nh = tanh(C @ (r * z)) + r * z * h + W @ x",
    ],
)
def test_shapes_of_equations_that_are_easily_got_wrong(text: str) -> None:
    check_against_nodes(Recurrence(text, output="h"))


@pytest.mark.parametrize("name", zoo())
def test_first_and_second_derivatives(name: str) -> None:
    case = make_case(cell(name), steps=2, batch=2, hidden=2, seed=3)

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, final = reference(case.with_leaves(tensors))
        return (*outputs.values(), *final.values())

    leaves = tuple(case.leaves.values())
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(recurrences(smooth=True))
def test_second_derivatives_of_random_recurrences(recurrence: Recurrence) -> None:
    case = make_case(recurrence, steps=2, batch=2, hidden=2)

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, final = reference(case.with_leaves(tensors))
        return (*outputs.values(), *final.values())

    leaves = tuple(case.leaves.values())
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("name", zoo())
def test_step_by_step_split_and_whole_are_equal(name: str) -> None:
    case = make_case(cell(name), steps=5)
    whole, final = reference(case)
    expected = gradients(weigh(whole, final), case)
    for cuts in ([1] * 5, [2, 3]):
        state, pieces = case.state, []
        for part in case.x.split(cuts):
            outputs, state = reference(Case(case.recurrence, case.parameters, part, state, case.constants))
            pieces.append(outputs)
        joined = {n: torch.cat([piece[n] for piece in pieces]) for n in whole}
        assert_same(joined, whole)
        assert_same(state, final)
        assert_same(gradients(weigh(joined, state), case), expected, 1e-8)
        with torch.no_grad():
            assert_same(reference(case)[0], whole)


@pytest.mark.parametrize("name", zoo())
def test_rows_do_not_meet_and_the_future_does_not_change_the_past(name: str) -> None:
    case = make_case(cell(name), steps=5, batch=4)
    whole, _ = reference(case)
    order = torch.tensor([2, 0, 3, 1])
    moved = Case(
        case.recurrence,
        case.parameters,
        case.x[:, order],
        {n: t[order] for n, t in case.state.items()},
        {n: t[order] for n, t in case.constants.items()},
    )
    assert_same(reference(moved)[0], {n: t[:, order] for n, t in whole.items()})
    changed = case.x.detach().clone()
    changed[3:] += 10.0
    later = Case(case.recurrence, case.parameters, changed, case.state, case.constants)
    assert_same({n: t[:3] for n, t in reference(later)[0].items()}, {n: t[:3] for n, t in whole.items()}, 1e-12)
    (seen,) = torch.autograd.grad(whole[case.recurrence.output][2].sum(), case.x)
    assert not seen[3:].any()
    assert seen[:3].any()


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-after", "mut1", "layernorm-lstm", "mlstm", "sru"])
def test_autocast_multiplies_in_bfloat16_and_keeps_states_in_float32(name: str) -> None:
    case = make_case(cell(name), steps=6, batch=4, hidden=16, dtype=torch.float32)
    for parameter in case.parameters.values():
        parameter.data *= 0.3
    expected, last = reference(case)
    exact = gradients(weigh(expected, last), case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, final = reference(case)
        total = weigh(outputs, final)
    assert all(tensor.dtype == torch.float32 for tensor in (*outputs.values(), *final.values()))
    assert_same(outputs, expected, 0.05)
    assert any((outputs[n] != expected[n]).any() for n in outputs)
    for leaf, gradient in gradients(total, case).items():
        assert gradient.dtype == torch.float32
        assert (gradient - exact[leaf]).norm() <= 0.05 * exact[leaf].norm() + 1e-4, leaf


def test_second_derivative_agrees_with_the_first_under_autocast() -> None:
    case = make_case(cell("gru"), steps=3, batch=4, hidden=8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = weigh(*reference(case))
    leaves = list(case.leaves.values())
    once = torch.autograd.grad(total, leaves, retain_graph=True)
    twice = torch.autograd.grad(total, leaves, create_graph=True)
    for a, b in zip(once, twice, strict=True):
        assert (a - b).norm() <= 0.02 * a.norm() + 1e-4
    torch.autograd.grad(sum(g.square().sum() for g in twice), leaves)


def test_backward_again_over_a_retained_graph() -> None:
    case = make_case(cell("lstm"))
    total = weigh(*reference(case))
    leaves = list(case.leaves.values())
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    second = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_only_what_is_asked_for_is_given() -> None:
    case = make_case(cell("lstm"))
    outputs, final = reference(case, every_state=False)
    assert list(outputs) == ["h"]
    assert sorted(final) == ["c", "h"]
    frozen = case.detached()
    for leaf in frozen.leaves.values():
        leaf.requires_grad_(False)
    frozen.parameters["Uf"].requires_grad_()
    outputs, final = reference(frozen)
    (gradient,) = torch.autograd.grad(weigh(outputs, final), [frozen.parameters["Uf"]])
    expected = gradients(weigh(*reference(case)), case)["Uf"]
    torch.testing.assert_close(gradient, expected)


def test_results_may_be_changed_without_harm() -> None:
    case = make_case(cell("gru"))
    with torch.no_grad():
        outputs, final = reference(case)
        outputs["h"].zero_()
        assert final["h"].any()


def test_halves_and_doubles() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        case = make_case(cell("mut1"), dtype=dtype)
        outputs, final = reference(case)
        assert outputs["h"].dtype == dtype
        weigh(outputs, final).backward()


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_nothing_to_run_on(shape: tuple[int, int]) -> None:
    case = make_case(cell("rnn"), steps=shape[0], batch=shape[1])
    with pytest.raises(MisuseError, match="empty"):
        reference(case)


def test_a_state_that_is_x_itself_leaves_the_gradient_of_x_alone() -> None:
    recurrence = Recurrence("s = h + c\nh = tanh((W @ (x * x)) * h + x)\nc = x", output="h")
    case = make_case(recurrence, hidden=4)
    result = run(recurrence, case.parameters, case.x, case.state, case.constants, backend="reference", every_state=True)
    h, outputs = case.state["h"], []
    for x in case.x:
        h = torch.tanh((x * x) @ case.parameters["W"].t() * h + x)
        outputs.append(h)
    weights = torch.arange(1.0, case.x.numel() + 1, dtype=torch.float64).view_as(case.x)
    for extra in (0.0, 1.0):
        found = (result.outputs["h"] * weights).sum() + extra * (result.outputs["c"] ** 2).sum()
        expected = (torch.stack(outputs) * weights).sum() + extra * (case.x**2).sum()
        left, right = (torch.autograd.grad(each, case.x, retain_graph=True)[0] for each in (found, expected))
        torch.testing.assert_close(left, right)
