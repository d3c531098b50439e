"""The disk cache of compiled objects: machine code that only this user could have put there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import time
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from elman import __version__
from elman.compile.cpu.target import Target
from elman.files import cache_folder

BOUND = 256 << 20
_MAGIC = b"elmanobj"
_HEADER = len(_MAGIC) + hashlib.sha256().digest_size
_ABANDONED_SECONDS = 3600.0


def read(key: str, target: Target) -> bytes | None:
    """The object stored under a key.

    A file that is damaged, or that somebody else owns or may write to, is removed: code from it would run with this
    user's rights.

    Args:
        key: as it was stored.
        target: what the object was compiled for.

    Returns:
        The object, or None if there is none to be trusted.
    """
    folder = _folder()
    if folder is None:
        return None
    path = folder / _name(key, target)
    try:
        # O_NONBLOCK: a pipe in the file's place must not make this wait.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        _remove(path)
        return None
    try:
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            content = file.read() if stat.S_ISREG(found.st_mode) and _is_private(found) else b""
            image = content[_HEADER:]
            if image and content[:_HEADER] == _header(path.name, image):
                # The time of writing serves as the time of the last use: many systems do not record reading.
                with contextlib.suppress(OSError):
                    os.utime(handle)
                return image
    except OSError:
        return None
    _remove(path)
    return None


def write(key: str, target: Target, image: bytes) -> None:
    """Store an object; where there is no place for it, nothing happens.

    Args:
        key: says all that decides about the object.
        target: what it was compiled for.
        image: the object file.
    """
    folder = _folder()
    if folder is None:
        return
    path = folder / _name(key, target)
    temporary = ""
    try:
        # Not forced to the disk as write_whole does: the checksum finds what a crash cut off, and it is made again.
        handle, temporary = tempfile.mkstemp(suffix=".part", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(_header(path.name, image))
            file.write(image)
        os.replace(temporary, path)
        _bound(folder)
    except OSError:
        if temporary:
            _remove(Path(temporary))


def _name(key: str, target: Target) -> str:
    makers = [__version__, llvmlite.__version__, list(llvm.llvm_version_info)]
    parts = [key, makers, target.triple, target.cpu, target.features]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _header(name: str, image: bytes) -> bytes:
    # The name is summed too, so that an entry that was moved to another's place is not taken for it.
    return _MAGIC + hashlib.sha256(name.encode() + image).digest()


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _folder() -> Path | None:
    """The cache's folder, made if it is missing; None if it is switched off, cannot be made or is not this user's."""
    if os.environ.get("ELMAN_CACHE") == "off":
        return None
    try:
        folder = cache_folder("compiled")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return folder if stat.S_ISDIR(found.st_mode) and _is_private(found) else None


def _bound(folder: Path) -> None:
    """Remove what was used longest ago until the rest is within the bound, and what a killed process left behind."""
    entries: list[tuple[float, int, Path]] = []
    now = time.time()
    with os.scandir(folder) as scan:
        for entry in scan:
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(".part"):
                    entries.append((found.st_mtime, found.st_size, Path(entry.path)))
                elif now - found.st_mtime > _ABANDONED_SECONDS:
                    _remove(Path(entry.path))
    excess = sum(size for _, size, _ in entries) - BOUND
    for _, size, path in sorted(entries):
        if excess <= 0:
            break
        _remove(path)
        excess -= size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
