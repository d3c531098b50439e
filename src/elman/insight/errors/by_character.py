"""A model against an n-gram model, character by character: which ones it knows better, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.symbols import printable
from elman.insight.errors.characters import Points, class_of
from elman.insight.errors.oracles import ERROR_BELOW

# the text is cut into so many pieces, and a standard error comes from leaving out one at a time
PIECES = 50


@dataclass(frozen=True)
class CharacterRow:
    """How two models predict one character, or one class of characters.

    Attributes:
        symbol: the character's printable name, or the class.
        kind: the class of a character; "" for a class.
        count: occurrences that were predicted.
        model, ngram: mean surprise, nats.
        difference: mean of the n-gram model's surprise less the model's; positive where the model is better.
        standard_error: of ``difference``, by the jackknife over 50 pieces of the text; NaN where one piece has all.
        model_errors, ngram_errors: occurrences that got less than one half.
    """

    symbol: str
    kind: str
    count: int
    model: float
    ngram: float
    difference: float
    standard_error: float
    model_errors: int
    ngram_errors: int

    @property
    def total(self) -> float:
        """Nats that the model saves on all occurrences together."""
        return self.difference * self.count

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "symbol": self.symbol,
            **({"class": self.kind} if self.kind else {}),
            "count": self.count,
            "model": self.model,
            "ngram": self.ngram,
            "difference": self.difference,
            "standard_error": None if math.isnan(self.standard_error) else self.standard_error,
            "total": self.total,
            "model_errors": self.model_errors,
            "ngram_errors": self.ngram_errors,
        }


@dataclass(frozen=True)
class ByCharacter:
    """Two models on one text.

    Attributes:
        order: of the n-gram model.
        characters: rows by character, those on which the model saves most first.
        classes: rows by class, in the same order.
        both, only_model, only_ngram: characters on which both err, only the model, only the n-gram model.
    """

    order: int
    characters: tuple[CharacterRow, ...]
    classes: tuple[CharacterRow, ...]
    both: int
    only_model: int
    only_ngram: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "order": self.order,
            "classes": [row.to_json() for row in self.classes],
            "characters": [row.to_json() for row in self.characters],
            "errors": {"both": self.both, "only_model": self.only_model, "only_ngram": self.only_ngram},
        }


def by_character(
    points: Points, nats: NDArray[np.floating], ngram_nats: NDArray[np.floating], order: int
) -> ByCharacter:
    """Compare two models on every character of a text.

    Args:
        points: [N] code points of the text.
        nats: [N] -log p under the model; NaN where it was not predicted.
        ngram_nats: [N] -log p under an n-gram model.
        order: of that model.

    Returns:
        Rows by character and by class.
    """
    kept = np.flatnonzero(~np.isnan(nats))
    own, other = np.asarray(nats, dtype=np.float64)[kept], np.asarray(ngram_nats, dtype=np.float64)[kept]
    limit = -math.log(ERROR_BELOW)
    model_wrong, ngram_wrong = own > limit, other > limit
    different, inverse = np.unique(points[kept], return_inverse=True)
    kinds = [class_of(chr(point)) for point in different.tolist()]
    names = sorted(set(kinds))
    pieces = np.arange(len(kept)) * PIECES // max(1, len(kept))

    def rows(groups: NDArray[np.int64], titles: list[tuple[str, str]]) -> tuple[CharacterRow, ...]:
        count = np.bincount(groups, minlength=len(titles))
        sums = [np.bincount(groups, values, len(titles)) for values in (own, other, model_wrong, ngram_wrong)]
        errors = _standard_errors(groups, other - own, pieces, len(titles))
        made = [
            CharacterRow(
                symbol=title,
                kind=kind,
                count=int(count[place]),
                model=float(sums[0][place] / count[place]),
                ngram=float(sums[1][place] / count[place]),
                difference=float((sums[1][place] - sums[0][place]) / count[place]),
                standard_error=float(errors[place]),
                model_errors=int(sums[2][place]),
                ngram_errors=int(sums[3][place]),
            )
            for place, (title, kind) in enumerate(titles)
        ]
        return tuple(sorted(made, key=lambda row: -row.total))

    of_class = np.array([names.index(kind) for kind in kinds], dtype=np.int64)
    return ByCharacter(
        order,
        rows(inverse, [(printable(chr(point)), kind) for point, kind in zip(different.tolist(), kinds, strict=True)]),
        rows(of_class[inverse], [(name, "") for name in names]),
        int(np.count_nonzero(model_wrong & ngram_wrong)),
        int(np.count_nonzero(model_wrong & ~ngram_wrong)),
        int(np.count_nonzero(~model_wrong & ngram_wrong)),
    )


def _standard_errors(
    groups: NDArray[np.int64], values: NDArray[np.float64], pieces: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Of each group's mean, from the means without each piece of the text (neighbours depend on each other)."""
    table = groups * PIECES + pieces
    sums = np.bincount(table, values, size * PIECES).reshape(size, PIECES)
    counts = np.bincount(table, minlength=size * PIECES).reshape(size, PIECES)
    result = np.full(size, np.nan)
    for place in range(size):
        present = counts[place] > 0
        number = int(present.sum())
        if number > 1:
            total, amount = sums[place].sum(), counts[place].sum()
            without = (total - sums[place, present]) / (amount - counts[place, present])
            result[place] = math.sqrt((number - 1) / number * float(((without - without.mean()) ** 2).sum()))
    return result
