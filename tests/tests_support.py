"""Functions that tests of several rooms call."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def elman_command(*arguments: object) -> list[str]:
    """The command line as an argument list."""
    return [sys.executable, "-m", "elman", *map(str, arguments)]


def elman_environment() -> dict[str, str]:
    """One thread and no terminal tricks; the cache is the session's."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "PYTHONUNBUFFERED": "1",
    }


def flip_byte(path: Path, place: int) -> None:
    """Damage a file: every bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))
