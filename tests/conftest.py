"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import elman_command, elman_environment

os.environ.setdefault("MPLBACKEND", "agg")


def _find_shared_data() -> Path | None:
    """The folder of real data beside the checkout, or the one that ELMAN_SHARED_DATA names."""
    if named := os.environ.get("ELMAN_SHARED_DATA"):
        return Path(named) if Path(named).is_dir() else None
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data (tiny Shakespeare and others); the test is skipped where they are absent."""
    folder = _find_shared_data()
    if folder is None:
        pytest.skip("real data not found: no ../shared/data beside the checkout and ELMAN_SHARED_DATA not set")
    return folder


@pytest.fixture
def elman(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """(arguments) -> the finished command line, run as a user would, with a cache of the test's own."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            elman_command(*arguments),
            **{
                "capture_output": True,
                "text": True,
                "timeout": 120,
                "env": elman_environment(tmp_path),
                **options,
            },
        )

    return run


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A small text with something to learn: 12,000 characters of made-up prose."""
    generator = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "then", "ran", "to", "its", "house", "by", "night"]
    path = tmp_path / "prose.txt"
    text = ""
    while len(text) < 12_000:
        text += " ".join(generator.choice(words) for _ in range(generator.randint(3, 9))).capitalize() + ".\n"
    path.write_text(text[:12_000])
    return path
