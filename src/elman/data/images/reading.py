"""An image file becomes a tensor of 8-bit RGB, or a sentence that says why not."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import MisuseError, require

# those that Pillow decodes by itself: others start programs (EPS) or have no place here
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
WHITE = (255, 255, 255)


class BadImageError(MisuseError):
    """An image that cannot be used; the text is one line that begins with its name."""


@dataclass(frozen=True)
class Limits:
    """What is read; all else is refused before memory is taken for it.

    Attributes:
        file_bytes: largest file.
        pixels: largest width times height.
        least_side: smallest width and height.
        elongation: largest ratio of the sides.
    """

    file_bytes: int = 1 << 26
    pixels: int = 64_000_000
    least_side: int = 8
    elongation: float = 50.0


LIMITS = Limits()


def decode(data: bytes, name: str, limits: Limits = LIMITS, background: tuple[int, int, int] = WHITE) -> Tensor:
    """Read an image of any kind as upright RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparent ones laid over ``background``, animations read as
    their first frame, and the orientation that a camera noted (EXIF) is applied.

    Args:
        data: the file's content.
        name: what the image is called in an error.
        limits: of sizes.
        background: red, green, blue.

    Returns:
        [3, H, W], uint8.

    Raises:
        BadImageError: truncated, damaged, no image, too large, too small, too long, or of floating-point pixels.
        MisuseError: Pillow is not installed.
    """
    pillow = require("PIL.Image", "images")
    if len(data) > limits.file_bytes:
        raise BadImageError(f"{name}: {len(data):,} bytes, more than {limits.file_bytes:,}.")
    if not data:
        raise BadImageError(f"{name}: the file is empty.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and of odd metadata; the limits here are stricter
            warnings.simplefilter("ignore")
            with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.size, name, limits)
                pixels = _rgb(_upright(image), name, background)
    except BadImageError:
        raise
    except pillow.UnidentifiedImageError:
        raise BadImageError(f"{name}: not an image, or not one of {', '.join(FORMATS)}.") from None
    except pillow.DecompressionBombError:
        raise BadImageError(f"{name}: more than {limits.pixels:,} pixels.") from None
    except MemoryError:
        raise
    except Exception as error:
        # decoders of damaged files raise nearly anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadImageError(f"{name}: damaged or cut short ({reason}).") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if width * height > limits.pixels:
        raise BadImageError(f"{name}: {width} x {height} pixels, more than {limits.pixels:,} in all.")
    if min(size) < limits.least_side:
        raise BadImageError(
            f"{name}: {width} x {height} pixels; at least {limits.least_side} x {limits.least_side} are needed."
        )
    if max(size) > limits.elongation * min(size):
        raise BadImageError(
            f"{name}: {width} x {height} pixels, more than {limits.elongation:g} times as long as wide."
        )


def _upright(image: Any) -> Any:
    operations = require("PIL.ImageOps", "images")
    image.load()
    try:
        return operations.exif_transpose(image)
    except Exception:
        # a camera's notes may be damaged where the picture is not
        return image


def _rgb(image: Any, name: str, background: tuple[int, int, int]) -> np.ndarray:
    """[H, W, 3], uint8, writable."""
    if image.mode.startswith("I"):
        return _from_deep(np.asarray(image), name)
    if image.mode == "F":
        raise BadImageError(f"{name}: floating-point pixels, whose range is not known; save it with 8 or 16 bits.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        below = require("PIL.Image", "images").new("RGBA", image.size, (*background, 255))
        below.alpha_composite(image)
        image = below
    return np.array(image.convert("RGB"))


def _from_deep(grey: np.ndarray, name: str) -> np.ndarray:
    """16-bit grey, which Pillow gives as 16 or 32-bit integers, becomes its upper 8 bits."""
    levels = grey.astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise BadImageError(f"{name}: 32-bit pixels, whose range is not known; save it with 8 or 16 bits.")
    return np.repeat((levels >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
