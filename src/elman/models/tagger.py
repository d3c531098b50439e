"""The recurrent tagger: many to many, a label for each word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.equations import Recurrence
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.models.classifier import EMBEDDING_SCALE
from elman.models.configuration import (
    MOST_LAYERS,
    WIDEST,
    Configured,
    check_rates,
    check_sizes,
)
from elman.nn import Recurrent
from elman.nn.crf import LinearChainCRF, viterbi
from elman.nn.dropout import dropout as drop_units

# what a forbidden pair of labels costs: more than any sum of scores, and still a number
FORBIDDEN = -1e6


class Spelling(NamedTuple):
    """The characters of the different words of a batch.

    Attributes:
        characters: [L, W] ids of the characters of W words; what stands beyond a word's length is not read.
        lengths: [W], 1 to L.
        words: [T, B] which of the W words stands there.
    """

    characters: Tensor
    lengths: Tensor
    words: Tensor


class Allowed(NamedTuple):
    """Which labels may stand where.

    Attributes:
        pairs: [K, K] whether the column's label may follow the row's.
        begin, end: [K] whether a sentence may begin, end with a label.
    """

    pairs: Tensor
    begin: Tensor
    end: Tensor


class Tagger(Configured, nn.Module):
    """Gives each word of a sentence one of K labels.

        e_t = [E[word_t]; c_t],    c_t = last states of a recurrence over the word's characters, in both directions
        h_t = recurrence(dropout(e_t), h_{t-1}), layer upon layer; bidirectional: both directions side by side
        s_t = Wy dropout(h_t) + by
        softmax:  P(y | words) = prod_t softmax(s_t)[y_t]
        CRF:      P(y | words) of :class:`elman.nn.crf.LinearChainCRF` with the scores s

    Lample et al. 2016 (arXiv:1603.01360).

    Args:
        recurrence: a zoo name or a :class:`elman.Recurrence`; the words' and the characters'.
        vocabulary_size: number of words V.
        labels: number of labels K.
        hidden: width H of every layer and direction.
        layers: number of layers.
        embedding: width of the words' embedding; default ``hidden``.
        bidirectional: a second set of layers reads from the end.
        characters: number of characters that words are spelled with; 0 leaves c_t out.
        character_hidden: width of the characters' embedding and of their recurrence, each direction.
        crf: a linear-chain conditional random field instead of a softmax at each word.
        dropout: between layers and before the scores.
        input_dropout: on e_t.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes that do not fit together.
    """

    ENTRIES: ClassVar[Mapping[str, type]] = {
        "recurrence": Recurrence,
        "vocabulary_size": int,
        "labels": int,
        "hidden": int,
        "layers": int,
        "embedding": int,
        "bidirectional": bool,
        "characters": int,
        "character_hidden": int,
        "crf": bool,
        "dropout": float,
        "input_dropout": float,
    }

    def __init__(
        self,
        recurrence: str | Recurrence,
        vocabulary_size: int,
        labels: int,
        hidden: int = 100,
        layers: int = 1,
        *,
        embedding: int | None = None,
        bidirectional: bool = True,
        characters: int = 0,
        character_hidden: int = 25,
        crf: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        embedding = hidden if embedding is None else embedding
        check_sizes(
            {
                "vocabulary_size": (vocabulary_size, 2**31),
                "labels": (labels, 2**14),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
                "character_hidden": (character_hidden, WIDEST),
                "layers": (layers, MOST_LAYERS),
            }
        )
        if not 0 <= characters <= 2**21:
            raise MisuseError(f"characters is {characters}; it must be from 0 to {2**21:,}.")
        check_rates(dropout=dropout, input_dropout=input_dropout)
        self.recurrence = zoo_cell(recurrence) if isinstance(recurrence, str) else recurrence
        if self.recurrence.inputs:
            raise MisuseError(
                "A tagger has no constant inputs to give; this recurrence asks for "
                f"{', '.join(self.recurrence.inputs)}."
            )
        self.vocabulary_size, self.labels = vocabulary_size, labels
        self.hidden, self.layers, self.bidirectional = hidden, layers, bidirectional
        self.characters, self.character_hidden = characters, character_hidden
        self.dropout, self.input_dropout = dropout, input_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_SCALE)
        width = embedding
        if characters:
            self.character_embedding = nn.Embedding(characters, character_hidden)
            self.speller = Recurrent(
                self.recurrence, character_hidden, character_hidden, bidirectional=True, backend=backend
            )
            width += 2 * character_hidden
        self.recurrent = Recurrent(
            self.recurrence,
            width,
            hidden,
            layers,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
            backend=backend,
        )
        self.readout = nn.Linear(hidden * self.recurrent.directions, labels)
        self.crf = LinearChainCRF(labels) if crf else None

    @property
    def backend_used(self) -> str:
        """What the recurrence ran on in the last call, and why not something faster."""
        return self.recurrent.backend_used

    def forward(self, words: Tensor, lengths: Tensor, spelling: Spelling | None = None) -> Tensor:
        """Scores of the labels.

        Args:
            words: [T, B] ids; what stands beyond a row's length is not read.
            lengths: [B], 1 to T.
            spelling: of the words; needed where the model has characters.

        Returns:
            s [T, B, K].

        Raises:
            MisuseError: the spelling is missing.
        """
        x = self.embedding(words)
        if self.characters:
            if spelling is None:
                raise MisuseError("This tagger reads words by their characters; their spelling is missing.")
            letters = self.character_embedding(spelling.characters)
            _, last = self.speller(letters, lengths=spelling.lengths)
            spelled = torch.cat(last[self.recurrence.output].unbind(0), -1)
            x = torch.cat([x, spelled[spelling.words]], -1)
        hidden, _ = self.recurrent(drop_units(x, self.input_dropout, self.training), lengths=lengths)
        return self.readout(drop_units(hidden, self.dropout, self.training))

    def loss(self, scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """-log P(y | words), summed over the sentences.

        Args:
            scores: [T, B, K] as a call gives them.
            labels: y [T, B]; what stands beyond a row's length is not read.
            lengths: [B].

        Returns:
            Nats, a scalar.
        """
        if self.crf is not None:
            return self.crf(scores, labels, lengths).sum()
        inside = torch.arange(len(scores), device=scores.device).unsqueeze(1) < lengths.to(scores.device)
        return functional.cross_entropy(scores[inside], labels[inside], reduction="sum")

    def marginals(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """P(y_t = k | words) of each word: [T, B, K]; arguments as of :meth:`loss`."""
        if self.crf is not None:
            return self.crf.marginals(scores, lengths)
        return torch.softmax(scores, -1)

    def decode(self, scores: Tensor, lengths: Tensor, allowed: Allowed | None = None) -> Tensor:
        """The likeliest labels.

        Args:
            scores, lengths: as of :meth:`loss`.
            allowed: leaves out sequences in which a label stands where it may not.

        Returns:
            [T, B], -1 beyond a row's length.
        """
        if self.crf is None and allowed is None:
            inside = torch.arange(len(scores), device=scores.device).unsqueeze(1) < lengths.to(scores.device)
            return scores.argmax(-1).masked_fill(~inside, -1)
        none = scores.new_zeros(self.labels)
        crf = self.crf
        moves = none.expand(self.labels, -1) if crf is None else crf.transitions.to(scores)
        begin, end = (none, none) if crf is None else (crf.begin.to(scores), crf.end.to(scores))
        if allowed is not None:
            moves, begin, end = (
                table.masked_fill(~may.to(table.device), FORBIDDEN)
                for table, may in zip((moves, begin, end), allowed, strict=True)
            )
        return viterbi(scores, lengths, moves, begin, end)[0]
