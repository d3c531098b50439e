"""Headless Chromium at an inspector over the planted run, a hostile text and a text of words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_cases import HOSTILE, WORDS, Inspected, serving, write_recording

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """The browser: that of ELMAN_CHROMIUM, or one on the path."""
    named = os.environ.get("ELMAN_CHROMIUM")
    return named or next((found for name in CHROMIUMS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine; ELMAN_CHROMIUM may name one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def inspected(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspected]:
    """A server over a folder with a copy of the planted run and three recordings of it."""
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    from elman.insight.recording import recorded

    root = tmp_path_factory.mktemp("inspected")
    run = root / "planted"
    shutil.copytree(planted, run, ignore=shutil.ignore_patterns("insight"))
    hostile = write_recording(run, "hostile", HOSTILE, list(range(len(HOSTILE))), created=1.0)
    words = write_recording(run, "words", *WORDS, created=2.0)
    text = (planted.parent / "planted.txt").read_text(encoding="utf-8")
    plain = recorded(run, text[-30_000:])
    with serving(root) as address:
        yield Inspected(address, root, plain, hostile, words)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a context of its own; whatever it complains about fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert complaints == []
