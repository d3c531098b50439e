"""Comparing the tensors of a file with those that a model asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elman.errors import FailureError


def compare_shapes(
    path: Path, stored: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], asker: str
) -> None:
    """Refuse a tensor file that does not hold exactly the named shapes.

    Args:
        path: the file, for the error.
        stored: name and shape of what it holds.
        expected: name and shape of what it should hold.
        asker: who expects that, for the error: "the configuration".

    Raises:
        FailureError: naming the first tensor that is missing, unknown or of another shape.
    """
    for name in sorted(set(stored) | set(expected)):
        if name not in stored:
            raise FailureError(f"{path} lacks the tensor {name}, which {asker} asks for.")
        if name not in expected:
            raise FailureError(f"{path} holds a tensor {name} that {asker} does not know.")
        if stored[name] != expected[name]:
            raise FailureError(f"{path}: {name} has shape {stored[name]}, {asker} asks for {expected[name]}.")
