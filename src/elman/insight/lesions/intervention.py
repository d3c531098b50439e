"""What is done to which cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from elman.errors import MisuseError
from elman.models.language import LanguageModel

Mode = Literal["zero", "mean", "off", "on", "set", "resample"]
Scale = Literal["own", "tanh"]
MODES: tuple[str, ...] = get_args(Mode)
SCALES: tuple[str, ...] = get_args(Scale)

WORDS = {
    "zero": "zero",
    "mean": "its mean",
    "off": "its mean where the label is off",
    "on": "its mean where the label is on",
    "resample": "values of other places",
}

#: What a value may be at most, so that no product of a step leaves the range of float32.
LARGEST = 1e6

_CELL = re.compile(r"(?P<layer>\d{1,4}):(?P<name>[A-Za-z_]\w{0,39}):(?P<unit>\d{1,7})", re.ASCII)


@dataclass(frozen=True)
class Intervention:
    """Units of one quantity that do not get the value which the equations give them.

    At every step, as soon as the equations have given a unit its value v, it becomes

        (1 - strength) * v + strength * target

    and everything that reads it later, in this step and the next, reads that.

    Attributes:
        layer: from 0, the lowest.
        name: of a state, or of another name that the equations assign, such as a gate.
        units: from 0.
        mode: the target: "zero"; "mean", the unit's mean over a text; "off" and "on", its mean where a label is off and
            where it is on; "set", the number ``value``; "resample", its value at a random other place of a text.
        value: of "set".
        scale: "own" if ``value`` is in the cell's own units, "tanh" if it is of tanh(c), between -1 and 1, as unbounded
            cells are recorded and coloured.
        strength: the dose: 0 leaves the unit alone, 1 puts it at the target, more drives it beyond.

    Raises:
        MisuseError: something out of range.
    """

    layer: int
    name: str
    units: tuple[int, ...]
    mode: Mode = "zero"
    value: float | None = None
    scale: Scale = "own"
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MisuseError(f"The mode of a lesion is {self.mode!r}; it must be one of {', '.join(MODES)}.")
        if self.scale not in SCALES:
            raise MisuseError(f"The scale of a lesion's value is {self.scale!r}; it must be own or tanh.")
        if not self.units or any(type(unit) is not int or unit < 0 for unit in self.units):
            raise MisuseError("A lesion needs at least one unit, and units are whole numbers from 0.")
        if len(set(self.units)) < len(self.units):
            raise MisuseError(f"A lesion names a unit of layer {self.layer} {self.name} twice.")
        if (self.value is not None) != (self.mode == "set"):
            raise MisuseError("A value belongs to the mode set, and that mode needs one.")
        if not math.isfinite(self.strength) or abs(self.strength) > LARGEST:
            raise MisuseError(f"The strength of a lesion is {self.strength}; it must be a number such as 1 or 0.5.")
        if self.value is not None:
            self._check_value(self.value)

    def _check_value(self, value: float) -> None:
        if not math.isfinite(value) or abs(value) > LARGEST:
            raise MisuseError(f"A cell cannot be set to {value}; it must be a number of magnitude up to {LARGEST:g}.")
        if self.scale == "tanh" and abs(value) >= 1:
            raise MisuseError(f"tanh of a cell cannot be {value}; it must lie between -1 and 1.")

    @property
    def target(self) -> float | None:
        """The number that the units are put at, in their own units; None where it differs from unit to unit."""
        if self.mode == "zero":
            return 0.0
        if self.value is None:
            return None
        return math.atanh(self.value) if self.scale == "tanh" else self.value

    @property
    def cells(self) -> list[tuple[int, str, int]]:
        """(layer, name, unit) of every unit."""
        return [(self.layer, self.name, unit) for unit in self.units]

    def at(self, strength: float) -> Intervention:
        """The same at another strength."""
        return replace(self, strength=strength)

    def on(self, units: Iterable[int]) -> Intervention:
        """The same done to other units."""
        return replace(self, units=tuple(units))

    def describe(self) -> str:
        """In words: ``layer 0 c[11] at zero``."""
        place = f"layer {self.layer} {self.name}[{', '.join(map(str, self.units))}]"
        if self.mode == "set":
            what = f"{'tanh ' if self.scale == 'tanh' else ''}{self.value:g}"
        else:
            what = WORDS[self.mode]
        return f"{place} at {what}" + ("" if self.strength == 1 else f", strength {self.strength:g}")

    def to_json(self) -> dict[str, Any]:
        """The intervention as JSON values."""
        return {**asdict(self), "units": list(self.units)}


def cell_of(text: str) -> tuple[int, str, int]:
    """Read a cell that is written LAYER:NAME:UNIT, as 1:c:17.

    Raises:
        MisuseError: it is written otherwise.
    """
    found = _CELL.fullmatch(text)
    if found is None:
        raise MisuseError(f"A cell is written LAYER:NAME:UNIT, such as 0:c:17; {text[:60]!r} is not.")
    return int(found["layer"]), found["name"], int(found["unit"])


def interventions_on(
    cells: Sequence[tuple[int, str, int]],
    mode: Mode = "zero",
    value: float | None = None,
    scale: Scale = "own",
    strength: float = 1.0,
) -> tuple[Intervention, ...]:
    """The same done to each of some cells, those of one layer and name together.

    Args:
        cells: (layer, name, unit) of each.
        mode, value, scale, strength: as of :class:`Intervention`.

    Raises:
        MisuseError: no cell, one twice, or something out of range.
    """
    if not cells:
        raise MisuseError("Name at least one cell.")
    grouped: dict[tuple[int, str], list[int]] = {}
    for layer, name, unit in cells:
        grouped.setdefault((layer, name), []).append(unit)
    return tuple(
        Intervention(layer, name, tuple(units), mode, value, scale, strength)
        for (layer, name), units in grouped.items()
    )


def check_interventions(model: LanguageModel, interventions: Iterable[Intervention]) -> None:
    """Refuse what a model has not.

    Raises:
        MisuseError: there is no such layer, name or unit, or a cell is lesioned twice.
    """
    known = [*model.recurrence.states, *model.recurrence.intermediates.names]
    seen: set[tuple[int, str, int]] = set()
    for each in interventions:
        if not 0 <= each.layer < model.layers:
            raise MisuseError(f"There is no layer {each.layer}; the model has the layers 0 to {model.layers - 1}.")
        if each.name not in known:
            raise MisuseError(f"The model has no cells {each.name!r}; its equations assign {', '.join(known)}.")
        if max(each.units) >= model.hidden:
            raise MisuseError(
                f"Layer {each.layer} {each.name} has the units 0 to {model.hidden - 1}; {max(each.units)} is none."
            )
        if twice := seen.intersection(each.cells):
            layer, name, unit = min(twice)
            raise MisuseError(f"Layer {layer} {name}[{unit}] is lesioned twice; give it one target.")
        seen.update(each.cells)
