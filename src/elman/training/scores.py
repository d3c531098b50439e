"""What an evaluation of a finished run says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elman.errors import MisuseError


@dataclass(frozen=True)
class Scores:
    """Figures and, for people, more than figures.

    Attributes:
        rows: by name a number or a word, in the order of printing; JSON values.
        text: tables that follow them, such as a confusion matrix, as lines of text.
        details: what ``--json`` gives beside the rows; JSON values.
    """

    rows: Mapping[str, float | int | str | None]
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def check_options(options: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """Options of an evaluation, each of its kind.

    Args:
        options: as given with ``--option NAME=VALUE``.
        known: by name the type: int, float, bool, str.

    Raises:
        MisuseError: an unknown name, or a value of another kind.
    """
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise MisuseError(f"There is no option {name!r} for this system; {takes}.")
        kind = known[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise MisuseError(f"--option {name}={value} must be a {kind.__name__}.")
        checked[name] = value
    return checked
