"""``elman resume``: go on with a stopped training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add ``elman resume``."""
    app.command("resume", epilog="Example: elman resume runs/input --minutes 10")(resume)


def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    minutes: Annotated[
        float | None, typer.Option(help="New limit, counted from the very start.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="New limit, counted from the very start.", show_default=False)
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="New limit, counted from the very start.", show_default=False)
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--data", "--text", help="Where the data lie now, if they were moved; repeatable.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default those of the run.", show_default=False)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; default that of the run.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Go on with a stopped training, bit for bit as if it had not stopped (same machine, same threads)."""
    from elman.cli.outcome import tell
    from elman.training.start import Reports
    from elman.training.systems import resume_run

    outcome, folder, config = resume_run(
        run,
        minutes=minutes,
        steps=steps,
        epochs=epochs,
        threads=threads,
        device=device,
        sources=text,
        reports=Reports(quiet, as_json),
    )
    tell(outcome, folder, config["system"], quiet=quiet, as_json=as_json)
