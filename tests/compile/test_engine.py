"""The choice of what runs, torch's fused kernels, and what is refused."""

from __future__ import annotations

import pytest
import torch
from cases import assert_same, gradients, make_case, weigh

from elman.compile import CHOICES, run
from elman.compile.torch_fused import recognise
from elman.equations import Recurrence, cell, zoo
from elman.errors import MisuseError

SHUFFLED = {
    "lstm": """
        # names, order of operands and of lines are the author's own
        candidate = tanh(b4 + W4 @ x + R4 @ out)
        keep = sigmoid(R2 @ out + b2 + W2 @ x)
        write = sigmoid(W1 @ x + R1 @ out)
        memory = candidate * write + memory * keep
        out = tanh(memory) * sigmoid(b3 + b5 + R3 @ out + W3 @ x)
    """,
    "gru": """
        u = sigmoid(A @ x + B @ s + c)
        q = sigmoid(D @ s + E @ x)
        s = s * u + tanh((F @ s + k) * q + l + G @ x) * (1 - u)
    """,
    "rnn_tanh": "y = tanh(b + R @ y + c + W @ x)",
    "rnn_relu": "y = relu(R @ y + W @ x)",
}

NOT_FUSED = {
    "a peephole": SHUFFLED["lstm"].replace("b3 + b5", "p * memory"),
    "no tanh before the output": SHUFFLED["lstm"].replace("tanh(memory)", "memory"),
    "another gate on the memory": SHUFFLED["lstm"].replace("memory * keep", "memory * (1 - write)"),
    "reset before the product": "r = sigmoid(A @ x + B @ h)\nz = sigmoid(C @ x + D @ h)\n"
    "h = z * h + (1 - z) * tanh(E @ x + F @ (r * h))",
    "update gate the other way round": "r = sigmoid(A @ x + B @ h)\nz = sigmoid(C @ x + D @ h)\n"
    "h = (1 - z) * h + z * tanh(E @ x + r * (F @ h))",
    "no recurrent product": "h = tanh(W @ x + b * h)",
    "two products with x": "h = tanh(W @ x + V @ x + U @ h)",
    "sigmoid": "h = sigmoid(W @ x + U @ h)",
}


@pytest.mark.parametrize("kernel", SHUFFLED)
def test_torch_kernel_equals_reference(kernel: str) -> None:
    recurrence = Recurrence(SHUFFLED[kernel])
    fused = recognise(recurrence)
    assert fused is not None
    assert fused.kernel == kernel
    check_fused_equals_reference(recurrence)


@pytest.mark.parametrize("name", ["rnn", "rnn-relu", "irnn", "lstm", "gru-reset-after"])
def test_zoo_cells_that_torch_has(name: str) -> None:
    check_fused_equals_reference(cell(name))


def check_fused_equals_reference(recurrence: Recurrence) -> None:
    case = make_case(recurrence, steps=5)
    results = []
    for backend in ("auto", "torch", "reference"):
        result = run(recurrence, case.parameters, case.x, case.state, backend=backend)
        results.append((result, gradients(weigh(result.outputs, result.final), case)))
    expected, expected_gradients = results[-1]
    for result, found in results[:-1]:
        assert result.backend.startswith("torch")
        assert_same(result.outputs, expected.outputs, 1e-10)
        assert_same(result.final, expected.final, 1e-10)
        assert_same(found, expected_gradients, 1e-9)


@pytest.mark.parametrize("why", NOT_FUSED)
def test_what_torch_has_no_kernel_for(why: str) -> None:
    recurrence = Recurrence(NOT_FUSED[why])
    assert recognise(recurrence) is None
    case = make_case(recurrence)
    assert run(recurrence, case.parameters, case.x, case.state).backend.startswith("reference")
    with pytest.raises(MisuseError, match=r"torch has a fused kernel only for .* Use 'auto' or 'reference'"):
        run(recurrence, case.parameters, case.x, case.state, backend="torch")


