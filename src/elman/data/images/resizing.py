"""Images of any size become images of one size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from elman.errors import MisuseError


def resize_shorter(image: Tensor, shorter: int) -> Tensor:
    """Scale an image, keeping its proportions, by area-aware bilinear interpolation as Pillow's.

    Args:
        image: [3, H, W], uint8 or floating-point.
        shorter: the shorter side afterwards, pixels.

    Returns:
        [3, H', W'] of the same type.
    """
    height, width = image.shape[-2:]
    least = min(height, width)
    size = (max(1, shorter * height // least), max(1, shorter * width // least))
    if size == (height, width):
        return image
    if size == (1, 1) and not image.is_floating_point():
        # torch's kernel for bytes fails on a result of one pixel
        return resize_shorter(image.float(), shorter).round().to(image.dtype)
    return functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def centre_crop(image: Tensor, side: int) -> Tensor:
    """The square in the middle.

    Args:
        image: [..., H, W], H and W at least ``side``.
        side: pixels.

    Returns:
        [..., side, side], a view.

    Raises:
        MisuseError: the image is smaller.
    """
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise MisuseError(f"A square of {side} pixels cannot be cut out of {width} x {height}; resize the image first.")
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[..., top : top + side, left : left + side]


def fit_square(image: Tensor, side: int, shorter: int | None = None) -> Tensor:
    """Resize to a shorter side, then cut the square out of the middle.

    Args:
        image: [3, H, W].
        side: of the square, pixels.
        shorter: shorter side before cutting; default ``side``, which loses least.

    Returns:
        [3, side, side] of the same type.
    """
    return centre_crop(resize_shorter(image, shorter or side), side).contiguous()


def to_float(images: Tensor) -> Tensor:
    """Levels 0..255 (uint8) as numbers 0..1 (float32); floating-point images are taken as they are."""
    return images.float() / 255 if not images.is_floating_point() else images
