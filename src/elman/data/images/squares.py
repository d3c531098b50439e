"""The images of a source as squares of one size: decoded once into a file of bytes, or read again and again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.images.reading import BadImageError
from elman.data.images.resizing import fit_square
from elman.data.images.sources import BAD, ImageSource
from elman.data.token_cache import DamagedError, TokenCache
from elman.errors import MisuseError
from elman.files import cache_folder

# changes with what decoding or resizing gives
_FORMAT = 1
# the squares of one source
MOST_BYTES = 4 << 30
# of all sources in the cache; beyond it those that were longest unused go
CACHE_BYTES = 8 << 30
_BLOCK = 256


class SquareImages:
    """Those images of a source that can be used, as squares of bytes.

    The first time, every image is decoded; the squares and what was wrong with the others are kept in the cache, by the
    SHA-256 of all files, so that the next training begins at once and the same images are left out. Squares that would
    take too much room are decoded whenever they are asked for, in a thread of their own if they were announced.

    Args:
        source: the images.
        side: of the squares, pixels.
        shorter: shorter side before the middle is cut out; default ``side``.
        bad: ``"refuse"`` or ``"skip"`` images that cannot be used.
        notices: receives a line for each that was skipped.
        most_bytes: more than this is not kept.
        folder: of the cache; default the user's.
        progress: called with the share that is decoded.

    Attributes:
        indices: [N], positions in the source.
        digests: [N], SHA-256 of the files, hexadecimal.
        fingerprint: of names and content of all files, used or not.

    Raises:
        BadImageError: with bad="refuse"; one line that names the image.
        MisuseError: no image can be used, or another word for ``bad``.
        FailureError: the cache's disk refused.
    """

    def __init__(
        self,
        source: ImageSource,
        side: int,
        shorter: int | None = None,
        *,
        bad: str = "refuse",
        notices: list[str] | None = None,
        most_bytes: int = MOST_BYTES,
        folder: Path | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if bad not in BAD:
            raise MisuseError(f"bad is {bad!r}; images that cannot be used can be {' or '.join(map(repr, BAD))}.")
        self.source, self.side, self.shorter = source, side, shorter or side
        digests = _digests(source)
        named = zip(source.items, digests, strict=True)
        content = "".join(f"{item.name}\0{digest}\n" for item, digest in named)
        self.fingerprint = hashlib.sha256(content.encode("utf-8", errors="surrogatepass")).hexdigest()
        keep = len(source) * 3 * side * side <= most_bytes
        key = {
            "squares": _FORMAT,
            "images": self.fingerprint,
            "sides": [self.side, self.shorter],
            "limits": asdict(source.limits),
            "kept": keep,
        }
        root = folder if folder is not None else cache_folder("images")
        entry = self._open(TokenCache(key, root), bad, keep, progress)
        good, wrong = entry.manifest["good"], entry.manifest["bad"]
        if wrong and bad == "refuse":
            raise BadImageError(wrong[0])
        if notices is not None:
            notices += [f"Skipped {line}" for line in wrong]
        if not good:
            raise MisuseError(f"None of the {len(source):,} images of {source.path} can be used. The first: {wrong[0]}")
        self.indices = np.array(good, dtype=np.int64)
        self.digests = tuple(digests[index] for index in good)
        self._pixels = entry.tokens.reshape(len(good), 3, side, side) if keep else None
        self._reader: ThreadPoolExecutor | None = None
        self._announced: dict[bytes, Future[Tensor]] = {}

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> NDArray[np.int64]:
        """[N] numbers of the classes; -1 where the source has no class folders."""
        items = self.source.items
        return np.array([-1 if items[at].label is None else items[at].label for at in self.indices], dtype=np.int64)

    @property
    def kept(self) -> bool:
        """Whether the squares are on the disk and need no decoding."""
        return self._pixels is not None

    def take(self, rows: NDArray[np.integer] | Sequence[int]) -> Tensor:
        """Some squares.

        Args:
            rows: which ones.

        Returns:
            [B, 3, side, side], uint8, a copy.

        Raises:
            BadImageError: an image has been damaged since it was first read.
        """
        asked = np.asarray(rows, dtype=np.int64)
        if self._pixels is not None:
            return torch.from_numpy(self._pixels[asked])
        if future := self._announced.pop(asked.tobytes(), None):
            return future.result()
        return self._decode(asked)

    def announce(self, calls: Sequence[NDArray[np.integer]]) -> None:
        """Say what :meth:`take` will be called with next, so that it can be decoded meanwhile.

        Args:
            calls: the rows of each call; what was announced before is forgotten.
        """
        if self._pixels is not None:
            return
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="images")
        for future in self._announced.values():
            future.cancel()
        asked = [np.asarray(rows, dtype=np.int64) for rows in calls]
        self._announced = {rows.tobytes(): self._reader.submit(self._decode, rows) for rows in asked}

    def each(self, rows: NDArray[np.integer]) -> Iterator[Tensor]:
        """Some squares one at a time, [3, side, side], for what needs a pass over many."""
        for begin in range(0, len(rows), _BLOCK):
            yield from self.take(rows[begin : begin + _BLOCK])

    def _decode(self, rows: NDArray[np.int64]) -> Tensor:
        images = self.source.images(self.indices[rows].tolist())
        return torch.stack([fit_square(image, self.side, self.shorter) for _, image in images])

    def _open(self, cache: TokenCache, bad: str, keep: bool, progress: Callable[[float], None] | None) -> Any:
        # a file that was cut short or changed is made again
        with contextlib.suppress(DamagedError):
            if entry := cache.open():
                with contextlib.suppress(OSError):
                    cache.tokens_path.touch()
                return entry
        cache.folder.mkdir(parents=True, exist_ok=True)
        manifest: dict[str, Any] = {"good": [], "bad": []}
        cache.write(np.dtype(np.uint8), self._squares(bad, keep, manifest, progress), manifest)
        _make_room(cache)
        entry = cache.open()
        assert entry is not None, "it was written just now"
        return entry

    def _squares(
        self, bad: str, keep: bool, manifest: dict[str, Any], progress: Callable[[float], None] | None
    ) -> Iterator[NDArray[np.uint8]]:
        """Decode everything; what is good and what is bad goes into the manifest."""
        everything = range(len(self.source))
        # decoders let other threads run
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for begin in everything[::_BLOCK]:
                if progress:
                    progress(begin / len(everything))
                block = everything[begin : begin + _BLOCK]
                for index, square in zip(block, pool.map(self._square, block), strict=True):
                    if isinstance(square, BadImageError):
                        if bad == "refuse":
                            raise square
                        manifest["bad"].append(str(square))
                        continue
                    manifest["good"].append(index)
                    if keep:
                        yield square.numpy().reshape(-1)
        if not (keep and manifest["good"]):
            # a file of no bytes cannot be mapped into memory
            yield np.zeros(1, dtype=np.uint8)

    def _square(self, index: int) -> Tensor | BadImageError:
        try:
            return fit_square(self.source.image(index), self.side, self.shorter)
        except BadImageError as error:
            return error


def _digests(source: ImageSource) -> list[str]:
    """SHA-256 of every file; empty for what cannot be read, which decoding will name."""
    digests = [""] * len(source)
    for index, digest in source.fingerprints(range(len(source)), bad="skip"):
        digests[index] = digest
    return digests


def _make_room(newest: TokenCache) -> None:
    files = []
    for path in newest.folder.glob("*.tokens"):
        with contextlib.suppress(OSError):
            facts = path.stat()
            files.append((facts.st_mtime, facts.st_size, path))
    excess = sum(size for _, size, _ in files) - CACHE_BYTES
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        if path != newest.tokens_path:
            # another process may have been faster
            with contextlib.suppress(OSError):
                path.with_suffix(".json").unlink()
                path.unlink()
            excess -= size
