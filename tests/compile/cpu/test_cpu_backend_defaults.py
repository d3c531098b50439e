"""torch's defaults and what callers hand over decide nothing about the compiled loops' memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cpu_cases import needs_backend
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import elman
from elman.compile import run
from elman.equations import Recurrence, cell
from elman.errors import MisuseError

pytestmark = needs_backend


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def results(backend: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    layer = elman.nn.Recurrent("lstm", 8, 20, generator=generator, dtype=torch.float32, backend=backend)
    x = torch.randn(5, 3, 8, generator=generator, dtype=torch.float32).requires_grad_()
    y, state = layer(x, lengths=[5, 2, 4])
    (y.sum() + state["c"].sum()).backward()
    return [y, x.grad, *(parameter.grad for parameter in layer.parameters())]  # type: ignore[list-item]


def test_the_default_type_does_not_matter(double: None) -> None:
    for found, expected in zip(results("cpu"), results("reference"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_value_that_is_kept_under_two_numbers() -> None:
    text = "s = p + h\na = s + tanh(h)\nc = p + (h + tanh(h))\nh = tanh(W @ x + V @ a + R @ c + sigmoid(s))"
    recurrence = Recurrence(text, output="h")
    found = []
    for backend in ("cpu", "reference"):
        generator = torch.Generator().manual_seed(3)
        shapes = recurrence.parameters(5, 18)
        given = {
            name: (0.3 * torch.randn(shape, generator=generator)).requires_grad_() for name, shape in shapes.items()
        }
        x = torch.randn(4, 3, 5, generator=generator)
        state = {name: torch.zeros(3, 18) for name in recurrence.states}
        run(recurrence, given, x, state, backend=backend).outputs["h"].square().sum().backward()
        found.append([tensor.grad for tensor in given.values()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_table_in_another_layout() -> None:
    recurrence = cell("rnn")
    generator = torch.Generator().manual_seed(4)
    shapes = recurrence.parameters(4, 16)
    given = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    table = torch.randn(4, 3, generator=generator).t().requires_grad_()
    index = torch.randint(3, (6, 5), generator=generator)
    gradients = []
    for backend in ("cpu", "reference"):
        y = run(recurrence, given, table, {"h": torch.zeros(5, 16)}, backend=backend, index=index).outputs["h"]
        gradients.append(torch.autograd.grad(y.sum(), table)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_packed_rows_are_checked() -> None:
    layer = elman.nn.LSTM(8, 16)
    with pytest.raises(MisuseError, match="Wi"):
        layer(pack_padded_sequence(torch.randn(5, 3, 4), [5, 3, 2]))
    with pytest.raises(MisuseError, match="7 rows together"):
        layer(PackedSequence(torch.randn(4, 8), torch.tensor([3, 2, 2])))
    with pytest.raises(MisuseError, match="int64"):
        layer(PackedSequence(torch.randn(5, 8), torch.tensor([3, 2], dtype=torch.int32)))
    states = (torch.zeros(1, 3, 16, dtype=torch.float64), torch.zeros(1, 3, 16, dtype=torch.float64))
    with pytest.raises(MisuseError, match="float64"):
        layer(pack_padded_sequence(torch.randn(5, 3, 8), [5, 3, 2]), states)


def test_lengths_are_checked_for_every_backend() -> None:
    recurrence = cell("rnn")
    given = {name: torch.zeros(shape) for name, shape in recurrence.parameters(4, 16).items()}
    state = {"h": torch.zeros(3, 16)}
    for backend in ("cpu", "reference"):
        for wrong, text in (([2], "one number a row"), ([1, 2, 9], "in 1 to 9"), ([0, 2, 3], "in 0 to 3")):
            with pytest.raises(MisuseError, match=text):
                run(recurrence, given, torch.zeros(5, 3, 4), state, backend=backend, lengths=torch.tensor(wrong))


def test_many_lines_lower_fast() -> None:
    lines = ["a0 = tanh(h)"]
    lines += [f"a{i} = (a{i - 1} * a{i - 1} + 0.5 * a{i - 1}) * (a{i - 1} - 0.1)" for i in range(1, 40)]
    text = "\n".join([*lines, "h = tanh(W @ x + U @ h + 0.001 * a39)"])
    layer = elman.nn.Recurrent(Recurrence(text, output="h"), 4, 16, backend="cpu")
    y, _ = layer(torch.randn(3, 2, 4))
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_a_result_of_one_number_is_the_callers_own() -> None:
    y, _ = elman.nn.RNN(8, 5, backend="cpu")(torch.randn(1, 1, 8))
    y.add_(1)
