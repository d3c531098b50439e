"""``elman inspect``: the inspector of trained models in the browser."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import MisuseError, require

if TYPE_CHECKING:
    from elman.web.library import Run

EXAMPLE = """Examples:

elman inspect runs/input

elman inspect runs/ --port 9000 --no-browser

elman inspect runs/input --text other.txt

elman inspect runs/input --host 0.0.0.0
"""


def register(app: typer.Typer) -> None:
    """Add ``elman inspect``."""
    app.command("inspect", epilog=EXAMPLE)(inspect)


def inspect(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a folder of them.", show_default=False)],
    port: Annotated[
        int | None,
        typer.Option(help="0 takes any free one. Default: 8765, or the next that is free.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback's asks visitors for a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(help="What visitors must present. Default: a fresh one, if needed.", show_default=False),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    text: Annotated[
        Path | None, typer.Option(help="A text to record cells over, beside the run's own.", show_default=False)
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of that text.")] = "utf-8",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
) -> None:
    """Look into the cells of trained models: a page in the browser, served from this machine until Ctrl-C."""
    for library in ("starlette", "uvicorn"):
        require(library, "web")
    from elman.training import machine
    from elman.web.app import create_app
    from elman.web.security import fresh_token, is_loopback
    from elman.web.serve import address_of, can_open_browser, listen, serve

    machine.prepare("cpu", threads)
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,256}", token):
        raise MisuseError("--token takes 8 to 256 letters, digits, - and _; leave it out for a fresh one.")
    if token is None and not is_loopback(host):
        token = fresh_token()
    given = None if text is None else (text.name, _read(text, encoding))
    app = create_app(folder, token=token, host=host, text=given)
    found = app.state.library.runs()
    if not found:
        raise MisuseError(_nothing_in(folder))
    listener = listen(host, port)
    address = address_of(listener, host, token)
    _announce(address, found, is_loopback(host))
    serve(app, listener, browse=address if browser and can_open_browser() else None)


def _read(path: Path, encoding: str) -> str:
    try:
        return path.read_bytes().decode(encoding)
    except OSError as error:
        raise MisuseError(f"The text {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise MisuseError(
            f"{path} cannot be read as {encoding} ({error}). Name its encoding with --encoding."
        ) from error


def _nothing_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder}."
    return f"{folder} is no run folder and holds none. Train a model first: elman train lm input.txt"


def _announce(address: str, runs: list[Run], alone: bool) -> None:
    names = ", ".join(run.name for run in runs[:4]) + (", ..." if len(runs) > 4 else "")
    print(f"{len(runs)} run{'s' if len(runs) > 1 else ''}: {names}", file=sys.stderr)
    if not alone:
        print("Whoever can reach this machine and has the token can read these runs.", file=sys.stderr)
    # the address alone on standard output, for programs
    print(address, flush=True)
    print("Ctrl-C ends it.", file=sys.stderr)
