"""``elman gates``: how often the gates of a trained model are open or shut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from elman.cli import examined

if TYPE_CHECKING:
    from elman.insight.gates import GateSaturation

EXAMPLE = """Examples:

elman gates runs/input

elman gates runs/input --text other.txt --figure gates.png

elman gates runs/input --length 100000 --json
"""


def register(app: typer.Typer) -> None:
    """Add ``elman gates``."""
    app.command("gates", epilog=EXAMPLE)(gates)


def gates(
    run: examined.Run,
    text: examined.Files = None,
    part: examined.Part = None,
    length: examined.Length = None,
    figure: examined.Figure = None,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
    as_json: examined.Json = False,
) -> None:
    """Measure for every gate the share of steps that it spends below 0.1 and above 0.9, unit by unit."""
    from elman.insight.figures.gates import gates_figure
    from elman.insight.figures.sheet import check_picture
    from elman.insight.gates import gate_saturation

    check_picture(figure)
    loaded = examined.opened(run, device, threads)
    read = examined.text_of(loaded, run, text, part, length)
    with examined.watching(as_json) as watch:
        found = gate_saturation(loaded.model, read.tokens, progress=watch)
    if figure:
        gates_figure(found, figure, f"{run.name} on {read.name}: gate saturation, a point a unit")
    if as_json:
        print(json.dumps({"run": str(run), "text": read.name, **found.to_json()}))
    else:
        _print(found, f"{run} on {read.name}: {found.tokens:,} steps")


def _print(found: GateSaturation, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from elman.insight.gates import LEFT, MOSTLY, RIGHT

    caption = f"mostly: a unit's gate is there at more than {MOSTLY:.0%} of the steps"
    table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left")
    for column in ("layer", "gate", f"below {LEFT:g}", f"above {RIGHT:g}", "mostly below", "mostly above"):
        table.add_column(column, justify="left" if column == "gate" else "right")
    for gate in found.gates:
        units = len(gate.left)
        table.add_row(
            str(gate.layer),
            gate.name,
            f"{gate.left.mean():.1%}",
            f"{gate.right.mean():.1%}",
            f"{gate.mostly_left} of {units}",
            f"{gate.mostly_right} of {units}",
        )
    Console().print(table)
