"""Where files go that can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.files import cache_folder


def test_the_first_variable_that_is_set_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder("tokens") == Path("/chosen/tokens")
    monkeypatch.setenv("ELMAN_CACHE_DIR", "~/chosen")
    assert cache_folder("tokens") == Path("/home/somebody/chosen/tokens")
    monkeypatch.delenv("ELMAN_CACHE_DIR")
    assert cache_folder("tokens") == Path("/xdg/elman/tokens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("tokens") == Path("/home/somebody/.cache/elman/tokens")
