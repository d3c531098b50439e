"""What figures share: a sheet, plain axes, colours, and writing them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from elman.errors import MisuseError, require
from elman.files import write_whole

FORMATS = ("png", "svg", "pdf")

BLUE, ORANGE, GREY = "#2166ac", "#d66004", "#9a9a9a"

#: For things side by side: told apart by the colour blind, and by their lightness in print.
SERIES = (BLUE, ORANGE, "#1b7f6b", "#7b3f98", "#c2a000", "#5aa9d6", "#b03a5b")


def check_picture(path: Path | None, flag: str = "--figure") -> None:
    """Refuse a figure that could not be drawn, before anything is measured.

    Args:
        path: the file; None for no figure.
        flag: that names it, for the error.

    Raises:
        MisuseError: a file name of another kind, or matplotlib is not installed.
    """
    if path is None:
        return
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise MisuseError(f"{flag} is {path}; it takes a name that ends in .png, .svg or .pdf.")
    if not path.absolute().parent.is_dir():
        raise MisuseError(f"{flag} is {path}; there is no folder {path.parent}.")
    require("matplotlib", "plot")


def sheet(width: float, height: float) -> Any:
    """An empty figure.

    Args:
        width, height: inches.

    Raises:
        MisuseError: matplotlib is not installed.
    """
    require("matplotlib", "plot")
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), layout="constrained")


def plain(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Axes without a frame, with a title on the left and labels that name their units."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)


def shown(name: str) -> str:
    """A name as a legend shows it: no mathematics between dollars, and not left out for its leading underscore."""
    name = name.replace("$", r"\$")
    return f"\u200b{name}" if name.startswith("_") else name


def write(figure: Any, picture: Path, title: str = "") -> None:
    """Write a figure in the format that its name ends in.

    Args:
        figure: as :func:`sheet` gave it.
        picture: the file.
        title: above everything.

    Raises:
        FailureError: the file cannot be written.
    """
    if title:
        figure.suptitle(shown(title), x=0.01, ha="left", fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format=picture.suffix.lower().removeprefix("."))
    write_whole(picture, content.getvalue())
