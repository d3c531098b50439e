"""Token files: ids on disk, read through a memory map, with a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elman.files import cache_folder, write_whole

Tokens = npt.NDArray[np.unsignedinteger[Any]]

FORMAT = 1


class Entry(NamedTuple):
    """An opened token file.

    Attributes:
        tokens: the ids, one dimension, uint8, uint16 or uint32, read-only.
        manifest: what was stored with them.
    """

    tokens: Tokens
    manifest: dict[str, Any]


class DamagedError(Exception):
    """A token file that is not what its manifest says; the text says in which way. It is made again."""


def token_type(size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type for ids 0..size-1."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


class TokenCache:
    """One token file and its manifest in the cache folder.

    The manifest is written after the tokens and holds their SHA-256 and its own, so a file that was cut off,
    changed or half replaced is noticed when it is opened.

    Args:
        key: what the tokens depend on, as plain JSON; equal keys share a file.
        folder: where the files are; default is the token cache.
    """

    def __init__(self, key: dict[str, Any], folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder("tokens")
        name = _digest({"format": FORMAT, **key})[:32]
        self.tokens_path = self.folder / f"{name}.tokens"
        self.manifest_path = self.folder / f"{name}.json"

    def open(self) -> Entry | None:
        """The stored tokens, mapped into memory; None where there are none.

        Raises:
            DamagedError: they do not agree with their manifest.
        """
        try:
            manifest = json.loads(self.manifest_path.read_bytes())
            checksum = manifest.pop("manifest_sha256")
            if checksum != _digest(manifest):
                raise DamagedError("its manifest was changed")
            kind = np.dtype(manifest["dtype"])
            expected = int(manifest["count"]) * kind.itemsize
            with self.tokens_path.open("rb") as file:
                found = file.seek(0, 2)
                if found != expected:
                    raise DamagedError(f"it has {found:,} bytes instead of {expected:,}")
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != manifest["tokens_sha256"]:
                    raise DamagedError("its content was changed")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(str(error.strerror or error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError("its manifest cannot be read") from error
        return Entry(np.frombuffer(mapped, dtype=kind), manifest)

    def write(self, kind: np.dtype[Any], blocks: Iterable[npt.NDArray[Any]], manifest: dict[str, Any]) -> None:
        """Store tokens, then their manifest.

        Args:
            kind: the type to store.
            blocks: the ids, in order; consumed once.
            manifest: read after the last block, so that the blocks' source may still be filling it.

        Raises:
            FailureError: the files could not be written.
        """
        digest = hashlib.sha256()
        count = 0

        def stream(temporary: str) -> None:
            nonlocal count
            with open(temporary, "wb") as file:
                for block in blocks:
                    data = block.astype(kind, copy=False).tobytes()
                    digest.update(data)
                    file.write(data)
                    count += block.size

        write_whole(self.tokens_path, stream)
        complete = {**manifest, "dtype": kind.name, "count": count, "tokens_sha256": digest.hexdigest()}
        write_whole(
            self.manifest_path,
            json.dumps({**complete, "manifest_sha256": _digest(complete)}, indent=1),
        )


def release(tokens: npt.NDArray[Any]) -> None:
    """Let go of the memory that a mapped token array has been read into; the next access reads it again.

    Args:
        tokens: an array of a token file or a view of one; of any other array nothing is done.
    """
    base: Any = tokens
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
