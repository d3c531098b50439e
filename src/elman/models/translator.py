"""The recurrent encoder-decoder: one sequence in, another out.

A recurrence reads the source, another writes the target, symbol by symbol, and looks back at what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

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
from elman.nn.attention import SCORES, Attention
from elman.nn.dropout import dropout as drop_units
from elman.nn.ragged import Ragged

ATTENTIONS = ("none", *SCORES)
TIES = ("none", "target", "all")

#: Where a decoder's state keeps the vector that is fed back; no state of equations can be called so.
FED = "input feeding"

State = dict[str, Tensor]


class Memory(NamedTuple):
    """What the decoder looks back at.

    Attributes:
        values: the encoder's outputs [S, B, D], in the order of the source.
        prepared: what the attention's scores need of them [S, B, ...].
        lengths: [B] of the sources.
    """

    values: Tensor
    prepared: Tensor
    lengths: Tensor

    def select(self, rows: Tensor) -> Memory:
        """The memory of chosen sources."""
        return Memory(self.values[:, rows], self.prepared[:, rows], self.lengths[rows])


class Translator(Configured, nn.Module):
    """Gives the probability of a target sequence y_1 ... y_T, given a source sequence.

        m_s = encoder(dropout(E_x[x_s]), m_{s-1}), layer upon layer; bidirectional: both directions side by side
        h_0 = the encoder's last state, all of it: cell and hidden state of an LSTM         Sutskever et al. 2014
              (bidirectional, or states of other names:  h_0 = tanh(Wb [m_last; m_first] + bb), layer by layer)
        h_t = decoder(dropout(E_y[y_{t-1}]), h_{t-1})
        c_t = sum_s a_ts m_s,   a_t = softmax_s score(h_t, m_s)                             Bahdanau et al. 2015
        o_t = tanh(Wc [c_t; h_t] + bc)                                                      Luong et al. 2015, eq. 5
        P(y_t | ...) = softmax(Wy dropout(o_t) + by)

    Without attention o_t = h_t. With input feeding the decoder reads [E_y[y_{t-1}]; o_{t-1}] (Luong et al. 2015,
    section 3.3), and a step needs the one before it: the decoder then runs step by step, and else over all steps in one
    call.

    Args:
        encoder: a zoo name or a :class:`elman.Recurrence`.
        source_size: number of source symbols.
        vocabulary_size: number of target symbols V.
        decoder: as ``encoder``; default the same.
        hidden: width H of every layer and direction.
        layers: number of layers of encoder and decoder.
        embedding: width of the embeddings; default ``hidden``.
        bidirectional: the encoder also reads from the end.
        attention: one of ``ATTENTIONS``.
        input_feeding: o_{t-1} is part of the decoder's input.
        reverse_source: the encoder reads the source from its end (Sutskever et al. 2014, section 3.3).
        tied: "target": the softmax uses E_y (Press & Wolf 2017); "all": E_x is E_y too, for one vocabulary of both.
        dropout: on embeddings, between layers and before the softmax.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes or choices that do not fit together.
    """

    ENTRIES: ClassVar[Mapping[str, type]] = {
        "encoder": Recurrence,
        "decoder": Recurrence,
        "source_size": int,
        "vocabulary_size": int,
        "hidden": int,
        "layers": int,
        "embedding": int,
        "bidirectional": bool,
        "attention": str,
        "input_feeding": bool,
        "reverse_source": bool,
        "tied": str,
        "dropout": float,
    }

    def __init__(
        self,
        encoder: str | Recurrence,
        source_size: int,
        vocabulary_size: int,
        *,
        decoder: str | Recurrence | None = None,
        hidden: int = 256,
        layers: int = 1,
        embedding: int | None = None,
        bidirectional: bool = False,
        attention: str = "general",
        input_feeding: bool = False,
        reverse_source: bool = False,
        tied: str = "none",
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        embedding = hidden if embedding is None else embedding
        check_sizes(
            {
                "source_size": (source_size, 2**31),
                "vocabulary_size": (vocabulary_size, 2**31),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
                "layers": (layers, MOST_LAYERS),
            }
        )
        check_rates(dropout=dropout)
        _check_choices(attention, input_feeding, tied, source_size, vocabulary_size)
        recurrences = [zoo_cell(cell) if isinstance(cell, str) else cell for cell in (encoder, decoder or encoder)]
        for recurrence in recurrences:
            if recurrence.inputs:
                raise MisuseError(
                    f"A translator has no constant inputs to give; this recurrence asks for "
                    f"{', '.join(recurrence.inputs)}."
                )
        self.source_size, self.vocabulary_size = source_size, vocabulary_size
        self.hidden, self.layers, self.embedding = hidden, layers, embedding
        self.bidirectional = bidirectional
        self.attention, self.input_feeding = attention, input_feeding
        self.reverse_source, self.tied, self.dropout = reverse_source, tied, dropout
        self.target_embedding = nn.Embedding(vocabulary_size, embedding)
        self.source_embedding = nn.Embedding(source_size, embedding) if tied != "all" else None
        for table in (self.target_embedding, self.source_embedding):
            if table is not None:
                # a softmax that shares the matrix starts near uniform only if it is small
                nn.init.normal_(table.weight, std=embedding**-0.5)
        # the softmax reads vectors as wide as the rows that it shares
        out = embedding if tied != "none" else hidden
        between = dropout if layers > 1 else 0.0
        self.encoder = Recurrent(
            recurrences[0], embedding, hidden, layers, bidirectional=bidirectional, dropout=between, backend=backend
        )
        fed = out if input_feeding else 0
        self.decoder = Recurrent(recurrences[1], embedding + fed, hidden, layers, dropout=between, backend=backend)
        memory = hidden * self.encoder.directions
        self.bridge = nn.ModuleList()
        if bidirectional or any(name not in recurrences[0].states for name in recurrences[1].states):
            self.bridge.extend(nn.Linear(memory, hidden) for _ in range(len(recurrences[1].states) * layers))
        self.look = None if attention == "none" else Attention(attention, hidden, memory)
        self.combine = None
        if self.look is not None or out != hidden:
            self.combine = nn.Linear(hidden + (memory if self.look is not None else 0), out)
        self.readout_bias = nn.Parameter(torch.zeros(vocabulary_size))
        if tied == "none":
            self.readout_weight = nn.Parameter(torch.empty(vocabulary_size, out))
            nn.init.uniform_(self.readout_weight, -(out**-0.5), out**-0.5)
        else:
            self.register_parameter("readout_weight", None)

    @property
    def backend_used(self) -> str:
        """What the decoder's recurrence ran on in the last call, and why not something faster."""
        return self.decoder.backend_used

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, State]:
        """Read source sequences.

        Args:
            source: [S, B] ids; what stands beyond a row's length is not read.
            lengths: [B], 1 to S.

        Returns:
            The memory, and the decoder's state before its first step: by name [layers, B, H], with input feeding also
            ``FED`` [1, B, out].
        """
        lengths = lengths.to(source.device)
        ragged = Ragged(lengths, source.shape[0], source.shape[1], source.device)
        table = self.target_embedding if self.source_embedding is None else self.source_embedding
        values, final = self._run(self.encoder, ragged.back(source) if self.reverse_source else source, table, lengths)
        if self.reverse_source:
            values = ragged.back(values)
        state = self._handed_on(final)
        if self.input_feeding:
            assert self.combine is not None
            state[FED] = values.new_zeros(1, source.shape[1], self.combine.out_features)
        prepared = values if self.look is None else self.look.prepare(values)
        return Memory(values, prepared, lengths), state

    def decode(self, inputs: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor | None]:
        """Take target symbols and go on.

        Args:
            inputs: [T, R] ids of the symbols before those to be predicted. R is B, or a multiple W * B: then row
                w * B + b belongs to source b, as the rows of a beam of width W do.
            state: of R rows.
            memory: of B sources.

        Returns:
            What the softmax reads [T, R, out], the state after the last step, and the attention's weights [T, R, S]
            (None without attention).
        """
        if not self.input_feeding:
            hidden, state = self._run(self.decoder, inputs, self.target_embedding, None, state)
            vectors, weights = self._look_back(hidden, memory)
            return vectors, state, weights
        embedded = drop_units(self.target_embedding(inputs), self.dropout, self.training)
        recurrent = {name: tensor for name, tensor in state.items() if name != FED}
        fed, steps = state[FED], []
        for x in embedded.split(1):
            hidden, recurrent = self.decoder(torch.cat((x, fed.to(x.dtype)), -1), recurrent)
            fed, weights = self._look_back(hidden, memory)
            steps.append((fed, weights))
        vectors, all_weights = (torch.cat(parts) for parts in zip(*steps, strict=True))
        return vectors, recurrent | {FED: fed}, all_weights

    def readout(self, vectors: Tensor) -> Tensor:
        """Scores before the softmax [..., V], from what :meth:`decode` gave [..., out]."""
        weight = self.target_embedding.weight if self.readout_weight is None else self.readout_weight
        return functional.linear(drop_units(vectors, self.dropout, self.training), weight, self.readout_bias)

    def forward(self, source: Tensor, source_lengths: Tensor, inputs: Tensor) -> Tensor:
        """Scores of the next target symbol after every given one (teacher forcing).

        Args:
            source: [S, B] ids.
            source_lengths: [B], 1 to S.
            inputs: [T, B] ids, the start symbol first.

        Returns:
            Scores before the softmax [T, B, V].
        """
        memory, state = self.encode(source, source_lengths)
        return self.readout(self.decode(inputs, state, memory)[0])

    def nats(self, source: Tensor, source_lengths: Tensor, target: Tensor, target_lengths: Tensor) -> Tensor:
        """The negative log-likelihood of targets, summed over all their symbols.

        Args:
            source: [S, B] ids.
            source_lengths: [B], 1 to S.
            target: [T + 1, B] ids, start symbol first, end symbol last.
            target_lengths: [B] symbols to predict, the end symbol among them, 1 to T.

        Returns:
            Nats, a scalar.
        """
        memory, state = self.encode(source, source_lengths)
        vectors, _, _ = self.decode(target[:-1], state, memory)
        time = torch.arange(len(target) - 1, device=target.device).unsqueeze(1)
        # the softmax is most of the work, so it is spared what stands beyond a target's end
        inside = (time < target_lengths.to(target.device)).flatten().nonzero().squeeze(1)
        scores = self.readout(vectors.flatten(0, 1).index_select(0, inside))
        # a sum over thousands of symbols needs more than the 8 bits of a bfloat16
        exact = scores.float() if scores.dtype == torch.bfloat16 else scores
        return functional.cross_entropy(exact, target[1:].flatten()[inside], reduction="sum")

    def _run(
        self, layers: Recurrent, ids: Tensor, table: nn.Embedding, lengths: Tensor | None, state: State | None = None
    ) -> tuple[Tensor, State]:
        if self.dropout and self.training:
            y, final, *_ = layers(drop_units(table(ids), self.dropout), state, lengths=lengths)
        else:
            y, final, *_ = layers(ids, state, lengths=lengths, table=table.weight)
        return y, final

    def _handed_on(self, final: State) -> State:
        """The decoder's first state: the encoder's last, directly or through the bridge."""
        names, known = self.decoder.recurrence.states, self.encoder.recurrence
        if not len(self.bridge):
            return {name: final[name] for name in names}
        state = {}
        layers = iter(self.bridge)
        for name in names:
            last = final[name if name in final else known.output]
            sides = last.unflatten(0, (self.layers, self.encoder.directions))
            # h_0 = tanh(Wb [m_last; m_first] + bb)
            handed = [torch.tanh(next(layers)(torch.cat(layer.unbind(0), -1))) for layer in sides.unbind(0)]
            # a recurrence carries its state in the type of its weights, also where products are in bfloat16
            state[name] = torch.stack(handed).to(last.dtype)
        return state

    def _look_back(self, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        if self.look is None:
            return (hidden if self.combine is None else self.combine(hidden)), None
        steps, rows, width = hidden.shape
        sources = memory.lengths.shape[0]
        # several rows of one source are so many queries of it
        queries = hidden.reshape(steps * (rows // sources), sources, width)
        context, weights = self.look(queries, memory.prepared, memory.values, memory.lengths)
        # o_t = tanh(Wc [c_t; h_t] + bc)
        assert self.combine is not None
        vectors = torch.tanh(self.combine(torch.cat((context, queries), -1)))
        return vectors.reshape(steps, rows, -1), weights.reshape(steps, rows, -1)


def _check_choices(attention: str, input_feeding: bool, tied: str, source_size: int, vocabulary_size: int) -> None:
    if attention not in ATTENTIONS:
        raise MisuseError(f"attention is {attention!r}; it takes {', '.join(ATTENTIONS)}.")
    if tied not in TIES:
        raise MisuseError(f"tied is {tied!r}; it takes {', '.join(TIES)}.")
    if input_feeding and attention == "none":
        raise MisuseError("Input feeding feeds the attention's vector back; it needs an attention.")
    if tied == "all" and source_size != vocabulary_size:
        raise MisuseError(
            f"One embedding for source and target needs one vocabulary of both; there are {source_size} source and "
            f"{vocabulary_size} target symbols."
        )
