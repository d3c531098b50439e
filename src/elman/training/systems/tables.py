"""Tables of scores by class as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from elman.metrics.classification import ClassScore

# a matrix of more classes is wider than a screen; its worst confusions say more
MOST_CLASSES = 12
WORST = 15
NAME = 24


def score_table(rows: Mapping[str, ClassScore], head: str) -> str:
    """Precision, recall and F1 a line.

    Args:
        rows: by name of the line.
        head: over the names.
    """
    names = {name: _short(name) for name in rows}
    width = max(map(len, [*names.values(), head]))
    lines = [f"{head:<{width}}  precision  recall  F1      count"]
    for name, score in rows.items():
        figures = f"{score.precision:<9.4f}  {score.recall:<6.4f}  {score.f1:<6.4f}  {score.support:>5,}"
        lines.append(f"{names[name]:<{width}}  {figures}")
    return "\n".join(lines)


def class_table(classes: Sequence[str], scores: Sequence[ClassScore]) -> str:
    """A line a class."""
    return score_table(dict(zip(classes, scores, strict=True)), "class")


def confusion_table(classes: Sequence[str], matrix: NDArray[np.int64]) -> str:
    """The confusion matrix, or of many classes the most frequent confusions.

    Args:
        classes: [K] names.
        matrix: [K, K], the true class in the row.
    """
    if len(classes) > MOST_CLASSES:
        wrong = matrix - np.diag(np.diag(matrix))
        order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
        places = [(int(at) // len(classes), int(at) % len(classes)) for at in order]
        lines = [
            f"{wrong[t, p]:>6,}  {_short(classes[t])} called {_short(classes[p])}" for t, p in places if wrong[t, p]
        ]
        return "\n".join(["most frequent confusions", *lines])
    names = [_short(name) for name in classes]
    head = "true \\ called"
    first = max(map(len, [*names, head]))
    widths = [max(len(name), len(f"{matrix[:, place].max():,}")) for place, name in enumerate(names)]
    lines = [f"{head:<{first}}  " + "  ".join(f"{name:>{w}}" for name, w in zip(names, widths, strict=True))]
    for name, row in zip(names, matrix.tolist(), strict=True):
        lines.append(f"{name:<{first}}  " + "  ".join(f"{count:>{w},}" for count, w in zip(row, widths, strict=True)))
    return "\n".join(lines)


def _short(name: str) -> str:
    flat = "".join(sign if sign.isprintable() else " " for sign in name)
    return flat if len(flat) <= NAME else flat[: NAME - 3] + "..."
