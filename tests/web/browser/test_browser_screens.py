"""The other screens in Chromium: hunt, text, lab, playground, gates, gradients, errors, recording, keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser_cases import Inspected, character, open_reader, view_of, wait_for_address
from insight.planted import LAYER, STATE, UNIT

PLANTED = f"layer {LAYER} {STATE}[{UNIT}]"
PLAN = {"only": ["double_quotes", "digits"], "own": {"the": r"\bthe\b"}, "shifts": 40, "alone": 1}


@pytest.fixture
def hunted(page: Any, inspected: Inspected) -> Any:
    """The page, with a hunt for quotes, digits, and the word "the"."""
    page.goto(inspected.link("hypotheses", hunt=quote(json.dumps(PLAN))))
    page.wait_for_selector(".table-host", timeout=90_000)
    return page


def rows_of(page: Any) -> dict[str, list[str]]:
    """The first table's cells by the text of its row's heading."""
    table = page.locator(".table-host").first
    found = {}
    for row in table.locator("tbody tr").all():
        found[row.locator("th").text_content()] = row.locator("td").all_text_contents()
    return found


def test_the_planted_cell_is_the_one_for_quotes(hunted: Any) -> None:
    quotes = rows_of(hunted)["inside double quotes"]
    assert quotes[:2] == ["found", PLANTED]
    assert float(quotes[2]) > 0.99


def test_it_is_said_where_no_cell_was_found(hunted: Any) -> None:
    assert rows_of(hunted)["inside a number"][:2] == ["no cell found", "none"]


def test_the_table_sorts_and_the_address_knows_how(hunted: Any) -> None:
    button = hunted.get_by_role("button", name="F1")
    button.click()
    wait_for_address(hunted, "sort=-f1")
    values = [float(row[2]) for row in rows_of(hunted).values() if row[2][0].isdigit()]
    assert values == sorted(values, reverse=True)
    assert hunted.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    hunted.get_by_role("button", name="F1").click()
    wait_for_address(hunted, "sort=f1")
    assert hunted.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_a_hypothesis_opens_and_leads_to_its_cell(hunted: Any) -> None:
    hunted.get_by_role("button", name="inside double quotes").click()
    assert PLANTED in hunted.locator("section .lead").text_content()
    hunted.get_by_role("link", name=PLANTED).first.click()
    hunted.wait_for_selector(f'.reader[data-cell="{UNIT}"]')
    assert view_of(hunted)["hyp"] == "double_quotes"


def test_a_pattern_of_ones_own_is_a_label_elsewhere_too(hunted: Any) -> None:
    hunted.locator("th button", has_text="the").last.click()
    hunted.locator("section .table-host a").first.click()
    hunted.wait_for_selector(".details .numbers dt:text-is('F1')")
    assert view_of(hunted)["pattern"] == r"\bthe\b"


def test_a_bad_pattern_is_answered_with_a_sentence(browser: Any, inspected: Inspected) -> None:
    page = browser.new_page()
    page.goto(inspected.link("hypotheses", hunt=quote(json.dumps({"only": [], "own": {"bad": "(unclosed"}}))))
    page.wait_for_selector(".notice.bad")
    assert "unclosed" in page.locator(".notice").text_content() or "pattern" in page.locator(".notice").text_content()
    page.close()


def test_hovering_shows_the_five_likeliest(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("text"))
    box = character(page, 2, 4)
    page.mouse.move(box["left"] + 3, box["top"] + 8)
    page.wait_for_selector(".tooltip:not([hidden]) .likeliest li")
    numbers = [float(each) for each in page.locator(".tooltip .likeliest .number").all_text_contents()]
    assert len(numbers) == 5
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) <= 1.01
    assert "surprise" in page.locator(".tooltip").text_content()


def test_a_brushed_quotation_brings_the_planted_cell(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("text"))
    text = inspected.plain.text
    row = next(k for k, line in enumerate(page.locator(".reader .row").all_text_contents()) if line.startswith('"'))
    begin, end = character(page, row, 1), character(page, row, 14)
    page.mouse.move(begin["left"] + 2, begin["top"] + 8)
    page.mouse.down()
    page.mouse.move(end["left"] + 2, end["top"] + 8, steps=5)
    page.mouse.up()
    page.wait_for_selector("table.compact tbody tr")
    # the output of the planted unit tells as much as its state
    best = page.locator("table.compact tbody a").all_text_contents()[:2]
    assert sorted(best) == [PLANTED, PLANTED.replace(f" {STATE}[", " h[")]
    first, last = map(int, view_of(page)["sel"].split("-"))
    assert last - first == 14
    assert text[first - 1] == '"'
    page.get_by_role("button", name=f"Pin {PLANTED}").click()
    page.wait_for_selector("#tray li")
    assert page.locator(".lane-names").text_content() == f"1{PLANTED}"


def test_a_phrase_is_brushed_by_keyboard(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("text", at=50))
    page.wait_for_selector(".cursor-box .symbol")
    page.locator(".reader").focus()
    for _ in range(6):
        page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("table.compact tbody tr")
    wait_for_address(page, "sel=50-57")
    page.keyboard.press("Escape")
    page.wait_for_selector("h3:text-is('Brush a phrase')")


def test_a_lesion_of_the_planted_cell_costs_inside_quotes(page: Any, inspected: Inspected) -> None:
    view = {"cells": UNIT, "hyp": "double_quotes", "mode": "zero", "done": 1}
    page.goto(inspected.link("lab", **view))
    page.wait_for_selector(".effect dd", timeout=120_000)
    on, off, *_ = page.locator(".effect dd").all_text_contents()
    assert float(on.split("+")[1].split()[0]) > 0.02
    assert abs(float(off[:6].replace("\u2212", "-"))) < 0.02
    assert page.locator(".figure-body > svg").count() == 3


def test_two_texts_are_written_side_by_side(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("lab", cells=UNIT, hyp="double_quotes"))
    page.wait_for_selector(".beside")
    page.get_by_label("Prompt").fill('the man said. "the')
    page.get_by_label("Length").fill("160")
    page.get_by_role("button", name="Write both").click()
    page.wait_for_selector("p.note:has-text('Seed 1')", timeout=60_000)
    plain, lesioned = (pane.text_content() for pane in page.locator(".written").all())
    assert len(plain) == len(lesioned) == 160
    assert plain != lesioned
    assert "They part at symbol" in page.locator("p.note:has-text('Seed 1')").text_content()


def test_the_playground_writes_the_same_from_the_same_seed(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("playground", prompt="the%20man%20", seed=4, length=120))
    page.wait_for_selector("p.note:has-text('seed 4')", timeout=60_000)
    first = page.locator(".written").text_content()
    assert len(first) == 120
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector("p.note:has-text('Writing')", state="detached")
    page.wait_for_selector("p.note:has-text('seed 4')")
    assert page.locator(".written").text_content() == first
    page.locator(".written span").nth(7).hover()
    page.wait_for_selector(".tooltip:not([hidden]) .likeliest li")
    assert page.locator(".tooltip .likeliest li").count() == 5


def test_the_planted_state_follows_the_prompt(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("playground", pins=UNIT))
    page.wait_for_selector("main h1")
    page.get_by_label("Prompt").fill('he said "no')
    page.wait_for_selector(f'[aria-label="{PLANTED}"] .lane-cell')
    colours = page.locator(f'[aria-label="{PLANTED}"] .lane-cell').evaluate_all(
        "(all) => all.map((each) => [each.textContent, getComputedStyle(each).backgroundColor])"
    )
    inside = [colour for _, colour in colours[8:]]
    outside = [colour for _, colour in colours[:8]]
    assert len(colours) == 11
    assert set(outside) == {"rgb(255, 255, 255)"}
    assert "rgb(255, 255, 255)" not in inside


@pytest.mark.parametrize(
    ("screen", "shown"),
    [("gates", ".small-multiples svg circle"), ("gradients", ".figure-body path"), ("errors", ".figure-body rect")],
)
def test_an_analysis_runs_from_its_button(page: Any, inspected: Inspected, screen: str, shown: str) -> None:
    page.goto(inspected.link(screen))
    page.locator("button.primary").click()
    page.wait_for_selector(shown, timeout=120_000)
    assert view_of(page)["done"] == "1"
    assert page.locator(".figure-body > svg").count() >= 2


def test_a_text_of_ones_own_is_recorded(page: Any, inspected: Inspected) -> None:
    page.goto(f"{inspected.address}/#/runs?run=planted")
    page.get_by_text("Record a text").click()
    page.locator("#record-source").select_option("own")
    page.get_by_role("textbox", name="The text").fill('the man said. "the sea is green." ' * 40)
    page.get_by_role("button", name="Record").click()
    page.wait_for_selector("h1:text-is('Hypotheses')", timeout=60_000)
    rec = view_of(page)["rec"]
    assert rec not in {f"planted~{each.path.name}" for each in (inspected.plain, inspected.hostile, inspected.words)}


def test_keys_lead_to_screens_and_are_listed(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("runs"))
    page.wait_for_selector("main h1")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_selector(".reader")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] h2:text-is('Keys')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    page.keyboard.press("d")
    page.wait_for_selector("html[data-theme=dark]")


def test_screens_of_other_systems_are_not_offered_to_a_language_model(page: Any, inspected: Inspected) -> None:
    page.goto(inspected.link("words"))
    page.wait_for_selector("h1:text-is('Playground')")
    assert view_of(page)["screen"] == "playground"
    offered = page.locator("nav a").all_text_contents()
    assert "Playground" in offered
    assert not {"Words", "Alignment", "Captions"} & set(offered)
    page.locator("h1").click()
    page.keyboard.press("g")
    page.keyboard.press("w")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_selector("h1:text-is('Gates')")
    page.go_back()
    page.wait_for_selector("h1:text-is('Playground')")


def test_everything_can_be_reached_by_tab_with_a_visible_focus(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=1))
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        name, width = page.evaluate(
            """() => {
              const at = document.activeElement;
              return [at.className || at.tagName, parseFloat(getComputedStyle(at).outlineWidth)];
            }"""
        )
        reached.add(str(name))
        assert width >= 1 or name == "BODY"
    assert {"skip", "brand", "strip", "reader", "cell-place"} <= reached


def test_the_first_tab_skips_the_bar_and_keeps_the_view(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=1))
    before = page.url
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.url == before


def test_an_unreachable_server_is_named(browser: Any, inspected: Inspected, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(inspected.link("runs"))
    page.wait_for_selector("main h1")
    page.route("**/api/**", lambda route: route.abort())
    page.evaluate("location.hash = '#/cell?run=planted&rec=planted~words'")
    page.wait_for_selector(".notice.bad")
    assert "does not answer" in page.locator(".notice").text_content()
    page.close()
