"""Every cell of the zoo on the compiled backend: forward and all gradients against float64."""

from __future__ import annotations

import pytest
import torch
from cpu_cases import check, everything, needs_backend, needs_bf16, operands, run_on

from elman.equations import cell, zoo

pytestmark = needs_backend


@pytest.mark.parametrize("name", zoo())
def test_zoo_equals_float64(name: str) -> None:
    check(operands(cell(name)))


@needs_bf16
@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm-lstm", "mut1", "mlstm", "sru", "rnn-image"])
def test_zoo_under_autocast_equals_float64_but_for_rounding(name: str) -> None:
    check(operands(cell(name)), half=True)


@pytest.mark.slow
@needs_bf16
@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("hidden", [16, 33])
def test_all_of_the_zoo_under_autocast(name: str, hidden: int) -> None:
    check(operands(cell(name), steps=9, batch=7, hidden=hidden), half=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("every_state", [False, True])
def test_zoo_over_ragged_rows_and_a_full_vector(name: str, every_state: bool) -> None:
    check(operands(cell(name), steps=9, batch=7, hidden=32, lengths=[9, 1, 4, 4, 9, 2, 7]), every_state=every_state)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo())
def test_zoo_with_a_recurrent_mask(name: str) -> None:
    check(operands(cell(name).with_recurrent_mask()))


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_bf16)])
def test_without_gradients_the_numbers_are_the_same(name: str, half: bool) -> None:
    given = operands(cell(name))
    expected = run_on(given, "cpu", half)
    with torch.no_grad():
        found = run_on(given, "cpu", half)
    for left, right in zip(found, expected, strict=True):
        for state in right:
            torch.testing.assert_close(left[state], right[state].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_wrong_gradient_would_be_seen() -> None:
    given = operands(cell("lstm"))
    found = everything(given, "cpu")

    def bent(given, backend, half, every_state):
        results = everything(given, backend, half, every_state)
        return {**results, "d Uf": results["d Uf"] * 1.001} if backend == "cpu" else results

    assert found["d Uf"].any()
    with pytest.raises(AssertionError, match="d Uf"):
        check(given, of=bent)