@pytest.mark.parametrize("name", ["lstm", "gru-reset-after", "rnn"])
def test_auto_can_be_differentiated_twice_and_again(name: str) -> None:
    case = make_case(cell(name), steps=2, batch=2, hidden=2)

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = case.with_leaves(tensors)
        result = run(own.recurrence, own.parameters, own.x, own.state)
        assert result.backend.startswith("torch")
        return (*result.outputs.values(), *result.final.values())

    leaves = tuple(case.leaves.values())
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)
    total = sum(output.square().sum() for output in function(*leaves))
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    assert_same(dict(enumerate(first)), dict(enumerate(torch.autograd.grad(total, leaves))), 1e-12)


def test_auto_runs_every_zoo_cell_and_says_what_ran() -> None:
    for name in zoo():
        case = make_case(cell(name))
        result = run(case.recurrence, case.parameters, case.x, case.state, case.constants, every_state=True)
        assert result.backend.split()[0] in ("torch", "reference")
        assert "computes in float32" in result.backend
        single = make_case(cell(name), dtype=torch.float32)
        result = run(single.recurrence, single.parameters, single.x, single.state, single.constants)
        assert result.backend == "cpu (compiled for this machine)"


def test_auto_takes_the_reference_where_torch_does_not_give_the_sequence_of_the_cell() -> None:
    case = make_case(cell("lstm"))
    result = run(case.recurrence, case.parameters, case.x, case.state, every_state=True)
    assert result.backend.startswith("reference")
    assert "sequence of c" in result.backend
    with pytest.raises(MisuseError, match="sequence of c"):
        run(case.recurrence, case.parameters, case.x, case.state, every_state=True, backend="torch")


def test_the_gpu_backend_says_that_it_is_not_there() -> None:
    assert "gpu" in CHOICES
    case = make_case(cell("lstm"))
    with pytest.raises(MisuseError, match=r"not part of this version.*'reference'"):
        run(case.recurrence, case.parameters, case.x, case.state, backend="gpu")


def test_the_compiled_backend_says_what_it_does_not_do() -> None:
    case = make_case(cell("lstm"))
    with pytest.raises(MisuseError, match=r"float32, not in torch.float64.*'reference'"):
        run(case.recurrence, case.parameters, case.x, case.state, backend="cpu")
    with torch.no_grad():
        single = make_case(cell("lstm"), steps=1, dtype=torch.float32)
        assert "packing" in run(single.recurrence, single.parameters, single.x, single.state).backend


def test_a_name_that_is_no_backend() -> None:
    case = make_case(cell("rnn"))
    with pytest.raises(MisuseError, match=r"'fast'.*auto, reference, torch, cpu"):
        run(case.recurrence, case.parameters, case.x, case.state, backend="fast")


def test_what_does_not_fit_is_refused_in_words() -> None:
    case = make_case(cell("rnn"), steps=4, batch=3, hidden=3)
    p, x, s = case.parameters, case.x, case.state
    wrong = [
        ((p, x[0], s), r"\[T, B, input\]; got \[3, 4\]"),
        ((p, x, {}), "state 'h' is missing"),
        ((p, x, {**s, "c": s["h"]}), "no state 'c'"),
        ((p, x, {"h": s["h"][:2]}), r"state h must be \[3, 3\].*got \[2, 3\]"),
        ((p, x[..., :2], s), r"parameter Wx must be \[3, 2\]"),
        (({**p, "b": p["b"][:1]}, x, s), r"parameter b must be \[3\].*got \[1\]"),
        ((p, x.long(), s), "floating type; got torch.int64"),
        ((p, x.float(), s), "input x is torch.float32, the state torch.float64"),
        ((p, x, {"h": 0.0}), "state h must be a tensor"),
    ]
    for arguments, message in wrong:
        with pytest.raises(MisuseError, match=message):
            run(case.recurrence, *arguments)
    image = make_case(cell("rnn-image"))
    with pytest.raises(MisuseError, match="constant input 'v' is missing"):
        run(image.recurrence, image.parameters, image.x, image.state)


def test_autocast_runs_on_torchs_kernel() -> None:
    for name in ("lstm", "gru-reset-after", "rnn"):
        case = make_case(cell(name), hidden=16, dtype=torch.float32)
        exact = run(case.recurrence, case.parameters, case.x, case.state, backend="reference")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = run(case.recurrence, case.parameters, case.x, case.state, backend="torch")
        assert result.backend.startswith("torch")
        assert_same(result.outputs, exact.outputs, 0.1)
        gradients(weigh(result.outputs, result.final), case)
