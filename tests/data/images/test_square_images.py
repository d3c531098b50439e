"""Squares from the cache, from the source, and what is left out of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import encoded, picture, tar_of
from tests_support import flip_byte

from elman.data.images import Augmentation, BadImageError, SquareImages, fit, fit_square, open_images, squares
from elman.errors import MisuseError

COUNT = 7


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven pictures of two classes, with one that is cut short and one that is no image between them."""
    files = {f"{'ab'[n % 2]}/{n}.png": encoded(picture(40 + n, 50, seed=n)) for n in range(COUNT)}
    files["a/cut.png"] = encoded(picture())[:200]
    files["b/text.jpg"] = b"no image"
    return tar_of(tmp_path / "pictures.tar", files)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return tar_of(tmp_path / "sound.tar", {f"{'ab'[n % 2]}/{n}.png": encoded(picture(seed=n)) for n in range(COUNT)})


def test_squares_are_the_resized_images_whether_kept_or_not(sound: Path, tmp_path: Path) -> None:
    source = open_images(sound)
    expected = torch.stack([fit_square(image, 16, 20) for _, image in source.images(range(COUNT))])
    for most in (1 << 20, 0):
        for _ in range(2):
            images = SquareImages(source, 16, 20, most_bytes=most, folder=tmp_path / "cache")
            assert images.kept == bool(most)
            assert torch.equal(images.take(np.arange(COUNT)), expected)
            assert torch.equal(images.take([5, 1]), expected[[5, 1]])
            assert torch.equal(torch.stack(list(images.each(np.array([2, 0])))), expected[[2, 0]])
    assert images.labels.tolist() == [item.label for item in source.items]


def test_what_cannot_be_used_is_named_once_decoded_and_from_the_cache(archive: Path, tmp_path: Path) -> None:
    for most in (1 << 20, 0):
        for _ in range(2):
            notices: list[str] = []
            source = open_images(archive)
            images = SquareImages(source, 16, bad="skip", notices=notices, folder=tmp_path / "cache", most_bytes=most)
            assert len(images) == COUNT == len(images.digests)
            assert [line.split(":")[0] for line in notices] == ["Skipped a/cut.png", "Skipped b/text.jpg"]
            names = [source.items[index].name for index in images.indices]
            assert not {"a/cut.png", "b/text.jpg"} & set(names)
            assert images.labels.tolist() == [0 if name.startswith("a") else 1 for name in names]
            with pytest.raises(BadImageError, match=r"a/cut\.png"):
                SquareImages(source, 16, folder=tmp_path / "cache", most_bytes=most)
    with pytest.raises(BadImageError, match=r"a/cut\.png"):
        SquareImages(open_images(archive), 16, folder=tmp_path / "fresh")


def test_the_cache_spares_decoding(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SquareImages(open_images(sound), 16, folder=tmp_path)
    source = open_images(sound)
    monkeypatch.setattr(type(source), "image", lambda *_: pytest.fail("decoded again"))
    again = SquareImages(source, 16, folder=tmp_path)
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.take([3]), first.take([3]))


def test_a_damaged_cache_is_made_again(sound: Path, tmp_path: Path) -> None:
    first = SquareImages(open_images(sound), 16, folder=tmp_path).take(np.arange(COUNT))
    (file,) = tmp_path.glob("*.tokens")
    flip_byte(file, 100)
    assert torch.equal(SquareImages(open_images(sound), 16, folder=tmp_path).take(np.arange(COUNT)), first)


def test_other_sizes_and_other_images_are_kept_apart(sound: Path, archive: Path, tmp_path: Path) -> None:
    sizes = [SquareImages(open_images(sound), side, folder=tmp_path).take([0]).shape[-1] for side in (16, 24, 16)]
    assert sizes == [16, 24, 16]
    other = SquareImages(open_images(archive), 16, bad="skip", folder=tmp_path)
    assert other.fingerprint != SquareImages(open_images(sound), 16, folder=tmp_path).fingerprint


def test_the_cache_is_bounded(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squares, "CACHE_BYTES", 2 * COUNT * 3 * 16 * 16)
    for side in (14, 15, 16):
        SquareImages(open_images(sound), side, folder=tmp_path)
    sizes = sorted(path.stat().st_size for path in tmp_path.glob("*.tokens"))
    assert sizes[-1] == COUNT * 3 * 16 * 16
    assert len(sizes) < 3
    assert len(list(tmp_path.glob("*.json"))) == len(sizes)


def test_announced_squares_are_those_that_are_taken(sound: Path, tmp_path: Path) -> None:
    images = SquareImages(open_images(sound), 16, most_bytes=0, folder=tmp_path)
    whole = images.take(np.arange(COUNT))
    for calls in ([[1, 2], [3]], [[4]], [[0, 6], [5]]):
        images.announce([np.array(rows) for rows in calls])
        for rows in calls:
            assert torch.equal(images.take(rows), whole[rows])
    # announced and never asked for
    images.announce([np.array([2])])
    assert torch.equal(images.take([1]), whole[[1]])


def test_a_source_of_nothing_but_bad_images_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "bad.tar", {"a/1.png": b"x" * 50, "b/2.png": b""})
    for most in (1 << 20, 0):
        with pytest.raises(MisuseError, match=r"None of the 2 images .*a/1\.png"):
            SquareImages(open_images(path), 16, bad="skip", folder=tmp_path / "cache", most_bytes=most)
    with pytest.raises(MisuseError, match="bad is 'ignore'"):
        SquareImages(open_images(path), 16, bad="ignore")


def test_codes_are_turned_back_into_images() -> None:
    """pca along k directions is the projection on them, whitening along all is zca."""
    numbers = np.random.default_rng(0).normal(size=(300, 12)) @ np.random.default_rng(1).normal(size=(12, 12))
    images = torch.from_numpy(0.5 + numbers / 50).float().view(300, 3, 2, 2)
    rows = images.flatten(1).double().numpy()
    centred = rows - rows.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2].T
    for count in (3, 12):
        projected = centred @ directions[:, :count] @ directions[:, :count].T
        found = fit("pca", images, components=count).as_images(images)
        assert found.shape == images.shape
        np.testing.assert_allclose(found.flatten(1).double().numpy(), projected, atol=1e-5)
    torch.testing.assert_close(
        fit("whiten", images).as_images(images), fit("zca", images)(images), atol=1e-4, rtol=1e-4
    )
    normalised = fit("normalise", images)
    assert torch.equal(normalised.as_images(images), normalised(images))


def test_bytes_and_numbers_are_augmented_alike() -> None:
    images = torch.randint(0, 256, (9, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for change in (Augmentation(padding=2), Augmentation(padding=2, crop=0.5, brightness=0.3)):
        of_bytes, of_numbers = (change(x, torch.Generator().manual_seed(1)) for x in (images, images.float() / 255))
        torch.testing.assert_close(of_bytes, of_numbers, rtol=0, atol=1e-7)
