"""Images that a user names: files, folders and archives, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from elman.data.images.reading import LIMITS, BadImageError, decode
from elman.data.images.sources import BAD, open_images
from elman.errors import MisuseError


def gather(paths: Sequence[Path], bad: str, notices: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Read images.

    Args:
        paths: images, folders or tar archives.
        bad: what becomes of those that cannot be used: "refuse" or "skip".
        notices: receives a line for each that was skipped.

    Yields:
        The name and the image, [3, H, W], uint8.

    Raises:
        MisuseError: with one line that names the image; no image at all.
    """
    if bad not in BAD:
        raise MisuseError(f"--bad is {bad!r}; it takes {' or '.join(BAD)}.")
    count = 0
    for path in paths:
        if path.is_dir() or path.name.endswith((".tar", ".tar.gz", ".tgz")):
            source = open_images(path, notices=notices, classed=False)
            for index, pixels in source.images(range(len(source)), bad=bad, notices=notices):
                count += 1
                yield source.items[index].name, pixels
            continue
        try:
            pixels = decode(_content(path), str(path))
        except BadImageError as error:
            if bad == "refuse":
                raise
            notices.append(f"Skipped {error}")
            continue
        count += 1
        yield str(path), pixels
    if not count:
        raise MisuseError(" ".join(["No image can be used.", *notices]))


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BadImageError(f"{path}: there is no such file.")
        with path.open("rb") as file:
            # one byte more than is allowed, which the decoder refuses
            return file.read(LIMITS.file_bytes + 1)
    except OSError as error:
        raise BadImageError(f"{path}: cannot be read ({error.strerror}).") from error
