"""The screen of alignments in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra web is not installed")

from browser_cases import serving

from elman.generate.translating import from_runs, judge, translate
from elman.runs import load


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over a run that sorts, a little, and the folder of that run."""
    from elman.equations import recurrence_of
    from elman.training.settings import Settings
    from elman.training.start import Reports
    from elman.training.systems.translate.run import PairOptions, Sources, Wishes, train

    folder = tmp_path_factory.mktemp("aligned")
    settings = Settings(steps=20, batch=32, lr=1e-2, threads=1)
    gru = recurrence_of("gru")
    wishes = Wishes(gru, gru, {"hidden": 16}, settings, scored=5, reports=Reports(quiet=True))
    train(Sources(("made:sorting,longest=3,count=300",)), PairOptions(), wishes, folder / "sorting")
    with serving(folder) as base:
        yield base, folder / "sorting"


def test_a_sentence_is_translated_and_the_map_shows_the_weights(page: Any, address: tuple[str, Path]) -> None:
    base, run = address
    translators = from_runs([load(run, systems=("translate",))])
    (expected,) = translate(translators, ["31 4"], width=3, best=3, normalisation=0.6)
    page.goto(f"{base}/#/alignment?run=sorting&beam=3&sentence=31%204")
    page.wait_for_selector("figure svg rect")
    rows = page.locator("tbody tr")
    assert rows.count() == len(expected)
    for row, each in zip(rows.all(), expected, strict=True):
        shown = row.locator("td").first.text_content()
        assert float(shown.replace("\u2212", "-")) == pytest.approx(each.logprob, abs=0.006)
    # five symbols were read: the sentence and its end
    cells = page.locator("figure svg rect")
    assert cells.count() == 5 * len(expected[0].ids)
    (own,) = judge(translators, ["31 4"], [expected[0].ids])
    assert own.weights is not None
    cells.nth(2).hover()
    percent = f"{100 * own.weights[0, 2]:.1f} %"
    assert percent in page.locator(".tooltip").text_content()
    rows.nth(1).locator("button").click()
    # counted from here: the page's policy evaluates no strings
    pytest.importorskip("playwright.sync_api").expect(cells).to_have_count(5 * len(expected[1].ids))


def test_an_impossible_beam_is_answered_with_a_sentence(browser: Any, address: tuple[str, Path]) -> None:
    page = browser.new_page()
    page.goto(f"{address[0]}/#/alignment?run=sorting&beam=99&sentence=1")
    page.wait_for_selector(".notice.bad")
    assert "beam at most 16" in page.locator(".notice").text_content()
    page.close()


def test_a_sentence_that_is_far_too_long_is_refused_and_not_cut(browser: Any, address: tuple[str, Path]) -> None:
    page = browser.new_page()
    page.goto(f"{address[0]}/#/alignment?run=sorting")
    page.get_by_label("Sentence").fill("1 " * 600)
    page.wait_for_selector(".notice.bad")
    assert "up to 1,000" in page.locator(".notice").text_content()
    page.close()
