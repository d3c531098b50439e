"""Random changes of training images that leave their meaning alone. All randomness comes from a passed generator.

Images are numbers from 0 to 1, [B, 3, H, W]; each image of a batch is changed by draws of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from elman.data.images.resizing import to_float
from elman.errors import MisuseError

# shares of red, green and blue in brightness (ITU-R BT.601)
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch of training images, in this order.

    Attributes:
        padding: pixels of zeros added on every side before a window of the old size is cut out at random; 0: none.
        crop: least share of the area that a random window keeps before it is resized back; 1: none.
        flip: share of the images that are mirrored left to right.
        brightness, contrast, saturation: b scales by a factor drawn from 1 - b to 1 + b; 0: none.
        colours: standard deviation of the PCA colour change; 0: none.
    """

    padding: int = 0
    crop: float = 1.0
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    colours: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = math.inf if name in ("padding", "colours") else 1
            if not 0 <= value <= most:
                raise MisuseError(f"{name} is {value}; it must be from 0 to {most}.")
        if not self.crop:
            raise MisuseError("crop is 0; it is a share of the area, above 0 and at most 1.")

    def __call__(self, images: Tensor, generator: Generator, spread: Tensor | None = None) -> Tensor:
        """Change a batch.

        Args:
            images: [B, 3, H, W], uint8 or 0..1.
            generator: of the CPU.
            spread: from :func:`colour_spread`, for ``colours``.

        Returns:
            [B, 3, H, W], 0..1, float32.
        """
        # bytes are moved faster than floating-point numbers, so they become such as late as can be
        if self.padding:
            images = padded_crop(images, self.padding, generator)
        if self.crop < 1:
            images = resized_crop(to_float(images), images.shape[-2:], generator, (self.crop, 1.0))
        if self.flip:
            images = flip(images, self.flip, generator)
        images = to_float(images)
        if self.brightness or self.contrast or self.saturation:
            images = colour_jitter(images, self.brightness, self.contrast, self.saturation, generator)
        if self.colours:
            if spread is None:
                raise MisuseError("The PCA colour change needs the colours' spread in the training images.")
            images = colour_shift(images, spread, self.colours, generator)
        return images

    def to_json(self) -> dict[str, Any]:
        """As JSON values; ``Augmentation(**data)`` makes it again."""
        return asdict(self)


def flip(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Mirror a share of the images left to right."""
    chosen = torch.rand(len(images), generator=generator) < share
    return torch.where(chosen[:, None, None, None].to(images.device), images.flip(-1), images)


def padded_crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad by zeros, then cut a window of the old size at a random place (He et al. 2016, section 4.2).

    Args:
        images: [B, 3, H, W].
        padding: pixels on every side.
        generator: draws one place an image.

    Returns:
        [B, 3, H, W].
    """
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    each = torch.arange(count, device=images.device)[:, None, None]
    # advanced indices around a slice put the channels last
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def resized_crop(
    images: Tensor | Iterable[Tensor],
    size: Iterable[int],
    generator: Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a random window out of each image and resize it (Szegedy et al. 2015, section 6).

    Args:
        images: [B, 3, H, W], or images [3, H, W] of any sizes; floating-point or uint8.
        size: height and width of the results.
        generator: draws area, proportions and place.
        area: least and largest share of the image's area.
        ratio: least and largest width / height, drawn uniformly in their logarithm.

    Returns:
        [B, 3, height, width] of the same type.
    """
    target = tuple(size)
    results = []
    for image in images:
        height, width = image.shape[-2:]
        draws = torch.rand(10, 2, generator=generator).tolist()
        places = torch.rand(2, generator=generator).tolist()
        h, w = height, width
        # as long as the window does not fit, another is drawn; after ten the whole image is taken
        for share, slant in draws:
            pixels = height * width * (area[0] + share * (area[1] - area[0]))
            proportion = math.exp(math.log(ratio[0]) + slant * (math.log(ratio[1]) - math.log(ratio[0])))
            tall, wide = round(math.sqrt(pixels / proportion)), round(math.sqrt(pixels * proportion))
            if 1 <= tall <= height and 1 <= wide <= width:
                h, w = tall, wide
                break
        top, left = int(places[0] * (height - h + 1)), int(places[1] * (width - w + 1))
        window = image[None, :, top : top + h, left : left + w]
        results.append(functional.interpolate(window, target, mode="bilinear", antialias=True)[0])
    return torch.stack(results)


def colour_jitter(
    images: Tensor, brightness: float, contrast: float, saturation: float, generator: Generator
) -> Tensor:
    """Scale brightness, then contrast about the mean grey, then saturation about each pixel's grey.

    Args:
        images: [B, 3, H, W], 0..1.
        brightness, contrast, saturation: b draws a factor from 1 - b to 1 + b for each image.
        generator: draws the factors.

    Returns:
        [B, 3, H, W], kept within 0..1.
    """
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator).to(images.device) * 2 - 1
    bright, contrasted, saturated = (
        1 + draw * amount for draw, amount in zip(draws, (brightness, contrast, saturation), strict=True)
    )
    images = (images * bright).clamp(0, 1)
    mean = _grey(images).mean((-2, -1), keepdim=True)
    images = (mean + (images - mean) * contrasted).clamp(0, 1)
    grey = _grey(images)
    return (grey + (images - grey) * saturated).clamp(0, 1)


def colour_spread(images: Iterable[Tensor]) -> Tensor:
    """The principal directions of the colours of a training part's pixels, each scaled by its eigenvalue.

    Args:
        images: [3, H, W] each, uint8 or 0..1.

    Returns:
        [3, 3]: columns lambda_i p_i of Krizhevsky et al. 2012, section 4.1, for levels from 0 to 1.

    Raises:
        MisuseError: no image.
    """
    count, total, products = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for image in images:
        pixels = to_float(image).flatten(1).double()
        count += pixels.shape[1]
        total += pixels.sum(1)
        products += pixels @ pixels.T
    if not count:
        raise MisuseError("The colours' spread needs at least one training image.")
    mean = total / count
    values, directions = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    return (directions * values.clamp(min=0)).float()


def colour_shift(images: Tensor, spread: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Add to all pixels of an image sum_i a_i lambda_i p_i, a_i from N(0, deviation^2), drawn once an image.

    Krizhevsky et al. 2012, section 4.1 (there with deviation 0.1).

    Args:
        images: [B, 3, H, W], 0..1.
        spread: [3, 3] of :func:`colour_spread`.
        deviation: of the draws.
        generator: draws them.

    Returns:
        [B, 3, H, W], not kept within 0..1.
    """
    draws = torch.randn(len(images), 3, generator=generator) * deviation
    return images + (draws @ spread.T).to(images.device)[:, :, None, None]


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True)
