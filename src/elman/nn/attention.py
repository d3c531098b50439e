"""Attention: a weighted mean of what was read, the weights asked for by the present state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elman.errors import MisuseError

SCORES = ("additive", "general", "dot", "scaled-dot")


class Attention(nn.Module):
    """Soft attention of queries over keys.

        a_s = softmax_s score(q, k_s),    context = sum_s a_s v_s

        additive    score = v . tanh(Wq q + Wk k)        Bahdanau, Cho, Bengio 2015 (arXiv:1409.0473)
        general     score = q . (W k)                    Luong, Pham, Manning 2015 (arXiv:1508.04025), multiplicative
        dot         score = q . k                        the same
        scaled-dot  score = q . k / sqrt(width)          Vaswani et al. 2017 (arXiv:1706.03762)

    The part of the score that does not depend on the query is made once a sequence by :meth:`prepare`.

    Args:
        score: one of ``SCORES``.
        query: width of the queries.
        key: width of the keys.
        hidden: width of the additive score's hidden layer; default that of the queries.

    Raises:
        MisuseError: no such score, or widths that it cannot compare.
    """

    def __init__(self, score: str, query: int, key: int, hidden: int | None = None) -> None:
        super().__init__()
        if score not in SCORES:
            raise MisuseError(f"attention is {score!r}; it takes {', '.join(SCORES)}.")
        if score in ("dot", "scaled-dot") and query != key:
            raise MisuseError(
                f"{score} attention compares vectors of one width; the queries have {query} and the keys {key}. "
                "Take additive or general."
            )
        self.score, self.query, self.key = score, query, key
        self.hidden = query if hidden is None else hidden
        if score == "additive":
            self.from_query = nn.Linear(query, self.hidden, bias=False)
            self.from_key = nn.Linear(key, self.hidden)
            self.combine = nn.Linear(self.hidden, 1, bias=False)
        elif score == "general":
            self.from_key = nn.Linear(key, query, bias=False)

    def prepare(self, keys: Tensor) -> Tensor:
        """What the scores need of the keys.

        Args:
            keys: [S, B, key].

        Returns:
            [S, B, hidden] for additive, [S, B, query] else.
        """
        return self.from_key(keys) if self.score in ("additive", "general") else keys

    def forward(
        self, query: Tensor, prepared: Tensor, values: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: [B, query], or [T, B, query] for T queries at once.
            prepared: what :meth:`prepare` gave.
            values: [S, B, D], of which the mean is taken.
            lengths: [B] how many of the S belong to each row, at least 1; default all.

        Returns:
            The context [B, D] ([T, B, D]) and the weights [B, S] ([T, B, S]), zero beyond a row's length.
        """
        single = query.dim() == 2
        queries = query.unsqueeze(0) if single else query
        if self.score == "additive":
            # v . tanh(Wq q + Wk k)
            mixed = torch.tanh(self.from_query(queries).unsqueeze(1) + prepared.unsqueeze(0))
            scores = self.combine(mixed).squeeze(-1).permute(0, 2, 1)
        else:
            scores = torch.einsum("tbq,sbq->tbs", queries, prepared)
            if self.score == "scaled-dot":
                scores = scores / math.sqrt(self.query)
        if lengths is not None:
            places = torch.arange(prepared.shape[0], device=scores.device)
            scores = scores.masked_fill(places >= lengths.to(scores.device).unsqueeze(-1), -math.inf)
        weights = torch.softmax(scores, dim=-1)
        context = torch.einsum("tbs,sbd->tbd", weights, values)
        return (context[0], weights[0]) if single else (context, weights)
