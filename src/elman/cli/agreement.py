"""``elman agreement``: which n-gram model a network resembled as it learnt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli import examined

if TYPE_CHECKING:
    from elman.insight.agreement import Agreement

EXAMPLE = """Examples:

elman train lm input.txt --snapshots 20

elman agreement runs/input --figure agreement.png

elman agreement runs/input --orders 6 --json
"""


def register(app: typer.Typer) -> None:
    """Add ``elman agreement``."""
    app.command("agreement", epilog=EXAMPLE)(agreement)


def agreement(
    run: examined.Run,
    text: examined.Files = None,
    part: examined.Part = None,
    orders: Annotated[int, typer.Option(min=1, max=20, help="n-gram models of order 1 to this one.")] = 8,
    positions: Annotated[int, typer.Option(min=1, help="At how many places of the text.")] = 20_000,
    figure: examined.Figure = None,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
    as_json: examined.Json = False,
) -> None:
    """Measure how far a run's kept weights (elman train lm --snapshots N) predict from what n-gram models predict."""
    from elman.insight.agreement import require_snapshots, run_agreement
    from elman.insight.figures.agreement import agreement_figure
    from elman.insight.figures.sheet import check_picture

    check_picture(figure)
    loaded = examined.opened(run, device, threads)
    require_snapshots(run)
    read = examined.text_of(loaded, run, text, part, None)
    train = examined.training_text(loaded, run)
    with examined.watching(as_json) as watch:
        found = run_agreement(
            loaded, run, train, read.tokens, orders=range(1, orders + 1), positions=positions, progress=watch
        )
    if figure:
        agreement_figure(found, figure, f"{run.name} on {read.name}: {found.positions:,} predictions")
    if as_json:
        print(json.dumps({"run": str(run), "text": read.name, **found.to_json()}))
    else:
        _print(found, f"{run} on {read.name}")


def _print(found: Agreement, title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head = f"{title}: {found.positions:,} predictions; symmetric KL divergence from n-grams, nats"
    table = Table(title=Text(head), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    for column in ("step", "nats", *(f"n={order}" for order in found.ngrams), "nearest"):
        table.add_column(column, justify="right", no_wrap=True)
    for snapshot in found.snapshots:
        nearest = snapshot.nearest
        cells = [
            Text(f"{value:.2f}", style="bold" if order == nearest else "")
            for order, value in snapshot.symmetric.items()
        ]
        table.add_row(f"{snapshot.step:,}", f"{snapshot.nats:.2f}", *cells, f"n={nearest}")
    table.add_section()
    table.add_row("n-grams", "", *(f"{nats:.2f}" for nats in found.ngrams.values()), "")
    Console().print(table)
