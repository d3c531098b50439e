"""Surprise as a table of lines, a coloured terminal text, JSON lines, or a page that opens in any browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.generate.stream import visible
from elman.insight.surprisal import Surprisal

if TYPE_CHECKING:
    from rich.text import Text

# Colours get darker (on white) or lighter (on black) without a turn, so they are told apart by lightness
# alone.
LIGHT_RAMP = ((255, 255, 255), (253, 208, 140), (240, 120, 40), (190, 30, 25), (95, 0, 20))
DARK_RAMP = ((22, 22, 26), (84, 40, 16), (176, 80, 20), (240, 150, 50), (255, 236, 170))
CLASSES = 10

# a page with a hover text for every symbol takes about 70 bytes a symbol
HOVER_SYMBOLS = 20_000


@dataclass(frozen=True)
class Unit:
    """What is coloured as one: the symbols that make up one piece of visible text.

    Attributes:
        text: the piece.
        names: of its symbols.
        nats: their surprise together; NaN where none was predicted.
        predicted: how many of them were.
        colour: 0 to CLASSES - 1, see :func:`colour_class`.
        unknown: whether the vocabulary lacks one of them.
    """

    text: str
    names: tuple[str, ...]
    nats: float
    predicted: int
    colour: int
    unknown: bool


def colour_class(nats: float, vocabulary_size: int) -> int:
    """The class of a surprise: tenths of ln V, so that the last one is a uniform guess's surprise or worse.

    Args:
        nats: the surprise; NaN counts as none.
        vocabulary_size: V.

    Returns:
        0 (expected) to CLASSES - 1.
    """
    if math.isnan(nats):
        return 0
    share = nats / math.log(max(vocabulary_size, 2))
    return min(CLASSES - 1, int(min(share, 1.0) * CLASSES))


def units(scored: Surprisal) -> Iterator[Unit]:
    """The text piece by piece: a character of a byte model is one unit of several symbols."""
    unknown = set(scored.unknown.tolist())
    names: list[str] = []
    nats, predicted, lacking = math.nan, 0, False
    last = len(scored.pieces) - 1
    for position, (name, piece, value) in enumerate(
        zip(scored.tokens, scored.pieces, scored.nats.tolist(), strict=True)
    ):
        names.append(name)
        if not math.isnan(value):
            nats = nats + value if predicted else value
            predicted += 1
        lacking = lacking or position in unknown
        if piece or position == last:
            yield Unit(piece, tuple(names), nats, predicted, colour_class(nats, scored.vocabulary_size), lacking)
            names, nats, predicted, lacking = [], math.nan, 0, False


def lines(scored: Surprisal) -> Iterator[list[Unit]]:
    """The units of each line, its newline included."""
    line: list[Unit] = []
    for unit in units(scored):
        line.append(unit)
        if unit.text.endswith("\n"):
            yield line
            line = []
    if line:
        yield line


def totals(scored: Surprisal) -> str:
    """Two lines at most: what the text costs, and what of it the vocabulary lacks."""
    said = (
        f"{scored.predicted:,} symbols: {scored.mean:.4f} nats, {scored.bits:.4f} bits a symbol, "
        f"perplexity {scored.perplexity:.3f}; {scored.total:.2f} nats in all"
        if scored.predicted
        else "nothing to score"
    )
    if scored.impossible:
        said += f"; {scored.impossible:,} symbols have probability 0 under this model"
    if counts := scored.unknown_counts():
        some = ", ".join(f"{visible(name)!r} x {count}" for name, count in counts.most_common(8))
        more = ", ..." if len(counts) > 8 else ""
        said += f"\nnot in the vocabulary: {sum(counts.values()):,} symbols ({some}{more})"
    return said


def plain(scored: Surprisal) -> Iterator[str]:
    """A table: for every line of the text its number, nats a symbol, symbols, and text; then the totals."""
    yield " line   nats/symbol  symbols  text"
    for number, line in enumerate(lines(scored), start=1):
        yield _head(number, line) + "".join(unit.text for unit in line).removesuffix("\n")
    yield ""
    yield totals(scored)


def coloured(scored: Surprisal) -> Iterator[Text]:
    """The table of :func:`plain` for a terminal: each symbol on the colour of its surprise."""
    from rich.text import Text

    styles = [f"{ink} on #{ground}" for ground, ink in _palette(LIGHT_RAMP)]
    yield Text(" line   nats/symbol  symbols  text", style="bold")
    for number, line in enumerate(lines(scored), start=1):
        row = Text(_head(number, line), no_wrap=False, end="")
        for unit in line:
            shown = visible(unit.text.removesuffix("\n")) or ("¶" if unit.text else "")
            row.append(shown, styles[unit.colour] + (" underline" if unit.unknown else ""))
        yield row
    yield Text("")
    yield Text(totals(scored))


def json_lines(scored: Surprisal) -> Iterator[str]:
    """One JSON object a symbol.

    Yields:
        {"index", "symbol", "text", "nats"}: nats is null for what is not predicted; "unknown": true where the
        vocabulary lacks the symbol; "impossible": true, with nats null, where its probability is 0.
    """
    unknown = set(scored.unknown.tolist())
    rows = zip(scored.tokens, scored.pieces, scored.nats.tolist(), strict=True)
    for index, (name, piece, nats) in enumerate(rows):
        row: dict[str, Any] = {"index": index, "symbol": name, "text": piece}
        row["nats"] = round(nats, 6) if math.isfinite(nats) else None
        if index in unknown:
            row["unknown"] = True
        if math.isinf(nats):
            row["impossible"] = True
        yield json.dumps(row, ensure_ascii=False)


def page(scored: Surprisal, title: str) -> str:
    """A page that needs nothing but a browser: no script, no request, every text escaped.

    Up to HOVER_SYMBOLS symbols, each has a hover text with its name, nats and probability. A longer text is
    merged into runs of one colour, in half as many classes and without hover texts: about 14 bytes a
    character.

    Args:
        scored: the text.
        title: of the page.

    Returns:
        HTML, UTF-8 when written.
    """
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    body = "".join(_hovering(scored) if len(scored.tokens) <= HOVER_SYMBOLS else _merged(scored))
    uniform = math.log(max(scored.vocabulary_size, 2))
    edges = [uniform * step / CLASSES for step in range(CLASSES)]
    legend = "".join(f'<b class="c{step}">{edge:.2f}</b>' for step, edge in enumerate(edges))
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        '<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<h1>{_escaped(title)}</h1>\n"
        f"<p>{_escaped(totals(scored))}</p>\n"
        f'<p class="legend">nats from: {legend} (ln {scored.vocabulary_size} = {uniform:.2f} is a uniform '
        "guess; underlined: not in the vocabulary)</p>\n"
        f"<pre>\n{body}</pre>\n</body>\n</html>\n"
    )


def _head(number: int, line: list[Unit]) -> str:
    count = sum(unit.predicted for unit in line)
    mean = f"{sum(unit.nats for unit in line if unit.predicted) / count:.3f}" if count else "-"
    return f"{number:5d}  {mean:>12}  {count:7d}  "


def _hovering(scored: Surprisal) -> Iterator[str]:
    for unit in units(scored):
        names = " ".join(unit.names)
        if not unit.predicted:
            hint = f"{names}: not predicted"
        else:
            hint = f"{names}: {unit.nats:.3f} nats, p = {math.exp(-unit.nats):.3g}"
        name = f"c{unit.colour}{' u' if unit.unknown else ''}"
        yield f'<b class="{name}" title="{_escaped(hint)}">{_shown(unit.text)}</b>'


def _merged(scored: Surprisal) -> Iterator[str]:
    run: list[str] = []
    current = ""
    for unit in units(scored):
        name = f"c{unit.colour // 2 * 2}{' u' if unit.unknown else ''}"
        if name != current and run:
            yield _run(current, run)
            run = []
        current = name
        run.append(unit.text)
    if run:
        yield _run(current, run)


def _run(name: str, run: list[str]) -> str:
    text = _shown("".join(run))
    if name == "c0":
        return text
    return f'<b class="{name}">{text}</b>' if " " in name else f"<b class={name}>{text}</b>"


def _shown(text: str) -> str:
    # a newline has a surprise too, and needs something to be coloured
    return _escaped(text).replace("\n", "<i>↵</i>\n")


def _escaped(text: str) -> str:
    return html.escape(visible(text), quote=True)


def _style() -> str:
    def rules(ramp: tuple[tuple[int, int, int], ...]) -> str:
        return "".join(
            f".c{step}{{background:#{ground};color:{ink}}}" for step, (ground, ink) in enumerate(_palette(ramp))
        )

    light_ground, light_ink = _palette(LIGHT_RAMP)[0]
    dark_ground, dark_ink = _palette(DARK_RAMP)[0]
    return (
        ":root{color-scheme:light dark}"
        f"body{{margin:2rem auto;max-width:60rem;padding:0 1rem;font-family:system-ui,sans-serif;"
        f"background:#{light_ground};color:{light_ink}}}"
        "h1{font-size:1.2rem}p{white-space:pre-wrap}"
        "pre{font:1rem/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}"
        "b{font-weight:normal}.legend b{padding:.1rem .4rem}i{font-style:normal;opacity:.5;user-select:none}"
        ".u{text-decoration:underline dotted}"
        + rules(LIGHT_RAMP)
        + "@media (prefers-color-scheme:dark){"
        + f"body{{background:#{dark_ground};color:{dark_ink}}}"
        + rules(DARK_RAMP)
        + "}"
    )


def _palette(ramp: tuple[tuple[int, int, int], ...]) -> list[tuple[str, str]]:
    """For every class a background (hexadecimal) and the ink, black or white, that reads better on it."""
    points = np.linspace(0, len(ramp) - 1, CLASSES)
    channels = [np.interp(points, range(len(ramp)), [stop[channel] for stop in ramp]) for channel in range(3)]
    colours = np.rint(np.stack(channels, axis=1)).astype(int)
    return [
        ("".join(f"{value:02x}" for value in colour), "#000000" if luminance(colour) > 0.179 else "#ffffff")
        for colour in colours.tolist()
    ]


def luminance(colour: list[int]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
