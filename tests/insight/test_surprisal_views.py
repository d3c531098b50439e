"""Surprise as text, JSON lines, terminal colours and a page."""

from __future__ import annotations

import html.parser
import io
import itertools
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from elman.insight import surprisal_views as views
from elman.insight.surprisal import Surprisal

HOSTILE = "<script>alert('x')</script>\n\"&amp; </pre><img src=x onerror=y>\x1b[31m\x00\n"


def scored(text: str, nats: list[float] | None = None, unknown: tuple[int, ...] = ()) -> Surprisal:
    values = np.linspace(0, 5, len(text)) if nats is None else np.array(nats)
    names = [character if character.isprintable() else repr(character)[1:-1] for character in text]
    return Surprisal(names, list(text), values, np.array(unknown, dtype=np.int64), 65)


class Reader(html.parser.HTMLParser):
    """Collects a page's elements, the text of its <pre>, and hover texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.hints: list[str] = []
        self.text = ""
        self.inside = self.mark = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.hints += [value or "" for name, value in attrs if name == "title"]
        self.inside = self.inside or tag == "pre"
        self.mark = tag == "i"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "pre"
        self.mark = False

    def handle_data(self, data: str) -> None:
        if self.inside and not self.mark:
            self.text += data


def shown(text: str) -> str:
    return "\n" + text.replace("\x1b", "␛").replace("\x00", "␀")


@pytest.mark.parametrize("hover", [10_000, 0])
def test_hostile_text_stays_text(hover: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "HOVER_SYMBOLS", hover)
    page = Reader(views.page(scored(HOSTILE), "<script>title</script>"))
    assert page.elements <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "b", "pre", "i"}
    assert page.attributes <= {"charset", "http-equiv", "content", "name", "class", "title"}
    assert page.text == shown(HOSTILE)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30), st.booleans())
def test_any_text_reads_back(text: str, merged: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "HOVER_SYMBOLS", -1 if merged else 100)
        page = Reader(views.page(scored(text), "t"))
    assert page.text == "\n" + re.sub("[\u202a-\u202e\u2066-\u2069]", lambda m: f"<{ord(m[0]):02x}>", text)


def test_a_page_asks_for_nothing_and_allows_nothing() -> None:
    page = views.page(scored("abc"), "t")
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|src=|href=|<script|url\(|@import| style=", page)
    assert "prefers-color-scheme:dark" in page


def test_the_policy_allows_exactly_the_pages_own_style() -> None:
    import base64
    import hashlib

    page = views.page(scored("abc"), "t")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page


def test_hovering_names_symbol_nats_and_probability() -> None:
    page = Reader(views.page(scored("ab\n", [0.5, math.nan, 2.0]), "t"))
    assert page.hints == ["a: 0.500 nats, p = 0.607", "b: not predicted", "\\n: 2.000 nats, p = 0.135"]


def test_a_large_text_is_merged_into_runs() -> None:
    nats = [0.1] * 500 + [4.0] * 500 + [0.1] * 500
    big = scored("x" * 30_000, nats * 20)
    page = views.page(big, "t")
    assert page.count("<b class=c8>") == 20
    assert "title=" not in page
    assert len(page) < 40_000
    assert Reader(page).text == "\n" + "x" * 30_000


def test_unknown_symbols_are_marked() -> None:
    text = scored("aéb", [1.0, math.nan, 1.0], unknown=(1,))
    assert re.search(r'<b class="c0 u"[^>]*>é</b>', views.page(text, "t"))
    rows = [json.loads(line) for line in views.json_lines(text)]
    assert rows[1] == {"index": 1, "symbol": "é", "text": "é", "nats": None, "unknown": True}
    assert "not in the vocabulary: 1 symbols ('é' x 1)" in views.totals(text)


def test_json_lines_are_json() -> None:
    rows = [json.loads(line) for line in views.json_lines(scored('a"\n', [0.25, math.inf, 1.5]))]
    assert rows == [
        {"index": 0, "symbol": "a", "text": "a", "nats": 0.25},
        {"index": 1, "symbol": '"', "text": '"', "nats": None, "impossible": True},
        {"index": 2, "symbol": "\\n", "text": "\n", "nats": 1.5},
    ]


def test_the_table_has_a_row_a_line_and_the_totals() -> None:
    rows = list(views.plain(scored("ab\nc\n\nd", [1, 2, 3, 4, 5, 6, 7])))
    cells = [row.split(maxsplit=3) for row in rows[1:5]]
    assert cells == [["1", "2.000", "3", "ab"], ["2", "4.500", "2", "c"], ["3", "6.000", "1"], ["4", "7.000", "1", "d"]]
    assert rows[-1].startswith("7 symbols: 4.0000 nats, 5.7708 bits a symbol, perplexity 54.598; 28.00 nats")


def test_bytes_of_a_character_are_one_unit() -> None:
    text = Surprisal(
        ["\\xc3", "\\xa9", "!"], ["", "é", "!"], np.array([1.0, 0.5, 2.0]), np.zeros(0, dtype=np.int64), 256
    )
    first, second = views.units(text)
    assert (first.text, first.names, first.nats, first.predicted) == ("é", ("\\xc3", "\\xa9"), 1.5, 2)
    assert (second.text, second.nats) == ("!", 2.0)
    assert next(itertools.islice(views.plain(text), 1, None)).split() == ["1", "1.167", "3", "é!"]


def test_a_terminal_gets_colours_and_no_controls() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="truecolor", no_color=False, width=200)
    for line in views.coloured(scored(HOSTILE)):
        console.print(line, soft_wrap=True)
    written = stream.getvalue()
    # rich keeps the codes of the first console that drew a style, so a background may come in either notation
    assert len(set(re.findall("48;[25];[0-9;]*m", written))) > 5
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", written)
    plain = re.sub("\x1b\\[[0-9;]*m", "", written)
    assert "<script>alert('x')</script>" in plain
    assert "\x1b" not in plain
    assert "␛[31m␀" in plain


def test_classes_are_tenths_of_a_uniform_guess() -> None:
    uniform = math.log(65)
    values = [0.0, 0.0999 * uniform, 0.1001 * uniform, 0.95 * uniform, uniform, 99.0, math.inf, math.nan]
    assert [views.colour_class(value, 65) for value in values] == [0, 0, 1, 9, 9, 9, 9, 0]


@pytest.mark.parametrize("ramp", [views.LIGHT_RAMP, views.DARK_RAMP])
def test_text_is_readable_on_every_colour_and_lightness_tells_them_apart(ramp: tuple) -> None:
    palette = views._palette(ramp)
    assert len(palette) == views.CLASSES
    grounds = [views.luminance([int(ground[i : i + 2], 16) for i in (0, 2, 4)]) for ground, _ in palette]
    for ground, (_, ink) in zip(grounds, palette, strict=True):
        letter = 1.0 if ink == "#ffffff" else 0.0
        assert (max(ground, letter) + 0.05) / (min(ground, letter) + 0.05) >= 4.5
    steps = np.diff(grounds)
    assert (steps < 0).all() or (steps > 0).all()


def test_nothing_to_show() -> None:
    nothing = scored("")
    assert views.totals(nothing) == "nothing to score"
    assert list(views.json_lines(nothing)) == []
    assert "<pre>" in views.page(nothing, "t")
