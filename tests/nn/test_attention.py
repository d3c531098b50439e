"""Attention against its formula, row by row."""

from __future__ import annotations

import math

import pytest
import torch

from elman.errors import MisuseError
from elman.nn.attention import SCORES, Attention


def by_formula(attention: Attention, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    if attention.score == "additive":
        return attention.combine(torch.tanh(attention.from_query(query) + attention.from_key(key))).squeeze()
    if attention.score == "general":
        return query @ (attention.from_key.weight @ key)
    return query @ key / (math.sqrt(len(query)) if attention.score == "scaled-dot" else 1.0)


@pytest.mark.parametrize("score", SCORES)
def test_weights_and_context_follow_the_formula(score: str) -> None:
    torch.manual_seed(0)
    width = 5 if "dot" in score else 3
    attention = Attention(score, 5, width).double()
    queries = torch.randn(4, 2, 5, dtype=torch.float64)
    keys, values = torch.randn(6, 2, width, dtype=torch.float64), torch.randn(6, 2, 7, dtype=torch.float64)
    lengths = torch.tensor([6, 2])
    context, weights = attention(queries, attention.prepare(keys), values, lengths)
    for t in range(4):
        for row, length in enumerate(lengths.tolist()):
            scores = torch.stack([by_formula(attention, queries[t, row], keys[s, row]) for s in range(length)])
            expected = torch.softmax(scores, 0)
            torch.testing.assert_close(weights[t, row, :length], expected)
            assert (weights[t, row, length:] == 0).all()
            torch.testing.assert_close(context[t, row], expected @ values[:length, row])
        alone = attention(queries[t], attention.prepare(keys), values, lengths)
        torch.testing.assert_close(alone[0], context[t])
        torch.testing.assert_close(alone[1], weights[t])


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_right(score: str) -> None:
    torch.manual_seed(1)
    attention = Attention(score, 3, 3).double()
    query = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def context(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return attention(query, attention.prepare(keys), keys, torch.tensor([4, 3]))[0]

    assert torch.autograd.gradcheck(context, (query, keys))


def test_what_cannot_be() -> None:
    with pytest.raises(MisuseError, match="additive, general, dot"):
        Attention("cosine", 3, 3)
    with pytest.raises(MisuseError, match="queries have 3 and the keys 4"):
        Attention("dot", 3, 4)
