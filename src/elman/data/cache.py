"""The folder for files that can be made again: downloads and token files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The cache folder for one purpose; it is not created here.

    ``ELMAN_CACHE_DIR`` decides, else ``XDG_CACHE_HOME/elman``, else ``~/.cache/elman``.

    Args:
        name: the purpose, ``"downloads"`` or ``"tokens"``.

    Returns:
        The folder's path.
    """
    if chosen := os.environ.get("ELMAN_CACHE_DIR"):
        return Path(chosen).expanduser() / name
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "elman" / name
    return Path.home() / ".cache" / "elman" / name
