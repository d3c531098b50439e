"""What the user named becomes a list of files, always in the same order."""

from __future__ import annotations

import codecs
import glob
import os
import stat
import sysconfig
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from elman.data.download import fetch, split_checksum
from elman.data.reading import Source, fingerprint, read_text
from elman.errors import MisuseError

__all__ = ["STDLIB", "Source", "fingerprint", "read_text", "resolve"]

STDLIB = "python:stdlib"
# Libraries of others, and tests (some of them are deliberately not UTF-8), are not the language's own
# library.
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def resolve(sources: Sequence[str | os.PathLike[str]], notices: list[str] | None = None) -> list[Source]:
    """The files behind what the user named.

    Args:
        sources: each a file, a folder (its text files, at every depth, sorted by path), a glob pattern
            (``**`` too, sorted), a URL (``http(s)://...``, optionally ``#sha256=HEX``; downloaded once into
            the cache) or ``"python:stdlib"`` (the running interpreter's library sources).
        notices: receives a sentence about files that were skipped or are named twice.

    Returns:
        The files, in the order in which they were named.

    Raises:
        MisuseError: nothing named, nothing found, or something that is not a regular file.
        FailureError: a download failed.
    """
    heard = notices if notices is not None else []
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    if not sources:
        raise MisuseError("No text was named: give a file, a folder, a glob pattern, a URL or python:stdlib.")
    found: list[Source] = []
    for item in sources:
        found.extend(_resolve_one(os.fspath(item), heard))
    repeated = [name for name, times in Counter(str(source.path) for source in found).items() if times > 1]
    if repeated:
        heard.append(
            f"{repeated[0]} is named more than once, and is read as often: "
            "a repeated text in validation is one that training has seen."
        )
    return found


def is_remote(name: str) -> bool:
    """Whether a source is a URL."""
    return name.startswith(("http://", "https://"))


def is_path(name: str) -> bool:
    """Whether a source names files of this machine: no URL, and not the interpreter's library."""
    return name != STDLIB and not is_remote(name)


def _resolve_one(name: str, notices: list[str]) -> list[Source]:
    if not name:
        raise MisuseError("An empty name was given where a text is needed.")
    if name == STDLIB:
        return _stdlib()
    if is_remote(name):
        url, checksum = split_checksum(name)
        return [Source(url, fetch(url, sha256=checksum))]
    path = Path(name).expanduser()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if glob.has_magic(name):
            return _glob(str(path), notices)
        raise MisuseError(f"{name!r} does not exist (the working folder is {Path.cwd()}).") from None
    except PermissionError:
        raise MisuseError(f"{name} may not be read: permission denied.") from None
    except (OSError, ValueError) as error:
        raise MisuseError(f"{name!r} is not a usable file name: {error}.") from error
    if stat.S_ISDIR(mode):
        return _folder(path, notices)
    for is_kind, kind in _SPECIAL:
        if is_kind(mode):
            raise MisuseError(f"{name} is {kind}; a text is read more than once, so save it to a regular file first.")
    return [Source(name, path)]


def _stdlib() -> list[Source]:
    root = Path(sysconfig.get_path("stdlib"))
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _NOT_STDLIB)
        files.extend(Path(folder) / name for name in names if name.endswith(".py"))
    if not files:
        raise MisuseError(f"{STDLIB} finds no library sources below {root}: this interpreter comes without them.")
    return [Source(f"{STDLIB}/{file.relative_to(root).as_posix()}", file) for file in _sorted(files, root)]


def _folder(root: Path, notices: list[str]) -> list[Source]:
    files: list[Path] = []
    hidden = 0

    def refuse(error: OSError) -> None:
        raise MisuseError(f"{error.filename} may not be listed: {error.strerror}.") from error

    for folder, subfolders, names in os.walk(root, onerror=refuse):
        hidden += sum(name.startswith(".") for name in (*subfolders, *names))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files.extend(Path(folder) / name for name in names if not name.startswith("."))
    return _texts_among(_sorted(files, root), str(root), notices, hidden)


def _glob(pattern: str, notices: list[str]) -> list[Source]:
    files = sorted(map(Path, glob.glob(pattern, recursive=True)), key=lambda file: file.parts)
    return _texts_among([file for file in files if not file.is_dir()], pattern, notices)


def _sorted(files: list[Path], root: Path) -> list[Path]:
    """By path below `root`, compared part by part, so that the order does not depend on the file system."""
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _texts_among(files: list[Path], where: str, notices: list[str], hidden: int = 0) -> list[Source]:
    regular = [file for file in files if file.is_file()]
    texts = [file for file in regular if not _looks_binary(file)]
    binary = len(regular) - len(texts)
    special = len(files) - len(regular)
    counts = ((hidden, "hidden"), (binary, "binary"), (special, "special or broken"))
    skipped = ", ".join(f"{count} {kind}" for count, kind in counts if count)
    if not texts:
        raise MisuseError(
            f"{where} holds no text file" + (f" (skipped: {skipped})." if skipped else ": nothing is there.")
        )
    if skipped:
        notices.append(f"{where}: {len(texts)} text files taken; skipped: {skipped}.")
    return [Source(str(file), file) for file in texts]


def _looks_binary(file: Path) -> bool:
    """A NUL byte near the start, unless a byte order mark says UTF-16 or UTF-32."""
    try:
        with file.open("rb") as handle:
            head = handle.read(8192)
    except PermissionError:
        raise MisuseError(f"{file} may not be read: permission denied.") from None
    return b"\0" in head and not head.startswith(_WIDE_MARKS)
