"""The screen of a cell in Chromium: colours, cursor, keys, label, address, places, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_cases import Inspected, character, colour_of, open_reader, pixel_at, view_of, wait_for_address
from insight.planted import UNIT


def row_starts(page: Any, text: str) -> list[int]:
    """First position of every visible line, at the top of a text of plain characters."""
    starts = [0]
    for row in page.locator(".reader .row").all_text_contents():
        place = starts[-1] + len(row)
        assert text[starts[-1] : place] == row
        starts.append(place + (text[place] == "\n"))
    return starts


@pytest.mark.parametrize("cell", [UNIT, 3])
def test_a_character_has_the_colour_of_the_value(page: Any, inspected: Inspected, cell: int) -> None:
    open_reader(page, inspected.link("cell", cell=cell))
    page.wait_for_selector(f'.reader[data-cell="{cell}"]')
    values = inspected.plain.cell(cell)
    starts = row_starts(page, inspected.plain.text)
    seen = set()
    for row in range(20):
        if (column := (starts[row + 1] - starts[row] - 1) // 2) < 2:
            continue
        box = character(page, row, column)
        place = starts[row] + column
        assert box["text"] == inspected.plain.text[place]
        assert pixel_at(page, box) == pytest.approx(colour_of(int(values[place])), abs=1)
        seen.add(int(values[place]))
    assert len(seen) > 1


def test_the_next_cell_by_key_is_in_the_address_and_on_the_canvas(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=4))
    page.wait_for_selector('.reader[data-cell="4"]')
    page.keyboard.press("]")
    page.wait_for_selector('.reader[data-cell="5"]')
    page.wait_for_timeout(100)
    assert view_of(page)["cell"] == "5"
    assert page.locator("h1").text_content() == inspected.plain.describe(5)
    assert pixel_at(page, character(page, 0, 3)) == pytest.approx(colour_of(int(inspected.plain.cell(5)[3])), abs=1)


def test_an_open_address_leads_to_the_same_view(page: Any, inspected: Inspected) -> None:
    place = 20_000
    open_reader(page, inspected.link("cell", cell=UNIT, hyp="double_quotes", at=place, pins="3,11"))
    page.wait_for_selector(".cursor-box .symbol")
    page.wait_for_selector(".details .numbers")
    assert page.locator('select[aria-label="Label to compare with"]').input_value() == "double_quotes"
    assert page.locator("#tray li").count() == 2
    shown = page.locator(".reader .row").all_text_contents()
    around = inspected.plain.text[place - 20 : place + 20].split("\n")[0]
    assert any(around[:15] in line for line in shown)
    assert page.locator(".cursor-box").text_content().find(f"at {place:,}") >= 0


def test_back_and_forward_walk_through_cells(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=4))
    page.locator(".cell-place").fill("0:c:7")
    page.locator(".cell-place").press("Enter")
    page.wait_for_selector('.reader[data-cell="7"]')
    page.go_back()
    page.wait_for_selector('.reader[data-cell="4"]')
    page.go_forward()
    page.wait_for_selector('.reader[data-cell="7"]')


def test_the_statistics_beside_a_label_are_the_servers(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=UNIT, hyp="double_quotes"))
    page.wait_for_selector(".details .numbers dt:text-is('F1')")
    numbers = dict(
        zip(
            page.locator(".numbers dt").all_text_contents(),
            page.locator(".numbers dd").all_text_contents(),
            strict=True,
        )
    )
    assert float(numbers["F1"]) > 0.99
    assert float(numbers["mean"]) == pytest.approx(np.mean(inspected.plain.cell(UNIT) / 127), abs=1e-3)
    assert page.locator(".details .figure-body > svg").count() == 2
    assert page.locator(".excerpts li").count() > 10


def test_the_strip_leads_anywhere(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=UNIT))
    box = page.locator(".strip").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    wait_for_address(page, "[?&]at=")
    assert int(view_of(page)["at"]) == pytest.approx(0.75 * inspected.plain.length, rel=0.01)
    page.locator(".strip").focus()
    page.keyboard.press("End")
    wait_for_address(page, f"at={inspected.plain.length - 1}")


def test_a_strong_place_is_shown_when_it_is_clicked(page: Any, inspected: Inspected) -> None:
    open_reader(page, inspected.link("cell", cell=3))
    page.locator(".excerpts button").first.click()
    wait_for_address(page, "[?&]at=")
    values = inspected.plain.cell(3)
    assert values[int(view_of(page)["at"])] == values.max()


def test_files_are_saved(page: Any, inspected: Inspected, tmp_path: Path) -> None:
    open_reader(page, inspected.link("cell", cell=UNIT, hyp="double_quotes", pins="11,3"))
    page.wait_for_selector(f'.reader[data-cell="{UNIT}"]')

    def saved(button: Any) -> Path:
        with page.expect_download() as waiting:
            button.click()
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    head = page.locator(".bench-head")
    picture = saved(head.get_by_role("button", name="SVG"))
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    assert f"rgb({','.join(map(str, colour_of(127)))})" in picture.read_text(encoding="utf-8")
    assert saved(head.get_by_role("button", name="PNG")).read_bytes().startswith(b"\x89PNG")
    table = saved(page.locator("#tray").get_by_role("button", name="CSV")).read_text(encoding="utf-8").splitlines()
    assert table[0].endswith("0:c:11,0:c:3")
    assert len(table) == inspected.plain.length + 1
    alone = saved(head.get_by_role("button", name="HTML"))
    page.goto(alone.as_uri())
    assert inspected.plain.text[:30].split("\n")[0] in page.locator("body").inner_text()


def test_the_figures_are_saved_too(page: Any, inspected: Inspected, tmp_path: Path) -> None:
    open_reader(page, inspected.link("cell", cell=UNIT))
    figure = page.locator(".details figure").first
    figure.hover()
    with page.expect_download() as waiting:
        figure.get_by_role("button", name="SVG").click()
    waiting.value.save_as(tmp_path / "figure.svg")
    assert "<rect" in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_switching_is_quick(page: Any, inspected: Inspected) -> None:
    """From the change of the address to the painted canvas; far from the target, so that a busy machine passes."""
    open_reader(page, inspected.link("cell", cell=0))
    page.wait_for_selector('.reader[data-cell="0"]')
    times = []
    for cell in range(1, 8):
        page.keyboard.press("]")
        page.wait_for_selector(f'.reader[data-cell="{cell}"]')
        times.append(float(page.locator(".reader").get_attribute("data-milliseconds")))
    assert sorted(times)[3] < 1000, json.dumps(times)
