"""Recurrences that write a caption, told of the image in one way or another.

A state is a dict of tensors whose dimension 1 is the batch, as of a language model; before the first word it holds what
is known of the image, and nothing of the image is asked for later.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.equations import Recurrence
from elman.models.captioning.ways import Way, with_image
from elman.nn import Recurrent
from elman.nn.attention import Attention
from elman.nn.dropout import dropout as drop_units

State = dict[str, Tensor]
IMAGE, GRID, KEYS = "image", "grid", "keys"


class Decoder(nn.Module):
    """Words and image to what the softmax reads.

        x_t = dropout(E[word_t])
        constant        every W @ x of the upper layers becomes W @ x + V @ v
        constant-first  the same; from the second step on v = 0
        first           the upper layers read v, then x_1, x_2, ...;  v is as wide as x
        every           the upper layers read [x_t; v], or [h_t; v] where lower layers made h_t of the words

    All steps run in one compiled call for each stack of layers.

    Args:
        way: how the image enters.
        recurrence: the cell.
        words: width of x.
        image: width of v.
        hidden: width of each layer.
        dropout: between layers.
        recurrent_dropout: inside the recurrence.
        backend: as for :class:`elman.nn.Recurrent`.
    """

    def __init__(
        self,
        way: Way,
        recurrence: Recurrence,
        words: int,
        image: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.way, self.dropout = way, dropout
        self.width = hidden
        more = {"recurrent_dropout": recurrent_dropout, "backend": backend}

        def stack(cell: Recurrence, incoming: int, layers: int, widths: dict[str, int] | None = None) -> Recurrent:
            between = dropout if layers > 1 else 0.0
            return Recurrent(cell, incoming, hidden, layers, dropout=between, widths=widths, **more)  # type: ignore[arg-type]

        self.lower = stack(recurrence, words, way.lower) if way.lower else None
        incoming = hidden if way.lower else words
        self.constant = way.entry in ("constant", "constant-first")
        if self.constant:
            self.upper = stack(with_image(recurrence), incoming, way.upper, {"v": image})
        else:
            self.upper = stack(recurrence, incoming + (image if way.entry == "every" else 0), way.upper)

    @property
    def backend_used(self) -> str:
        """What the upper layers ran on in the last call."""
        return self.upper.backend_used

    def begin(self, image: Tensor) -> State:
        """The state before the first word: the image's vector [B, image] alone."""
        return {IMAGE: image.unsqueeze(0)}

    def forward(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State, Tensor | None]:
        """Read words.

        Args:
            x: [T, B, words].
            state: as :meth:`begin` or an earlier call gave it.
            lengths: [B] words of each row, default T.

        Returns:
            [T, B, width], the state after the last word, and None in the place of attention's weights.
        """
        image, fresh = state[IMAGE], len(state) == 1
        after: State = {}
        if self.lower is not None:
            x = self._run("lower", self.lower, x, state, after, lengths)
            x = drop_units(x, self.dropout, self.training)
        if self.way.entry == "every":
            x = torch.cat((x, image.expand(len(x), -1, -1)), -1)
        elif self.way.entry == "first" and fresh:
            longer = None if lengths is None else lengths + 1
            y = self._run("upper", self.upper, torch.cat((image, x)), state, after, longer)
            return y[1:], {IMAGE: image} | after, None
        if self.way.entry == "constant-first" and fresh:
            y = self._run("upper", self.upper, x[:1], state, after, v=image[0])
            image = torch.zeros_like(image)
            if len(x) > 1:
                rest = None if lengths is None else (lengths - 1).clamp(min=1)
                y = torch.cat((y, self._run("upper", self.upper, x[1:], dict(after), after, rest, v=image[0])))
        elif self.constant:
            y = self._run("upper", self.upper, x, state, after, lengths, v=image[0])
        else:
            y = self._run("upper", self.upper, x, state, after, lengths)
        return y, {IMAGE: image} | after, None

    def _run(
        self,
        name: str,
        layers: Recurrent,
        x: Tensor,
        state: State,
        after: State,
        lengths: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Run a stack from its part of ``state``, put its last state into ``after``."""
        prefix = f"{name}."
        own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        y, final = layers(x, own or None, lengths=lengths, **inputs)
        after.update({prefix + key: tensor for key, tensor in final.items()})
        return y


class AttentionDecoder(nn.Module):
    """Soft attention over the image's grid of vectors a_1 ... a_S (Xu et al. 2015, arXiv:1502.03044).

        s_0 = tanh(U_s mean_i a_i + b_s)     for each state s of the recurrence
        alpha_t = softmax_i v . tanh(Wq h_{t-1} + Wk a_i)                          equations 4 to 6
        z_t = sigmoid(u . h_{t-1} + b) sum_i alpha_ti a_i                          equation 13 and section 4.2.1
        h_t = recurrence([x_t; z_t], h_{t-1})                                      equations 1 to 3
        o_t = x_t + Lh h_t + Lz z_t                                                equation 7, before the softmax

    What is asked for depends on what came before, so the steps run one by one.

    Args:
        recurrence: the cell.
        words: width of x and of o.
        image: width of each a_i.
        hidden: width of the recurrence.
        recurrent_dropout: inside the recurrence.
        backend: as for :class:`elman.nn.Recurrent`.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        words: int,
        image: int,
        hidden: int,
        *,
        recurrent_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.width = words
        self.recurrent = Recurrent(
            recurrence, words + image, hidden, recurrent_dropout=recurrent_dropout, backend=backend
        )
        # most of the time goes into this hidden layer, once for each place, word and row
        self.attention = Attention("additive", hidden, image, hidden=image)
        self.starts = nn.ModuleDict({name: nn.Linear(image, hidden) for name in recurrence.states})
        self.gate = nn.Linear(hidden, 1)
        self.from_hidden = nn.Linear(hidden, words)
        self.from_context = nn.Linear(image, words, bias=False)

    @property
    def backend_used(self) -> str:
        """What the recurrence ran on in the last call."""
        return self.recurrent.backend_used

    def begin(self, grid: Tensor) -> State:
        """The state before the first word, from the grid's vectors [S, B, image]."""
        mean = grid.mean(0)
        # a state has the type of the recurrence's parameters, also where products are rounded
        kind = self.gate.weight.dtype
        states = {name: torch.tanh(start(mean)).to(kind).unsqueeze(0) for name, start in self.starts.items()}
        return {GRID: grid, KEYS: self.attention.prepare(grid)} | states

    def forward(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State, Tensor | None]:
        """Read words; arguments and results as of :class:`Decoder`, and attention's weights [T, B, S].

        Rows go on beyond their lengths; what stands there is not asked for by anybody.
        """
        grid, keys = state[GRID], state[KEYS]
        output = self.recurrent.recurrence.output
        own = {name: state[name] for name in self.recurrent.recurrence.states}
        hidden, contexts, weights = [], [], []
        for word in x.unbind(0):
            before = own[output][0]
            context, alpha = self.attention(before, keys, grid)
            context = torch.sigmoid(self.gate(before)) * context
            y, own = self.recurrent(torch.cat((word, context), -1).unsqueeze(0), own)
            hidden.append(y[0])
            contexts.append(context)
            weights.append(alpha)
        out = x + self.from_hidden(torch.stack(hidden)) + self.from_context(torch.stack(contexts))
        return out, {GRID: grid, KEYS: keys} | own, torch.stack(weights)
