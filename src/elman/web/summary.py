"""A cell in figures: how its values are spread, where it is strongest, what it does where a label comes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.targets import Target
from elman.insight.recording import SCALE, Recording

# excerpts of each sign, and how far apart they are at least
EXCERPTS, APART = 12, 200
# blocks in which the strongest place is looked for
BLOCKS = 4096
SYMBOLS = 200
# tokens before and after an onset
WINDOW = 40
ONSETS = 20_000
# an irrational stride visits blocks that tie without a pattern, and the same every time
GOLDEN = 0.6180339887498949


def summarise(recording: Recording, cell: int) -> dict[str, Any]:
    """How a cell's values are spread.

    Args:
        recording: of it.
        cell: its number.

    Returns:
        {"cell", "describe", "layer", "name", "unit", "kind", "transform", "mean", "sd", "histogram": [256] of the
        levels from -128, "strongest" and "weakest": [{"position", "value"}, ...] the highest and lowest places apart
        from each other, "by_character": [{"symbol", "id", "count", "mean"}, ...], the commonest first}. Values are
        those stored, divided by 127.

    Raises:
        MisuseError: there is no such cell.
    """
    values = recording.cell(cell)
    group, unit = recording.locate(cell)
    histogram = np.bincount(values.astype(np.int64) - measures.LOWEST, minlength=measures.LEVELS)
    levels = np.arange(measures.LEVELS) + measures.LOWEST
    mean = float(histogram @ levels) / len(values)
    variance = float(histogram @ levels**2) / len(values) - mean**2
    return {
        "cell": cell,
        "describe": recording.describe(cell),
        **{name: getattr(group, name) for name in ("layer", "name", "kind", "transform")},
        "unit": unit,
        "mean": mean / SCALE,
        "sd": max(0.0, variance) ** 0.5 / SCALE,
        "histogram": histogram,
        "strongest": strongest(values, 1),
        "weakest": strongest(values, -1),
        "by_character": _by_character(recording, values),
    }


def strongest(values: NDArray[np.int8], sign: int) -> list[dict[str, Any]]:
    """The highest (or lowest) places of a cell, apart from each other; of equals some from all over the text.

    Args:
        values: [N].
        sign: 1 for the highest, -1 for the lowest.
    """
    size = max(APART, -(-len(values) // BLOCKS))
    number = -(-len(values) // size)
    padded = np.full(number * size, -129, dtype=np.int16)
    padded[: len(values)] = values.astype(np.int16) * sign
    blocks = padded.reshape(number, size)
    places = blocks.argmax(axis=1) + np.arange(number) * size
    best = blocks.max(axis=1)
    order = np.lexsort(((np.arange(number) * GOLDEN) % 1.0, -best))
    chosen: list[int] = []
    for block in order.tolist():
        place = int(places[block])
        if all(abs(place - other) >= APART for other in chosen):
            chosen.append(place)
        if len(chosen) == EXCERPTS:
            break
    return [{"position": place, "value": int(values[place]) / SCALE} for place in chosen]


def _by_character(recording: Recording, values: NDArray[np.int8]) -> list[dict[str, Any]]:
    counts = np.bincount(recording.ids, minlength=len(recording.symbols))
    sums = np.bincount(recording.ids, weights=values, minlength=len(recording.symbols))
    order = np.argsort(-counts, kind="stable")[:SYMBOLS]
    return [
        {
            "symbol": recording.symbols[token],
            "id": int(token),
            "count": int(counts[token]),
            "mean": float(sums[token]) / int(counts[token]) / SCALE,
        }
        for token in order
        if counts[token]
    ]


def by_label(values: NDArray[np.int8], target: Target) -> dict[str, Any]:
    """What a cell does where a label is on, where it is off, and around its onsets.

    A graded label is on where it is above its least grade. The threshold is chosen on the first half of the text, its
    scores are those of the second.

    Args:
        values: [N].
        target: the labels.

    Returns:
        {"name", "title", "kind", "on" and "off": [256] histograms, "onsets": {"lags", "mean", "sd", "count"}, and of
        a binary one "auc", "f1", "precision", "recall", "threshold", "sign", of a graded one "spearman" and
        "by_grade": [{"grade", "count", "mean"}, ...]}.
    """
    values = np.ascontiguousarray(values)
    half = len(values) // 2
    first, second = (_joint(values[part], target, part) for part in (slice(None, half), slice(half, None)))
    joint = first + second
    made: dict[str, Any] = {
        "name": target.hypothesis.name,
        "title": target.hypothesis.title,
        "kind": target.hypothesis.kind,
        "on": joint[1:].sum(axis=0).astype(np.int64),
        "off": joint[0].astype(np.int64),
        "onsets": _onsets(values, target),
    }
    if target.binary:
        return made | _scores(first, second)
    levels = np.arange(measures.LEVELS) + measures.LOWEST
    counts = joint.sum(axis=1)
    means = (joint @ levels) / np.maximum(counts, 1) / SCALE
    grades = zip(target.lowest.tolist(), counts.tolist(), means.tolist(), strict=True)
    return made | {
        "spearman": float(measures.spearman(second)),
        "by_grade": [{"grade": grade, "count": int(number), "mean": mean} for grade, number, mean in grades if number],
    }


def _joint(values: NDArray[np.int8], target: Target, part: slice) -> measures.Array:
    """Histograms by label [grades, 256] of a part."""
    places = target.codes[part].astype(np.int64) * measures.LEVELS + values - measures.LOWEST
    counts = np.bincount(places, minlength=(target.grades + 1) * measures.LEVELS)
    return counts.reshape(-1, measures.LEVELS)[: target.grades].astype(np.float64)


def _scores(first: measures.Array, second: measures.Array) -> dict[str, Any]:
    sign = 1 if not measures.auc(first[1], first[0]) < 0.5 else -1
    _, level = measures.best_threshold(first[1], first[0], np.array(sign))
    hits, alarms, misses = (float(each) for each in measures.at_threshold(second[1], second[0], sign, int(level)))
    area = float(measures.auc(second[1], second[0]))
    return {
        "auc": area if sign > 0 else 1 - area,
        "f1": float(measures.f1(np.array(hits), np.array(alarms), np.array(misses))),
        "precision": hits / max(1.0, hits + alarms),
        "recall": hits / max(1.0, hits + misses),
        "threshold": int(level) / SCALE,
        "sign": sign,
    }


def _onsets(values: NDArray[np.int8], target: Target) -> dict[str, Any]:
    on, off = (target.codes > 0) & target.defined, target.codes == 0
    places = np.flatnonzero(on[1:] & off[:-1]) + 1
    places = places[(places >= WINDOW) & (places < len(values) - WINDOW)]
    stride = -(-len(places) // ONSETS) if len(places) else 1
    seen = values[places[::stride, None] + np.arange(-WINDOW, WINDOW + 1)] / SCALE
    empty = np.zeros(0)
    return {
        "lags": list(range(-WINDOW, WINDOW + 1)),
        "count": len(seen),
        "mean": seen.mean(axis=0) if len(seen) else empty,
        "sd": seen.std(axis=0) if len(seen) else empty,
    }
