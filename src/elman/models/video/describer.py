"""Describing a clip: words from the mean of its frames, or from a stack that reads the frames and then writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.models.configuration import (
    WIDEST,
    check_rates,
    check_sizes,
    read_configuration,
    recurrence_entry,
)
from elman.models.video.classifier import Standardise, VideoClassifier, as_cell
from elman.nn import Recurrent
from elman.nn.dropout import dropout as drop_units

State = dict[str, Tensor]
WAYS = ("mean-pool", "s2vt")
LAYERS = 2

ENTRIES: dict[str, type] = {
    "kind": str,
    "recurrence": Recurrence,
    "way": str,
    "width": int,
    "vocabulary_size": int,
    "hidden": int,
    "embedding": int,
    "dropout": float,
}


class VideoDescriber(nn.Module):
    """Writes a sentence about a clip.

        f_t = relu(Wf dropout((x_t - mean) / deviation) + bf)        every frame
        e_n = E[w_n]                                                 every word

        mean-pool (Venugopalan et al. 2015a): two layers read the words, each with the clip's mean
            v   = mean_t f_t
            h_n = recurrence([v; e_n], h_(n-1)), layer upon layer
        s2vt (Venugopalan et al. 2015b): two layers read the frames, then go on and write
            h'_t = lower(f_t, h'_(t-1)),  h_t = upper([h'_t; 0], h_(t-1))      t = 1 .. T, no word yet
            h'_n = lower(0, h'_(n-1)),    h_n = upper([h'_n; e_n], h_(n-1))    after the last frame

        P(w_(n+1) | ...) = softmax(Wy dropout(h_n) + by)

    Args:
        recurrence: a zoo name or a :class:`elman.Recurrence`.
        way: one of ``WAYS``.
        width: numbers of a frame D.
        vocabulary_size: number of symbols V.
        hidden: width H of both layers and of f.
        embedding: width of the words' embedding; default ``hidden``.
        dropout: on frames, between layers and before the softmax.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes that do not fit together.
    """

    def __init__(
        self,
        recurrence: str | Recurrence,
        way: str,
        width: int,
        vocabulary_size: int,
        hidden: int = 256,
        *,
        embedding: int | None = None,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        embedding = hidden if embedding is None else embedding
        check_sizes(
            {
                "width": (width, WIDEST),
                "vocabulary_size": (vocabulary_size, 2**31),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
            }
        )
        check_rates(dropout=dropout)
        if way not in WAYS:
            raise MisuseError(f"A clip is described by {' or '.join(WAYS)}, not by {way!r}.")
        cell = as_cell(recurrence)
        assert cell is not None
        self.recurrence, self.way, self.width, self.vocabulary_size = cell, way, width, vocabulary_size
        self.hidden, self.dropout = hidden, dropout
        self.standardise = Standardise(width)
        self.frame = nn.Linear(width, hidden)
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        both = hidden + embedding
        # cells that use x elementwise need it as wide as the hidden state
        self.join = nn.Linear(both, hidden, bias=False) if "x" in cell.square else nn.Identity()
        fed = hidden if "x" in cell.square else both
        if way == "s2vt":
            self.lower = Recurrent(cell, hidden, hidden, backend=backend)
            self.upper = Recurrent(cell, fed, hidden, backend=backend)
        else:
            self.stack = Recurrent(cell, fed, hidden, LAYERS, dropout=dropout, backend=backend)
        self.readout = nn.Linear(hidden, vocabulary_size)

    def read(self, frames: Tensor, lengths: Tensor) -> State:
        """What the writer begins with.

        Args:
            frames: [T, B, D]; what stands beyond a clip's length is not read.
            lengths: [B], 1 to T.

        Returns:
            By name tensors whose dimension 1 is the batch.
        """
        x = drop_units(self.standardise(frames), self.dropout, self.training)
        seen = functional.relu(self.frame(x))
        if self.way == "mean-pool":
            inside = torch.arange(len(frames), device=frames.device).unsqueeze(1) < lengths.to(frames.device)
            mean = (seen * inside.unsqueeze(-1)).sum(0) / inside.sum(0).unsqueeze(-1)
            return {"clip": mean.unsqueeze(0)} | self.stack.initial_state(frames.shape[1])
        below, lower = self.lower(seen, lengths=lengths)
        no_word = below.new_zeros(*below.shape[:2], self.embedding.embedding_dim)
        below = drop_units(below, self.dropout, self.training)
        _, upper = self.upper(self.join(torch.cat([below, no_word], -1)), lengths=lengths)
        return {f"lower.{name}": tensor for name, tensor in lower.items()} | {
            f"upper.{name}": tensor for name, tensor in upper.items()
        }

    def write(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores of the next word after every word.

        Args:
            words: [N, B] ids, the first the start symbol.
            state: as :meth:`read` or an earlier call gave it.

        Returns:
            Scores before the softmax [N, B, V], and the state.
        """
        e = self.embedding(words)
        if self.way == "mean-pool":
            clip = state["clip"]
            x = self.join(torch.cat([clip.expand(len(words), -1, -1), e], -1))
            h, after = self.stack(x, {name: tensor for name, tensor in state.items() if name != "clip"})
            after = {"clip": clip} | after
        else:
            lower = {name: state[f"lower.{name}"] for name in self.recurrence.states}
            upper = {name: state[f"upper.{name}"] for name in self.recurrence.states}
            below, lower = self.lower(e.new_zeros(*e.shape[:2], self.hidden), lower)
            below = drop_units(below, self.dropout, self.training)
            h, upper = self.upper(self.join(torch.cat([below, e], -1)), upper)
            after = {f"lower.{name}": tensor for name, tensor in lower.items()} | {
                f"upper.{name}": tensor for name, tensor in upper.items()
            }
        return self.readout(drop_units(h, self.dropout, self.training)), after

    def forward(self, frames: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
        """Scores before the softmax [N, B, V] after every word [N, B] of a description of each clip."""
        return self.write(words, self.read(frames, lengths))[0]

    def configuration(self) -> dict[str, Any]:
        """Everything that rebuilds this model without its weights, as JSON values."""
        return {
            "kind": "describe",
            "recurrence": recurrence_entry(self.recurrence),
            "way": self.way,
            "width": self.width,
            "vocabulary_size": self.vocabulary_size,
            "hidden": self.hidden,
            "embedding": self.embedding.embedding_dim,
            "dropout": self.dropout,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], backend: str = "auto") -> VideoDescriber:
        """The model that :meth:`configuration` describes, with fresh weights.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
            EquationError: equations that are not a recurrence.
        """
        entries = read_configuration(configuration, ENTRIES)
        entries.pop("kind")
        return cls(entries.pop("recurrence"), entries.pop("way"), **entries, backend=backend)


class Telling:
    """A describer that has read one clip, in the call form of a language model: for drawing and searching sentences.

    Args:
        model: in evaluation mode.
        frames: [T, D].
    """

    def __init__(self, model: VideoDescriber, frames: Tensor) -> None:
        self.model, self.vocabulary_size = model, model.vocabulary_size
        self._state = model.read(frames.unsqueeze(1), torch.tensor([len(frames)], device=frames.device))

    def initial_state(self, batch: int) -> State:
        """The clip's state, for so many sentences about it."""
        return {name: tensor.expand(-1, batch, -1).contiguous() for name, tensor in self._state.items()}

    def __call__(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """As :meth:`VideoDescriber.write`."""
        return self.model.write(words, state)


class VideoNetwork:
    """Opens whichever network a run of films holds."""

    @staticmethod
    def from_configuration(configuration: Mapping[str, Any], backend: str = "auto") -> nn.Module:
        """A describer or a classifier with fresh weights, by the configuration's ``kind``.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
            EquationError: equations that are not a recurrence.
        """
        kind: Any = VideoDescriber if configuration.get("kind") == "describe" else VideoClassifier
        return kind.from_configuration(configuration, backend)
