"""``elman train ngram``: an n-gram model of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from elman.cli import texts

EXAMPLE = """Examples:

elman train ngram input.txt --order 7

elman train ngram input.txt --order 10 --estimator maximum-likelihood
"""


def register(train: typer.Typer) -> None:
    """Add ``elman train ngram``."""
    train.command("ngram", epilog=EXAMPLE)(train_ngram)


def train_ngram(
    sources: texts.Sources,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME-ngram.", show_default=False)] = None,
    order: Annotated[int, typer.Option(min=1, help="A symbol is predicted from the order - 1 before it.")] = 6,
    estimator: Annotated[str, typer.Option(help="kneser-ney or maximum-likelihood.")] = "kneser-ney",
    min_counts: Annotated[str, typer.Option(help="Least count of a kept n-gram by order, such as 1,1,1,2.")] = "1",
    max_ngrams: Annotated[
        int | None, typer.Option(min=1, help="Bound on kept n-grams (16 bytes each).", show_default=False)
    ] = None,
    tokens: texts.Kind = "characters",
    split: texts.Split = "90/10",
    unknown: texts.Unknown = None,
    encoding: texts.Encoding = "utf-8",
    errors: texts.Errors = None,
    bom: texts.Bom = "keep",
    newlines: texts.Newlines = "keep",
    max_vocabulary: texts.MaxVocabulary = None,
    min_count: texts.MinCount = None,
    lowercase: texts.Lowercase = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Count a text: modified Kneser-Ney (smoothed) or maximum likelihood (unsmoothed) of a given order."""
    from elman.training.display import PlainDisplay, QuietDisplay
    from elman.training.journal import finite
    from elman.training.ngram import parse_min_counts, train_ngram_run

    usual = texts.default_run(sources)
    text = texts.text_options(
        tokens, split, unknown, encoding, errors, bom, newlines, max_vocabulary, min_count, lowercase
    )
    display = QuietDisplay() if quiet or as_json else PlainDisplay()
    _, folder, figures = train_ngram_run(
        sources,
        text,
        order,
        estimator,
        out or usual.with_name(f"{usual.name}-ngram"),
        display,
        min_counts=parse_min_counts(min_counts),
        max_ngrams=max_ngrams,
    )
    if as_json:
        print(json.dumps({"run": str(folder.path), **finite(figures)}))
    elif not quiet:
        valid = f", validation {figures['valid_nats']:.4f}" if "valid_nats" in figures else ""
        cost = f"{figures['seconds']:.1f} s, {figures['bytes'] / 1e6:.1f} MB"
        print(f"training {figures['train_nats']:.4f} nats{valid}; {cost}")
        print(f"The run is in {folder.path}.")
