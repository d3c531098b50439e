"""The captioner: one image to many words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elman.equations import Recurrence
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.models.captioning.decoders import AttentionDecoder, Decoder, State
from elman.models.captioning.encoding import FARTHEST, coarser, encoder_entry, encoder_from
from elman.models.captioning.ways import way_of
from elman.models.configuration import WIDEST, check_rates, check_sizes, read_configuration, recurrence_entry
from elman.models.encoders import ConvNetEncoder
from elman.nn.dropout import dropout as drop_units

ENTRIES: dict[str, type] = {
    "encoder": dict,
    "recurrence": Recurrence,
    "vocabulary_size": int,
    "way": str,
    "hidden": int,
    "embedding": int,
    "image": int,
    "places": int,
    "dropout": float,
    "feature_dropout": float,
    "recurrent_dropout": float,
}
MOST_PLACES = 256


class Captioner(nn.Module):
    """P(word | words before it, image).

        f = clip((encoder(image) - mean) / deviation, -5, 5) / sqrt(D)       mean and deviation of the training images
        v = dropout(f) Wi^T + bi                                             for attention: each vector of the grid
        o_t = decoder(dropout(E[word_t]), v)                       :class:`Decoder`, :class:`AttentionDecoder`
        P(word_{t+1}) = softmax(Wy dropout(o_t) + by)

    It is called as a language model is: ``model(tokens, state) -> (scores, state)``, where the first state comes from
    an image: ``model.begin(model.features(images))``.

    Args:
        encoder: gives the features; its weights are part of the model.
        recurrence: a zoo name or a :class:`elman.Recurrence`.
        vocabulary_size: number of symbols V.
        hidden: width of every recurrent layer.
        way: how the image enters, a key of :data:`elman.models.captioning.ways.WAYS`.
        embedding: width of the words' vectors.
        image: width of v.
        places: the grid that attention looks at has at most so many places a side.
        dropout: on words, between layers, and before the softmax.
        feature_dropout: on the image's features.
        recurrent_dropout: inside the recurrence.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes or a way that cannot be.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(
        self,
        encoder: ConvNetEncoder,
        recurrence: str | Recurrence,
        vocabulary_size: int,
        hidden: int = 256,
        *,
        way: str = "every",
        embedding: int = 256,
        image: int = 256,
        places: int = 7,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        chosen = way_of(way)
        if chosen.entry == "first":
            # what is read as the first input is as wide as a word
            image = embedding
        check_sizes(
            {
                "vocabulary_size": (vocabulary_size, 2**31),
                "hidden": (hidden, WIDEST),
                "embedding": (embedding, WIDEST),
                "image": (image, WIDEST),
                "places": (places, MOST_PLACES),
            }
        )
        check_rates(dropout=dropout, feature_dropout=feature_dropout, recurrent_dropout=recurrent_dropout)
        self.recurrence = zoo_cell(recurrence) if isinstance(recurrence, str) else recurrence
        self.vocabulary_size, self.way = vocabulary_size, way
        self.hidden, self.image, self.places = hidden, image, places
        self.dropout, self.feature_dropout, self.recurrent_dropout = dropout, feature_dropout, recurrent_dropout
        self.looks = chosen.entry == "attention"
        self.encoder = encoder
        width = encoder.grid_shape[0] if self.looks else encoder.pooled_width
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_scale", torch.ones(width))
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.project = nn.Linear(width, image)
        nn.init.normal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        more: dict[str, Any] = {"recurrent_dropout": recurrent_dropout, "backend": backend}
        self.decoder: Decoder | AttentionDecoder
        if self.looks:
            if self.recurrence.inputs:
                raise MisuseError("Attention gives no constant input; take a recurrence that asks for none.")
            self.decoder = AttentionDecoder(self.recurrence, embedding, image, hidden, **more)
        else:
            self.decoder = Decoder(chosen, self.recurrence, embedding, image, hidden, dropout=dropout, **more)
        self.softmax = nn.Linear(self.decoder.width, vocabulary_size)

    @property
    def backend_used(self) -> str:
        """What the recurrence ran on in the last call, and why not something faster."""
        return self.decoder.backend_used

    @property
    def part(self) -> str:
        """What is read of the encoder: "pooled" or "grid"."""
        return "grid" if self.looks else "pooled"

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of an image's features: (D,), or (D, h, w) for attention."""
        if not self.looks:
            return (self.encoder.pooled_width,)
        depth, height, width = self.encoder.grid_shape
        return depth, min(self.places, height), min(self.places, width)

    def train(self, mode: bool = True) -> Captioner:
        """The encoder stays in evaluation mode: its dropout and its batch statistics are not trained here."""
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Features of images, with gradients.

        Args:
            images: prepared by the encoder, [B, 3, side, side].

        Returns:
            [B, *feature_shape].
        """
        pooled, grid = self.encoder.encode(images)
        return coarser(grid, self.places) if self.looks else pooled

    def fit_features(self, features: Tensor) -> None:
        """Take mean and deviation of the training part.

        Args:
            features: [N, *feature_shape].
        """
        rows = features.float().flatten(2).transpose(1, 2).flatten(0, 1) if self.looks else features.float()
        self.feature_mean.copy_(rows.mean(0))
        # a feature that never varies tells nothing
        deviation = rows.std(0) if len(rows) > 1 else torch.ones_like(self.feature_scale)
        self.feature_scale.copy_(torch.where(deviation > 1e-6 * (1 + rows.mean(0).abs()), deviation, torch.inf))

    def average_image(self, batch: int) -> Tensor:
        """Features that tell nothing of an image, the training images' mean: what an image-blind model sees.

        Returns:
            [batch, *feature_shape].
        """
        mean = self.feature_mean
        return mean.view(-1, *(1,) * (len(self.feature_shape) - 1)).expand(batch, *self.feature_shape)

    def begin(self, features: Tensor) -> State:
        """The state before the first word.

        Args:
            features: [B, *feature_shape] of each row's image.

        Returns:
            By name tensors whose dimension 1 is the batch.
        """
        x = features.to(self.feature_mean)
        if self.looks:
            x = x.flatten(2).permute(2, 0, 1)  # [S, B, D]
        x = ((x - self.feature_mean) / self.feature_scale).clamp(-FARTHEST, FARTHEST)
        # so that a step of Adam, which changes all D weights of a unit at once, changes v by about the rate
        x = x / math.sqrt(len(self.feature_mean))
        return self.decoder.begin(self.project(drop_units(x, self.feature_dropout, self.training)))

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores of the next word after every word.

        Args:
            tokens: [T, B] ids.
            state: as :meth:`begin` or an earlier call gave it.

        Returns:
            Scores before the softmax [T, B, V], and the state after the last word.
        """
        read, state, _ = self.read(tokens, state)
        return self.softmax(read), state

    def read(self, tokens: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State, Tensor | None]:
        """What the softmax reads, so that it need not be applied where nothing is predicted.

        Args:
            tokens: [T, B] ids.
            state: as for a call.
            lengths: [B] words of each row; what stands beyond is not to be used.

        Returns:
            [T, B, width], the state, and for attention its weights [T, B, S], S = h' w' row by row.
        """
        x = drop_units(self.embedding(tokens), self.dropout, self.training)
        out, state, weights = self.decoder(x, state, lengths)
        return drop_units(out, self.dropout, self.training), state, weights

    def configuration(self) -> dict[str, Any]:
        """Everything that rebuilds this model without its weights, as JSON values."""
        return {
            "encoder": encoder_entry(self.encoder),
            "recurrence": recurrence_entry(self.recurrence),
            "vocabulary_size": self.vocabulary_size,
            "way": self.way,
            "hidden": self.hidden,
            "embedding": self.embedding.embedding_dim,
            "image": self.image,
            "places": self.places,
            "dropout": self.dropout,
            "feature_dropout": self.feature_dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], backend: str = "auto") -> Captioner:
        """The model that :meth:`configuration` describes, with fresh weights.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
            EquationError: equations that are not a recurrence.
        """
        entries = read_configuration(configuration, ENTRIES)
        return cls(encoder_from(entries.pop("encoder")), **entries, backend=backend)
