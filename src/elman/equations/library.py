"""The zoo, and recurrences from files."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from pathlib import Path

from elman.equations.recurrence import Recurrence
from elman.equations.scan import MAX_CHARACTERS
from elman.errors import MisuseError


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
    return Recurrence(file.read_text(encoding="utf-8"), name=name)


def recurrence_of(request: str) -> Recurrence:
    """A recurrence from what somebody typed: the name of a cell, the path of a file, or equations.

    Args:
        request: the path of a file if it is one line that ends in .eq, else equations if it holds a =, else a
            path if it holds a separator, else a name.

    Returns:
        The recurrence.

    Raises:
        EquationError: the equations are no recurrence.
        MisuseError: there is no such cell, or the file cannot be read.
    """
    if not request.endswith(".eq") or "\n" in request:
        if "=" in request:
            return Recurrence(request)
        if "/" not in request and "\\" not in request:
            return cell(request)
    path = Path(request)
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 4)  # more than this cannot be a recurrence
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise MisuseError(f"The recurrence {request} cannot be read: {error}.") from error
    return Recurrence(text, name=path.stem)
