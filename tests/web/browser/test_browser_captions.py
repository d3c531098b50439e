"""The screen of captions in Chromium: an image is chosen or dropped, words show where the model looked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("PIL", reason="the extra images is not installed")

import torch
from browser_cases import serving
from caption_runs import captioner
from made_captions import png

from elman.data.images import decode
from elman.generate.captioning import Manner, Written, write
from elman.models.captioning.seeing import features_of_images
from elman.runs import load

IMAGE = png("red", "disc", 5)


@dataclass(frozen=True)
class Served:
    """A server over a captioner with attention and one without."""

    address: str
    folder: Path

    def captions(self, run: str, tag: str, width: int = 5) -> list[Written]:
        loaded = load(self.folder / run, systems=("caption",))
        seen = features_of_images(loaded.model, [decode(IMAGE, "image")])
        with torch.inference_mode():
            (found,) = write(loaded.model, loaded.vocabulary, seen, tag, Manner(min(5, width), width, 0.7))
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("captioned")
    runs = captioner(folder, "looks", languages=True, steps=100)
    captioner(folder, "blind", languages=False)
    with serving(runs) as address:
        yield Served(address, runs)


def open_at(page: Any, served: Served, run: str) -> None:
    page.goto(f"{served.address}/#/captions?run={run}")
    page.wait_for_selector("h1:text-is('Captions')")


def choose(page: Any, content: bytes, name: str = "image.png") -> None:
    page.get_by_label("Image", exact=True).set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


PIXELS = """() => {
  const canvas = document.querySelector("canvas.picture");
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const found = [];
  for (let y = 8; y < canvas.height; y += 16) {
    for (let x = 8; x < canvas.width; x += 16) found.push([...all.slice(4 * (y * canvas.width + x)).slice(0, 3)]);
  }
  return found;
}"""

DROP = """([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const tell = (kind) => document.body.dispatchEvent(
    new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  const held = !tell("dragover");
  return [held, document.querySelector(".aimed") !== null, !tell("drop")];
}"""


def light(page: Any) -> np.ndarray:
    """Brightness of the picture on a grid of 28 x 28 points."""
    return np.array(page.evaluate(PIXELS)).mean(-1).reshape(28, 28)


def test_captions_appear_and_a_word_shows_where_it_was_looked(page: Any, served: Served) -> None:
    open_at(page, served, "looks")
    assert page.locator("canvas").is_hidden()
    choose(page, IMAGE)
    page.wait_for_selector("tbody tr")
    own = served.captions("looks", "de")
    rows = page.locator("tbody tr")
    assert [row.locator("th").text_content() for row in rows.all()] == [each.text or "(empty)" for each in own]
    for row, each in zip(rows.all(), own, strict=True):
        shown = [float(cell.replace("\u2212", "-")) for cell in row.locator("td").all_text_contents()]
        assert shown == pytest.approx([each.logprob, each.score], abs=0.006)
    words = page.get_by_role("group", name="Words").locator("button")
    assert words.all_text_contents() == list(own[0].symbols)
    plain = light(page)
    # the red disc stands in the middle of a light ground, as it was sent
    assert plain[2, 2] > 220
    assert plain[14, 14] < 110

    chosen = max(range(len(own)), key=lambda place: len(own[place].ids))
    rows.nth(chosen).locator("button").click()
    assert words.all_text_contents() == list(own[chosen].symbols)
    assert len(own[chosen].ids) > 2
    weights = own[chosen].weights
    assert weights is not None
    darkest = []
    for place in range(len(own[chosen].ids)):
        words.nth(place).click()
        assert words.nth(place).get_attribute("aria-pressed") == "true"
        assert f"{abs(own[chosen].logprobs[place]):.2f} nats" in page.locator(".card p").last.text_content()
        # in the middles of the model's 3 x 3 places: what is looked at most keeps its light, of the rest less
        kept = (light(page) / plain)[np.ix_([4, 14, 23], [4, 14, 23])]
        share = weights[place].numpy() / float(weights[place].max())
        assert kept == pytest.approx(1 - 0.8 * (1 - share), abs=0.05)
        darkest.append(kept.min())
    assert min(darkest) < 0.8
    words.nth(0).hover()
    assert words.nth(0).get_attribute("aria-pressed") == "true"
    rows.nth(chosen).locator("button").click()
    assert light(page) == pytest.approx(plain)


def test_the_beam_and_the_language_ask_again(page: Any, served: Served) -> None:
    open_at(page, served, "looks")
    page.wait_for_selector("select[aria-label='Language'] option", state="attached")
    choose(page, IMAGE)
    page.wait_for_selector("tbody tr")
    page.get_by_label("Beam").fill("2")
    page.get_by_label("Beam").press("Tab")
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("tbody tr")).to_have_count(len(served.captions("looks", "de", 2)))
    page.locator("select[aria-label='Language']").select_option("en")
    (best, *_) = served.captions("looks", "en", 2)
    expect(page.locator("tbody th").first).to_have_text(best.text or "(empty)")


def test_a_dropped_image_is_taken_wherever_it_falls(page: Any, served: Served) -> None:
    open_at(page, served, "blind")
    assert page.evaluate(DROP, [base64.b64encode(IMAGE).decode(), "dropped.png"]) == [True, True, True]
    page.wait_for_selector("tbody tr")
    assert page.locator(".aimed").count() == 0
    page.get_by_role("group", name="Words").locator("button").first.hover()
    page.wait_for_selector("p:has-text('no attention')")
    assert page.locator("select[aria-label='Language']").is_hidden()


def test_what_is_no_image_is_answered_with_a_sentence(browser: Any, served: Served) -> None:
    page = browser.new_page()
    open_at(page, served, "looks")
    page.get_by_role("button", name="Caption", exact=True).click()
    page.wait_for_selector(".notice.bad:has-text('Choose an image first')")
    choose(page, b"<svg onload='alert(1)'>", "notes.txt")
    page.wait_for_selector(".notice.bad:has-text('cannot read this file as an image')")
    assert page.locator("canvas").is_hidden()
    choose(page, IMAGE[:100])
    page.wait_for_selector(".notice.bad")
    choose(page, IMAGE + b"\0" * 5_500_000)
    page.wait_for_selector(".notice.bad:has-text('at most 5,500,000')")
    choose(page, IMAGE)
    page.wait_for_selector("tbody tr")
    assert page.locator(".notice").count() == 0
    page.get_by_label("Beam").fill("99")
    page.get_by_label("Beam").press("Tab")
    page.wait_for_selector(".notice.bad:has-text('beam at most 16')")
    page.close()


def test_it_fits_a_narrow_window(page: Any, served: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_at(page, served, "looks")
    choose(page, IMAGE)
    page.wait_for_selector("tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("canvas").bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1)
