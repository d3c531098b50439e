"""Cells of a recording as files: CSV, and one HTML page that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.hypotheses import Hypothesis
from elman.insight.recording import SCALE, Recording
from elman.web.answers import dumps, whole_text

FILES = Path(__file__).parent / "exported"
# tokens that are put into one piece of a CSV file
BLOCK = 4096
# surprise is stored in hundredths of a nat, in two bytes; the last number stands for none
HUNDREDTHS, NONE = 100, 2**16 - 1

# what a browser would obey or not show: C0 without tab and newline, DEL, C1, marks that reorder a line, no-characters
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def shown(text: str) -> str:
    """Text as a page may show it, a character for each character, so that no position moves."""
    return _HARMFUL.sub(lambda match: _picture(ord(match[0])), whole_text(text))


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def pieces(recording: Recording, begin: int, end: int) -> list[str]:
    """The text of each token of a span."""
    places = recording.offsets[begin : end + 1].tolist()
    if end == recording.length:
        places.append(len(recording.text))
    return [recording.text[first:last] for first, last in pairwise(places)]


def csv_rows(
    recording: Recording, cells: Sequence[int], begin: int, end: int, label: NDArray[np.int32] | None
) -> Iterator[str]:
    """A table of tokens: position, first character, text, surprise, label, and the value of every cell.

    The text of a token is a JSON string, so that a newline does not end its row and no spreadsheet takes it for a
    formula.

    Args:
        recording: of the cells.
        cells: their numbers.
        begin, end: first token, and the token after the last.
        label: of every token of the recording; None for no such column.

    Yields:
        The file, piece by piece.
    """
    names = [f"{group.layer}:{group.name}:{unit}" for group, unit in map(recording.locate, cells)]
    columns = ["position", "character", "text", "nats", *([] if label is None else ["label"]), *names]
    yield ",".join(columns) + "\r\n"
    for first in range(begin, end, BLOCK):
        last = min(first + BLOCK, end)
        rows: list[list[str]] = [
            [str(place) for place in range(first, last)],
            [str(place) for place in recording.offsets[first:last].tolist()],
            [_quoted(piece) for piece in pieces(recording, first, last)],
            [f"{value:.4f}" if np.isfinite(value) else "" for value in recording.nats[first:last].tolist()],
        ]
        if label is not None:
            rows.append([str(value) if value >= 0 else "" for value in label[first:last].tolist()])
        rows += [[f"{value / SCALE:.4f}" for value in recording.values[cell, first:last].tolist()] for cell in cells]
        yield "".join(",".join(row) + "\r\n" for row in zip(*rows, strict=True))


def _quoted(piece: str) -> str:
    # in ASCII, as halves of surrogate pairs have no other form
    return '"' + json.dumps(piece).replace('"', '""') + '"'


def page(
    recording: Recording,
    cells: Sequence[int],
    begin: int,
    end: int,
    *,
    title: str,
    hypothesis: Hypothesis | None = None,
    label: NDArray[np.int32] | None = None,
) -> str:
    """A page with the text of a span, coloured by one of some cells at a time, its script and data in it.

    The text stands in it as text. Values lie beside it as data that no browser takes for anything else; a content
    security policy allows the page's own script and style by their digests, and nothing from anywhere.

    Args:
        recording: of the cells.
        cells: their numbers.
        begin, end: first token, and the token after the last.
        title: of the page.
        hypothesis, label: where the label of a token is above 0 it is underlined.

    Returns:
        HTML, UTF-8 when written.
    """
    texts = [shown(piece) for piece in pieces(recording, begin, end)]
    # the script counts in UTF-16, as its strings do
    lengths = [len(piece.encode("utf-16-le")) // 2 for piece in texts]
    nats = recording.nats[begin:end]
    nats = np.where(np.isnan(nats), NONE, np.rint(nats * HUNDREDTHS).clip(0, NONE - 1))
    data: dict[str, Any] = {
        "cells": [
            {
                "name": recording.describe(cell),
                "transform": recording.locate(cell)[0].transform,
                "values": _packed(recording.values[cell, begin:end], "<i1"),
            }
            for cell in cells
        ],
        "begin": begin,
        "lengths": None if set(lengths) <= {1} else lengths,
        "nats": _packed(nats, "<u2"),
        "label": None if label is None else _packed(label[begin:end] > 0, "<u1"),
        "hypothesis": None if hypothesis is None else hypothesis.title,
    }
    style, script = ((FILES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    about = f"{len(texts):,} tokens from position {begin:,}; {recording.manifest.get('source', 'a text')}"
    if hypothesis is not None:
        about += f"; underlined: {hypothesis.title}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{_escaped(title)}</h1>\n<p>{_escaped(about)}</p>\n"
        '<div id="cells" role="radiogroup" aria-label="Cell"></div>\n'
        '<p id="scale"><span>-1</span><i></i><span>1</span></p>\n<p id="hint" role="status">&nbsp;</p>\n</header>\n'
        # a browser drops one newline behind the tag
        f'<pre id="text" tabindex="0">\n{html.escape("".join(texts))}</pre>\n'
        f'<script type="application/json" id="data">{_inert(dumps(data))}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode()


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _inert(data: str) -> str:
    """JSON that cannot end the element that it stands in, nor begin another."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _escaped(text: str) -> str:
    return html.escape(shown(str(text)).replace("\n", " "), quote=True)
