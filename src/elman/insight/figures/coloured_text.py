"""Text on the colours of a cell's values, as in the figures that people know, as a picture and as a page.

Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", figure 2.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError, require
from elman.generate.stream import visible
from elman.insight.figures.colours import backgrounds, light_ink
from elman.insight.figures.passages import Passage
from elman.insight.figures.sheet import check_picture, shown, write

TAB = 8
NEWLINE_MARK, TAB_MARK = "↵", "→"
# a picture of more characters is no picture
MOST_CHARACTERS = 20_000

# em: the advance of a character of DejaVu Sans Mono, the height of a line, and its baseline from above
ADVANCE, LINE, BASELINE = 0.602, 1.36, 0.98
POINTS = 9.0
FONT = "DejaVu Sans Mono"
# columns of a line where nothing is said
NARROWEST, WIDEST = 64, 96

# classes of colour of a page: this many in either direction
STEPS = 20
# a page with a hover text for every character takes about 40 bytes a character
HOVER_CHARACTERS = 20_000


@dataclass(frozen=True)
class _Glyph:
    """A character in its place on the grid."""

    text: str
    row: int
    column: int
    width: int
    character: int
    mark: bool


def draw(passages: Sequence[Passage], picture: Path, *, columns: int | None = None, heading: str = "") -> None:
    """Draw passages below each other.

    Args:
        passages: texts with values; up to 20,000 characters together.
        picture: the PNG, SVG or PDF to write.
        columns: characters of a line, where it is broken; default what the longest line needs, 64 to 96.
        heading: over all.

    Raises:
        MisuseError: matplotlib is not installed, another kind of file, too much text, or too narrow lines.
        FailureError: the picture cannot be written.
    """
    check_picture(picture)
    if columns is not None and columns < 2 * TAB:
        raise MisuseError(f"A line of a picture needs at least {2 * TAB} columns.")
    characters = sum(len(each.text) for each in passages)
    if not 0 < characters <= MOST_CHARACTERS:
        raise MisuseError(f"A picture takes 1 to {MOST_CHARACTERS:,} characters; these are {characters:,}.")
    if columns is None:
        longest = max(glyph.column for each in passages for glyph in _layout(each.text, WIDEST))
        columns = max(NARROWEST, longest)
    grids = [list(_layout(each.text, columns)) for each in passages]
    rows = [1 + max(glyph.row for glyph in grid) for grid in grids]
    width, line = (columns + 1) * ADVANCE * POINTS / 72, LINE * POINTS / 72
    # proportional letters are narrower than those of the text
    captions = [textwrap.wrap(visible(each.caption), round(columns * 1.05)) for each in passages]
    # inches: above each passage its title and caption, below all the scale
    heads = [line * (1.7 + 1.2 * len(lines)) for lines in captions]
    top, foot, side = (2.2 * line if heading else 0.4 * line), 2.6 * line, 0.15
    height = top + sum(heads) + sum(count * line for count in rows) + 0.5 * line * len(passages) + foot
    figure = require("matplotlib.figure", "plot").Figure(figsize=(width + 2 * side, height), facecolor="white")
    if heading:
        figure.text(side / (width + 2 * side), 1 - 0.5 * line / height, shown(visible(heading)), va="top", fontsize=12)
    above, left = top, side / (width + 2 * side)
    for each, lines, grid, count, head in zip(passages, captions, grids, rows, heads, strict=True):
        for number, said in enumerate((each.title, *lines)):
            weight = "normal" if number else "bold"
            at = 1 - (above + (0.35 + 1.2 * number) * line) / height
            figure.text(left, at, shown(visible(said)), va="top", fontsize=POINTS, fontweight=weight)
        above += head + count * line
        axes = figure.add_axes((left, 1 - above / height, width / (width + 2 * side), count * line / height))
        _paint(axes, each, grid, count, columns)
        above += 0.5 * line
    _scale(figure, left, 0.9 * line / height, 2.2 / (width + 2 * side), 0.7 * line / height)
    write(figure, picture)


def page(passages: Sequence[Passage], title: str, notes: Sequence[str] = ()) -> str:
    """A page that needs nothing but a browser: no script, no request, every text escaped.

    Where a hypothesis holds the text is underlined. Up to 20,000 characters each has a hover text with its value.

    Args:
        passages: texts with values.
        title: of the page.
        notes: paragraphs below it.

    Returns:
        HTML, UTF-8 when written.
    """
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    hover = sum(len(each.text) for each in passages) <= HOVER_CHARACTERS
    parts = [
        f"<h2>{_escaped(each.title)}</h2>\n"
        + (f"<p>{_escaped(each.caption)}</p>\n" if each.caption else "")
        + f"<pre>{''.join(_spans(each, hover))}</pre>\n"
        for each in passages
    ]
    legend = "".join(
        f'<b class="{_class(step)}">{step / STEPS:+.1f}</b>' for step in range(-STEPS, STEPS + 1, STEPS // 2)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<h1>{_escaped(title)}</h1>\n"
        + "".join(f"<p>{_escaped(note)}</p>\n" for note in notes)
        + f'<p class="legend">value: {legend}</p>\n{"".join(parts)}</body>\n</html>\n'
    )


def _layout(text: str, columns: int) -> Iterator[_Glyph]:
    """Where each character stands: lines broken at the last column, tabs to multiples of 8, newlines marked."""
    row = column = 0
    for number, sign in enumerate(text):
        if sign == "\n":
            yield _Glyph(NEWLINE_MARK, row, min(column, columns), 1, number, True)
            row, column = row + 1, 0
            continue
        width = TAB - column % TAB if sign == "\t" else _columns_of(sign)
        if column + width > columns and column:
            row, column = row + 1, 0
            width = TAB if sign == "\t" else width
        if sign == "\t":
            yield _Glyph(TAB_MARK, row, column, width, number, True)
        else:
            drawn = visible(sign)
            drawable = len(drawn) == 1 and drawn.isprintable()
            yield _Glyph(drawn if drawable else "\ufffd", row, column, width, number, False)
        column += width


def _columns_of(sign: str) -> int:
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _paint(axes: Any, each: Passage, grid: Sequence[_Glyph], rows: int, columns: int) -> None:
    """Backgrounds as one picture, all glyphs of one ink as one path, underlines as one collection."""
    paths, patches = require("matplotlib.path", "plot"), require("matplotlib.patches", "plot")
    collections = require("matplotlib.collections", "plot")
    colours = backgrounds(each.values)
    light = light_ink(colours)
    # a newline may stand in a column of its own, beyond the last
    cells = np.full((rows, columns + 1, 3), 255, dtype=np.uint8)
    inks: dict[str, tuple[list[NDArray[np.float64]], list[NDArray[np.uint8]]]] = {}
    lines = []
    for glyph in grid:
        cells[glyph.row, glyph.column : glyph.column + glyph.width] = colours[glyph.character]
        if each.labels is not None and each.labels[glyph.character] > 0:
            lines.append([(glyph.column, glyph.row + 0.94), (glyph.column + glyph.width, glyph.row + 0.94)])
        if glyph.text.isspace():
            continue
        ink = "white" if light[glyph.character] else "black"
        vertices, codes = _outline(glyph.text)
        place = np.array([glyph.column, glyph.row + BASELINE / LINE])
        drawn = inks.setdefault(f"{ink} {glyph.mark}", ([], []))
        drawn[0].append(vertices * np.array([1 / ADVANCE, -1 / LINE]) + place)
        drawn[1].append(codes)
    axes.imshow(cells, extent=(0, columns + 1, rows, 0), aspect="auto", interpolation="nearest")
    for name, (vertices_of, codes_of) in inks.items():
        ink, mark = name.split()
        path = paths.Path(np.concatenate(vertices_of), np.concatenate(codes_of))
        axes.add_patch(patches.PathPatch(path, facecolor=ink, lw=0, alpha=0.35 if mark == "True" else 1))
    axes.add_collection(collections.LineCollection(lines, colors="black", linewidths=0.8, capstyle="butt"))
    axes.set_xlim(0, columns + 1)
    axes.set_ylim(rows, 0)
    axes.axis("off")


_OUTLINES: dict[str, tuple[NDArray[np.float64], NDArray[np.uint8]]] = {}


def _outline(sign: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Vertices in em and codes of a character of the monospaced font."""
    if sign not in _OUTLINES:
        fonts, texts = require("matplotlib.font_manager", "plot"), require("matplotlib.textpath", "plot")
        with warnings.catch_warnings():
            # a character that the font lacks is drawn as a box
            warnings.simplefilter("ignore")
            path = texts.TextPath((0, 0), sign, size=100, prop=fonts.FontProperties(family=FONT))
        _OUTLINES[sign] = path.vertices / 100, path.codes
    return _OUTLINES[sign]


