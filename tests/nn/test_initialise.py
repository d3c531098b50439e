"""How parameters start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elman.equations import zoo
from elman.errors import MisuseError
from elman.nn import Recurrent


def test_roles_in_an_lstm() -> None:
    layer = Recurrent("lstm", 20, 30)
    eye = layer.parameter("Uf") @ layer.parameter("Uf").t()
    torch.testing.assert_close(eye, torch.eye(30), atol=1e-5, rtol=0)
    bound = (6 / 50) ** 0.5
    assert 0.5 * bound < layer.parameter("Wi").abs().max() <= bound
    assert (layer.parameter("bf") == 1).all()
    assert not layer.parameter("bi").any()


def test_forget_bias_only_where_the_gate_keeps_the_state() -> None:
    assert (Recurrent("lstm-peephole", 3, 4).parameter("bf") == 1).all()
    assert not Recurrent("lstm-peephole", 3, 4).parameter("pf").any()
    assert not Recurrent("mgu", 3, 4).parameter("bf").any()
    assert not Recurrent("gru", 3, 4).parameter("bz").any()


def test_gains_identity_and_independent_units() -> None:
    assert (Recurrent("layernorm-lstm", 3, 4).parameter("ghf") == 1).all()
    assert torch.equal(Recurrent("irnn", 3, 4).parameter("Wh"), torch.eye(4))
    assert Recurrent("irnn", 3, 4).parameter("Wx").abs().max() < 0.01
    u = Recurrent("indrnn", 3, 50).parameter("u")
    assert 0 <= u.min() < 0.3
    assert 0.7 < u.max() <= 1


def test_generator_decides() -> None:
    for name in zoo():
        layers = [
            Recurrent(
                name,
                4,
                4,
                2,
                widths={"v": 4} if name == "rnn-image" else None,
                generator=torch.Generator().manual_seed(s),
            )
            for s in (1, 1, 2)
        ]
        tables = [layer.state_dict() for layer in layers]
        assert all(torch.equal(tables[0][key], tables[1][key]) for key in tables[0])
        assert any(not torch.equal(tables[0][key], tables[2][key]) for key in tables[0])
        assert all(tensor.isfinite().all() for tensor in tables[0].values())


def test_overrides() -> None:
    given = torch.arange(16.0).view(4, 4)
    layer = Recurrent("rnn", 3, 4, initialise={"Wh": given, "Wx": nn.init.ones_, "b": lambda t: t + 5})
    assert torch.equal(layer.parameter("Wh"), given)
    assert (layer.parameter("Wx") == 1).all()
    assert layer.parameter("b").shape == (4,)
    with pytest.raises(MisuseError, match="no parameter 'Wq'"):
        Recurrent("rnn", 3, 4, initialise={"Wq": given})
    with pytest.raises(MisuseError, match=r"Wh must be \[4, 4\]; got \[2, 4\]"):
        Recurrent("rnn", 3, 4, initialise={"Wh": given[:2]})


def test_half_precision_starts_too() -> None:
    layer = Recurrent("lstm", 3, 4, dtype=torch.bfloat16)
    assert layer.parameter("Ui").dtype == torch.bfloat16
    assert layer(torch.zeros(2, 1, 3, dtype=torch.bfloat16))[0].dtype == torch.bfloat16
