"""Where a model looked while it read a question, as light on the image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import MisuseError
from elman.generate.answering import Answers
from elman.insight.figures.sheet import sheet, shown, write

COLUMNS = 6
# what is not looked at keeps so much of its light
DIM = 0.25


def attention_figure(found: Answers, image: Tensor, picture: Path, title: str = "") -> None:
    """Draw the image once a word (or look), bright where the attention was.

    Each map is scaled by its own largest weight, which stands above it; light between the grid's places is
    interpolated.

    Args:
        found: with attention.
        image: [3, H, W], uint8.
        picture: the file; its ending is the format.
        title: above everything.

    Raises:
        MisuseError: there is no attention, or matplotlib is not installed.
        FailureError: the file cannot be written.
    """
    if found.attention is None:
        raise MisuseError("There is no attention to draw.")
    names = [f"look {k}" for k in range(1, len(found.attention) + 1)] if found.hops else ["(image)", *found.words[1:]]
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    height, width = image.shape[1:]
    across = 1.6 * max(1.0, min(2.0, width / height))
    figure = sheet(across * columns, rows * (across * height / width + 0.35) + 0.4)
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, name, weights in zip(panels, names, found.attention, strict=False):
        axes.imshow(lit(image, weights).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(f"{shown(name)}  {float(weights.max()):.2f}", fontsize=8)
    write(figure, picture, title)


def lit(image: Tensor, weights: Tensor) -> Tensor:
    """An image with light where it was looked at.

    Args:
        image: [3, H, W], uint8.
        weights: [h, w].

    Returns:
        [3, H, W], 0 to 1.
    """
    top = weights / weights.max().clamp_min(1e-12)
    light = functional.interpolate(top[None, None].float(), image.shape[1:], mode="bilinear", align_corners=False)[0]
    return (image.float() / 255) * (DIM + (1 - DIM) * light.clamp(0, 1)).to(torch.float32)
