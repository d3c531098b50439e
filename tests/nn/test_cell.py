"""Cells in Python: states of any build, lengths, carried state."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from elman.errors import MisuseError
from elman.nn import Cell, Recurrent, Unroll


class Pair(NamedTuple):
    h: Tensor
    extra: dict[str, Tensor]


class Gated(Cell):
    """An LSTM and a counter, as a named tuple with a dict inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTMCell(3, 4, dtype=torch.float64)

    def initial_state(self, batch: int) -> Pair:
        zero = torch.zeros(batch, 4, dtype=torch.float64)
        return Pair(zero, {"c": zero, "count": torch.zeros(batch, dtype=torch.int64)})

    def step(self, x, state, ctx):
        h, c = self.inner(x, (state.h, state.extra["c"]))
        h = h + ctx.get("bias", 0.0)
        return h * 2, Pair(h, {"c": c, "count": state.extra["count"] + 1})


class Renaming(Cell):
    """Gives back another state than it was given."""

    def __init__(self, given, back) -> None:
        super().__init__()
        self.given, self.back = given, back

    def initial_state(self, batch: int):
        return self.given

    def step(self, x, state, ctx):
        return x, self.back


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ({"h": torch.zeros(3, 4)}, {"k": torch.zeros(3, 4)}),
        ({"h": torch.zeros(3, 4)}, torch.zeros(3, 4)),
        (torch.zeros(3, 4), {"h": torch.zeros(3, 4)}),
        ((torch.zeros(3, 4),), (torch.zeros(3, 4),) * 2),
    ],
)
def test_a_state_that_is_built_differently_is_refused(given, back) -> None:
    with pytest.raises(MisuseError, match="built as the one it was given"):
        Unroll(Renaming(given, back))(torch.ones(5, 3, 3), lengths=[1, 2, 5])


def make(**options) -> tuple[Unroll, Tensor]:
    torch.manual_seed(0)
    return Unroll(Gated(), **options), torch.randn(5, 3, 3, dtype=torch.float64)


def test_unrolls_and_carries_its_state() -> None:
    layer, x = make()
    y, state = layer(x)
    assert y.shape == (5, 3, 4)
    assert state.extra["count"].tolist() == [5, 5, 5]
    first, middle = layer(x[:2])
    second, last = layer(x[2:], middle)
    torch.testing.assert_close(torch.cat((first, second)), y)
    torch.testing.assert_close(last.extra["c"], state.extra["c"])
    assert layer.backend_used == "reference (a Cell in Python)"


@pytest.mark.parametrize("both", [False, True])
def test_padded_equals_ragged(both: bool) -> None:
    torch.manual_seed(0)
    layer, x = make(reverse=Gated() if both else None)
    lengths = [2, 5, 1]
    for row, length in enumerate(lengths):
        x[length:, row] = torch.nan
    y, state = layer(x, lengths=lengths)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    for row, length in enumerate(lengths):
        alone, last = layer(x[:length, row : row + 1])
        torch.testing.assert_close(y[:length, row : row + 1], alone)
        assert not y[length:, row].any()
        pairs = zip(state, last, strict=True) if both else [(state, last)]
        for mine, own in pairs:
            assert mine.extra["count"][row] == length
            torch.testing.assert_close(mine.h[row : row + 1], own.h)


def test_context_and_layout() -> None:
    layer, x = make(batch_first=True)
    plain, _ = layer(x)
    moved, _ = layer(x, bias=torch.tensor(0.5, dtype=torch.float64))
    assert plain.shape == (5, 3, 4)
    assert (moved - plain).abs().min() > 0


def test_misuse() -> None:
    layer, x = make()
    with pytest.raises(MisuseError, match="not Linear"):
        Unroll(nn.Linear(2, 2))
    with pytest.raises(MisuseError, match=r"elman\.nn\.Unroll"):
        Recurrent(Gated(), 3, 4)
    with pytest.raises(MisuseError, match="at least one step"):
        layer(x[:0])

    class Odd(Gated):
        def step(self, x, state, ctx):
            return x, (x,)

    with pytest.raises(MisuseError, match="built as the one it was given"):
        Unroll(Odd())(x, lengths=[1, 2, 3])
    with pytest.raises(NotImplementedError, match="initial_state"):
        Unroll(Cell())(x)
