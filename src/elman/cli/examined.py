"""What the verbs that look at a trained model share: the run, the text that it reads, and how the result is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    import numpy as np

    from elman.runs import LoadedRun
    from elman.training.compare import Text

Run = Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]
Files = Annotated[
    list[str] | None,
    typer.Option("--text", help="Read this text, repeatable. Default: a part of the run's own.", show_default=False),
]
Part = Annotated[
    str | None, typer.Option(help="Of the run's own text: valid (default), test or train.", show_default=False)
]
Length = Annotated[
    int | None, typer.Option(min=2, help="Read only so many tokens from the beginning.", show_default=False)
]
Figure = Annotated[Path | None, typer.Option(help="Draw it into this file: .png, .svg or .pdf.", show_default=False)]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def opened(run: Path, device: str, threads: int | None) -> LoadedRun:
    """The run of a language model, on its device.

    Raises:
        MisuseError, FailureError: with the sentence for the user; the run is of another system, or cannot be opened.
    """
    from elman.runs import load
    from elman.training import machine

    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device)
    if loaded.config["system"] not in ("language", "ngram"):
        raise MisuseError(
            f"{run} is a {loaded.config['system']}, and this looks at language models; give a run of `elman train lm`."
        )
    return loaded


def text_of(loaded: LoadedRun, run: Path, files: list[str] | None, part: str | None, length: int | None) -> Text:
    """The text to be read.

    Args:
        loaded: the run.
        run: its folder.
        files: texts of the user's.
        part: of the run's own text.
        length: tokens at most.

    Raises:
        MisuseError: files and a part at once, or a text that is not there.
        FailureError: the run's text has changed since.
    """
    from elman.training import compare

    if files and part:
        raise MisuseError(f"--part {part} is of the run's own text; leave it out, or --text.")
    text = compare.other_text(loaded, files) if files else compare.part_of_run(loaded, run, part or "valid")[0]
    return text if length is None else replace(text, tokens=text.tokens[:length])


def training_text(loaded: LoadedRun, run: Path) -> np.ndarray:
    """Ids of the text that the run was trained on; n-gram models are counted on it.

    Raises:
        MisuseError: it is not there any more, or in the network.
        FailureError: it has changed since.
    """
    from elman.training import compare

    compare.require_local(loaded)
    return compare.part_of_run(loaded, run, "train")[1]


@contextmanager
def watching(quiet: bool) -> Iterator[Callable[..., None]]:
    """A line on a terminal's standard error that tells how far the work is.

    Args:
        quiet: show nothing.

    Yields:
        A function of the share that is done and, if wished, what is being done.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=1.0)

        def tell(share: float, doing: str = "reading") -> None:
            bar.update(task, completed=share, description=doing)

        yield tell
