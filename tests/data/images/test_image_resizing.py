"""Sizes, against Pillow's resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import picture

from elman.data.images import centre_crop, fit_square, resize_shorter, to_float
from elman.errors import MisuseError

Image = pytest.importorskip("PIL.Image")


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


@pytest.mark.parametrize(("height", "width", "shorter"), [(300, 200, 64), (40, 60, 96), (33, 128, 16), (64, 64, 64)])
def test_resizing_is_that_of_pillow(height: int, width: int, shorter: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = resize_shorter(tensor(pixels), shorter).permute(1, 2, 0).numpy()
    size = (found.shape[1], found.shape[0])
    assert min(size) == shorter
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 20))
def test_every_size_becomes_the_square(height: int, width: int, side: int, more: int) -> None:
    image = tensor(picture(height, width))
    assert fit_square(image, side, side + more).shape == (3, side, side)


def test_the_middle_is_cut_out() -> None:
    image = torch.arange(7 * 10).view(1, 7, 10)
    assert torch.equal(centre_crop(image, 3), image[:, 2:5, 4:7])
    with pytest.raises(MisuseError, match="A square of 8 pixels cannot be cut out of 10 x 7"):
        centre_crop(image, 8)


def test_levels_become_numbers_up_to_one() -> None:
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert to_float(torch.tensor([0.3])).item() == pytest.approx(0.3)
