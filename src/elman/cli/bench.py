"""``elman bench``: how fast recurrences run on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import FailureError, MisuseError

if TYPE_CHECKING:
    from elman.bench.report import Machine
    from elman.bench.timing import Result
    from elman.bench.work import Job, Shape

EXAMPLE = """Examples:

elman bench --quick

elman bench --cells LSTM,GRU,mut1 --work train,model --hidden 512 --batch 64 --steps 128

elman bench --full --json > speed.json
"""


def register(app: typer.Typer) -> None:
    """Add ``elman bench``."""
    app.command("bench", epilog=EXAMPLE)(bench)


def bench(
    cells: Annotated[
        str | None,
        typer.Option(
            help="LSTM, GRU, RNN (in the place of torch's) and cells of the zoo, between commas; all for all.",
            show_default=False,
        ),
    ] = None,
    work: Annotated[
        str | None,
        typer.Option(
            help="train and infer (one layer), model (a training step of a whole model), sample (characters one by "
            "one); between commas.",
            show_default=False,
        ),
    ] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Width of the layers.", show_default=False)] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Time steps.", show_default=False)] = None,
    ragged: Annotated[bool, typer.Option("--ragged", help="Rows of T/4 to T steps instead of T.")] = False,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or both: fp32,bf16.", show_default=False)] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Rounds; default 3 to 9, by their time.", show_default=False)
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    keep_memory: Annotated[
        bool, typer.Option("--keep-memory", help="Let the C library keep freed memory for all, as elman train does.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Three cells at one size: seconds.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every cell at every size: hours.")] = False,
    chart: Annotated[
        Path | None, typer.Option(help="Draw the ratios into this .png or .svg.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure Elman on this machine's CPU against torch.nn and against a plain loop, side by side in one run.

    Without options: five cells at the usual sizes, about two minutes. Ctrl-C ends it with what was measured.
    """
    from elman.bench import chart as charts
    from elman.bench import report
    from elman.bench import work as works

    if quick and full:
        raise MisuseError("--quick and --full exclude each other.")
    jobs = works.plan(
        extent="quick" if quick else "full" if full else "usual",
        cells=_names(cells),
        works=_names(work),
        precisions=_names(precision),
        shape=_shape(hidden, batch, steps, ragged),
    )
    if chart is not None:
        charts.check_picture(chart)
    _settle(threads, keep_memory)
    machine = report.machine(keeps_memory=keep_memory)
    results: list[Result] = []
    interrupted = False
    try:
        _measure(jobs, repeats, results)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        print(json.dumps(report.to_json(results, machine, interrupted=interrupted), indent=1))
    elif results:
        _print(results, machine)
    if chart is not None and results:
        charts.draw(results, machine, chart)
    errors = [sentence for result in results for sentence in result.errors]
    if interrupted:
        errors.insert(0, f"Interrupted after {len(results)} of {len(jobs)} comparisons.")
    if errors:
        raise FailureError("\n".join(errors))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _shape(hidden: int | None, batch: int | None, steps: int | None, ragged: bool) -> Shape | None:
    """The one size that was asked for, its gaps filled; None where none was."""
    from elman.bench.work import SMALL, Shape

    if hidden is None and batch is None and steps is None and not ragged:
        return None
    return Shape(hidden or SMALL.hidden, batch or SMALL.batch, steps or SMALL.steps, ragged)


def _settle(threads: int | None, keep_memory: bool) -> None:
    """Threads and allocator of this process."""
    import torch

    from elman.training.machine import keep_freed_memory

    if threads is not None:
        torch.set_num_threads(threads)
    if keep_memory:
        keep_freed_memory()


def _measure(jobs: Sequence[Job], repeats: int | None, results: list[Result]) -> None:
    """Measure job by job into ``results``, so that nothing is lost when it is interrupted."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from elman.bench.contenders import contenders
    from elman.bench.timing import measure

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(jobs))
        for job in jobs:
            progress.update(bar, description=str(job))
            results.append(measure(job, contenders(job), repeats=repeats))
            progress.advance(bar)


# columns of a table in a file
WIDTH = 110

LEGEND = """\
Times are medians. 2.00x: Elman is twice as fast as torch.nn as it comes, as torch.nn with the best of its
switches, as a plain loop of torch operations (eager). GFLOP/s and their share of the measured peak are Elman's.
LSTM: Elman's time for equal FLOPs as a multiple of its LSTM's. kept MB: for the backward pass, Elman / torch."""


def _print(results: Sequence[Result], machine: Machine) -> None:
    from rich.console import Console

    from elman.bench.report import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    console.print(str(machine), markup=False)
    for heading, table in tables(results, machine):
        console.print(f"\n[bold]{heading}[/bold]", table, sep="\n", soft_wrap=True)
    console.print(LEGEND, soft_wrap=True)
