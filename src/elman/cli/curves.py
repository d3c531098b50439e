"""``elman curves``: what runs measured as they learned, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from elman.errors import MisuseError

EXAMPLE = """Examples:

elman curves runs/plain runs/normed --key valid_accuracy --figure curves.png

elman curves runs/* --key train_nats --key valid_nats --over step
"""


def register(app: typer.Typer) -> None:
    """Add ``elman curves``."""
    app.command("curves", epilog=EXAMPLE)(curves)


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    key: Annotated[
        list[str] | None, typer.Option(help="What to compare; repeatable. Default valid_nats.", show_default=False)
    ] = None,
    over: Annotated[str, typer.Option(help="tokens, step, seconds or epoch.")] = "tokens",
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a run, in their order; repeatable.", show_default=False)
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw them into this file.", show_default=False)] = None,
    title: Annotated[str, typer.Option(help="Of the figure.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare trainings: the best and the last value of each run, and the curves as a picture."""
    from elman.insight.figures.curves import curves_figure
    from elman.insight.figures.sheet import check_picture
    from elman.training.curves import read_curve

    check_picture(figure)
    labels: list[str | None] = [*(label or []), *[None] * (len(runs) - len(label or []))]
    if len(labels) > len(runs):
        raise MisuseError(f"{len(labels)} labels are more than the {len(runs)} runs.")
    found = [
        read_curve(run, name, over, named)
        for name in key or ["valid_nats"]
        for run, named in zip(runs, labels, strict=True)
    ]
    if figure:
        curves_figure(found, over, figure, title)
    if as_json:
        print(json.dumps([curve.to_json() for curve in found]))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("run", "measure", "best", f"at {over}", "last"):
        table.add_column(column, justify="left" if column in ("run", "measure") else "right")
    for curve in found:
        best = curve.best
        table.add_row(curve.label, curve.key, f"{best[1]:.4f}", f"{best[0]:,.10g}", f"{curve.last[1]:.4f}")
    Console().print(table)
