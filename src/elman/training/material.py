"""The record of a run's data: where they lie and what they were, so that a resume reads the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.sources import is_path
from elman.data.splits import parse_split
from elman.errors import FailureError, MisuseError


def absolute(source: str) -> str:
    """A source as it is found from any folder; URLs stay as they are."""
    return os.path.abspath(os.path.expanduser(source)) if is_path(source) else source


def fingerprint_of(items: Iterable[str | bytes]) -> str:
    """SHA-256 of what was read, item by item: texts, labels, digests of images."""
    digest = hashlib.sha256()
    for item in items:
        content = item.encode("utf-8", errors="surrogatepass") if isinstance(item, str) else item
        # lengths keep ("ab", "c") and ("a", "bc") apart
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def check_same(fingerprint: str, config: Mapping[str, Any], run: Path, places: Sequence[str]) -> None:
    """Refuse data that are not those of the run.

    Args:
        fingerprint: of what was read now.
        config: of the run; ``config["data"]["fingerprint"]`` is what it was trained on.
        run: its folder, for the error.
        places: where the data were read, for the error.

    Raises:
        FailureError: they differ, or the record lacks the fingerprint.
    """
    recorded = str(recorded_data(config, run).get("fingerprint"))
    if recorded != fingerprint:
        raise FailureError(
            f"The data are not those that {run} was trained on (fingerprint {fingerprint[:12]}, not "
            f"{recorded[:12]}). Restore {', '.join(places)}, or train anew."
        )


def recorded_data(config: Mapping[str, Any], run: Path) -> Mapping[str, Any]:
    """The record of a run's data.

    Raises:
        FailureError: the configuration has none.
    """
    data = config.get("data")
    if not isinstance(data, dict):
        raise FailureError(f"The configuration of {run} does not say how its data were read.")
    return data


def shuffled_parts(count: int, split: str, seed: int) -> dict[str, NDArray[np.int64]]:
    """Examples divided at random, for data that have no order.

    Args:
        count: examples N.
        split: shares such as ``"90/10"`` or ``"80/10/10"`` of training, validation, test.
        seed: of the division.

    Returns:
        Row numbers of "train", "valid" and "test", each ascending.

    Raises:
        MisuseError: a split that is none, or one that leaves training nothing.
    """
    shares = parse_split(split)
    whole = sum(shares)
    bounds = [int(count * sum(shares[:k]) / whole) for k in range(1, len(shares))]
    parts = np.split(np.random.default_rng([seed, count]).permutation(count), bounds)
    parts += [np.zeros(0, dtype=np.int64)] * (3 - len(parts))
    if not len(parts[0]):
        raise MisuseError(f"--split {split} leaves nothing of {count:,} examples to train on.")
    return {name: np.sort(rows) for name, rows in zip(("train", "valid", "test"), parts, strict=True)}
