"""Every kind of image file, the sound and the bad."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded, picture

from elman.data.images import BadImageError, Limits, decode
from elman.errors import MisuseError

Image = pytest.importorskip("PIL.Image")


def levels(data: bytes) -> np.ndarray:
    """[H, W, 3]."""
    return decode(data, "a.png").permute(1, 2, 0).numpy()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_lossless_images_come_out_as_they_are() -> None:
    image = decode(encoded(picture()), "a.png")
    assert (image.dtype, tuple(image.shape), image.is_contiguous()) == (torch.uint8, (3, 40, 60), True)
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(levels(encoded(picture(), form)), picture())
    assert np.array_equal(levels(encoded(picture(), "WEBP", lossless=True)), picture())


@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("TIFF", "CMYK"), ("PNG", "P"), ("GIF", "P")]
)
def test_other_colours_become_rgb(form: str, mode: str) -> None:
    found = levels(encoded(picture(), form, mode)).astype(int)
    # what is lost is what compression and a palette of 256 cost
    assert np.abs(found - picture()).mean() < 12


def test_an_inverted_cmyk_jpeg_of_adobe_is_not_a_negative() -> None:
    white = np.full((16, 16, 3), 250, np.uint8)
    assert levels(encoded(white, "JPEG", "CMYK")).min() > 200


def test_grey_and_bilevel_have_three_equal_channels() -> None:
    grey = picture()[:, :, 0]
    assert np.array_equal(levels(encoded(grey)), np.repeat(grey[:, :, None], 3, 2))
    assert set(np.unique(levels(encoded(grey, "PNG", "1")))) == {0, 255}


def test_sixteen_bits_become_the_upper_eight() -> None:
    deep = (np.arange(40 * 60, dtype=np.uint16) * 27).reshape(40, 60)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(levels(encoded(deep, form))[:, :, 1], deep >> 8)


def test_transparent_parts_show_the_background() -> None:
    pixels = np.dstack([picture(), np.zeros((40, 60), np.uint8)])
    pixels[:20, :, 3] = 255
    found = levels(encoded(pixels))
    assert np.array_equal(found[:20], picture()[:20])
    assert (found[20:] == 255).all()
    dark = decode(encoded(pixels), "a.png", background=(0, 0, 9)).permute(1, 2, 0).numpy()
    assert (dark[20:] == (0, 0, 9)).all()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda p: np.rot90(p)),
        (99, lambda p: p),
    ],
)
def test_a_cameras_orientation_is_applied(orientation: int, upright: Callable[[np.ndarray], np.ndarray]) -> None:
    notes = Image.Exif()
    notes[0x0112] = orientation
    assert np.array_equal(levels(encoded(picture(), exif=notes)), upright(picture()))


def test_damaged_notes_of_a_camera_do_not_cost_the_image() -> None:
    assert np.array_equal(levels(encoded(picture(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")), picture())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"x\.jpg: the file is empty"),
        (b"hello, I am a text", r"x\.jpg: not an image, or not one of JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "not an image"),
        (encoded(picture(), "JPEG")[:-200], "damaged or cut short"),
        (encoded(picture())[:300], "damaged or cut short"),
        (encoded(picture(1, 1)), r"1 x 1 pixels; at least 8 x 8"),
        (encoded(picture(8, 500)), r"500 x 8 pixels, more than 50 times as long"),
        (bomb(60_000, 60_000), "pixels"),
        (bomb(9_000, 9_000), r"9000 x 9000 pixels, more than 64,000,000"),
        (bomb(100, 100), "damaged or cut short"),
        (encoded(np.zeros((20, 20), np.float32), "TIFF"), "floating-point pixels"),
        (encoded(np.full((20, 20), 1 << 20, np.int32), "TIFF"), "32-bit pixels"),
        (bytes(5000), "5,000 bytes, more than 4,096"),
    ],
)
def test_a_bad_image_is_one_line_with_its_name(data: bytes, words: str) -> None:
    limits = Limits(file_bytes=4096) if len(data) == 5000 else Limits()
    with pytest.raises(BadImageError, match=words) as caught:
        decode(data, "x.jpg", limits)
    assert str(caught.value).startswith("x.jpg: ")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]), st.integers(0, 2000), st.integers(1, 255))
def test_a_damaged_byte_gives_an_image_or_a_line(form: str, place: int, value: int) -> None:
    content = bytearray(encoded(picture(), form))
    content[place % len(content)] ^= value
    try:
        image = decode(bytes(content), "x")
    except BadImageError:
        return
    assert image.shape[0] == 3


def test_an_animation_is_its_first_frame() -> None:
    first, second = (Image.fromarray(np.full((20, 20, 3), level, np.uint8)) for level in (30, 200))
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=[second])
    assert abs(int(levels(stream.getvalue()).max()) - 30) < 8


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture())
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MisuseError, match=r"elman\[images\]"):
        decode(data, "a.png")
