"""Images from anywhere as features of a captioner."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.models.captioning.captioner import Captioner

# images that the encoder reads at a time
_BATCH = 16


def features_of_images(model: Captioner, images: Sequence[Tensor]) -> Tensor:
    """Features of images of any size.

    Args:
        model: the captioner.
        images: [3, H, W] each, uint8.

    Returns:
        [N, *feature_shape], rounded to 16 bits as stored features are.
    """
    place = model.feature_mean.device
    with torch.inference_mode():
        blocks = [
            model.features(torch.stack([model.encoder.prepare(image) for image in images[begin : begin + _BATCH]]))
            for begin in range(0, len(images), _BATCH)
        ]
    return torch.cat(blocks).half().float().to(place)
