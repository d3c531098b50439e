"""Captioners that write the same captions together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elman.errors import MisuseError
from elman.models.captioning.captioner import Captioner
from elman.models.captioning.decoders import State
from elman.models.encoders import ConvNetEncoder


class Together(nn.Module):
    """Several captioners as one: every word is chosen by the mean of their probabilities.

        P(w | image, words before it) = 1/M sum_m P_m(w | image, words before it)

    It is called as a :class:`Captioner` is; its scores before the softmax are log P. Cells, ways and widths may differ;
    what they see and the words may not.

    Args:
        models: one or more, on one device.

    Raises:
        MisuseError: captioners of different encoders, features or vocabularies.
    """

    def __init__(self, models: Sequence[Captioner]) -> None:
        super().__init__()
        first = models[0]
        for model in models[1:]:
            if (model.vocabulary_size, model.feature_shape) != (first.vocabulary_size, first.feature_shape):
                raise MisuseError(
                    "Captioners that write together need the same vocabulary and features; one has "
                    f"{model.vocabulary_size:,} words and features {model.feature_shape}, another "
                    f"{first.vocabulary_size:,} and {first.feature_shape}."
                )
            if model.encoder.fingerprint != first.encoder.fingerprint:
                raise MisuseError(
                    "Captioners that write together need the same encoder with the same weights; "
                    "fine-tuned ones have each their own."
                )
        self.models = nn.ModuleList(models)
        self.captioners = tuple(models)
        self.widths = [model.decoder.width for model in models]
        self.vocabulary_size, self.feature_shape = first.vocabulary_size, first.feature_shape
        self.looks, self.part, self.places = first.looks, first.part, first.places

    @property
    def encoder(self) -> ConvNetEncoder:
        """What all see with."""
        return self.captioners[0].encoder

    @property
    def feature_mean(self) -> Tensor:
        """Mean of the training images' features, over the models."""
        return torch.stack([model.feature_mean for model in self.captioners]).mean(0)

    def features(self, images: Tensor) -> Tensor:
        """As :meth:`Captioner.features`."""
        return self.captioners[0].features(images)

    def average_image(self, batch: int) -> Tensor:
        """As :meth:`Captioner.average_image`, the mean over the models."""
        return torch.stack([model.average_image(batch) for model in self.captioners]).mean(0)

    def begin(self, features: Tensor) -> State:
        """As :meth:`Captioner.begin`; the states of all, by the number of the model and their own name."""
        return _named([model.begin(features) for model in self.captioners])

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As of a :class:`Captioner`: log-probabilities [T, B, V] and the state."""
        read, state, _ = self.read(tokens, state)
        return self.softmax(read), state

    def read(self, tokens: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State, Tensor | None]:
        """As :meth:`Captioner.read`; the outputs side by side, the mean of the attention's weights."""
        outs, states, looks = [], [], []
        for number, model in enumerate(self.captioners):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}
            out, after, weights = model.read(tokens, own, lengths)
            outs.append(out)
            states.append(after)
            if weights is not None:
                looks.append(weights)
        return torch.cat(outs, -1), _named(states), torch.stack(looks).mean(0) if looks else None

    def softmax(self, read: Tensor) -> Tensor:
        """Log-probabilities [..., V] from what :meth:`read` gave."""
        parts = zip(self.captioners, read.split(self.widths, -1), strict=True)
        logprobs = torch.stack([torch.log_softmax(model.softmax(part).float(), -1) for model, part in parts])
        # log 1/M sum_m P_m
        return torch.logsumexp(logprobs, 0) - math.log(len(self.captioners))


def _named(states: Sequence[State]) -> State:
    return {f"{number}.{name}": part for number, state in enumerate(states) for name, part in state.items()}
