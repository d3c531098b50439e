"""What torch's kernels need beside what the engine's own tests show."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune

import elman
from elman.compile import frozen_weights, torch_fused
from elman.errors import MisuseError


def test_frozen_weights_are_put_together_once_and_forgotten_afterwards() -> None:
    layer = elman.nn.Recurrent("lstm", 3, 4)
    x = torch.randn(1, 2, 3)
    with torch.no_grad():
        before = layer(x)[0]
    with frozen_weights():
        first = layer(x)[0]
        torch.testing.assert_close(first, before)  # by another backend, so up to rounding
        assert torch.equal(layer(x)[0], first)
    with torch.no_grad():
        layer.parameter("Wi").add_(1.0)
        after = layer(x)[0]
    assert not torch.equal(after, before)
    with frozen_weights():
        torch.testing.assert_close(layer(x)[0], after)


def test_weights_that_are_made_anew_are_not_kept() -> None:
    layer = elman.nn.Recurrent("lstm", 3, 4)
    prune.random_unstructured(layer.layers["0"], "Uf", 0.5)
    with frozen_weights():
        for _ in range(3):
            layer(torch.randn(1, 2, 3))
        assert not torch_fused._FROZEN.get()


@pytest.mark.parametrize("output", ["h", "c"])
def test_an_lstm_that_gives_its_memory_is_right(output: str) -> None:
    recurrence = elman.Recurrence(elman.cell("lstm").equations, output=output)
    layer = elman.nn.Recurrent(recurrence, 3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    y, state = layer(x)
    torch.testing.assert_close(y[-1], state[output][0])
    assert layer.backend_used.startswith("torch" if output == "h" else "reference")


@pytest.mark.parametrize("name", ["rnn", "rnn-relu", "gru-reset-after", "lstm"])
@pytest.mark.parametrize("both", [False, True])
def test_the_kernels_run_rows_of_unequal_length(name: str, both: bool) -> None:
    layer = elman.nn.Recurrent(name, 3, 4, 2, bidirectional=both, dtype=torch.float64)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    lengths = [3, 6, 1, 4]
    for row, length in enumerate(lengths):
        x[length:, row] = torch.nan
    x.requires_grad_()
    state = {n: torch.randn(4 if both else 2, 4, 4, dtype=torch.float64) for n in layer.recurrence.states}
    found = {}
    for backend in ("torch", "reference"):
        layer.backend = backend
        y, final = layer(x, state, lengths=lengths)
        assert layer.backend_used.startswith(backend)
        total = (y.cos() * torch.arange(y.numel()).view(y.shape)).sum() + sum(t.sin().sum() for t in final.values())
        first = torch.autograd.grad(total, [x, *layer.parameters()], create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), list(layer.parameters()))
        found[backend] = [y, *(final[n] for n in layer.recurrence.states), *first, *second]
    for ours, theirs in zip(found["torch"], found["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_every_state_of_an_lstm_is_refused_only_where_it_was_asked_for() -> None:
    layer = elman.nn.Recurrent("lstm", 3, 4, backend="torch")
    x = torch.randn(5, 2, 3)
    layer(x, lengths=[5, 2])
    with pytest.raises(MisuseError, match="sequence of c, which return_states asks for"):
        layer(x, return_states=True)


def test_what_runs_rows_of_unequal_length_by_itself_is_told() -> None:
    layer = elman.nn.Recurrent("lstm", 3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    layer(x, lengths=[5, 2])
    assert "lengths of their own" in layer.backend_used
    with torch.no_grad():
        layer(x, lengths=[5, 2])
    assert layer.backend_used.startswith("torch")
