"""The encoder inside a captioner: what of an image it gives, and how it is described in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from elman.data.images.preprocessing import Preprocessing
from elman.errors import ElmanError, MisuseError
from elman.models.convnets import build
from elman.models.encoders import ConvNetEncoder

# features farther than so many standard deviations from the training part's mean are outliers of a few images
FARTHEST = 5.0


def encoder_entry(encoder: ConvNetEncoder) -> dict[str, Any]:
    """An encoder without its weights, as JSON values."""
    preprocessing = encoder.preprocessing
    return {
        "net": encoder.net.configuration(),
        "grid": encoder.grid_layer,
        "pooled": encoder.pooled_layer,
        "side": encoder.side,
        "shorter": encoder.shorter,
        "preprocessing": preprocessing.facts(),
        "tensors": {name: tensor.tolist() for name, tensor in preprocessing.tensors.items()},
    }


def encoder_from(entry: Mapping[str, Any]) -> ConvNetEncoder:
    """The encoder that :func:`encoder_entry` describes, with fresh weights.

    Raises:
        MisuseError: it describes none.
    """
    try:
        net = dict(entry["net"])
        # numbers of a preprocessing are data and not weights: they are made where they can be read
        with torch.device("cpu"):
            tensors = {name: torch.tensor(values) for name, values in entry["tensors"].items()}
        preprocessing = Preprocessing.from_parts(entry["preprocessing"], tensors)
        return ConvNetEncoder(
            build(net.pop("name"), net.pop("classes"), **net),
            grid=entry["grid"],
            pooled=entry["pooled"],
            side=entry["side"],
            shorter=entry["shorter"],
            preprocessing=preprocessing,
        )
    except MisuseError:
        raise
    except (ElmanError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MisuseError(f"The captioner's encoder is malformed ({error!r}).") from error


def coarser(grid: Tensor, places: int) -> Tensor:
    """A grid of at most ``places`` x ``places`` vectors, each the mean of neighbours.

    Args:
        grid: [B, D, h, w].
        places: of a side.

    Returns:
        [B, D, h', w'], h' and w' at most ``places``.
    """
    size = (min(places, grid.shape[2]), min(places, grid.shape[3]))
    return grid if size == tuple(grid.shape[2:]) else functional.adaptive_avg_pool2d(grid, size)
