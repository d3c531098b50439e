"""What the measurement of a lesion gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elman.insight.lesions.bootstrap import Estimate
from elman.insight.lesions.intervention import Intervention

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Control:
    """The same lesion of other cells.

    Attributes:
        cells: (layer, name, unit) of each.
        on, off: nats a token that it costs where the label is on and where it is off.
    """

    cells: tuple[tuple[int, str, int], ...]
    on: float
    off: float

    @property
    def difference(self) -> float:
        """on - off."""
        return self.on - self.off

    def to_json(self) -> dict[str, Any]:
        """The control as JSON values."""
        return {"cells": [list(cell) for cell in self.cells], "on": self.on, "off": self.off}


@dataclass(frozen=True)
class Dose:
    """The lesion at one strength: nats a token that it costs, on and off."""

    strength: float
    on: Estimate
    off: Estimate

    def to_json(self) -> dict[str, Any]:
        """The dose as JSON values."""
        return {"strength": self.strength, "on": self.on.to_json(), "off": self.off.to_json()}


@dataclass(frozen=True)
class Curve:
    """What the lesion costs by the number of tokens since the label came on; negative: before it does.

    Attributes:
        lags: tokens since the onset.
        counts: places that each mean is over; a lag of few places is left out.
        cost: nats a token.
        low, high: the 95 % interval of each.
        controls: the mean over the controls; empty where there are none.
    """

    lags: list[int]
    counts: list[int]
    cost: list[float]
    low: list[float]
    high: list[float]
    controls: list[float]

    def to_json(self) -> dict[str, Any]:
        """The curve as JSON values."""
        return {name: getattr(self, name) for name in ("lags", "counts", "cost", "low", "high", "controls")}


@dataclass(frozen=True)
class LesionEffect:
    """The effect of a lesion on a text under a label. A cost is the lesioned model's nats less the plain model's.

    The loss of token t + 1 belongs to place t, where the state has seen the tokens 0 to t: it counts as "on" if the
    label is on once token t has been read.

    Attributes:
        interventions: what was done.
        hypothesis: name of the label.
        tokens: places where the label is on or off.
        on_tokens: places where it is on.
        plain_on, plain_off: nats a token of the model as it is.
        on, off: the cost where the label is on and where it is off.
        difference: on less off.
        controls: the same lesion of matched random cells.
        p: one-sided; the rank of the difference among those of the controls, (1 + number at least as large) /
            (1 + number of controls). NaN where there are none.
        usual: (on, off) of every lesioned unit: its mean where the label is on and where it is off, in its own units;
            empty if the statistics know of no label.
        doses: the cost at several strengths.
        curve: the cost around the onsets of the label.
        block: tokens of a block of the bootstrap.
        streams: places at which the text was read at once.
        seed: of controls, bootstrap and "resample".
        seconds: time taken.
    """

    interventions: tuple[Intervention, ...]
    hypothesis: str
    tokens: int
    on_tokens: int
    plain_on: float
    plain_off: float
    on: Estimate
    off: Estimate
    difference: Estimate
    controls: tuple[Control, ...]
    p: float
    usual: tuple[tuple[float, float], ...]
    doses: tuple[Dose, ...]
    curve: Curve
    block: int
    streams: int
    seed: int
    seconds: float

    @property
    def verdict(self) -> str:
        """In one word.

        "specific": it costs at least twice as much where the label is on as where it is off, the difference is beyond
        chance, and larger than nearly all controls'. "none": the cost where the label is on cannot be told from
        nothing. "undecided": specific but for the controls, of which there are too few. "unspecific": anything else.
        """
        if self.difference.low > 0 and self.on.value >= 2 * self.off.value:
            if self.p <= SIGNIFICANT:
                return "specific"
            fewest = round(1 / SIGNIFICANT) - 1
            if len(self.controls) < fewest and not any(e.difference >= self.difference.value for e in self.controls):
                return "undecided"
        return "none" if self.on.low <= 0 <= self.on.high else "unspecific"

    @property
    def sentence(self) -> str:
        """The result in words."""
        beside = "No other cells were lesioned beside it."
        if self.controls:
            larger = sum(each.difference >= self.difference.value for each in self.controls)
            found = f"{larger} of {len(self.controls)}" if larger else f"none of {len(self.controls)}"
            beside = f"Of matched random cells, {found} makes as large a difference (p {self.p:.3f})."
        label = self.hypothesis or "the label"
        return (
            f"The lesion costs {self.on.value:.4f} nats a token where {label} is on and {self.off.value:.4f} where it "
            f"is off: a difference of {self.difference.value:.4f} (95 % {self.difference.low:.4f} to "
            f"{self.difference.high:.4f}). {beside}"
        )

    def to_json(self) -> dict[str, Any]:
        """The effect as JSON values."""
        return {
            "interventions": [each.to_json() for each in self.interventions],
            "description": "; ".join(each.describe() for each in self.interventions),
            "hypothesis": self.hypothesis,
            "tokens": self.tokens,
            "on_tokens": self.on_tokens,
            "plain": {"on": self.plain_on, "off": self.plain_off},
            "on": self.on.to_json(),
            "off": self.off.to_json(),
            "difference": self.difference.to_json(),
            "controls": [each.to_json() for each in self.controls],
            "p": self.p if self.controls else None,
            "usual": [{"on": on, "off": off} for on, off in self.usual],
            "doses": [each.to_json() for each in self.doses],
            "curve": self.curve.to_json(),
            "verdict": self.verdict,
            "sentence": self.sentence,
            "block": self.block,
            "streams": self.streams,
            "seed": self.seed,
            "seconds": self.seconds,
        }
