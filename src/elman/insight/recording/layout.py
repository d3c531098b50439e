"""What a recording folder holds: its files, their types and shapes, and the groups of cells."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FORMAT = 1

#: The five likeliest next symbols are kept.
TOP = 5

#: int8 value of 1.0: a stored v means transform(value) = v / SCALE.
SCALE = 127

MANIFEST = "manifest.json"
TEXT = "text.txt"
SYMBOLS = "symbols.json"
VALUES = "values.npy"

KINDS = ("state", "gate")
TRANSFORMS = ("identity", "tanh")

#: Longest text, in characters, that is recorded or opened: all but the values is read when a recording is opened.
LONGEST = 2**26


@dataclass(frozen=True)
class Group:
    """The cells of one quantity of one layer; their numbers follow each other.

    Attributes:
        layer: from 0, the lowest.
        name: of the state or the gate, as the equations have it.
        kind: "state", or "gate" for any other name that the equations assign.
        transform: what was applied before rounding: "identity", or "tanh" where values leave [-1, 1].
        first: number of the first cell.
        count: how many cells.
    """

    layer: int
    name: str
    kind: str
    transform: str
    first: int
    count: int

    def to_json(self) -> dict[str, Any]:
        """The group as JSON values."""
        return asdict(self)


def arrays(cells: int, length: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of every array of a recording, by file name.

    Args:
        cells: C.
        length: tokens N.
    """
    return {
        VALUES: (np.dtype("<i1"), (cells, length)),
        "ids.npy": (np.dtype("<i4"), (length,)),
        "offsets.npy": (np.dtype("<i8"), (length,)),
        "nats.npy": (np.dtype("<f4"), (length,)),
        "top_ids.npy": (np.dtype("<i4"), (length, TOP)),
        "top_logprobs.npy": (np.dtype("<f2"), (length, TOP)),
    }


def recording_bytes(cells: int, length: int) -> int:
    """Bytes that the arrays of a recording take on the disk.

    Args:
        cells: C.
        length: tokens N.
    """
    return sum(kind.itemsize * math.prod(shape) for kind, shape in arrays(cells, length).values())
