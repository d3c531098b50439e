"""Options that every verb which reads a text has."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from elman.training.corpus import TextOptions

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, globs, URLs (add #sha256=... to check), or python:stdlib.", show_default=False
    ),
]
Kind = Annotated[str, typer.Option("--tokens", help="characters, bytes, words or subwords.", rich_help_panel="Text")]
Split = Annotated[
    str,
    typer.Option(help="Shares of training, validation and test by position: 90/10, 80/10/10.", rich_help_panel="Text"),
]
Unknown = Annotated[
    str | None,
    typer.Option(
        help="Symbols that training never saw: skip, unk, error or replace:C. Default: skip, for words unk.",
        rich_help_panel="Text",
        show_default=False,
    ),
]
Encoding = Annotated[str, typer.Option(help="Of the text files.", rich_help_panel="Text")]
Errors = Annotated[
    str | None,
    typer.Option(
        help="Bytes that are no text: strict (default), replace or ignore.",
        rich_help_panel="Text",
        show_default=False,
    ),
]
Bom = Annotated[str, typer.Option(help="A byte order mark at the start: keep or strip.", rich_help_panel="Text")]
Newlines = Annotated[
    str, typer.Option(help="Line ends: keep, or unix (CR LF and CR become LF).", rich_help_panel="Text")
]
MaxVocabulary = Annotated[
    int | None,
    typer.Option(
        help="Keep only the most frequent words or subwords.",
        min=1,
        rich_help_panel="Text",
        show_default=False,
    ),
]
MinCount = Annotated[
    int | None,
    typer.Option(help="Rarer symbols are treated as unseen.", min=1, rich_help_panel="Text", show_default=False),
]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="Lower-case words.", rich_help_panel="Text")]


def text_options(
    tokens: str,
    split: str,
    unknown: str | None,
    encoding: str,
    errors: str | None,
    bom: str,
    newlines: str,
    max_vocabulary: int | None,
    min_count: int | None,
    lowercase: bool,
) -> TextOptions:
    """The flags of a text as one record; those not given are left to the vocabulary.

    Raises:
        MisuseError: a flag that this kind of token does not have.
    """
    from elman.training.corpus import TextOptions

    options: dict[str, Any] = {}
    if max_vocabulary is not None:
        options["size" if tokens == "subwords" else "max_size"] = max_vocabulary
    if min_count is not None:
        options["min_count"] = min_count
    if lowercase:
        options["lower"] = True
    return TextOptions(tokens, split, unknown, encoding, errors, bom, newlines, options)


def default_run(sources: Sequence[str]) -> Path:
    """``runs/NAME`` after the first source; several sources add ``-and-more``."""
    first = sources[0].partition("#")[0].rstrip("/")
    matches = sorted(glob.glob(first)) if any(sign in first for sign in "*?[") else []
    stem = Path(matches[0] if matches else first.replace(":", "-")).stem
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "text"
    return Path("runs") / (name if len(sources) == 1 and len(matches) < 2 else f"{name}-and-more")
