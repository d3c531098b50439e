"""The zoo, and recurrences from files."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources
from pathlib import Path

from elman.equations.recurrence import Recurrence
from elman.equations.scan import MAX_CHARACTERS
from elman.errors import MisuseError

_HEADER = re.compile(r"#\s*(inputs|output)\s*:\s*(.*)")


def zoo() -> list[str]:
    """The names of the cells that come with the package, sorted."""
    folder = resources.files("elman.equations") / "zoo"
    return sorted(file.name.removesuffix(".eq") for file in folder.iterdir() if file.name.endswith(".eq"))


def cell(name: str) -> Recurrence:
    """A cell of the zoo.

    Args:
        name: one of :func:`zoo`; _ counts as -.

    Returns:
        The recurrence, with its title and citation.

    Raises:
        MisuseError: there is no such cell; the text names the nearest ones.
    """
    if not isinstance(name, str):
        raise MisuseError(f"The name of a cell is a text, not {type(name).__name__}.")
    return _cell(name.strip().lower().replace("_", "-"))


@cache
def _cell(name: str) -> Recurrence:
    names = zoo()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3) or names
        raise MisuseError(f"There is no cell {name[:40]!r} in the zoo; there is {', '.join(close)}.")
    file = resources.files("elman.equations") / "zoo" / f"{name}.eq"
    return described_text(file.read_text(encoding="utf-8"), name)


def described_text(text: str, name: str = "") -> Recurrence:
    """A recurrence from a text that may say its title, citation, inputs and output in comments at its head.

    Args:
        text: first the comments: a title, a citation, and optionally `# inputs: v, w` and `# output: h`.
        name: a name to print.

    Returns:
        The recurrence.

    Raises:
        EquationError: the text is no recurrence.
    """
    inputs: tuple[str, ...] = ()
    output: str | None = None
    said: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        match = _HEADER.fullmatch(line.strip())
        if match is None:
            said.append(line.lstrip("# ").rstrip())
        elif match[1] == "inputs":
            inputs = tuple(word.strip() for word in match[2].split(",") if word.strip())
        else:
            output = match[2].strip() or None
    title, citation, *_ = [*said, "", ""]
    return Recurrence(text, output=output, inputs=inputs, name=name).described(name, title, citation)


def recurrence_of(request: str) -> Recurrence:
    """A recurrence from what somebody typed: the name of a cell, the path of a file, or equations.

    Args:
        request: equations if it holds a =, the path of a file if it ends in .eq or holds a separator, else a
            name.

    Returns:
        The recurrence.

    Raises:
        EquationError: the equations are no recurrence.
        MisuseError: there is no such cell, or the file cannot be read.
    """
    if "=" in request:
        return described_text(request)
    if not (request.endswith(".eq") or "/" in request or "\\" in request):
        return cell(request)
    path = Path(request)
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 4)  # more than this cannot be a recurrence
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise MisuseError(f"The recurrence {request} cannot be read: {error}.") from error
    return described_text(text, path.stem)
