"""A hand-made language model whose probabilities are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


class SecondOrder:
    """P(next | current, previous) from a table; the state is the previous token, batch in dimension 1."""

    def __init__(self, table: Tensor) -> None:
        self.table = table  # [V, V, V] scores by previous, current, next
        self.vocabulary_size = table.shape[0]
        self.calls = 0

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"previous": torch.zeros(1, batch, dtype=torch.long)}

    def __call__(self, tokens: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls += 1
        previous = torch.cat([state["previous"], tokens[:-1]])
        return self.table[previous, tokens], {"previous": tokens[-1:]}


@pytest.fixture
def second_order() -> Callable[..., SecondOrder]:
    """Makes a model of V symbols with scores drawn from a seed; ``spread`` is their standard deviation."""

    def make(size: int, seed: int = 0, spread: float = 2.0) -> SecondOrder:
        scores = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return SecondOrder(scores * spread)

    return make
