"""What a search may change: flags of a verb, each with a range or a list of values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elman.errors import MisuseError, require

Value = float | int | str | bool

SWITCH = {"on": True, "off": False}
EXAMPLES = "lr=1e-4..1e-1:log, layers=1..3, hidden=64,128,256 or tied=on,off"


@dataclass(frozen=True)
class Dimension:
    """One flag and the values that it may take: those of a list, or all of a range.

    Attributes:
        name: of the flag, without dashes before it.
        values: of the list; empty for a range.
        low, high: ends of the range, both included.
        log: drawn evenly by its logarithm.
        points: values that a grid takes from the range; 0 where that is open.
    """

    name: str
    values: tuple[Value, ...] = ()
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    points: int = 0

    @property
    def whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int)

    @property
    def text(self) -> str:
        """As the user writes it."""
        if self.values:
            return f"{self.name}={','.join(written(value) for value in self.values)}"
        log, points = ":log" if self.log else "", f":{self.points}" if self.points else ""
        return f"{self.name}={written(self.low)}..{written(self.high)}{log}{points}"

    def distribution(self) -> Any:
        """As optuna has it."""
        distributions = require("optuna.distributions", "search")
        if self.values:
            return distributions.CategoricalDistribution(self.values)
        kind = distributions.IntDistribution if self.whole else distributions.FloatDistribution
        return kind(self.low, self.high, log=self.log)

    def grid(self) -> list[Value]:
        """The list, or points of the range at equal distances, both ends among them; whole numbers once each."""
        if self.values:
            return list(self.values)
        share = [place / max(1, self.points - 1) for place in range(self.points)]
        if self.log:
            raw = [self.low * (self.high / self.low) ** part for part in share]
        else:
            raw = [self.low + (self.high - self.low) * part for part in share]
        # rounding must not lead out of the range
        kept = [min(max(round(value) if self.whole else float(value), self.low), self.high) for value in raw]
        return list(dict.fromkeys(kept))


def parse_space(texts: Sequence[str], kinds: Mapping[str, type]) -> tuple[Dimension, ...]:
    """The space of a search.

    Args:
        texts: one flag each: ``NAME=LOW..HIGH``, with ``:log`` and for a grid ``:POINTS`` behind it, or ``NAME=A,B,C``.
        kinds: the flags that the verb has, by name the type: int, float, str or bool.

    Returns:
        A dimension for each, in their order.

    Raises:
        MisuseError: a text that says nothing, a flag that the verb does not have, values that are not of its type.
    """
    found: dict[str, Dimension] = {}
    for text in texts:
        name, sign, given = text.partition("=")
        name = name.strip().lstrip("-").replace("_", "-")
        given = given.strip()
        if not (sign and name and given):
            raise MisuseError(f"--vary {text!r} is no NAME=VALUES, such as {EXAMPLES}.")
        if name in found:
            raise MisuseError(f"--vary names {name} twice.")
        if name not in kinds:
            raise MisuseError(f"--vary {name}: there is no such flag to vary; there are {', '.join(sorted(kinds))}.")
        found[name] = _range(name, given, kinds[name]) if ".." in given else _values(name, given, kinds[name])
    if not found:
        raise MisuseError(f"A search needs something to vary: --vary {EXAMPLES}, or --space FILE with such lines.")
    return tuple(found.values())


def space_lines(text: str) -> list[str]:
    """The lines of a file that say something; ``#`` begins a remark."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def divided(space: Sequence[Dimension], trials: int | None) -> tuple[Dimension, ...]:
    """A space in which every range has a number of points, for a grid.

    Args:
        space: its dimensions; ranges without a number of points get one and the same, as many as the trials allow, two
            at least.
        trials: how many points the grid may have; None asks for a number of points in every range.

    Raises:
        MisuseError: a range without points where the trials are not limited, or too few trials for any grid.
    """
    undivided = [entry for entry in space if not entry.values and not entry.points]
    if not undivided:
        return tuple(space)
    if trials is None:
        raise MisuseError(f"A grid needs the number of values of each range: {undivided[0].text}:5, or give --trials.")

    def with_points(points: int) -> tuple[Dimension, ...]:
        return tuple(replace(entry, points=points) if entry in undivided else entry for entry in space)

    if len(points_of(with_points(2))) > trials:
        raise MisuseError(
            f"The smallest grid over these ranges has {len(points_of(with_points(2)))} points, more than {trials} "
            "trials. Vary fewer flags, or take --sampler random."
        )
    points = 2
    while points < trials and len(points_of(with_points(points + 1))) <= trials:
        points += 1
    return with_points(points)


def points_of(space: Sequence[Dimension]) -> list[dict[str, Value]]:
    """All points of the grid over a divided space, the last dimension changing fastest."""
    names = [entry.name for entry in space]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*(entry.grid() for entry in space))]


def flags_of(point: Mapping[str, Value]) -> list[str]:
    """A point as words of a command line; a switch that is off is left out."""
    words: list[str] = []
    for name, value in point.items():
        if isinstance(value, bool):
            words += [f"--{name}"] if value else []
        else:
            words += [f"--{name}", written(value)]
    return words


def written(value: Value) -> str:
    """A value as the command line and the tables have it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _range(name: str, given: str, kind: type) -> Dimension:
    if kind not in (int, float):
        raise MisuseError(f"--vary {name}={given}: {name} takes no numbers, so it has no range; list its values.")
    ends, *marks = given.split(":")
    low_text, _, high_text = ends.partition("..")
    try:
        low, high = kind(low_text), kind(high_text)
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise MisuseError(f"--vary {name}={given}: the ends of the range must be {what}.") from error
    log, points = False, 0
    for mark in marks:
        if mark == "log":
            log = True
        elif mark.isascii() and mark.isdigit() and int(mark) >= 2:
            points = int(mark)
        else:
            raise MisuseError(f"--vary {name}={given}: {mark!r} is neither log nor a number of points from 2.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MisuseError(f"--vary {name}={given}: a range goes from a lower to a higher number.")
    if log and low <= 0:
        raise MisuseError(f"--vary {name}={given}: a range by logarithm begins above 0.")
    return Dimension(name, low=low, high=high, log=log, points=points)


def _values(name: str, given: str, kind: type) -> Dimension:
    words = [word.strip() for word in given.split(",")]
    values: list[Value] = []
    for word in words:
        try:
            value = SWITCH[word.lower()] if kind is bool else kind(word)
        except (ValueError, KeyError) as error:
            takes = {int: "whole numbers", float: "numbers", bool: "on and off"}.get(kind, "words")
            raise MisuseError(f"--vary {name}={given}: {word!r} does not fit; {name} takes {takes}.") from error
        if word == "" or value in values:
            raise MisuseError(f"--vary {name}={given}: a value is missing or stands there twice.")
        values.append(value)
    return Dimension(name, tuple(values))
