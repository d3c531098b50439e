"""A folder or a tar archive of images, with class folders or without."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from torch import Tensor

from elman.data.images.reading import ENDINGS, LIMITS, BadImageError, Limits, decode
from elman.errors import FailureError, MisuseError

Result = TypeVar("Result")

# parts of a data set, which are no classes
_PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
_GZIP = b"\x1f\x8b"
# what to do with an image that cannot be used
BAD = ("refuse", "skip")
MOST_FILES = 2_000_000
MOST_UNPACKED_BYTES = 1 << 34


@dataclass(frozen=True)
class Item:
    """An image of a source.

    Attributes:
        name: path inside the source.
        label: index of its class; None where the source has no class folders.
    """

    name: str
    label: int | None


class ImageSource:
    """Images that are read one at a time, in any order.

    Attributes:
        path: the folder or the archive.
        items: the images, sorted by name.
        classes: names of the class folders, sorted; empty where there are none.
    """

    def __init__(
        self, path: Path, items: Sequence[Item], classes: Sequence[str], read: Callable[[str], bytes], limits: Limits
    ) -> None:
        self.path, self.items, self.classes, self.limits = path, tuple(items), tuple(classes), limits
        self._read = read

    def __len__(self) -> int:
        return len(self.items)

    def data(self, index: int) -> bytes:
        """The file's bytes.

        Raises:
            BadImageError: it cannot be read or is too large.
        """
        return self._read(self.items[index].name)

    def image(self, index: int) -> Tensor:
        """The image, [3, H, W], uint8.

        Raises:
            BadImageError: with one line that names it.
        """
        return decode(self.data(index), self.items[index].name, self.limits)

    def images(
        self, indices: Iterable[int], *, bad: str = "refuse", notices: list[str] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Read many.

        Args:
            indices: which, in this order.
            bad: ``"refuse"`` stops at the first image that cannot be used, ``"skip"`` goes on without it.
            notices: receives a line for each that was skipped.

        Yields:
            The index and the image, [3, H, W], uint8.

        Raises:
            BadImageError: with bad="refuse".
            MisuseError: another word for ``bad``.
        """
        return self._each(indices, self.image, bad, notices)

    def fingerprints(
        self, indices: Iterable[int], *, bad: str = "refuse", notices: list[str] | None = None
    ) -> Iterator[tuple[int, str]]:
        """SHA-256 (hexadecimal) of the files of many; arguments and errors as for :meth:`images`."""
        return self._each(indices, lambda index: hashlib.sha256(self.data(index)).hexdigest(), bad, notices)

    def _each(
        self, indices: Iterable[int], get: Callable[[int], Result], bad: str, notices: list[str] | None
    ) -> Iterator[tuple[int, Result]]:
        if bad not in BAD:
            raise MisuseError(f"bad is {bad!r}; images that cannot be used can be {' or '.join(map(repr, BAD))}.")
        for index in indices:
            try:
                result = get(index)
            except BadImageError as error:
                if bad == "refuse":
                    raise
                if notices is not None:
                    notices.append(f"Skipped {error}")
                continue
            yield index, result


