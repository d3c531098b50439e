"""Augmentation: what may change and what must not, and that a generator decides all of it."""

from __future__ import annotations

import pytest
import torch

from elman.data.images import Augmentation, colour_spread
from elman.data.images.augmentation import colour_jitter, colour_shift, flip, padded_crop, resized_crop
from elman.errors import MisuseError

ALL = Augmentation(padding=4, crop=0.5, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, colours=0.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 64, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=seeded(9))


def test_a_generator_decides_and_nothing_else() -> None:
    images, spread = batch(), colour_spread(batch())
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = ALL(images, seeded(1), spread)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first, ALL(images, seeded(1), spread))
    assert not torch.equal(first, ALL(images, seeded(2), spread))
    assert torch.equal(images, batch())


def test_nothing_asked_for_changes_nothing() -> None:
    images = batch()
    assert torch.equal(Augmentation(flip=0)(images, seeded()), images)
    assert torch.equal(Augmentation(flip=0)((images * 255).byte(), seeded()), (images * 255).byte().float() / 255)
    assert Augmentation(**ALL.to_json()) == ALL


def test_flips_are_of_the_share_and_of_whole_images() -> None:
    images = batch(2000, 4)
    flipped = flip(images, 0.3, seeded())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert bool((mirrored | (flipped == images).flatten(1).all(1)).all())
    # 600 expected, standard deviation 20
    assert 520 < int(mirrored.sum()) < 680


def test_a_padded_crop_is_a_shift_with_zeros() -> None:
    images = batch(300, 6)
    cropped = padded_crop(images, 2, seeded())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    shifts = set()
    for before, after in zip(padded, cropped, strict=True):
        found = [(t, l) for t in range(5) for l in range(5) if torch.equal(before[:, t : t + 6, l : l + 6], after)]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) == 25


def test_a_resized_crop_is_a_window_of_the_image() -> None:
    """On a ramp the window can be read off: area within the share, place inside, proportions as asked for."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    image = torch.stack([rows, columns, rows + columns])
    for window in resized_crop([image] * 200, (24, 24), seeded(), (0.3, 0.6)):
        # away from the borders a resized ramp has the slope window / 24
        height, width = (float(window[at].diff(dim=at)[4:-4, 4:-4].mean()) * 24 for at in (0, 1))
        assert 0.27 < height * width / 48**2 < 0.64
        assert 0.7 < width / height < 1.43
        assert window.min() >= 0
        assert window.max() <= 94
        torch.testing.assert_close(window[0] + window[1], window[2], atol=1e-3, rtol=0)


def test_a_window_that_never_fits_is_the_whole_image() -> None:
    image = torch.rand(3, 2, 60, generator=seeded())
    whole = resized_crop([image], (2, 60), seeded(), (1.0, 1.0))
    torch.testing.assert_close(whole[0], image)


def test_jitter_stays_in_range_and_does_what_it_says() -> None:
    images = batch()
    torch.testing.assert_close(colour_jitter(images, 0, 0, 0, seeded()), images)
    strong = colour_jitter(images, 1, 1, 1, seeded())
    assert 0 <= float(strong.min()) < float(strong.max()) <= 1
    dark = torch.full((500, 3, 2, 2), 0.25)
    factors = colour_jitter(dark, 0.4, 0, 0, seeded())[:, 0, 0, 0] / 0.25
    assert (round(float(factors.min()), 1), round(float(factors.max()), 1)) == (0.6, 1.4)
    grey = batch()[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(colour_jitter(grey, 0, 0, 0.9, seeded()), grey)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    middle = 0.4 + 0.2 * images
    contrasted = colour_jitter(middle, 0, 0.5, 0, seeded())
    torch.testing.assert_close((contrasted * luma).sum(1).mean((1, 2)), (middle * luma).sum(1).mean((1, 2)))


def test_colours_move_along_their_principal_directions() -> None:
    """Krizhevsky's shift: covariance of the added colour is deviation^2 sum lambda_i^2 p_i p_i^T."""
    images = batch(40) * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    spread = colour_spread(images)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3).double()
    covariance = torch.cov(pixels.T, correction=0)
    torch.testing.assert_close((spread @ spread.T).double(), covariance @ covariance, atol=1e-6, rtol=1e-4)
    many = images[:1].expand(20_000, -1, -1, -1)[:, :, :1, :2]
    added = colour_shift(many, spread, 0.1, seeded()) - many
    torch.testing.assert_close(added[..., 0], added[..., 1])
    shift = added[:, :, 0, 0].double()
    torch.testing.assert_close(torch.cov(shift.T), 0.01 * covariance @ covariance, atol=4e-6, rtol=0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Augmentation(flip=1.5), r"flip is 1\.5; it must be from 0 to 1"),
        (lambda: Augmentation(padding=-1), "padding is -1"),
        (lambda: Augmentation(crop=0), "crop is 0"),
        (lambda: Augmentation(colours=0.1)(batch(), seeded()), "needs the colours' spread"),
        (lambda: colour_spread([]), "at least one training image"),
    ],
)
def test_a_mistake_is_named(call: object, words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        call()  # type: ignore[operator]
