"""``elman errors``: where a character model errs, and what would have helped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli import examined

if TYPE_CHECKING:
    from elman.insight.errors import ErrorAnalysis

EXAMPLE = """Examples:

elman errors runs/input

elman errors runs/linux --figure errors.png

elman errors runs/input --text other.txt --order 10 --json
"""

# rows of characters that are printed on either side
SHOWN = 6


def register(app: typer.Typer) -> None:
    """Add ``elman errors``."""
    app.command("errors", epilog=EXAMPLE)(errors)


def errors(
    run: examined.Run,
    text: examined.Files = None,
    part: examined.Part = None,
    length: examined.Length = None,
    order: Annotated[int, typer.Option(min=1, max=100, help="Of the n-gram model to compare with.")] = 20,
    figure: examined.Figure = None,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
    as_json: examined.Json = False,
) -> None:
    """Take the errors of a character model apart: oracles that explain them, closing braces, and n-grams beside it."""
    from elman.insight.errors import analyse_errors
    from elman.insight.figures.errors import errors_figure
    from elman.insight.figures.sheet import check_picture

    check_picture(figure)
    loaded = examined.opened(run, device, threads)
    read = examined.text_of(loaded, run, text, part, length)
    train = examined.training_text(loaded, run)
    with examined.watching(as_json) as watch:
        found = analyse_errors(
            loaded.model, loaded.vocabulary, read.tokens, train, before=read.before, order=order, progress=watch
        )
    if figure:
        errors_figure(found, figure, f"{run.name} on {read.name}: {_headline(found)}")
    if as_json:
        print(json.dumps({"run": str(run), "text": read.name, **found.to_json()}))
    else:
        _print(found, f"{run} on {read.name}")


def _headline(found: ErrorAnalysis) -> str:
    taxonomy = found.taxonomy
    share = taxonomy.errors / taxonomy.characters
    return (
        f"{taxonomy.errors:,} errors (p < 0.5) in {taxonomy.characters:,} characters, {share:.1%}; "
        f"{found.model_nats:.3f} nats, {found.order}-grams {found.ngram_nats:.3f}"
    )


def _print(found: ErrorAnalysis, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"{title}: {_headline(found)}"), soft_wrap=True)
    table = Table(title="What would have helped, asked from the top", title_justify="left")
    for column in ("oracle", "errors", "share", "left"):
        table.add_column(column, justify="left" if column == "oracle" else "right")
    for category in found.taxonomy.categories:
        table.add_row(
            category.title, f"{category.count:,}", f"{found.taxonomy.share(category):.1%}", f"{category.left:,}"
        )
    console.print(table)
    if found.braces is not None:
        table = Table(title="Mean probability of } by the distance to its {", title_justify="left")
        for column in ("distance", "braces", "this model", f"{found.order}-grams"):
            table.add_column(column, justify="right")
        curve = found.braces
        for place, count in enumerate(curve.counts.tolist()):
            if count:
                span = f"{curve.edges[place]} to {curve.edges[place + 1] - 1}"
                table.add_row(span, f"{count:,}", f"{curve.model[place]:.3f}", f"{curve.ngram[place]:.3f}")
        console.print(table)
    rows = found.characters
    table = Table(title=f"Nats saved against {found.order}-grams, by class and by character", title_justify="left")
    for column in ("", "count", "nats each", f"{found.order}-grams", "saved each", "saved in all"):
        table.add_column(column, justify="left" if not column else "right")
    chosen = (
        rows.characters if len(rows.characters) <= 2 * SHOWN else rows.characters[:SHOWN] + rows.characters[-SHOWN:]
    )
    for section in (rows.classes, chosen):
        for row in section:
            symbol = repr(row.symbol) if row.symbol == " " else row.symbol
            table.add_row(
                Text(symbol),
                f"{row.count:,}",
                f"{row.model:.3f}",
                f"{row.ngram:.3f}",
                f"{row.difference:+.3f}",
                f"{row.total:+,.0f}",
            )
        table.add_section()
    console.print(table)
    print(
        f"Both err on {rows.both:,} characters, only this model on {rows.only_model:,}, "
        f"only {found.order}-grams on {rows.only_ngram:,}."
    )
