"""What a hunt found, as records and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from elman.errors import FailureError

FORMAT = 1
Verdict = Literal["found", "weak", "none"]
Interval = tuple[float, float]
NAN = math.nan


@dataclass(frozen=True)
class CellScore:
    """One cell against one hypothesis. What does not apply is NaN: areas and F1 of graded ones, correlations of binary.

    Cell, sign and threshold are chosen on the first half of the text; figures without ``_choose`` are of the second.

    Attributes:
        cell: number in the recording.
        layer, name, unit: the cell.
        sign: 1 if high values mean yes (or more), -1 if low ones do.
        threshold: int8 level; the cell says yes where sign * value >= sign * threshold.
        auc_choose, auc: area under the receiver operating characteristic of sign * value; .5 says nothing.
        auc_interval: 95 %, moving-block bootstrap.
        f1_choose, f1, f1_interval: at the threshold, and of the second half its interval.
        precision, recall: at the threshold.
        spearman_choose, spearman, spearman_interval: rank correlation, with its own sign.
        mutual_information: bits a token.
        p: of the first half, corrected for the number of cells: chance that any cell is as strong under shifted labels.
        p_confirm: of the second half, of this cell alone in this direction.
        stratified_auc: area within the current symbol; NaN where the symbol decides the label.
        lag: tokens by which the cell follows the label best; positive is late.
    """

    cell: int
    layer: int
    name: str
    unit: int
    sign: int
    threshold: int
    auc_choose: float
    auc: float
    auc_interval: Interval
    f1_choose: float
    f1: float
    f1_interval: Interval
    precision: float
    recall: float
    spearman_choose: float
    spearman: float
    spearman_interval: Interval
    mutual_information: float
    p: float
    p_confirm: float
    stratified_auc: float
    lag: int

    @property
    def described(self) -> str:
        """The cell in words: ``layer 1 c[17]``."""
        return f"layer {self.layer} {self.name}[{self.unit}]"


@dataclass(frozen=True)
class Baseline:
    """The best cell of the untrained network, chosen and confirmed in the same way; see :class:`CellScore`."""

    cell: int
    auc: float
    f1: float
    spearman: float


@dataclass(frozen=True)
class Probe:
    """Linear probes of all cells together, judged on the second half.

    Attributes:
        cells: how many the sparse probe uses.
        f1: of the sparse probe.
        dense_f1: of the probe of all cells.
        largest: cells of the sparse probe with the largest weights, strongest first.
        weights: their weights, for cells scaled to unit variance.
        positions: tokens it was fitted on.
    """

    cells: int
    f1: float
    dense_f1: float
    largest: tuple[int, ...]
    weights: tuple[float, ...]
    positions: int


@dataclass(frozen=True)
class Finding:
    """A hypothesis and the cells that tell it best.

    Attributes:
        hypothesis, title, kind, description: what it is.
        labelled: tokens of which it says something.
        positives: of these, how many are labelled 1, or, graded, more than the least.
        base_rate: their share.
        choose, confirm: (first token, token after the last) of the half where cells are chosen, and of the other.
        constant_f1: F1, on the second half, of saying yes everywhere; NaN if graded.
        cells: the best by F1 or magnitude of the correlation on the first half, best first.
        p_holm: p of the first of them, corrected by Holm (1979) for the number of hypotheses too.
        baseline: of the untrained network, where one was given.
        probe: where it was asked for.
        verdict: "found", "weak" or "none".
        sentence: why.
    """

    hypothesis: str
    title: str
    kind: str
    description: str
    labelled: int
    positives: int
    base_rate: float
    choose: tuple[int, int]
    confirm: tuple[int, int]
    constant_f1: float
    cells: tuple[CellScore, ...]
    p_holm: float
    baseline: Baseline | None
    probe: Probe | None
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Hunt:
    """All findings of a hunt.

    Attributes:
        findings: by name of the hypothesis.
        model, text: fingerprints, SHA-256.
        length: tokens.
        cells: how many were ranked.
        shifts: of each null.
        seed: of shifts, bootstrap and probes.
        untrained_seed: of the baseline's weights; None without one.
        seconds: it took.
    """

    findings: Mapping[str, Finding]
    model: str
    text: str
    length: int
    cells: int
    shifts: int
    seed: int
    untrained_seed: int | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON values; what is NaN is null."""
        return _plain({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, data: object) -> Hunt:
        """The hunt that :meth:`to_json` wrote.

        Args:
            data: parsed JSON, from anybody.

        Raises:
            FailureError: it is not that.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("findings"), dict):
            raise _damaged("it is no stored hunt of this version")
        stored = {name: _finding(found) for name, found in data["findings"].items()}
        if any(name != found.hypothesis for name, found in stored.items()):
            raise _damaged("its findings have wrong names")
        return _record(cls, {key: value for key, value in data.items() if key != "format"} | {"findings": stored})


def _finding(data: Any) -> Finding:
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise _damaged("a finding has no list of cells")
    made = data | {"cells": tuple(_record(CellScore, cell) for cell in data["cells"])}
    for name, kind in (("baseline", Baseline), ("probe", Probe)):
        if data.get(name) is not None:
            made[name] = _record(kind, data[name])
    if made.get("verdict") not in get_args(Verdict):
        raise _damaged("a finding has an unknown verdict")
    return _record(Finding, made)


def _record(kind: Any, data: Any) -> Any:
    """A dataclass from JSON values, each of the type that the field has."""
    if not isinstance(data, dict) or data.keys() != {field.name for field in fields(kind)}:
        raise _damaged(f"an entry does not have the fields of {kind.__name__}")
    return kind(**{field.name: _value(str(field.type), data[field.name]) for field in fields(kind)})


def _value(annotation: str, value: Any) -> Any:
    pair = {"Interval": "float", "tuple[int, int]": "int", "tuple[int, ...]": "int", "tuple[float, ...]": "float"}
    if annotation in pair:
        if not isinstance(value, list) or ("..." not in annotation and len(value) != 2):
            raise _damaged("a list has a wrong length")
        return tuple(_value(pair[annotation], each) for each in value)
    if annotation == "float":
        if value is None:
            return NAN
        if type(value) in (int, float):
            return float(value)
    elif annotation in ("int", "int | None"):
        if type(value) is int or (value is None and "None" in annotation):
            return value
    elif annotation == "str":
        if isinstance(value, str):
            return value
    else:
        # records within records, built before this one
        return value
    raise _damaged(f"it has {value!r:.40} where a value of type {annotation} belongs")


def _damaged(why: str) -> FailureError:
    return FailureError(f"A stored hunt is damaged: {why}. Hunt again.")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
