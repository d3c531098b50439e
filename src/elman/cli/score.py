"""``elman score``: how much each symbol of a text surprises a trained model."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.insight.surprisal import Surprisal
    from elman.runs import LoadedRun

EXAMPLE = """Examples:

elman score runs/input other.txt

elman score runs/input other.txt --json > other.jsonl

elman score runs/input other.txt --format html --output other.html

echo "To be, or not to be" | elman score runs/input -
"""

FORMATS = ("text", "jsonl", "html")


def register(app: typer.Typer) -> None:
    """Add ``elman score``."""
    app.command("score", epilog=EXAMPLE)(score)


def score(
    run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    file: Annotated[str, typer.Argument(help="The text; - reads standard input.", show_default=False)],
    form: Annotated[
        str,
        typer.Option("--format", help="text: a line a line. jsonl: a JSON object a symbol. html: a coloured page."),
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
    unknown: Annotated[
        str | None, typer.Option(help="Symbols never seen: skip, unk, error, replace:C.", show_default=False)
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the text, if not the run's.", show_default=False)] = None,
    errors: Annotated[str | None, typer.Option(help="strict, replace or ignore.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.")] = "auto",
) -> None:
    """Score a text symbol by symbol: -log p of each, in nats, given everything before it."""
    from rich.console import Console
    from rich.progress import Progress

    from elman.insight.surprisal import surprisal
    from elman.runs import load
    from elman.training import machine

    if as_json:
        if form not in ("text", "jsonl"):
            raise MisuseError(f"--json and --format {form} ask for different things; give one of them.")
        form = "jsonl"
    if form not in FORMATS:
        raise MisuseError(f"--format is {form!r}; it takes {', '.join(FORMATS)}.")
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, backend=backend, unknown=unknown)
    vocabulary = loaded.vocabulary
    text = _read(loaded, file, encoding, errors)
    if not text:
        raise MisuseError(f"{_name(file)} is empty; there is nothing to score.")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=1.0)
        scored = surprisal(loaded.model, vocabulary, text, progress=lambda share: bar.update(task, completed=share))
    _show(scored, form, f"{_name(file)} under {run}", output)


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _read(loaded: LoadedRun, file: str, encoding: str | None, errors: str | None) -> str:
    """The text, read as the run's own was unless told otherwise."""
    from elman.data.reading import check_reading_options
    from elman.data.sources import read_text, resolve

    usual = loaded.config["data"]["options"]
    encoding = encoding or usual["encoding"]
    errors = errors or usual["errors"] or ("surrogateescape" if loaded.vocabulary.kind == "bytes" else "strict")
    bom, newlines = usual["bom"], usual["newlines"]
    if file != "-":
        return "".join(read_text(resolve([file]), encoding, errors, bom, newlines))
    check_reading_options(encoding, errors, bom, newlines)
    try:
        text = sys.stdin.buffer.read().decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise MisuseError(
            f"Standard input is not {encoding}: the byte at position {error.start} (value "
            f"0x{error.object[error.start]:02x}) cannot be decoded. Name its encoding with --encoding, "
            "or choose --errors replace."
        ) from error
    if bom == "strip":
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if newlines == "unix" else text


def _show(scored: Surprisal, form: str, title: str, output: Path | None) -> None:
    from elman.insight import surprisal_views as views

    if form == "text" and output is None and sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        for line in views.coloured(scored):
            console.print(line, soft_wrap=True)
        return
    if form == "html":
        _deliver([views.page(scored, title)], output)
    else:
        made = views.json_lines(scored) if form == "jsonl" else views.plain(scored)
        _deliver((line + "\n" for line in made), output)


def _deliver(parts: Iterable[str], output: Path | None) -> None:
    if output is not None:
        from elman.files import write_whole

        write_whole(output, "".join(parts).encode("utf-8", "replace"))
        return
    encoding = sys.stdout.encoding or "utf-8"
    for part in parts:
        sys.stdout.write(part.encode(encoding, "replace").decode(encoding))
