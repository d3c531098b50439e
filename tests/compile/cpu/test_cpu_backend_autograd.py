"""The compiled backend as a citizen of autograd."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from cpu_cases import (
    Given,
    assert_close,
    check,
    needs_backend,
    needs_bf16,
    operands,
    random_recurrence,
    run_on,
    weighed,
)
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from elman.compile.cpu import workspace
from elman.equations import Recurrence, cell, zoo

pytestmark = needs_backend

WIDTHS = (17, 32)  # the second fills its vectors: results then lie in the memory that the backward pass reads


def given_for(name: str, **sizes) -> Given:
    return operands(cell(name), **sizes)


def loss_of(given: Given, half: bool = False) -> Tensor:
    outputs, final = run_on(given, "cpu", half)
    return weighed([*outputs.values(), *final.values()])


def grads(total: Tensor, given: Given, **options) -> list[Tensor]:
    return list(torch.autograd.grad(total, list(given.leaves().values()), **options))


def second(given: Given, backend: str, half: bool, every_state: bool) -> dict[str, Tensor]:
    """Derivatives of the length of the gradient."""
    outputs, final = run_on(given, backend, half, every_state)
    total = weighed([tensor.square() for tensor in (*outputs.values(), *final.values())])
    leaves = given.leaves()
    first = torch.autograd.grad(total, list(leaves.values()), create_graph=True, allow_unused=True)
    length = sum((each.square().sum() for each in first if each is not None), torch.zeros(()))
    found = torch.autograd.grad(length, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), found, strict=True)}


SECOND = ("lstm", "gru", "layernorm-gru", "mut1", "sru", "rnn-image")


@pytest.mark.parametrize("name", [n if n in SECOND else pytest.param(n, marks=pytest.mark.slow) for n in zoo()])
def test_second_derivatives(name: str) -> None:
    check(given_for(name, steps=3, batch=3, hidden=5), of=second, floor=3e-5)


@pytest.mark.parametrize("every_state", [False, True])
def test_second_derivatives_over_ragged_rows(every_state: bool) -> None:
    check(given_for("lstm", steps=4, batch=4, hidden=5, lengths=[2, 4, 1, 3]), False, every_state, 3e-5, second)


@needs_bf16
@pytest.mark.parametrize("name", ["lstm", "mut1"])
def test_second_derivatives_under_autocast(name: str) -> None:
    given = given_for(name, steps=3, batch=5, hidden=16)
    once = grads(loss_of(given, True), given)
    recorded = grads(loss_of(given, True), given, create_graph=True)
    for a, b in zip(once, recorded, strict=True):
        assert (a - b).norm() <= 0.03 * a.norm() + 1e-3
    check(given, True, of=second, floor=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400, 420))
def test_second_derivatives_of_random_recurrences(seed: int) -> None:
    check(operands(random_recurrence(seed), 3, 3, 5), of=second, floor=1e-4)


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_bf16)])
@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("change", ["add_", "zero_", "relu_"])
def test_a_result_changed_in_place_before_backward_is_noticed(hidden: int, half: bool, change: str) -> None:
    given = given_for("lstm", hidden=hidden)
    outputs, _ = run_on(given, "cpu", half)
    total = outputs["h"].float().sum()
    with torch.no_grad():
        getattr(outputs["h"], change)(*([1.0] if change == "add_" else []))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_part_of_a_result_changed_in_place_is_noticed() -> None:
    given = given_for("lstm", hidden=32)
    outputs, _ = run_on(given, "cpu")
    total = outputs["h"].sum()
    outputs["h"].detach()[0, 0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("what", ["x", "Uf", "h before"])
def test_an_operand_changed_in_place_before_backward_is_noticed(what: str) -> None:
    given = given_for("lstm")
    total = loss_of(given)
    with torch.no_grad():
        given.leaves()[what].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


@pytest.mark.parametrize("hidden", WIDTHS)
def test_a_last_value_may_be_changed(hidden: int) -> None:
    given = given_for("lstm", hidden=hidden)
    expected = grads(loss_of(given), given)
    outputs, final = run_on(given, "cpu")
    total = weighed([*outputs.values(), *final.values()])
    for tensor in final.values():
        tensor.detach().zero_()
    for a, b in zip(grads(total, given), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("hidden", WIDTHS)
def test_backward_twice_over_a_retained_graph(hidden: int) -> None:
    given = given_for("lstm", hidden=hidden)
    total = loss_of(given)
    first = grads(total, given, retain_graph=True)
    middle = grads(total, given, create_graph=True)
    second_time = grads(total, given)
    assert all(torch.equal(a, b) for a, b in zip(first, second_time, strict=True))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(first, middle, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        grads(total, given)


def test_parts_of_the_results_one_by_one() -> None:
    given = given_for("lstm")
    outputs, final = run_on(given, "cpu")
    pieces = [*outputs.values(), *final.values()]
    whole = grads(weighed(pieces), given, retain_graph=True)
    weights = [
        torch.cos(torch.arange(p.numel(), dtype=torch.float64) * (0.7 + i)).view(p.shape) for i, p in enumerate(pieces)
    ]
    parts = [
        grads((p.double() * w).sum(), given, retain_graph=True, allow_unused=True)
        for p, w in zip(pieces, weights, strict=True)
    ]
    for number, expected in enumerate(whole):
        total = sum(part[number] for part in parts if part[number] is not None)
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


def test_many_forwards_before_their_backwards() -> None:
    cases = [given_for(name, seed=seed, hidden=32) for seed in range(3) for name in ("lstm", "gru")]
    expected = [grads(loss_of(given), given) for given in cases]
    totals = [loss_of(given) for given in cases]
    for number in (3, 0, 5, 1, 4, 2):
        found = grads(totals[number], cases[number])
        assert all(torch.equal(a, b) for a, b in zip(found, expected[number], strict=True))


def test_memory_of_a_dead_graph_is_not_taken_from_its_results() -> None:
    given = given_for("lstm", steps=64, batch=16, hidden=32)
    outputs, final = run_on(given, "cpu")
    y = outputs["h"].detach()
    kept = y.clone()
    del outputs, final
    gc.collect()
    for seed in range(3):
        loss_of(given_for("lstm", steps=64, batch=16, hidden=32, seed=seed)).backward()
    assert torch.equal(y, kept)


def test_memory_goes_back() -> None:
    given = given_for("lstm", steps=64, batch=16, hidden=32)
    grads(loss_of(given), given)
    gc.collect()
    before = workspace.held().lent
    for _ in range(3):
        grads(loss_of(given), given)
    with torch.no_grad():
        loss_of(given)
    gc.collect()
    assert workspace.held().lent == before


@pytest.mark.parametrize("name", ["lstm", "mut1", "rnn-image", "layernorm-gru"])
def test_any_one_operand_alone(name: str) -> None:
    given = given_for(name)
    expected = dict(zip(given.leaves(), grads(loss_of(given), given), strict=True))
    for leaf in given.leaves():
        alone = given.map(lambda tensor: tensor.detach().clone())
        alone.leaves()[leaf].requires_grad_()
        (found,) = torch.autograd.grad(loss_of(alone), [alone.leaves()[leaf]])
        torch.testing.assert_close(found, expected[leaf], rtol=1e-5, atol=1e-5, msg=leaf)


def test_nothing_wants_a_gradient() -> None:
    given = given_for("lstm").map(lambda tensor: tensor.detach())
    outputs, final = run_on(given, "cpu")
    assert not any(tensor.requires_grad for tensor in (*outputs.values(), *final.values()))
    expected = outputs["h"]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = run_on(given_for("lstm"), "cpu")[0]["h"]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            assert not found.requires_grad
    with torch.inference_mode():
        made_here = given_for("lstm").map(lambda tensor: tensor.detach().clone())
        run_on(made_here, "cpu")[0]["h"].add_(1.0)
    run_on(made_here, "cpu")


LAYOUTS = {
    "batch first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "a slice of columns": lambda x: torch.cat((x, x), 2)[:, :, 3 : 3 + x.shape[2]] - 0.0,
    "every other column": lambda x: torch.stack((x, x), 3).flatten(2)[:, :, ::2],
    "columns first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "one row expanded": lambda x: x[:, :1].expand(x.shape),
    "one step expanded": lambda x: x[:1].expand(x.shape),
    "one number expanded": lambda x: x[:1, :1, :1].expand(x.shape),
    "a view that begins later": lambda x: torch.cat((x, x))[1 : 1 + len(x)],
}


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_bf16)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["lstm", "mut1"])
def test_layouts_of_x(name: str, layout: str, half: bool) -> None:
    given = given_for(name, hidden=17)
    laid = replace(given, x=LAYOUTS[layout](given.x))
    plain = replace(given, x=laid.x.clone(memory_format=torch.contiguous_format))
    found, expected = loss_of(laid, half), loss_of(plain, half)
    for a, b in zip(grads(found, given), grads(expected, given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_layouts_of_states_and_weights() -> None:
    given = given_for("lstm", hidden=32)
    expected = grads(loss_of(given), given)
    odd = replace(
        given,
        parameters={
            n: t.t().contiguous().t() if t.dim() == 2 else t.repeat(2)[: len(t)] for n, t in given.parameters.items()
        },
        state={n: t.t().contiguous().t() for n, t in given.state.items()},
    )
    for a, b in zip(grads(loss_of(odd), given), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    zero = replace(given, state={n: torch.zeros(1, 1).expand(5, 32) for n in given.state})
    same = replace(given, state={n: torch.zeros(5, 32) for n in given.state})
    assert torch.equal(run_on(zero, "cpu")[0]["h"], run_on(same, "cpu")[0]["h"])


@pytest.mark.parametrize("hidden", WIDTHS)
def test_layouts_of_gradients(hidden: int) -> None:
    given = given_for("lstm", hidden=hidden)
    y = run_on(given, "cpu", every_state=False)[0]["h"]
    ones = torch.ones(y.shape)
    expected = grads((y * ones).sum(), given, retain_graph=True)
    odd = torch.ones(hidden, 5, 5).permute(1, 2, 0)
    for gradient in (torch.ones(()).expand(y.shape), odd, torch.ones(1, 5, 1).expand(y.shape)):
        found = torch.autograd.grad(y, list(given.leaves().values()), gradient, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_checkpointed_layer() -> None:
    given = given_for("lstm")
    expected = grads(loss_of(given), given)

    def part(x: Tensor) -> Tensor:
        return loss_of(replace(given, x=x))

    for reentrant in (False, True):
        leaves = list(given.leaves().values())
        for leaf in leaves:
            leaf.grad = None
        checkpoint(part, given.x, use_reentrant=reentrant).backward()
        for leaf, right in zip(leaves, expected, strict=True):
            assert torch.equal(leaf.grad, right)


@needs_bf16
@pytest.mark.parametrize("inside", [False, True])
def test_backward_under_autocast_or_not(inside: bool) -> None:
    given = given_for("mut1", hidden=32)
    expected = grads(loss_of(given, True), given)
    total = loss_of(given, True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
        found = grads(total, given)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert (a - b).norm() <= 0.02 * b.norm()


@needs_bf16
def test_types_under_autocast() -> None:
    given = given_for("lstm", hidden=16)
    halved = replace(given, x=given.x.detach().bfloat16().requires_grad_())
    outputs, final = run_on(halved, "cpu", True)
    assert outputs["h"].dtype == torch.bfloat16
    assert all(tensor.dtype == torch.float32 for tensor in final.values())
    weighed(list(outputs.values())).backward()
    assert halved.x.grad is not None
    assert halved.x.grad.dtype == torch.bfloat16
    assert given.parameters["Uf"].grad is not None
    assert given.parameters["Uf"].grad.dtype == torch.float32


def test_hooks_see_the_gradients() -> None:
    given = given_for("lstm")
    expected = dict(zip(given.leaves(), grads(loss_of(given), given), strict=True))
    seen: dict[str, Tensor] = {}
    for name, leaf in given.leaves().items():
        leaf.register_hook(lambda gradient, n=name: seen.__setitem__(n, gradient.clone()))
    loss_of(given).backward()
    assert_close(seen, expected, 1e-6)


def test_anomaly_detection_and_gradients_that_add_up() -> None:
    given = given_for("gru")
    with torch.autograd.detect_anomaly(check_nan=True):
        loss_of(given).backward()
    once = {n: t.grad.clone() for n, t in given.leaves().items()}
    loss_of(given).backward()
    assert_close({n: t.grad for n, t in given.leaves().items()}, {n: 2 * t for n, t in once.items()}, 1e-6)


def test_the_same_tensor_for_several_operands() -> None:
    given = operands(Recurrence("h = tanh(U @ h + V @ (h * h) + p * h + q)", output="h"))
    shared = replace(given, parameters=given.parameters | {"V": given.parameters["U"], "q": given.parameters["p"]})
    found = torch.autograd.grad(loss_of(shared), [shared.parameters["U"], shared.parameters["p"]])
    apart = given.map(lambda tensor: tensor.detach().clone().requires_grad_())
    apart.parameters["V"].data.copy_(apart.parameters["U"].data)
    apart.parameters["q"].data.copy_(apart.parameters["p"].data)
    each = dict(zip(apart.leaves(), grads(loss_of(apart), apart, allow_unused=True), strict=True))
    torch.testing.assert_close(found[0], each["U"] + each["V"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], each["p"] + each["q"], rtol=1e-5, atol=1e-5)


def test_a_tangent_is_refused_and_not_lost() -> None:
    given = operands(cell("gru"), 3, 2, 16, 16)
    frozen = given.map(lambda tensor: tensor.detach())
    with forward_ad.dual_level(), pytest.raises(NotImplementedError):
        run_on(replace(frozen, x=forward_ad.make_dual(frozen.x, torch.ones_like(frozen.x))), "cpu")
