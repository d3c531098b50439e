"""k-fold cross-validation: every example is tested once, by a model that has not seen it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import FailureError, MisuseError
from elman.files import disk_failure, write_whole
from elman.training.launch import launched

# of what is not tested, so much decides which weights are kept
VALID_SHARE = 0.1
SUMMARY = "folds.json"


@dataclass(frozen=True)
class Summary:
    """What the folds gave.

    Attributes:
        scores: by name the figure of each fold.
        complete: whether all folds are done.
    """

    scores: Mapping[str, Sequence[float]]
    complete: bool

    def mean(self, name: str) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores[name]))

    def deviation(self, name: str) -> float:
        """Standard deviation over the folds, of a sample; 0 for one fold."""
        return float(np.std(self.scores[name], ddof=1)) if len(self.scores[name]) > 1 else 0.0


def fold_parts(labels: Sequence[str | None], folds: int, number: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Training, validation and test part of one fold; every class is spread evenly over the folds.

    Args:
        labels: [N] of all examples.
        folds: k.
        number: of this fold, from 1.
        seed: of the division; the same for all folds.

    Returns:
        Row numbers of "train", "valid" and "test", each ascending. The test parts of the k folds are disjoint and hold
        every example; a tenth of the rest validates.

    Raises:
        MisuseError: fewer than two folds, or fewer examples than folds.
    """
    if not 2 <= folds <= len(labels) or not 1 <= number <= folds:
        raise MisuseError(f"--folds is {folds}; {len(labels):,} examples take from 2 to {len(labels):,}.")
    random = np.random.default_rng([seed, folds])
    order = random.permutation(len(labels))
    # examples of one class side by side: dealing them out in turn gives every fold its share
    _, kinds = np.unique([str(label) for label in labels], return_inverse=True)
    dealt = order[np.argsort(kinds[order], kind="stable")]
    tested = np.zeros(len(labels), dtype=bool)
    tested[dealt[number - 1 :: folds]] = True
    rest = order[~tested[order]]
    count = max(1, round(VALID_SHARE * len(rest))) if len(rest) > 1 else 0
    parts = {"train": rest[count:], "valid": rest[:count], "test": np.flatnonzero(tested)}
    return {name: np.sort(rows) for name, rows in parts.items()}


def cross_validate(
    out: Path,
    folds: int,
    key: Mapping[str, Any],
    one: Callable[[int, Path], Mapping[str, float] | None],
    told: Callable[[str], None],
) -> Summary:
    """Train and test every fold into ``OUT/fold-N`` and keep their figures in ``OUT/folds.json``.

    A cross-validation that was interrupted goes on with the fold where it stopped.

    Args:
        out: the folder.
        folds: k.
        key: what the figures depend on, JSON values; a folder with another key is refused.
        one: trains (or goes on with) the fold of a number in a folder and gives its test scores; None if it was
            interrupted.
        told: receives a line for each fold.

    Raises:
        MisuseError: the folder holds something else.
        FailureError: it cannot be made.
    """
    if launched() > 1:
        raise MisuseError("A cross-validation is trained by one process; start it without torchrun.")
    stored = _stored(out, dict(key))
    scores: dict[str, list[float]] = {}
    for number in range(1, folds + 1):
        given = stored[number - 1] if number <= len(stored) else one(number, out / f"fold-{number}")
        if given is None:
            return Summary(scores, False)
        for name, value in given.items():
            scores.setdefault(name, []).append(float(value))
        rows = [{name: values[place] for name, values in scores.items()} for place in range(number)]
        done = Summary(scores, number == folds)
        means = {name: {"mean": done.mean(name), "deviation": done.deviation(name)} for name in scores}
        _make(out)
        write_whole(
            out / SUMMARY, json.dumps({"key": dict(key), "folds": rows, "summary": means}, indent=2, default=str) + "\n"
        )
        told(f"fold {number} of {folds}: " + ", ".join(f"{name} {value:.4f}" for name, value in given.items()))
    return Summary(scores, True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_failure(folder, error) from error


def _stored(out: Path, key: dict[str, Any]) -> list[dict[str, float]]:
    path = out / SUMMARY
    if not path.is_file():
        if out.is_dir() and any(entry.name != "fold-1" for entry in out.iterdir()):
            raise MisuseError(f"{out} is not empty and no cross-validation. Name another folder with --out.")
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        rows = [{str(name): float(value) for name, value in row.items()} for row in kept["folds"]]
        other = kept["key"]
        sound = all(math.isfinite(value) for row in rows for value in row.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"{path} is damaged ({error!r}).") from error
    if not sound or other != json.loads(json.dumps(key, default=str)):
        raise MisuseError(
            f"{out} holds a cross-validation of other data or with other flags. Repeat its command to go on with it, "
            "or name another folder with --out."
        )
    return rows
