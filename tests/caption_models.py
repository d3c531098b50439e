"""Small captioners for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from elman.models.captioning import Captioner
from elman.models.convnets import build
from elman.models.encoders import ConvNetEncoder

WORDS = 11


@cache
def encoder() -> ConvNetEncoder:
    """The lecture's net with chance weights: a grid [16, 5, 5], a vector of 84."""
    net = build("net", 10, generator=torch.Generator().manual_seed(0))
    return ConvNetEncoder(net, pooled="fc2")


def captioner(way: str = "every", cell: str = "lstm", **shape: Any) -> Captioner:
    """A captioner of some units in evaluation mode."""
    torch.manual_seed(1)
    sizes = {"hidden": 9, "embedding": 7, "image": 6, "places": 3} | shape
    return Captioner(encoder(), cell, WORDS, way=way, **sizes).eval()


def features(model: Captioner, batch: int, seed: int = 2) -> torch.Tensor:
    """Made features of so many images."""
    return torch.randn(batch, *model.feature_shape, generator=torch.Generator().manual_seed(seed))