def open_images(
    path: str | os.PathLike[str],
    *,
    limits: Limits = LIMITS,
    notices: list[str] | None = None,
    classed: bool = True,
) -> ImageSource:
    """Open a folder or a tar archive of images; no image is read yet.

    The class of an image is the folder that it lies in, at any depth below; folders that all images share are passed
    over. An archive is never extracted, and nothing outside it can be read: names that lead out of it, links and
    devices are left out. A gzipped one is unpacked once into a temporary file without a name, for random access.

    Args:
        path: a folder, a .tar or a .tar.gz.
        limits: of sizes, of single images.
        notices: receives a sentence about what was left out.
        classed: whether folders are classes; else all images are taken, wherever they lie, without one.

    Returns:
        The source.

    Raises:
        MisuseError: there is nothing, no image, or the folders are parts of a data set instead of classes.
        FailureError: the archive is damaged, or unpacks to more than 16 GiB.
    """
    path = Path(path).expanduser()
    heard = notices if notices is not None else []
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise MisuseError(f"{str(path)!r} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(mode):
        names, read = _folder(path, limits)
    elif stat.S_ISREG(mode):
        names, read = _archive(path, limits, heard)
    else:
        raise MisuseError(f"{path} is neither a folder nor a tar archive.")
    images = sorted((n for n in names if _is_image(n)), key=lambda name: PurePosixPath(name).parts)
    if left := len(names) - len(images):
        heard.append(f"{path}: {left:,} files that are no images by their names were left out.")
    if not images:
        raise MisuseError(f"{path} holds no image ({', '.join(sorted(ENDINGS))}).")
    items, classes = _labelled(images, path, heard) if classed else ([Item(name, None) for name in images], [])
    return ImageSource(path, items, classes, read, limits)


def _is_image(name: str) -> bool:
    file = PurePosixPath(name)
    return file.suffix.lower() in ENDINGS and not file.name.startswith(".")


def _labelled(names: Sequence[str], path: Path, notices: list[str]) -> tuple[list[Item], list[str]]:
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    # what the first and the last in order share, all share
    both = zip(min(folders), max(folders), strict=False)
    shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], both)))
    tops = [folder[shared] if len(folder) > shared else None for folder in folders]
    classes = sorted({top for top in tops if top is not None})
    if not classes:
        return [Item(name, None) for name in names], []
    if {name.lower() for name in classes} <= _PARTS:
        raise MisuseError(
            f"{path} holds the folders {', '.join(classes)}, which are parts of a data set and no classes: "
            "open one of them, or make an archive of each."
        )
    number = {name: at for at, name in enumerate(classes)}
    if stray := sum(top is None for top in tops):
        notices.append(f"{path}: {stray:,} images outside the class folders were left out.")
    return [Item(name, number[top]) for name, top in zip(names, tops, strict=True) if top is not None], classes


def _folder(root: Path, limits: Limits) -> tuple[list[str], Callable[[str], bytes]]:
    def refuse(error: OSError) -> None:
        raise MisuseError(f"{error.filename} may not be listed: {error.strerror}.") from error

    names = []
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = Path(folder).relative_to(root)
        names += [(inside / name).as_posix() for name in files]

    def read(name: str) -> bytes:
        try:
            # a pipe in the place of an image would wait for ever
            handle = os.open(root / name, os.O_RDONLY | os.O_NONBLOCK)
            with open(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise BadImageError(f"{name}: not a regular file.")
                # one byte more than is allowed, which the decoder refuses
                return file.read(limits.file_bytes + 1)
        except OSError as error:
            raise BadImageError(f"{name}: cannot be read ({error.strerror}).") from error

    return names, read


def _archive(path: Path, limits: Limits, notices: list[str]) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        file = _plain_tar(path)
        places: dict[str, tuple[int, int]] = {}
        outside = special = 0
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if member.isdir():
                    continue
                if not member.isfile() or member.issparse():
                    special += 1
                elif member.name.startswith("/") or ".." in parts:
                    outside += 1
                else:
                    places["/".join(parts)] = (member.offset_data, member.size)
                if len(places) + outside + special > MOST_FILES:
                    raise FailureError(f"{path} holds more than {MOST_FILES:,} files.")
            # tarfile takes a damaged or cut header for the end, and would lose all that follows without a word
            if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no file and no end at byte {archive.offset:,}")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise FailureError(f"{path} is damaged, cut short, or no tar archive: {error}.") from error
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error}.") from error
    for count, what in ((outside, "whose names lead out of it"), (special, "that are links or devices")):
        if count:
            notices.append(f"{path}: {count:,} files {what} were left out.")

    def read(name: str) -> bytes:
        offset, size = places[name]
        if size > limits.file_bytes:
            raise BadImageError(f"{name}: {size:,} bytes, more than {limits.file_bytes:,}.")
        # reads at a place leave the file's position alone, so that threads may share it
        return os.pread(file.fileno(), size, offset)

    return list(places), read


def _plain_tar(path: Path) -> BinaryIO:
    """The archive, or a temporary file with what a gzipped one holds."""
    file: BinaryIO = path.open("rb")
    gzipped = file.read(2) == _GZIP
    file.seek(0)
    if not gzipped:
        return file
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the source that reads it
    with file, gzip.open(file) as packed:
        shutil.copyfileobj(packed, _Bounded(plain, path), 1 << 20)
    plain.seek(0)
    return plain


class _Bounded:
    """Passes writes on until they are too many: an archive of some kilobytes can unpack to terabytes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path, self.left = file, path, MOST_UNPACKED_BYTES

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise FailureError(f"{self.path} unpacks to more than {MOST_UNPACKED_BYTES >> 30} GiB.")
        return self.file.write(data)
