"""What torchrun tells a process about its place, without loading torch."""

from __future__ import annotations

import os


def launched() -> int:
    """How many processes torchrun started for this training; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def neighbours() -> tuple[int, int]:
    """This process's number among those of its machine, and how many they are."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one that writes and speaks: the first, or the only one."""
    return launched() == 1 or int(os.environ.get("RANK", "0")) == 0
