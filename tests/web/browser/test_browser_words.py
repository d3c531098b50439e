"""The screen of words in Chromium: bars and colours of a classifier, labels of a tagger, texts of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra web is not installed")

from browser_cases import SIGNS, colour_of, serving, view_of, wait_for_address
from word_models import classifier, tagger

from elman.data.conll import words_of
from elman.insight.predictions import Classified, LabelledWords, classify_texts, label_words
from elman.runs import load
from elman.training.systems.tag.run import Decoder

TEXT = "not a zebra , dull film"
SENTENCE = "yesterday Mila Torne flew to New Karaville ."
COLOURS = "(all) => all.map((each) => getComputedStyle(each).backgroundColor)"


@dataclass(frozen=True)
class Served:
    """A server over a classifier ``moods`` and a tagger ``names``."""

    address: str
    folder: Path

    def link(self, run: str, **view: Any) -> str:
        parts = {"run": run, **view}
        return f"{self.address}/#/words?" + "&".join(f"{name}={quote(str(value))}" for name, value in parts.items())

    def classified(self, text: str) -> Classified:
        (found,) = classify_texts(
            load(self.folder / "moods", systems=("classify",)), self.folder, [text], explained=True
        )
        return found

    def labelled(self, text: str) -> LabelledWords:
        loaded = load(self.folder / "names", systems=("tag",))
        (found,) = label_words(loaded, Decoder.of(loaded.config, self.folder / "names"), [words_of(text)])
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("words")
    classifier(folder / "moods")
    tagger(folder / "names")
    with serving(folder) as address:
        yield Served(address, folder)


def levels(values: np.ndarray) -> list[int]:
    return [round(127 * float(value)) for value in values / np.abs(values).max()]


def rgb(colours: list[str]) -> list[tuple[int, ...]]:
    return [tuple(map(int, each[4:-1].split(","))) for each in colours]


def test_typed_words_have_the_colours_of_what_they_did(page: Any, served: Served) -> None:
    own = served.classified(TEXT)
    assert own.explained is not None
    page.goto(served.link("moods"))
    page.wait_for_selector("section .note:has-text('Type a text')")
    page.get_by_label("Texts, a line each").fill(TEXT)
    page.wait_for_selector(".coloured")
    assert page.locator(".coloured").text_content() == TEXT
    pieces = page.locator(".coloured span[style]")
    assert pieces.all_text_contents() == TEXT.split()
    shown = rgb(pieces.evaluate_all(COLOURS))
    for colour, level in zip(shown, levels(own.explained.contributions), strict=True):
        assert colour == pytest.approx(colour_of(level), abs=1)
    heading = page.locator("section h2").text_content()
    assert heading == f"{own.entries()['class']} {100 * own.probabilities.max():.1f} %"
    texts = page.locator("figure svg text").all_text_contents()
    for name, chance in own.entries()["probabilities"].items():
        assert name in texts
        assert f"{chance:.3f}" in texts
    assert view_of(page)["text"] == TEXT

    pieces.nth(2).hover()
    told = page.locator(".tooltip").text_content()
    assert f"{abs(own.explained.contributions[2]):.3f} nats" in told
    assert "not in the vocabulary" in told
    # neither the word nor the comma stand in the made reviews
    assert page.locator(".coloured .unseen").all_text_contents() == ["zebra", ","]

    page.get_by_label("Attention").check()
    wait_for_address(page, "by=attention")
    shown = rgb(page.locator(".coloured span[style]").evaluate_all(COLOURS))
    assert own.explained.attention is not None
    for colour, level in zip(shown, levels(own.explained.attention), strict=True):
        assert colour == pytest.approx(colour_of(level), abs=1)
    assert page.evaluate("document.activeElement.value") == "attention"


def test_keys_walk_from_word_to_word_and_say_what_each_did(page: Any, served: Served) -> None:
    own = served.classified(TEXT).explained
    assert own is not None
    page.goto(served.link("moods", text=TEXT))
    page.wait_for_selector(".coloured")
    page.locator(".coloured").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector(".tooltip:not([hidden]) .symbol:text-is('dull')")
    assert page.locator(".coloured .here").text_content() == "dull"
    said = page.locator("#announcer").text_content()
    assert said.startswith("dull: ")
    assert f"{abs(own.contributions[4]):.2f} nats" in said
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".tooltip:not([hidden]) .symbol:text-is(',')")
    page.locator("summary").press("Enter")
    page.wait_for_selector("details[open] tbody tr")
    page.get_by_role("button", name="Effect").click()
    effects = [
        float(each.replace("\u2212", "-"))
        for each in page.locator("details tbody tr td:nth-child(3)").all_text_contents()
    ]
    assert effects == sorted(effects, reverse=True)
    assert effects == pytest.approx(sorted(own.contributions, reverse=True), abs=6e-4)


def test_of_several_texts_one_is_looked_into(page: Any, served: Served) -> None:
    page.goto(served.link("moods", text="good\n\nso dull\nfilm"))
    page.wait_for_selector("form tbody tr")
    assert page.locator("form tbody th").all_text_contents() == ["good", "so dull", "film"]
    assert page.locator(".coloured").text_content() == "good"
    page.get_by_role("button", name="so dull").click()
    wait_for_address(page, "at=1")
    assert page.locator(".coloured").text_content() == "so dull"
    assert page.evaluate("document.activeElement.textContent") == "so dull"
    page.get_by_label("Texts, a line each").fill("")
    page.wait_for_selector("section .note:has-text('Type a text')")
    assert page.locator("form tbody tr").count() == 0


def test_words_are_labelled_and_entities_are_spans(page: Any, served: Served) -> None:
    own = served.labelled(SENTENCE)
    found = own.entries()["entities"]
    assert found
    page.goto(served.link("names"))
    page.get_by_label("Sentences, a line each").fill(SENTENCE)
    page.wait_for_selector(".coloured")
    spans = page.locator(".coloured .entity")
    assert spans.all_text_contents() == [f"{each['text']}{each['kind']}" for each in found]
    legend = page.locator(".kinds .kind")
    assert legend.all_text_contents() == ["LOC", "ORG", "PER"]
    colours = dict(zip(legend.all_text_contents(), legend.evaluate_all(COLOURS), strict=True))
    assert len(set(colours.values())) == 3
    assert spans.evaluate_all(COLOURS) == [colours[each["kind"]] for each in found]
    rows = page.locator("section .table-host").first.locator("tbody tr")
    assert [row.locator("td").last.text_content() for row in rows.all()] == [
        f"{each['probability']:.4f}" for each in found
    ]
    page.locator(".coloured").focus()
    for place, word in enumerate(own.words):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f".tooltip:not([hidden]) p:text-is('p {own.probabilities[place]:.4f}')")
        assert page.locator(".coloured .here").text_content() == word
        assert own.labels[place] in page.locator(".tooltip").text_content()
        assert ("not in the vocabulary" in page.locator(".tooltip").text_content()) == own.unknown[place]
    page.locator("summary").click()
    page.wait_for_selector("details tbody tr")
    rows = page.locator("details tbody tr")
    assert [row.locator("td").nth(1).text_content() for row in rows.all()] == list(own.labels)


STRANGE = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \U0001f600 e\u0301 \u202egood\u202c"


@pytest.mark.parametrize("run", ["moods", "names"])
def test_texts_of_every_kind_are_shown_and_mean_no_harm(page: Any, served: Served, run: str) -> None:
    page.goto(served.link(run, text=STRANGE))
    page.wait_for_selector(".coloured")
    assert page.locator(".coloured").evaluate("(each) => getComputedStyle(each).direction") == "rtl"
    shown = page.locator(".coloured").text_content()
    assert "\u05e9\u05dc\u05d5\u05dd" in shown
    assert "\u202e" not in shown
    assert "U+202E" in shown
    # against the direction of reading is back
    page.locator(".coloured").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".tooltip:not([hidden]) .symbol:text-is('\u05e2\u05d5\u05dc\u05dd')")
    page.locator("textarea").fill(SIGNS)
    page.wait_for_selector(".coloured:has-text('script')")
    assert page.evaluate("window.pwned") is None


PRINTED = """(texts) => import("/static/js/core/format.js").then(({ printed }) => texts.map(printed))"""


def test_joiners_stay_where_they_join(page: Any, served: Served) -> None:
    page.goto(served.link("moods"))
    page.wait_for_selector("h1")
    family, word = "\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    shown = page.evaluate(PRINTED, [family, word, "\u200d", "a\u200d", "a\u202eb\tc\x07", "\ufeff"])
    assert shown == [family, word, "U+200D", "aU+200D", "aU+202Eb\tc\u2407", "U+FEFF"]


def test_one_word_and_far_too_many(browser: Any, served: Served) -> None:
    page = browser.new_page()
    page.goto(served.link("moods", text="good"))
    page.wait_for_selector(".coloured")
    assert page.locator(".coloured span[style]").count() == 1
    page.locator("textarea").fill("good " * 2001)
    page.wait_for_selector(".notice.bad")
    assert "10,005 characters; up to 10,000" in page.locator(".notice").text_content()
    page.locator("textarea").fill("dull")
    page.wait_for_selector(".coloured:has-text('dull')")
    assert page.locator(".notice").count() == 0
    page.close()


@pytest.mark.parametrize("run", ["moods", "names"])
def test_it_fits_a_narrow_window_and_turns_dark(page: Any, served: Served, run: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(served.link(run, text="\n".join((TEXT, SENTENCE, "w" * 300))))
    page.wait_for_selector(".coloured")
    light = page.locator(".coloured").evaluate("(each) => getComputedStyle(each).backgroundColor")
    page.locator("summary").click()
    page.keyboard.press("d")
    page.wait_for_selector("html[data-theme=dark]")
    page.wait_for_selector(".coloured")
    assert page.locator(".coloured").evaluate("(each) => getComputedStyle(each).backgroundColor") != light
    assert page.locator("details[open]").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_table_of_runs_leads_here_and_offers_nothing_else(page: Any, served: Served) -> None:
    page.goto(f"{served.address}/#/runs")
    page.get_by_role("link", name="moods").click()
    page.wait_for_selector(".facts dd:text-is('classifier of texts')")
    assert "accuracy" in page.locator(".facts").text_content()
    assert page.locator("nav a").all_text_contents() == ["Runs", "Words"]
    page.locator("main").get_by_role("link", name="Words").click()
    page.wait_for_selector("h1:text-is('Words')")
    # a screen of language models has nothing to show of it
    page.goto(f"{served.address}/#/playground?run=moods")
    wait_for_address(page, "#/words")
    page.get_by_label("Run", exact=True).select_option("names")
    page.wait_for_selector("textarea[aria-label='Sentences, a line each']")
