"""Passes that are repeated by their recorded calls give what passes give that are not."""

from __future__ import annotations

import pytest
import torch
from cpu_cases import Given, assert_close, everything, needs_backend, operands
from torch import Tensor

import elman
from elman.compile.cpu import calls
from elman.compile.cpu import run as compiled
from elman.equations import cell

pytestmark = needs_backend


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_known", type(calls._known)())


def series() -> list[calls.Series]:
    return [each for each in calls._known.values() if isinstance(each, calls.Series)]


def changed(given: Given, seed: int) -> Given:
    generator = torch.Generator().manual_seed(seed)
    return given.map(lambda each: (each.detach() + 0.1 * torch.randn(each.shape, generator=generator)).requires_grad_())


@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "layernorm-lstm"])
@pytest.mark.parametrize("hidden", [16, 48, 20])
def test_repeated_passes_give_the_same_bits(name: str, hidden: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = operands(cell(name), 4, 3, hidden)
    others = [changed(given, seed) for seed in range(4)]
    found = [everything(each, "cpu") for each in others]
    if hidden % 16 == 0:
        assert len(series()) == 2
    monkeypatch.setattr(compiled, "repeated", lambda key, operands, constants, compute: compute())
    for each, right in zip(found, (everything(other, "cpu") for other in others), strict=True):
        assert_close(each, right, 0.0)


def test_other_shapes_strides_and_gradients_have_calls_of_their_own() -> None:
    layer = elman.nn.Recurrent("lstm", 16, 16, backend="cpu")
    reference = elman.nn.Recurrent("lstm", 16, 16, backend="reference")
    reference.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)

    def both(x: Tensor, state: dict[str, Tensor] | None, last: bool) -> None:
        gradients = []
        for each in (layer, reference):
            own = x.detach().requires_grad_()
            y, final = each(own, state)
            total = y.square().sum() + (final["c"].sum() if last else 0.0)
            gradients.append(torch.autograd.grad(total, [own, *each.parameters()]))
        for mine, right in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)

    for _ in range(3):
        for steps, batch in ((3, 2), (2, 3), (3, 3)):
            x = torch.randn(steps, batch, 16, generator=generator)
            state = {name: torch.randn(1, batch, 16, generator=generator) for name in "hc"}
            both(x, None, False)
            both(x, state, False)
            both(x, state, True)
            both(torch.randn(batch, steps, 16, generator=generator).transpose(0, 1), state, True)
            both(torch.randn(steps, batch, 32, generator=generator)[..., :16], state, False)


def test_the_gradient_of_a_sum_is_repeated_too() -> None:
    layer = elman.nn.Recurrent("lstm", 16, 16, backend="cpu")
    reference = elman.nn.Recurrent("lstm", 16, 16, backend="reference")
    reference.load_state_dict(layer.state_dict())
    for _ in range(3):
        x = torch.randn(4, 3, 16)
        found = [torch.autograd.grad(each(x)[0].sum(), list(each.parameters())) for each in (layer, reference)]
        for mine, right in zip(*found, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)
    assert len(series()) == 2


def test_operands_that_share_memory() -> None:
    # recorded with tensors apart, repeated with one in two places, and the other way round
    recurrence = elman.Recurrence("h = tanh(U @ h + W @ x)\nc = tanh(V @ c + A @ x)\nh = h + c")
    given = operands(recurrence, 3, 2, 16, 16)

    def tied(one: Given) -> Given:
        return Given(
            one.recurrence,
            {**one.parameters, "V": one.parameters["U"]},
            one.x,
            dict.fromkeys(one.state, one.state["h"]),
            one.constants,
        )

    for order in ((given, given, given, tied(given)), (tied(given), tied(given), tied(given), given)):
        calls._known.clear()
        for each in order:
            assert_close(everything(each, "cpu"), everything(each, "reference"), 1e-5)


def test_what_was_returned_is_not_written_again() -> None:
    layer = elman.nn.Recurrent("gru", 16, 16, backend="cpu")
    x = torch.randn(5, 4, 16)
    with torch.no_grad():
        results = [layer(x + number)[0] for number in range(5)]
        copies = [each.clone() for each in results]
        for _ in range(3):
            layer(x)
    assert len({each.data_ptr() for each in results}) == 5
    for each, right in zip(results, copies, strict=True):
        assert torch.equal(each, right)


def test_no_more_than_the_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LIMIT", 3)
    layer = elman.nn.Recurrent("rnn", 16, 16, backend="cpu")
    for steps in (2, 3, 4, 5, 6) * 2:
        with torch.no_grad():
            layer(torch.randn(steps, 2, 16))
        assert len(calls._known) <= 3


@pytest.mark.parametrize(("name", "hidden"), [("lstm", 20), ("gru", 33), ("mut1", 16), ("mut1", 17), ("sru", 48)])
def test_widths_that_fill_no_vector_and_sums_of_gradients_are_repeated(
    name: str, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = operands(cell(name), 4, 3, hidden)
    others = [changed(given, seed) for seed in range(4)]
    found = [everything(each, "cpu") for each in others]
    assert len(series()) == 2
    monkeypatch.setattr(compiled, "repeated", lambda key, operands, constants, compute: compute())
    for each, right in zip(found, (everything(other, "cpu") for other in others), strict=True):
        assert_close(each, right, 0.0)


@pytest.mark.parametrize("hidden", [20, 64])
def test_tokens_are_repeated(hidden: int) -> None:
    torch.manual_seed(0)
    layer = elman.nn.Recurrent("lstm", 10, hidden, backend="cpu")
    reference = elman.nn.Recurrent("lstm", 10, hidden, backend="reference")
    reference.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        # other ids, another table in another place
        ids = torch.randint(0, 5, (7, 3), generator=generator)
        tables = [torch.randn(5, 10, generator=torch.Generator().manual_seed(step)).requires_grad_() for _ in range(2)]
        gradients = []
        for each, table in zip((layer, reference), tables, strict=True):
            y, final = each(ids, table=table)
            total = y.square().sum() + final["c"].square().sum()
            gradients.append([y, *torch.autograd.grad(total, [table, *each.parameters()])])
        for mine, right in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)
    assert len(series()) == 2
