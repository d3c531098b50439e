"""The recurrent language model: embedding, recurrence, softmax over the next token.

Mikolov et al. 2010, "Recurrent neural network based language model"; Karpathy's char-rnn with any recurrence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.equations import Recurrence
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.models.configuration import (
    MOST_LAYERS,
    WIDEST,
    Configured,
    check_rates,
    check_sizes,
)
from elman.nn import Recurrent
from elman.nn.dropout import dropout as drop_units

State = dict[str, Tensor]


class LanguageModel(Configured, nn.Module):
    """Predicts each token of a sequence from all tokens before it.

        e_t = dropout(E[token_t])
        h_t = recurrence(e_t, h_{t-1}), layer upon layer
        P(token_{t+1} | ...) = softmax(Wy h_t + by)

    Args:
        recurrence: a zoo name or a :class:`elman.Recurrence`.
        vocabulary_size: number of symbols V.
        hidden: width H of every layer.
        layers: number of layers.
        embedding: width of the embedding; default ``hidden``, which cells that use x elementwise need.
        dropout: between layers and before the softmax.
        input_dropout: on the embedding.
        recurrent_dropout: on the state that enters the recurrent products, one mask a call (Gal & Ghahramani 2016).
        tied: the softmax uses the embedding's matrix (Press & Wolf 2017); needs ``embedding == hidden``.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes that do not fit together.
    """

    ENTRIES: ClassVar[Mapping[str, type]] = {
        "recurrence": Recurrence,
        "vocabulary_size": int,
        "hidden": int,
        "layers": int,
        "embedding": int,
        "dropout": float,
        "input_dropout": float,
        "recurrent_dropout": float,
        "tied": bool,
    }

    def __init__(
        self,
        recurrence: str | Recurrence,
        vocabulary_size: int,
        hidden: int = 256,
        layers: int = 2,
        *,
        embedding: int | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        tied: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        embedding = hidden if embedding is None else embedding
        check_sizes(
            {
                "vocabulary_size": (vocabulary_size, 2**31),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
                "layers": (layers, MOST_LAYERS),
            }
        )
        check_rates(dropout=dropout, input_dropout=input_dropout, recurrent_dropout=recurrent_dropout)
        if tied and embedding != hidden:
            raise MisuseError(
                f"Tied weights need an embedding as wide as the hidden state: {embedding} is not {hidden}. "
                f"Leave the embedding's width out or give {hidden}."
            )
        if isinstance(recurrence, str):
            recurrence = zoo_cell(recurrence)
        if recurrence.inputs:
            raise MisuseError(
                "A language model has no constant inputs to give; "
                f"this recurrence asks for {', '.join(recurrence.inputs)}."
            )
        self.recurrence = recurrence
        self.vocabulary_size = vocabulary_size
        self.hidden, self.layers, self.tied = hidden, layers, tied
        self.dropout, self.input_dropout, self.recurrent_dropout = dropout, input_dropout, recurrent_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.recurrent = Recurrent(
            recurrence,
            embedding,
            hidden,
            layers,
            dropout=dropout if layers > 1 else 0.0,
            recurrent_dropout=recurrent_dropout,
            backend=backend,
        )
        self.readout_bias = nn.Parameter(torch.zeros(vocabulary_size))
        if tied:
            # the softmax starts near uniform only if the shared matrix is small
            nn.init.normal_(self.embedding.weight, std=hidden**-0.5)
            self.register_parameter("readout_weight", None)
        else:
            self.readout_weight = nn.Parameter(torch.empty(vocabulary_size, hidden))
            nn.init.uniform_(self.readout_weight, -(hidden**-0.5), hidden**-0.5)

    @property
    def backend_used(self) -> str:
        """What the recurrence ran on in the last call, and why not something faster."""
        return self.recurrent.backend_used

    def initial_state(self, batch: int) -> State:
        """The state before the first token: zeros.

        Args:
            batch: number of sequences B.

        Returns:
            By state name a tensor [layers, B, hidden].
        """
        return self.recurrent.initial_state(batch)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Scores of the next token after every token.

        Args:
            tokens: [T, B] ids.
            state: as :meth:`initial_state` or an earlier call gave it; default the initial one.

        Returns:
            Scores before the softmax [T, B, V], and the state after the last token.
        """
        hidden, state = self.features(tokens, state)
        return self.readout(hidden), state

    def readout(self, hidden: Tensor) -> Tensor:
        """Scores before the softmax [T, B, V], from the top layer's output [T, B, hidden]."""
        weight = self.embedding.weight if self.tied else self.readout_weight
        return functional.linear(hidden, weight, self.readout_bias)

    def features(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the softmax reads: the top layer's output [T, B, hidden], and the state."""
        if self.input_dropout and self.training:
            x = drop_units(self.embedding(tokens), self.input_dropout, self.training)
            hidden, state = self.recurrent(x, state)
        else:
            hidden, state = self.recurrent(tokens, state, table=self.embedding.weight)
        return drop_units(hidden, self.dropout, self.training), state
