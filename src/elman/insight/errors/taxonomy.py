"""A model's errors, each under the first oracle that explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.insight.errors.oracles import ORACLES, Evidence


@dataclass(frozen=True)
class Category:
    """The errors of one oracle.

    Attributes:
        name, title: the oracle's.
        count: errors that it explains and none before it did.
        parts: labels with their counts, in the oracle's order; a later part holds what the earlier ones do not.
        left: errors that remain after it.
    """

    name: str
    title: str
    count: int
    parts: tuple[tuple[str, int], ...]
    left: int


@dataclass(frozen=True)
class ErrorTaxonomy:
    """What became of a model's errors.

    Attributes:
        characters: how many were predicted.
        errors: to how many of them the model gave less than one half.
        nats: mean surprise of a predicted character.
        categories: in the order in which the oracles were asked; their counts sum to ``errors``.
        assigned: [N] for every character the place of its category, -1 where there was no error.
    """

    characters: int
    errors: int
    nats: float
    categories: tuple[Category, ...]
    assigned: NDArray[np.int8]

    def share(self, category: Category) -> float:
        """Of all errors, those of a category."""
        return category.count / self.errors if self.errors else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON values; without ``assigned``."""
        return {
            "characters": self.characters,
            "errors": self.errors,
            "error_rate": self.errors / self.characters if self.characters else None,
            "nats": self.nats,
            "categories": [
                {
                    "name": category.name,
                    "title": category.title,
                    "count": category.count,
                    "share": self.share(category),
                    "left": category.left,
                    "parts": [{"label": label, "count": count} for label, count in category.parts],
                }
                for category in self.categories
            ],
        }


def error_taxonomy(evidence: Evidence) -> ErrorTaxonomy:
    """Peel a model's errors off, oracle by oracle.

    Args:
        evidence: the text with what the model and the n-gram models made of it.

    Returns:
        The categories, whose counts sum to the number of errors.
    """
    left = evidence.errors.copy()
    predicted = ~np.isnan(evidence.nats)
    errors = int(left.sum())
    assigned = np.full(len(left), -1, dtype=np.int8)
    categories = []
    for place, oracle in enumerate(ORACLES):
        parts = []
        for label, helps in oracle.parts(evidence):
            found = left & helps
            assigned[found] = place
            left &= ~helps
            parts.append((label, int(found.sum())))
        count = sum(number for _, number in parts)
        categories.append(Category(oracle.name, oracle.title, count, tuple(parts), int(left.sum())))
    nats = float(evidence.nats[predicted].mean()) if predicted.any() else float("nan")
    return ErrorTaxonomy(int(predicted.sum()), errors, nats, tuple(categories), assigned)
