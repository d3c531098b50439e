"""Coloured text: the grid, the colours, the picture's pixels, and a page that runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from insight.ranking.made_cells import noisy_cell, recording_of

from elman.errors import MisuseError
from elman.insight.figures import coloured_text
from elman.insight.figures.colours import NEGATIVE, POSITIVE, backgrounds, light_ink
from elman.insight.figures.passages import Passage, passage, typical_window
from elman.insight.recording import write_recording


def test_colours_are_white_at_zero_and_pure_at_the_ends() -> None:
    colours = backgrounds([0, 1, -1, 2, -3, float("nan"), 0.5])
    assert colours[[0, 5]].tolist() == [[255, 255, 255]] * 2
    assert colours[[1, 3]].tolist() == [list(POSITIVE)] * 2
    assert colours[[2, 4]].tolist() == [list(NEGATIVE)] * 2
    assert colours[6].tolist() == np.rint((255 + np.array(POSITIVE)) / 2).astype(int).tolist()


def test_ink_can_be_read_on_every_colour() -> None:
    colours = backgrounds(np.linspace(-1, 1, 401))
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    contrast = np.where(light_ink(colours), 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05)
    other = np.where(light_ink(colours), (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05))
    assert contrast.min() > 4.5  # WCAG 2.1, AA
    assert (contrast >= other).all()


def grid(text: str, columns: int) -> list[tuple[str, int, int, int]]:
    glyphs = coloured_text._layout(text, columns)
    return [(glyph.text, glyph.row, glyph.column, glyph.width) for glyph in glyphs]


def test_the_grid_shows_tabs_newlines_and_wide_characters() -> None:
    assert grid("ab\tc\n漢d", 16) == [
        ("a", 0, 0, 1),
        ("b", 0, 1, 1),
        ("→", 0, 2, 6),
        ("c", 0, 8, 1),
        ("↵", 0, 9, 1),
        ("漢", 1, 0, 2),
        ("d", 1, 2, 1),
    ]
    assert grid("a" * 16 + "\nb", 16)[-2:] == [("↵", 0, 16, 1), ("b", 1, 0, 1)]
    assert grid("a" * 15 + "漢", 16)[-1] == ("漢", 1, 0, 2)
    # what a terminal would obey is shown as a picture of it, what does not print as a replacement
    assert grid("\x1b\u200b", 16) == [("␛", 0, 0, 1), ("\ufffd", 0, 1, 1)]


@given(st.text("ab \t\n漢\u0301\x1b😀", max_size=80), st.integers(16, 40))
def test_no_two_characters_share_a_place(text: str, columns: int) -> None:
    taken: set[tuple[int, int]] = set()
    last = (0, 0)
    for number, glyph in enumerate(coloured_text._layout(text, columns)):
        places = {(glyph.row, glyph.column + step) for step in range(glyph.width)}
        assert not places & taken
        assert (glyph.row, glyph.column) >= last
        assert glyph.column + glyph.width <= columns + glyph.mark
        assert glyph.character == number
        assert len(glyph.text) == 1
        taken |= places
        last = (glyph.row, glyph.column)
    assert len(text) == 0 or number == len(text) - 1


def test_the_picture_has_each_colour_in_its_place(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    text = "aaaa bbbb\n" * 3
    values = np.where(np.array(list(text)) == "a", 1.0, np.where(np.array(list(text)) == "b", -1.0, 0.0))
    labels = (np.array(list(text)) == "b").astype(int)
    picture = tmp_path / "text.png"
    coloured_text.draw([Passage("title $1$ <b>", text, values, labels, "caption")], picture, columns=32, heading="h")
    pixels = np.rint(image.imread(picture)[..., :3] * 255).astype(int)
    # the picture's width is that of 33 columns and two margins
    cell = coloured_text.ADVANCE * coloured_text.POINTS / 72
    dots = pixels.shape[1] / (33 * cell + 2 * 0.15)
    line = coloured_text.LINE * coloured_text.POINTS / 72 * dots
    above = pixels[: -round(2.6 * line)]  # the scale
    for colour, column in ((POSITIVE, 0), (NEGATIVE, 5)):
        found = np.argwhere((above == colour).all(-1))
        rows, columns = found[:, 0], found[:, 1]
        # four characters wide, from their column on, in three lines
        assert columns.min() == pytest.approx((0.15 + column * cell) * dots, abs=1.5)
        assert columns.max() == pytest.approx((0.15 + (column + 4) * cell) * dots, abs=2.5)
        assert rows.max() - rows.min() == pytest.approx(3 * line, abs=5)  # less an underline
    # letters and underlines are drawn
    assert ((pixels < 60).all(-1)).sum() > 100


def test_other_formats_and_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = Passage("t", "ab", np.zeros(2))
    for kind in ("svg", "pdf"):
        coloured_text.draw([made], tmp_path / f"text.{kind}")
        assert (tmp_path / f"text.{kind}").stat().st_size > 500
    with pytest.raises(MisuseError, match=r"\.png, \.svg or \.pdf"):
        coloured_text.draw([made], tmp_path / "text.gif")
    with pytest.raises(MisuseError, match="16 columns"):
        coloured_text.draw([made], tmp_path / "text.png", columns=4)
    with pytest.raises(MisuseError, match="20,000"):
        coloured_text.draw([Passage("t", "a" * 20_001, np.zeros(20_001))], tmp_path / "text.png")
    with pytest.raises(MisuseError, match="as many labels"):
        Passage("t", "ab", np.zeros(2), np.zeros(3))


def test_a_picture_of_a_page_of_text_is_quick(tmp_path: Path) -> None:
    import time

    pytest.importorskip("matplotlib")
    generator = np.random.default_rng(0)
    text = "".join(generator.choice(list("etaoin shrdlu\n\t{};()"), 2000).tolist())
    started = time.process_time()
    coloured_text.draw([Passage("t", text, generator.uniform(-1, 1, 2000))], tmp_path / "text.png")
    assert time.process_time() - started < 10


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pre = ""
        self.inside = self.mark = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside |= tag == "pre"
        self.mark = tag == "i"

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "pre"
        self.mark &= tag != "i"

    def handle_data(self, data: str) -> None:
        if self.inside and not self.mark:
            self.pre += data


TAGS = ("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "pre", "b", "i")
HOSTILE = "<script>alert(1)</script>&amp;\"'\x1b\n\t<img src=x onerror=y>"


@pytest.mark.parametrize("length", [1, 700])
def test_a_page_shows_the_text_and_runs_nothing(length: int) -> None:
    text = HOSTILE * length
    values = np.linspace(-1, 1, len(text))
    labels = np.arange(len(text)) % 2
    made = coloured_text.page([Passage(HOSTILE, text, values, labels, HOSTILE)], HOSTILE, [HOSTILE])
    page = Page()
    page.feed(made)
    assert page.pre == text.replace("\x1b", "␛")
    assert {tag for tag, _ in page.tags} <= set(TAGS)
    assert {name for _, attributes in page.tags for name in attributes} <= {
        *["lang", "charset", "http-equiv", "content", "name", "class", "title"]
    }
    assert "default-src 'none'; style-src 'sha256-" in made
    classes = [attributes["class"] for tag, attributes in page.tags if tag == "b" and attributes["class"]]
    assert sum(each.endswith(" u") for each in classes) == len(text) // 2
    hovers = [attributes["title"] for tag, attributes in page.tags if attributes.get("title")]
    if length == 1:
        assert hovers[0] == "-1.00"
        assert hovers[-1] == "+1.00"
        assert len(hovers) == len(text)
    else:
        assert not hovers
    rules = set(re.findall(r"\.([np]\d+)\{", made))
    assert {each.split()[0] for each in classes} <= rules


def test_a_token_of_several_characters_has_one_value(tmp_path: Path) -> None:
    values = np.array([[10, 20, 30, 40]], dtype=np.int8)
    recording = write_recording(tmp_path / "rec", values, "abcdéf", ids=[0] * 4, offsets=[0, 2, 4, 4])
    made = passage(recording, 0, 0, 4, labels=np.arange(6))
    assert made.text == "abcdéf"
    assert (made.values * 127).round().tolist() == [10, 10, 20, 20, 40, 40]
    assert made.labels is not None
    assert made.labels.tolist() == list(range(6))
    assert made.title == "layer 0 h[0]"
    part = passage(recording, 0, 1, 2, title="mine")
    assert (part.text, part.title) == ("cd", "mine")
    with pytest.raises(MisuseError, match="tokens 0 to 4"):
        passage(recording, 0, 2, 5)


def test_the_typical_window_is_of_median_agreement(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    length, window = 20_000, 500
    labels = (np.arange(length) // 50) % 2
    wrong = np.repeat(generator.permutation(length // window) / (2 * length // window), window)
    cell = np.where(generator.random(length) < wrong, 1 - labels, labels)
    values = np.stack([cell * 100 - 50, noisy_cell(labels, 0.1, generator)]).astype(np.int8)
    recording = recording_of(tmp_path / "rec", values, "x" * length)
    begin, end = typical_window(recording, 0, labels, cell == 1, (0, length), window)
    assert end - begin == window
    agreement = (cell == labels).reshape(-1, window).mean(1)
    assert sorted(agreement).index(agreement[begin // window]) == length // window // 2
    graded = typical_window(recording, 1, labels, None, (10_000, length), window)
    assert graded[0] >= 10_000
    assert graded[1] - graded[0] == window
