"""The command line: one module a verb, each with ``register(app)``; heavy imports happen when a verb runs."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from elman import __version__
from elman.cli import (
    agreement,
    answer,
    bench,
    caption,
    cells,
    curves,
    errors,
    evaluate,
    gates,
    gradients,
    hunt,
    inspecting,
    lesion,
    predict,
    resume,
    sample,
    score,
    search,
    train,
    translate,
    watch,
)
from elman.cli.memory import told_memory
from elman.equations import EquationError
from elman.errors import ElmanError

app = typer.Typer(
    name="elman",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Recurrent networks from their equations: train, sample, evaluate, measure.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"elman {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    pass


for _verb in (
    train,
    resume,
    search,
    sample,
    translate,
    answer,
    caption,
    predict,
    evaluate,
    watch,
    score,
    inspecting,
    hunt,
    lesion,
    gates,
    gradients,
    errors,
    agreement,
    curves,
    cells,
    bench,
):
    _verb.register(app)


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence and exit code 2, a failure in a sentence and 1."""
    # a plain SIGTERM would end the process without putting a terminal right again
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    try:
        with told_memory():
            app()
    except EquationError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ElmanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # whoever read the output has seen enough; python would complain again while closing stdout
        sys.stderr.close()
        sys.exit(1)
