"""What an evaluation of a finished run says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from elman.errors import MisuseError
from elman.runs import LoadedRun, load


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
        known: by name the type: int, float, bool, str, or tuple for one or several things.

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
        if kind is tuple and not isinstance(value, tuple):
            value = (value,)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise MisuseError(f"--option {name}={value} must be a {kind.__name__}.")
        checked[name] = value
    return checked


def further_runs(options: Mapping[str, Any], loaded: LoadedRun, device: torch.device) -> list[LoadedRun]:
    """The run that is measured, and those that ``--option ensemble=RUN,RUN`` names.

    Args:
        options: checked; "ensemble" may be among them.
        loaded: the run that is measured.
        device: where its model is.

    Raises:
        MisuseError, FailureError: one cannot be opened or is of another system.
    """
    names = options.get("ensemble", ())
    return [loaded, *(load(str(name), device=device, systems=(loaded.config["system"],)) for name in names)]
