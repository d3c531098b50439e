"""Questions about images: a recurrence reads the question and looks at the image, an answer is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

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
from elman.models.questions.gridnet import GridNet
from elman.nn import Recurrent
from elman.nn.attention import Attention
from elman.nn.dropout import dropout as drop_units

ATTENTIONS = ("read", "after", "none")
CONTROLS = ("none", "question-only", "image-only")
HEADS = ("answers", "choices")
IMAGES = ("net", "features")
MOST_HOPS = 16


class Choices(NamedTuple):
    """What a batch of multiple-choice questions offers.

    Attributes:
        tokens: [L, B * C] words of each choice, question by question.
        lengths: [B * C] words of each, at least 1.
        offered: [B] choices of each question, at most C.
    """

    tokens: Tensor
    lengths: Tensor
    offered: Tensor


class VisualQA(Configured, nn.Module):
    """Answers a question about an image.

    The image is a grid of vectors v_i, from a :class:`GridNet` that is trained along, or features of a net that is not
    (then v_i is normalised by a layer norm); v is their mean.

    Attention ``"read"``, Visual7W (Zhu et al. 2016, arXiv:1511.03416, equations 1-9): the image is the first input, and
    at each word the state before it asks for a part of the image.

        x_0 = W_I v + b_I,   x_t = E[word_t]
        e_ti = w . tanh(W_h h_{t-1} + W_v v_i + b),   a_t = softmax(e_t),   r_t = sum_i a_ti v_i
        h_t = recurrence([x_t; r_t], h_{t-1}),   u = h_T

    A recurrence that uses x elementwise reads W_x [x_t; r_t] + b_x instead, which is as wide as its state.

    Attention ``"after"``, stacked attention (Yang et al. 2016, arXiv:1511.02274): the question is read alone, by one
    compiled loop, and its last state asks several times.

        u_0 = W_q h_T + b_q,   m_i = tanh(W_m v_i + b_m)
        a_k = softmax_i(w_k . tanh(U_k u_{k-1} + V_k m_i + c_k)),   u_k = u_{k-1} + sum_i a_ki m_i,   u = u_K

    ``"none"``: no attention; the mean vector and the question meet once (Antol et al. 2015, arXiv:1505.00468).

        u = tanh(W_q h_T + b_q) * tanh(W_m v + b_m)

    Head ``"answers"`` gives each of K known answers a score; ``"choices"`` compares u with the words of what a question
    offers, so that any text can be a choice.

        answers   s = W_2 relu(W_1 u + b_1) + b_2
        choices   s_c = (W_2 relu(W_1 u + b_1) + b_2) . mean of E[words of c] / sqrt(width of E)

    Args:
        recurrence: a zoo name or a :class:`elman.Recurrence`.
        vocabulary_size: number of words V.
        answers: number of known answers K; 1 with head "choices", where it means nothing.
        images: ``"net"``: images of ``height`` x ``width`` pixels for a net with ``channels`` in its first layer that
            halves the sides ``halvings`` times; ``"features"``: grids of ``channels`` x ``height`` x ``width``.
        channels, height, width, halvings: see there.
        hidden: width H of every layer, of u and of the attention.
        layers: number of layers.
        embedding: width of the words; default ``hidden``.
        attention: one of ``ATTENTIONS``.
        hops: of attention "after".
        control: ``"question-only"`` has no image side at all, ``"image-only"`` reads the start symbol in place of the
            question; ``"none"`` has both.
        head: one of ``HEADS``.
        dropout: on the words, between layers and before the head's layers.
        recurrent_dropout: on the state inside the recurrence, one mask a batch; not with attention "read".
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes or words that do not fit together.
    """

    ENTRIES: ClassVar[Mapping[str, type]] = {
        "recurrence": Recurrence,
        "vocabulary_size": int,
        "answers": int,
        "images": str,
        "channels": int,
        "height": int,
        "width": int,
        "halvings": int,
        "hidden": int,
        "layers": int,
        "embedding": int,
        "attention": str,
        "hops": int,
        "control": str,
        "head": str,
        "dropout": float,
        "recurrent_dropout": float,
    }

    def __init__(
        self,
        recurrence: str | Recurrence,
        vocabulary_size: int,
        answers: int,
        *,
        images: str = "net",
        channels: int = 32,
        height: int = 64,
        width: int = 64,
        halvings: int = 3,
        hidden: int = 128,
        layers: int = 1,
        embedding: int | None = None,
        attention: str = "read",
        hops: int = 2,
        control: str = "none",
        head: str = "answers",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        embedding = hidden if embedding is None else embedding
        words = {"attention": ATTENTIONS, "control": CONTROLS, "head": HEADS, "images": IMAGES}
        for (name, known), given in zip(words.items(), (attention, control, head, images), strict=True):
            if given not in known:
                raise MisuseError(f"{name} is {given!r}; it takes {', '.join(known)}.")
        check_sizes(
            {
                "vocabulary_size": (vocabulary_size, 2**31),
                "answers": (answers, 2**20),
                "channels": (channels, WIDEST),
                "height": (height, WIDEST),
                "width": (width, WIDEST),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
                "layers": (layers, MOST_LAYERS),
                "hops": (hops, MOST_HOPS),
            }
        )
        check_rates(dropout=dropout, recurrent_dropout=recurrent_dropout)
        if recurrent_dropout and attention == "read":
            raise MisuseError("recurrent_dropout has one mask for a whole question, which attention read cannot keep.")
        self.recurrence = zoo_cell(recurrence) if isinstance(recurrence, str) else recurrence
        if self.recurrence.inputs:
            raise MisuseError(
                f"The image enters through the attention; this recurrence asks for constant inputs of its own: "
                f"{', '.join(self.recurrence.inputs)}."
            )
        self.vocabulary_size, self.answers, self.images, self.halvings = vocabulary_size, answers, images, halvings
        self.channels, self.height, self.width = channels, height, width
        self.hidden, self.layers, self.hops = hidden, layers, hops
        self.attention, self.control, self.head = attention, control, head
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.net: GridNet | None = None
        self.grid_shape = (channels, height, width)
        self.sees = control != "question-only"
        reads = self.sees and attention == "read"
        if self.sees:
            if images == "net":
                self.net = GridNet(height, width, channels, halvings)
                self.grid_shape = self.net.grid_shape
            else:
                self.normalise = nn.LayerNorm(channels)
            self._build_sight(hidden, embedding)
        width_of_x = embedding + (self.grid_shape[0] if reads else 0)
        self.mix: nn.Linear | None = None
        if reads and "x" in self.recurrence.square:
            self.mix, width_of_x = nn.Linear(width_of_x, hidden), hidden
        self.recurrent = Recurrent(
            self.recurrence,
            width_of_x,
            hidden,
            layers,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            backend=backend,
        )
        self.first = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, answers if head == "answers" else embedding)

    def _build_sight(self, hidden: int, embedding: int) -> None:
        depth = self.grid_shape[0]
        if self.attention == "read":
            self.show = nn.Linear(depth, embedding)
            self.look = Attention("additive", hidden, depth, hidden)
        else:
            self.ask = nn.Linear(hidden, hidden)
            self.meet = nn.Linear(depth, hidden)
        if self.attention == "after":
            self.looks = nn.ModuleList(Attention("additive", hidden, hidden, hidden) for _ in range(self.hops))

    @property
    def backend_used(self) -> str:
        """What the last call's recurrence ran on."""
        return self.recurrent.backend_used

    def grid(self, images: Tensor) -> Tensor:
        """The image side.

        Args:
            images: [N, 3, height, width] (uint8 or 0..1), or features [N, channels, height, width].

        Returns:
            [S, N, D], place by place from the top left.
        """
        if self.net is not None:
            return self.net(images).flatten(2).permute(2, 0, 1)
        return self.normalise(images.to(self.normalise.weight).flatten(2).permute(2, 0, 1))

    def forward(self, tokens: Tensor, lengths: Tensor, images: Tensor | None, which: Tensor) -> Tensor:
        """Scores of the known answers, for a model with head "answers".

        Args:
            tokens: [T, B] ids, each question begins with the start symbol; what stands beyond a row's length is not
                read.
            lengths: [B], 1 to T.
            images: as :meth:`grid` takes them, N of them; not looked at by a question-only model.
            which: [B] the image of each question.

        Returns:
            Scores before the softmax [B, K].
        """
        return self.scores(self.understood(tokens, lengths, images, which)[0])

    def understood(
        self, tokens: Tensor, lengths: Tensor, images: Tensor | None, which: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Question and image as one vector, and where it looked.

        Args:
            tokens, lengths, images, which: as for a call.

        Returns:
            u [B, H], and the attention's weights [T, B, S] (attention "read", zero beyond a row's length) or
            [hops, B, S]; None without attention.
        """
        if self.control == "image-only":
            tokens, lengths = tokens[:1], torch.ones_like(lengths)
        if not self.sees:
            return self._read_alone(tokens, lengths), None
        assert images is not None
        places = self.grid(images)
        if self.attention == "read":
            return self._read_looking(tokens, lengths, places, which)
        question = self._read_alone(tokens, lengths)
        if self.attention == "none":
            # u = tanh(W_q h_T + b_q) * tanh(W_m v + b_m)
            return torch.tanh(self.ask(question)) * torch.tanh(self.meet(places.mean(0)))[which], None
        # u_0 = W_q h_T + b_q,   m_i = tanh(W_m v_i + b_m)
        u, memory = self.ask(question), torch.tanh(self.meet(places))
        values, weights = memory[:, which], []
        for look in self.looks:
            assert isinstance(look, Attention)
            # a_k = softmax_i(w_k . tanh(U_k u_{k-1} + V_k m_i + c_k)),   u_k = u_{k-1} + sum_i a_ki m_i
            seen, weight = look(u, look.prepare(memory)[:, which], values)
            u = u + seen
            weights.append(weight)
        return u, torch.stack(weights)

    def _read_alone(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        if self.dropout and self.training:
            x = drop_units(self.embedding(tokens), self.dropout)
            _, state = self.recurrent(x, lengths=lengths)
        else:
            _, state = self.recurrent(tokens, lengths=lengths, table=self.embedding.weight)
        return state[self.recurrence.output][-1]

    def _read_looking(
        self, tokens: Tensor, lengths: Tensor, places: Tensor, which: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        # x_0 = W_I v + b_I in the place of the start symbol,   x_t = E[word_t]
        x = torch.cat((self.show(places.mean(0))[which].unsqueeze(0), self.embedding(tokens[1:])))
        x = drop_units(x, self.dropout, self.training)
        prepared, values = self.look.prepare(places)[:, which], places[:, which]
        state = self.recurrent.initial_state(x.shape[1], x)
        inside = (torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)).unsqueeze(-1)
        weights = []
        for t in range(len(x)):
            # e_ti = w . tanh(W_h h_{t-1} + W_v v_i + b),   a_t = softmax(e_t),   r_t = sum_i a_ti v_i
            seen, weight = self.look(state[self.recurrence.output][-1], prepared, values)
            joined = torch.cat((x[t], seen), -1)
            _, new = self.recurrent((joined if self.mix is None else self.mix(joined)).unsqueeze(0), state)
            state = {name: torch.where(inside[t], new[name], state[name]) for name in state}
            weights.append(weight * inside[t])
        return state[self.recurrence.output][-1], torch.stack(weights)

    def scores(self, understood: Tensor) -> Tensor:
        """Scores of the known answers [B, K] from u [B, H]; for head "choices" what choices are compared with."""
        u = drop_units(understood, self.dropout, self.training)
        u = drop_units(torch.relu(self.first(u)), self.dropout, self.training)
        return self.last(u)

    def choice_scores(self, understood: Tensor, choices: Choices) -> Tensor:
        """Scores of what each question offers, for a model with head "choices".

        Args:
            understood: u [B, H].
            choices: at most C a question.

        Returns:
            [B, C], minus infinity where a question offers fewer.
        """
        batch = len(understood)
        words = self.embedding(choices.tokens)
        inside = torch.arange(len(words), device=words.device).unsqueeze(1) < choices.lengths
        means = (words * inside.unsqueeze(-1)).sum(0) / choices.lengths.unsqueeze(1)
        # s_c = (W_2 relu(W_1 u + b_1) + b_2) . mean of E[words of c] / sqrt(width of E)
        wanted = self.scores(understood) / math.sqrt(means.shape[-1])
        scores = torch.einsum("be,bce->bc", wanted, means.view(batch, -1, means.shape[-1]))
        offered = torch.arange(scores.shape[1], device=scores.device) < choices.offered.unsqueeze(1)
        return scores.masked_fill(~offered, -torch.inf)
