"""A hostile text in Chromium: it is shown, and never obeyed; and the page's contrast, widths and rules."""

from __future__ import annotations

from typing import Any

import pytest
from browser_cases import (
    HOSTILE,
    SIGNS,
    WORDS,
    Inspected,
    character,
    colour_of,
    open_reader,
    pixel_at,
    wait_for_address,
)

SCREENS = ("runs", "hypotheses", "cell", "text", "lab", "playground", "gates", "gradients", "errors")


def test_markup_is_text(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", inspected.hostile, cell=1))
    shown = page.locator(".reader .row").first.text_content()
    assert shown.startswith("<script>window.pwned = 1</script><img src=x onerror=window.pwned=1></textarea><!-- ")
    assert page.evaluate("window.pwned") is None
    assert page.locator(".reader script, .reader img, .reader textarea").count() == 0


def test_control_characters_and_turning_marks_are_pictures(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", inspected.hostile, cell=1))
    rows = page.locator(".reader .row").all_text_contents()
    everything = "".join(rows)
    assert not set("\x00\x1b\x7f\u202e\u202c\u2066\u2069\u200b\ufeff") & set(everything)
    assert "\u2400\u241b[31m\u2421" in everything
    assert "right to left" in everything
    # the characters after the mark stand from left to right, each in its place
    row = next(k for k, line in enumerate(rows) if "right to left" in line)
    boxes = [character(page, row, column) for column in range(1, 8)]
    assert "".join(box["text"] for box in boxes) == "right t"
    assert [box["left"] for box in boxes] == sorted(box["left"] for box in boxes)


def test_every_character_keeps_its_colour(page: Any, inspected: Inspected) -> None:
    """Behind wide, combining and turned characters too: the canvas and the text count the same columns."""
    open_reader(page, inspected.link("cell", inspected.hostile, cell=2))
    page.wait_for_selector('.reader[data-cell="2"]')
    values = inspected.hostile.cell(2)
    places = [HOSTILE.index(sign) for sign in ("\u4e2d", "\U0001f600", "\u05d1")]
    rows = page.locator(".reader .row").all_text_contents()
    row = next(k for k, line in enumerate(rows) if "right to left" in line)
    for place, sign in zip(places, ("\u4e2d", "\U0001f600", "\u05d1"), strict=True):
        column = page.evaluate(
            """([row, sign]) => document.querySelectorAll('.reader .row')[row].textContent.indexOf(sign)""", [row, sign]
        )
        assert pixel_at(page, character(page, row, column)) == pytest.approx(colour_of(int(values[place])), abs=1)


def test_long_lines_are_broken_and_nothing_is_lost(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("text", inspected.hostile))
    shown = "".join(page.locator(".reader .row").all_text_contents())
    for part in ("long " * 60, "x" * 300, "end"):
        assert part in shown
    assert shown.count("long ") == 60


def test_hovering_shows_hostile_symbols_as_text(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("text", inspected.hostile))
    box = character(page, 0, 3)
    page.mouse.move(box["left"] + 3, box["top"] + 8)
    page.wait_for_selector(".tooltip .likeliest li")
    assert page.locator(".tooltip .likeliest b").first.text_content() == "<b>bold</b>"
    assert page.locator(".tooltip .likeliest b b").count() == 0


def test_copying_gives_the_text_itself(page: Any, inspected: Inspected) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_reader(page, inspected.link("text", inspected.hostile, sel=f"{len(SIGNS) - 10}-{len(SIGNS) + 10}"))
    page.locator(".reader").focus()
    page.keyboard.press("Control+c")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == HOSTILE[len(SIGNS) - 10 : len(SIGNS) + 10].replace("\x00", copied[copied.find("\x1b") - 1])
    assert "\u202eright" in copied


def test_tokens_of_several_characters_share_a_value(page: Any, inspected: Inspected) -> None:
    text, offsets = WORDS
    open_reader(page, inspected.link("cell", inspected.words, cell=1))
    page.wait_for_selector('.reader[data-cell="1"]')
    values = inspected.words.cell(1)
    for place in (0, 2, 4, 9, 11, 17, 23, 36):
        token = max(k for k, offset in enumerate(offsets) if offset <= place)
        box = character(page, 0, place)
        assert box["text"] == text[place]
        assert pixel_at(page, box) == pytest.approx(colour_of(int(values[token])), abs=1)
    page.mouse.click(character(page, 0, 13)["left"] + 2, character(page, 0, 13)["top"] + 6)
    wait_for_address(page, "at=2")
    page.wait_for_selector(".cursor-box .symbol:text-is('sang\u2423')")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_no_screen_is_wider_than_the_window(page: Any, inspected: Inspected, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=theme)
    for screen in SCREENS:
        page.goto(inspected.link(screen, cell=1, pins="1,2,3"))
        page.wait_for_selector("main h1")
        page.wait_for_timeout(60)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen
        assert page.evaluate("document.documentElement.dataset.theme") == theme


CONTRAST = """async () => {
  const { diverging, surprise } = await import("/static/js/core/colour.js");
  const linear = (value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
  const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  const found = [];
  for (const theme of ["light", "dark"]) {
    for (const palette of [diverging(theme), surprise(theme)]) {
      palette.colours.forEach((colour, k) => found.push(ratio(light(colour), palette.white[k] ? 1 : 0)));
    }
    document.documentElement.dataset.theme = theme;
    const style = getComputedStyle(document.documentElement);
    const token = (name) => {
      const hex = style.getPropertyValue(name).trim();
      return light([1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    };
    for (const ink of ["--ink", "--quiet", "--accent", "--bad", "--good", "--warn"]) {
      for (const ground of ["--paper", "--page"]) found.push(ratio(token(ink), token(ground)));
    }
    for (const kind of ["--good", "--warn", "--bad", "--accent"]) {
      found.push(ratio(token(kind), token(`${kind}-soft`)));
    }
    found.push(ratio(token("--paper"), token("--accent")));
  }
  return found;
}"""


def test_all_text_has_the_contrast_of_level_aa(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("runs"))
    page.wait_for_selector("main h1")
    found = page.evaluate(CONTRAST)
    assert len(found) == 2 * (2 * 256 + 12 + 5)
    assert min(found) >= 4.5


def test_nothing_is_asked_of_anybody_else(page: Any, inspected: Inspected) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for screen in SCREENS:
        page.goto(inspected.link(screen, cell=1))
        page.wait_for_selector("main h1")
    assert len(asked) > 30
    assert [url for url in asked if not url.startswith((inspected.address, "blob:", "data:"))] == []
