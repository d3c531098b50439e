"""What must hold of any way to run a recurrence, on the compiled backend."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cpu_cases import (
    Given,
    Tensors,
    assert_close,
    needs_backend,
    needs_bf16,
    operands,
    random_recurrence,
    run_on,
    weighed,
)
from torch import Tensor

from elman.equations import cell, zoo

pytestmark = needs_backend

FEW = ("lstm", "gru", "layernorm-gru", "mut1", "sru", "rnn-image")
CELLS = [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in zoo()]


def given_for(name: str, **sizes) -> Given:
    return operands(cell(name), **sizes)


def gradients(total: Tensor, given: Given) -> Tensors:
    leaves = given.leaves()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), found, strict=True)}


@pytest.mark.parametrize("name", CELLS)
def test_step_by_step_split_and_whole_are_equal(name: str) -> None:
    given = given_for(name)
    whole, final = run_on(given, "cpu")
    expected = gradients(weighed([*whole.values(), *final.values()]), given)
    for cuts in ([1] * 5, [2, 3]):
        state, pieces = given.state, []
        for part in given.x.split(cuts):
            outputs, state = run_on(replace(given, x=part, state=state), "cpu")
            pieces.append(outputs)
        joined = {n: torch.cat([piece[n] for piece in pieces]) for n in whole}
        assert_close(joined, {n: t.detach() for n, t in whole.items()})
        assert_close(state, {n: t.detach() for n, t in final.items()})
        assert_close(gradients(weighed([*joined.values(), *state.values()]), given), expected, 3e-5)


@needs_bf16
@pytest.mark.parametrize("name", ["lstm", "mut1"])
def test_a_split_under_autocast_is_the_whole(name: str) -> None:
    given = given_for(name)
    whole, final = run_on(given, "cpu", True)
    state, pieces = given.state, []
    for part in given.x.split([2, 3]):
        outputs, state = run_on(replace(given, x=part, state=state), "cpu", True)
        pieces.append(outputs)
    joined = {n: torch.cat([piece[n] for piece in pieces]) for n in whole}
    # states go on in float32, so that only the order of additions may differ
    assert_close(state, {n: t.detach() for n, t in final.items()}, 1e-2)
    assert_close(joined, {n: t.detach() for n, t in whole.items()}, 1e-2)


@pytest.mark.parametrize("name", CELLS)
def test_rows_do_not_meet(name: str) -> None:
    given = given_for(name, batch=9)
    whole, final = run_on(given, "cpu")
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    by_row = {n: t[order] for n, t in given.state.items()}
    moved = replace(
        given, x=given.x[:, order], state=by_row, constants={n: t[order] for n, t in given.constants.items()}
    )
    outputs, last = run_on(moved, "cpu")
    assert_close(outputs, {n: t[:, order].detach() for n, t in whole.items()})
    assert_close(last, {n: t[order].detach() for n, t in final.items()})


@pytest.mark.parametrize("name", CELLS)
def test_a_padded_batch_equals_its_rows_alone(name: str) -> None:
    lengths = [5, 1, 3, 5, 2]
    given = given_for(name, lengths=lengths)
    whole, final = run_on(given, "cpu")
    total = weighed([*whole.values(), *final.values()])
    found = gradients(total, given)
    parts = [
        run_on(
            replace(
                given,
                x=given.x[:length, row : row + 1],
                state={n: t[row : row + 1] for n, t in given.state.items()},
                constants={n: t[row : row + 1] for n, t in given.constants.items()},
                lengths=None,
            ),
            "cpu",
        )
        for row, length in enumerate(lengths)
    ]
    joined = {
        n: torch.cat([torch.cat((part[0][n], torch.zeros(5 - len(part[0][n]), 1, 20))) for part in parts], 1)
        for n in whole
    }
    last = {n: torch.cat([part[1][n] for part in parts]) for n in final}
    assert_close(whole, {n: t.detach() for n, t in joined.items()})
    assert_close(final, {n: t.detach() for n, t in last.items()})
    assert_close(found, gradients(weighed([*joined.values(), *last.values()]), given), 3e-5)
    padding = torch.arange(5).unsqueeze(1) >= torch.tensor(lengths)
    assert not found["x"][padding].any()


@pytest.mark.parametrize("name", ["lstm", "layernorm-gru", "mut1"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_padding_is_not_read(name: str, bad: float) -> None:
    given = given_for(name, hidden=33, lengths=[5, 1, 3, 5, 2])
    padding = (torch.arange(5).unsqueeze(1) >= given.lengths).unsqueeze(2)
    spoilt = replace(given, x=given.x.detach().masked_fill(padding, bad).requires_grad_())
    clean, soiled = run_on(given, "cpu"), run_on(spoilt, "cpu")
    for left, right in zip(soiled, clean, strict=True):
        assert all(torch.equal(left[n], right[n]) for n in right)
    found = gradients(weighed(list(soiled[1].values())), spoilt)
    assert all(torch.isfinite(each).all() for each in found.values())


@pytest.mark.parametrize("name", CELLS)
def test_the_future_does_not_change_the_past(name: str) -> None:
    given = given_for(name)
    whole, _ = run_on(given, "cpu")
    for later in (10.0, float("nan")):
        changed = given.x.detach().clone()
        changed[3:] = later
        again, _ = run_on(replace(given, x=changed), "cpu")
        assert all(torch.equal(again[n][:3], whole[n][:3]) for n in whole)
    (seen,) = torch.autograd.grad(whole[given.recurrence.output][2].sum(), given.x)
    assert not seen[3:].any()
    assert seen[:3].any()


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_bf16)])
@pytest.mark.parametrize("name", ["lstm", "layernorm-gru", "mut1", "rnn-image"])
@pytest.mark.parametrize("hidden", [17, 32])
def test_a_bad_row_harms_no_other(name: str, half: bool, hidden: int) -> None:
    given = given_for(name, batch=9, hidden=hidden)
    clean, last = run_on(given, "cpu", half)
    expected = gradients(weighed([t[:, [i for i in range(9) if i != 4]] for t in clean.values()]), given)
    bad = given.x.detach().clone()
    bad[1, 4] = float("nan")
    spoilt = replace(given, x=bad.requires_grad_())
    outputs, final = run_on(spoilt, "cpu", half)
    others = [i for i in range(9) if i != 4]
    for name_, tensor in outputs.items():
        assert torch.equal(tensor[:, others], clean[name_][:, others])
        assert tensor[1:, 4].isnan().any(1).all()
        assert not tensor[0, 4].isnan().any()
    for name_, tensor in final.items():
        assert torch.equal(tensor[others], last[name_][others])
    found = gradients(weighed([t[:, others] for t in outputs.values()]), spoilt)
    # weights sum over rows, and 0 * NaN is NaN there; what belongs to a row is its own
    for key in ("x", *(f"{n} before" for n in given.state)):
        left, right = found[key], expected[key]
        rows = (lambda t: t[:, others]) if key == "x" else (lambda t: t[others])
        assert torch.equal(rows(left), rows(right)), key


def test_a_result_is_the_callers_own() -> None:
    for hidden in (17, 32):
        given = given_for("gru", hidden=hidden)
        with torch.no_grad():
            outputs, final = run_on(given, "cpu")
            kept = final["h"].clone()
            again = run_on(given, "cpu")[0]["h"]
            outputs["h"].zero_()
            assert torch.equal(final["h"], kept)
            assert again.any()
            state = {n: t.detach().clone() for n, t in given.state.items()}
            _, last = run_on(replace(given, x=given.x[:1], state=state), "cpu")
            last["h"].zero_()
            assert torch.equal(state["h"], given.state["h"])


def test_a_state_that_is_its_own_new_value_is_no_alias() -> None:
    from elman.equations import Recurrence

    given = operands(Recurrence("s = c * h\nc = c\nh = tanh(W @ x + s)"))
    with torch.no_grad():
        _, final = run_on(given, "cpu")
        before = given.state["c"].detach().clone()
        final["c"].zero_()
        assert torch.equal(given.state["c"], before)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 330))
def test_random_recurrences_in_pieces(seed: int) -> None:
    given = operands(random_recurrence(seed), steps=6, batch=4, hidden=17)
    whole, final = run_on(given, "cpu")
    first, state = run_on(replace(given, x=given.x[:1]), "cpu")
    second, last = run_on(replace(given, x=given.x[1:], state=state), "cpu")
    assert_close({n: torch.cat((first[n], second[n])) for n in whole}, {n: t.detach() for n, t in whole.items()}, 1e-4)
    assert_close(last, {n: t.detach() for n, t in final.items()}, 1e-4)
