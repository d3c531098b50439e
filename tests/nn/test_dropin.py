"""The drop-ins against torch.nn: same keys, same numbers, same gradients, every option."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import elman.nn as ours
from elman.errors import MisuseError

KINDS = {
    "rnn": (ours.RNN, nn.RNN, {}),
    "relu": (ours.RNN, nn.RNN, {"nonlinearity": "relu"}),
    "gru": (ours.GRU, nn.GRU, {}),
    "lstm": (ours.LSTM, nn.LSTM, {}),
}


def pair(kind: str, backend: str, *sizes: int, **options):
    mine, theirs, extra = KINDS[kind]
    torch.manual_seed(0)
    expected = theirs(*sizes, **extra, **options)
    found = mine(*sizes, backend=backend, **extra, **options)
    assert list(found.state_dict()) == list(expected.state_dict())
    found.load_state_dict(expected.state_dict())
    return found, expected


def flat(result) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [tensor for part in result for tensor in flat(part)]


def check_equal(found, expected, call, tolerance: float) -> None:
    left, right = call(found), call(expected)
    for a, b in zip(flat(left), flat(right), strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for module, result in ((found, left), (expected, right)):
        module.zero_grad()
        sum(
            (t * torch.cos(torch.arange(t.numel(), dtype=t.dtype)).view(t.shape)).sum() for t in flat(result)
        ).backward()
    for (name, a), b in zip(found.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad, b.grad, rtol=tolerance, atol=10 * tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def initial(kind: str, *shape: int, dtype: torch.dtype):
    h = torch.linspace(-1, 1, torch.Size(shape).numel(), dtype=dtype).view(shape)
    return (h, h.flip(0) * 0.5) if kind == "lstm" else h


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_option(kind: str, backend: str, dtype: torch.dtype) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for layers, bias, batch_first, both in itertools.product((1, 2), (True, False), (False, True), (False, True)):
        options = {"bias": bias, "batch_first": batch_first, "bidirectional": both, "dtype": dtype}
        found, expected = pair(kind, backend, 4, 3, layers, **options)
        x = torch.randn(5, 2, 4, dtype=dtype)
        given = x.transpose(0, 1) if batch_first else x
        count = layers * (1 + both)
        check_equal(found, expected, lambda m, g=given: m(g), tolerance)
        hx = initial(kind, count, 2, 3, dtype=dtype)
        check_equal(found, expected, lambda m, g=given, h=hx: m(g, h), tolerance)
        single = initial(kind, count, 3, dtype=dtype)
        check_equal(found, expected, lambda m, g=x[:, 0], h=single: m(g, h), tolerance)
        check_equal(found, expected, lambda m, g=x[:, 0]: m(g), tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 5, 1, 4]])
def test_packed_sequences(kind: str, backend: str, lengths: list[int]) -> None:
    found, expected = pair(kind, backend, 4, 3, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 4, 4, dtype=torch.float64)
    ordered = lengths == sorted(lengths, reverse=True)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=ordered)
    hx = initial(kind, 4, 4, 3, dtype=torch.float64)
    check_equal(found, expected, lambda m: m(packed), 1e-10)
    check_equal(found, expected, lambda m: m(packed, hx), 1e-10)
    a, b = found(packed)[0], expected(packed)[0]
    assert torch.equal(a.batch_sizes, b.batch_sizes)
    for one, other in ((a.sorted_indices, b.sorted_indices), (a.unsorted_indices, b.unsorted_indices)):
        assert (one is None and other is None) or torch.equal(one, other)


def test_dropout_falls_between_layers_while_training() -> None:
    found, expected = pair("lstm", "reference", 4, 3, 2, dropout=0.99, dtype=torch.float64)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    assert (found(x)[0] - expected.eval()(x)[0]).abs().max() > 1e-6
    check_equal(found.eval(), expected, lambda m: m(x), 1e-10)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_run_on_torchs_kernel_only() -> None:
    found, expected = pair("lstm", "auto", 4, 3, proj_size=2)
    x = torch.randn(5, 2, 4)
    check_equal(found, expected, lambda m: m(x), 1e-6)
    for backend in ("reference", "cpu", "gpu"):
        with pytest.raises(NotImplementedError, match="proj_size runs on torch's own kernel only"):
            ours.LSTM(4, 3, proj_size=2, backend=backend)


def test_second_derivatives_on_the_reference() -> None:
    layer = ours.GRU(2, 2, backend="reference", dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_is_torchs_class_and_tells_what_ran() -> None:
    layer = ours.LSTM(4, 3)
    assert isinstance(layer, nn.LSTM)
    assert layer.backend_used == ""
    layer(torch.randn(2, 1, 4))
    assert layer.backend_used.startswith("cpu")
    layer.double()(torch.randn(2, 1, 4).double())
    assert layer.backend_used.startswith("torch (torch.nn's own kernel): the compiled CPU backend computes in float32")
    forced = ours.LSTM(4, 3, backend="reference")
    copy.deepcopy(forced)(torch.randn(2, 1, 4))
    forced(torch.randn(2, 1, 4))
    assert forced.backend_used.startswith("reference")
    assert "backend='reference'" in repr(forced)


def test_misuse() -> None:
    with pytest.raises(MisuseError, match="no backend"):
        ours.GRU(4, 3, backend="quick")
    with pytest.raises(MisuseError, match="not part of this version"):
        ours.GRU(4, 3, backend="gpu")(torch.randn(2, 1, 4))
    layer = ours.GRU(4, 3, backend="reference")
    with pytest.raises(MisuseError, match="4 wide"):
        layer(torch.randn(2, 1, 5))
    with pytest.raises(MisuseError, match=r"initial h must be \[1, 2, 3\]"):
        layer(torch.randn(2, 2, 4), torch.zeros(1, 1, 3))