def _scale(figure: Any, left: float, bottom: float, width: float, height: float) -> None:
    axes = figure.add_axes((left, bottom, width, height))
    axes.imshow(backgrounds(np.linspace(-1, 1, 201))[None], extent=(-1, 1, 0, 1), aspect="auto")
    axes.set_xticks([-1, 0, 1], ["-1", "0", "1"], fontsize=7)
    axes.set_yticks([])
    axes.tick_params(length=2, pad=1)
    axes.spines[:].set_linewidth(0.5)


def _spans(each: Passage, hover: bool) -> Iterator[str]:
    steps = np.rint(np.clip(np.nan_to_num(each.values), -1, 1) * STEPS).astype(int)
    labels = np.zeros(len(steps), dtype=int) if each.labels is None else (np.asarray(each.labels) > 0).astype(int)
    changes = np.flatnonzero((np.diff(steps) != 0) | (np.diff(labels) != 0)) + 1
    bounds = range(len(steps) + 1) if hover else [0, *changes.tolist(), len(steps)]
    for begin, end in itertools.pairwise(bounds):
        name = _class(int(steps[begin])) + (" u" if labels[begin] else "")
        # a newline has a value too, and needs something to be coloured
        escaped = _escaped(each.text[begin:end]).replace("\n", f"<i>{NEWLINE_MARK}</i>\n")
        hint = f' title="{each.values[begin]:+.2f}"' if hover else ""
        yield f'<b class="{name}"{hint}>{escaped}</b>'


def _class(step: int) -> str:
    return f"{'p' if step > 0 else 'n'}{abs(step)}"


def _escaped(text: str) -> str:
    return html.escape(visible(text), quote=True)


def _style() -> str:
    steps = np.arange(-STEPS, STEPS + 1)
    colours = backgrounds(steps / STEPS)
    rules = "".join(
        f".{_class(step)}{{background:#{red:02x}{green:02x}{blue:02x};color:#{'fff' if light else '000'}}}"
        for step, (red, green, blue), light in zip(
            steps.tolist(), colours.tolist(), light_ink(colours).tolist(), strict=True
        )
    )
    return (
        "body{margin:2rem auto;max-width:64rem;padding:0 1rem;font-family:system-ui,sans-serif;"
        "background:#fff;color:#111}h1{font-size:1.3rem}h2{font-size:1rem;margin:2rem 0 .3rem}p{margin:.3rem 0}"
        "pre{font:.9rem/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;tab-size:8}"
        "b{font-weight:normal}.legend b{padding:.1rem .4rem}i{font-style:normal;opacity:.45;user-select:none}"
        ".u{box-shadow:inset 0 -2px #111}" + rules
    )
