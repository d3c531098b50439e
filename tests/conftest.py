"""Fixtures that every room's tests share."""

from __future__ import annotations

import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Done, elman_environment

os.environ.setdefault("MPLBACKEND", "agg")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # one cache for the session, its workers and the processes that tests start: code is compiled once, and from nothing
    os.environ["ELMAN_CACHE_DIR"] = tempfile.mkdtemp(prefix="elman-tests-")
CACHE = Path(os.environ["ELMAN_CACHE_DIR"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's cache, which the workers of a parallel session leave to who started them."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(CACHE, ignore_errors=True)


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
def elman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """(arguments, cwd=folder, stdin=bytes) -> the finished command, run in this process in a cache of the session.

    A process of its own would spend seconds on importing torch; tests about processes start them themselves.
    """
    from elman.cli import main

    for name, value in elman_environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object, cwd: Path | None = None, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        monkeypatch.setattr(sys, "argv", ["elman", *map(str, arguments)])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Done(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

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
