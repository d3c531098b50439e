"""``elman gradients``: how far the gradient of a trained model reaches back in time."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli import examined
from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.insight.gradients import GradientFlow

EXAMPLE = """Examples:

elman gradients runs/input

elman gradients runs/input-rnn runs/input-lstm runs/input-gru --figure flow.png

elman gradients runs/input --lags 400 --positions 256 --json
"""


def register(app: typer.Typer) -> None:
    """Add ``elman gradients``."""
    app.command("gradients", epilog=EXAMPLE)(gradients)


def gradients(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.", show_default=False)],
    text: examined.Files = None,
    part: examined.Part = None,
    lags: Annotated[int, typer.Option(min=1, help="How many steps to go back.")] = 200,
    positions: Annotated[int, typer.Option(min=1, help="At how many places of the text.")] = 64,
    burn_in: Annotated[int, typer.Option(min=0, help="Tokens read before the earliest step.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Draws the places.")] = 0,
    figure: examined.Figure = None,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
    as_json: examined.Json = False,
) -> None:
    """Measure the norm of dL_t/ds_{t-k} by lag k for every layer and state s, and the recurrent matrices."""
    from elman.insight.figures.gradients import gradients_figure
    from elman.insight.figures.sheet import check_picture
    from elman.insight.gradients import gradient_flow

    check_picture(figure)
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    if len(set(names)) < len(names):
        raise MisuseError("A run is named twice; name each once.")
    flows: dict[str, GradientFlow] = {}
    for name, run in zip(names, runs, strict=True):
        loaded = examined.opened(run, device, threads)
        read = examined.text_of(loaded, run, text, part, None)
        with examined.watching(as_json) as watch:
            flows[name] = gradient_flow(
                loaded.model,
                read.tokens,
                lags=lags,
                positions=positions,
                burn_in=burn_in,
                seed=seed,
                progress=partial(watch, doing=name),
            )
    if figure:
        gradients_figure(flows, figure)
    if as_json:
        found = [{"run": str(run), **flow.to_json()} for run, flow in zip(runs, flows.values(), strict=True)]
        print(json.dumps({"runs": found}))
        return
    for name, flow in flows.items():
        _print(name, flow)


def _print(name: str, flow: GradientFlow) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    title = f"{name}: gradient of the loss at {len(flow.positions)} places, and what is left of that at lag 1"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD)
    shown = sorted({min(lag, flow.lags) for lag in (10, 100, flow.lags)})
    for column in ("state", "a step", "half-life", *(f"lag {lag}" for lag in shown), "verdict"):
        table.add_column(column, justify="left" if column in ("state", "verdict") else "right", no_wrap=True)
    for state in flow.states:
        table.add_row(
            f"layer {state.layer} {state.state}",
            f"x {state.factor:.4f}",
            f"{state.half_life:.1f}" if state.half_life < 1e6 else "none",
            *(f"{state.left(lag):.2g}" for lag in shown),
            state.verdict,
        )
    console.print(table)
    if not flow.matrices:
        print("No matrix carries a state to the next step.")
        return
    table = Table(title="Recurrent matrices", title_justify="left", box=SIMPLE_HEAD)
    for column in ("matrix", "largest singular value", "median", "spectral radius"):
        table.add_column(column, justify="left" if column == "matrix" else "right")
    for matrix in flow.matrices:
        values = matrix.singular_values
        table.add_row(
            f"layer {matrix.layer} {matrix.name}",
            f"{values[0]:.3f}",
            f"{values[len(values) // 2]:.3f}",
            f"{matrix.spectral_radius:.3f}",
        )
    console.print(table)
