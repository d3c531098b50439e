"""Where the examples of training, validation and test are, and what the record of a run says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman.data.splits import PARTS
from elman.errors import FailureError, MisuseError
from elman.training.material import absolute, check_same, recorded_data, shuffled_parts


class Divisible(Protocol):
    """Examples of which some can be taken."""

    def __len__(self) -> int:
        """Number of examples."""

    def take(self, rows: Iterable[int]) -> Self:
        """Chosen examples."""


Part = TypeVar("Part", bound=Divisible)


@dataclass(frozen=True)
class Sources:
    """Files of examples.

    Attributes:
        train: of training, or of everything that has no files of its own.
        valid, test: of these parts.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def parts(
        self,
        read: Callable[[Sequence[str]], Part],
        split: str,
        split_seed: int,
        fold: Callable[[Part], Mapping[str, NDArray[np.int64]]] | None = None,
    ) -> dict[str, Part]:
        """All examples by part.

        Args:
            read: the examples of some files.
            split: shares of training, validation and test, drawn at random, where there are no files of their own.
            split_seed: of that draw.
            fold: gives the rows of the parts in place of the split.

        Raises:
            MisuseError: files and split that contradict each other.
        """
        whole = read(self.train)
        given = {name: read(files) for name, files in (("valid", self.valid), ("test", self.test)) if files}
        none = np.zeros(0, dtype=np.int64)
        if fold is not None:
            if given:
                raise MisuseError("--folds tests on parts of the one file; leave --valid and --test out.")
            rows = fold(whole)
        elif "valid" in given:
            rows = {"train": np.arange(len(whole)), "valid": none, "test": none}
        else:
            if "test" in given and split.count("/") > 1:
                raise MisuseError(f"--split {split} draws a test part, and --test names one: give two shares.")
            rows = shuffled_parts(len(whole), split, split_seed)
        return {name: given[name] if name in given else whole.take(rows[name]) for name in PARTS}

    def record(self, options: Any, fingerprint: str, counts: Mapping[str, int]) -> dict[str, Any]:
        """What ``config.json`` says of the data.

        Args:
            options: a dataclass of how they were read.
            fingerprint: of all parts.
            counts: examples by part.
        """
        return {
            "sources": {name: [absolute(place) for place in places] for name, places in asdict(self).items()},
            "options": asdict(options),
            "fingerprint": fingerprint,
            "examples": dict(counts),
        }

    @classmethod
    def recorded(cls, config: Mapping[str, Any], run: Path, train: Sequence[str] | None) -> Sources:
        """The sources of a run.

        Args:
            config: of the run.
            run: its folder, for errors.
            train: where the training examples lie now; None for the recorded places.

        Raises:
            FailureError: its record does not name them.
        """
        try:
            places = {name: tuple(map(str, files)) for name, files in config["data"]["sources"].items()}
            found = cls(**places)
        except (KeyError, TypeError, AttributeError) as error:
            raise FailureError(f"The configuration of {run} does not say where its data were ({error!r}).") from error
        return replace(found, train=tuple(train)) if train else found


Options = TypeVar("Options")


def options_of(kind: type[Options], config: Mapping[str, Any], run: Path) -> Options:
    """How a run's data were read.

    Args:
        kind: the dataclass of the options.
        config: of the run.
        run: its folder, for errors.

    Raises:
        FailureError: its record does not say so.
    """
    try:
        return kind(**recorded_data(config, run)["options"])
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its data were read ({error!r}).") from error


def read_parts_again(
    config: Mapping[str, Any],
    run: Path,
    train: Sequence[str] | None,
    kind: type[Options],
    parts_of: Callable[[Sources, Options], dict[str, Part]],
    fingerprint: Callable[[Mapping[str, Part]], str],
) -> tuple[dict[str, Part], Options]:
    """The examples that a run was trained on, from its record.

    Args:
        config: of the run.
        run: its folder, for errors.
        train: where the training examples lie now; None for the recorded places.
        kind: the dataclass of how they were read.
        parts_of: all examples by part.
        fingerprint: of all parts.

    Raises:
        FailureError: they have changed since.
        MisuseError: they are not there any more.
    """
    options = options_of(kind, config, run)
    sources = Sources.recorded(config, run, train)
    parts = parts_of(sources, options)
    check_same(fingerprint(parts), config, run, sources.train)
    return parts, options


def names_of(config: Mapping[str, Any], entry: str, run: Path) -> tuple[str, ...]:
    """The classes or labels of a run, by number.

    Args:
        config: of the run; its model has under the same entry how many there are.
        entry: "classes" or "labels".
        run: its folder, for errors.

    Raises:
        FailureError: its record has none, or another number than its model.
    """
    names = config.get(entry)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FailureError(f"The configuration of {run} does not name its {entry}.")
    if config["model"].get(entry) != len(names):
        raise FailureError(f"{run} names {len(names)} {entry}, and its model has {config['model'].get(entry)}.")
    return tuple(names)
