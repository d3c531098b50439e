"""Files that are written whole or not at all, and the folder for those that can be made again."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from elman.errors import FailureError


def write_whole(path: str | os.PathLike[str], content: bytes | str | Callable[[str], object]) -> None:
    """Replace a file by new content so that a reader sees the old file or the new one, never a part.

    A link is followed, an existing file keeps its mode, and what is no regular file (a pipe, a device) is written to
    directly, since it cannot be replaced.

    Args:
        path: the file; its folder must exist.
        content: bytes, text (stored as UTF-8), or a function that is given a temporary name in the same folder and
            writes that file.

    Raises:
        FailureError: the file could not be written (full disk, no permission); what stood at ``path`` is untouched.
    """
    path = Path(os.path.realpath(path))
    temporary = ""
    try:
        if path.exists() and not path.is_file():
            _write_directly(path, content)
            return
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            if not callable(content):
                stream.write(content.encode() if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
        if callable(content):
            content(temporary)
            sync(temporary)
        # mkstemp gives 0600; a run folder is meant to be copied and shared, so the usual mask applies
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        temporary = ""
        sync(path.parent)
    except Exception as error:
        if isinstance(error, OSError) or "os error" in str(error).lower():
            raise disk_failure(path, error) from error
        raise
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _write_directly(path: Path, content: bytes | str | Callable[[str], object]) -> None:
    if callable(content):
        content(str(path))
    else:
        with open(path, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)


def disk_failure(path: str | os.PathLike[str], error: Exception) -> FailureError:
    """The sentence for a write that the operating system refused.

    Args:
        path: what was being written.
        error: the refusal; safetensors reports a full disk as text, the rest of Python as :class:`OSError`.
    """
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    is_full = getattr(error, "errno", None) in full or any(f"os error {code}" in str(error).lower() for code in full)
    advice = "Free some space" if is_full else "Mend that"
    return FailureError(
        f"Could not write {path}: {error}. {advice} and try again; what stood there before is unharmed."
    )


def cache_folder(name: str) -> Path:
    """The cache folder for one purpose; it is not created here.

    ``ELMAN_CACHE_DIR`` decides, else ``XDG_CACHE_HOME/elman``, else ``~/.cache/elman``.

    Args:
        name: the purpose: ``"downloads"``, ``"tokens"`` or ``"compiled"``.

    Returns:
        The folder's path.
    """
    if chosen := os.environ.get("ELMAN_CACHE_DIR"):
        return Path(chosen).expanduser() / name
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "elman" / name
    return Path.home() / ".cache" / "elman" / name


def sync(path: str | os.PathLike[str]) -> None:
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # the mask can only be read by setting it; threads that create files meanwhile see the tighter one
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
