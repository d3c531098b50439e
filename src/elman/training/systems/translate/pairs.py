"""Which pairs a translator is trained on: where they lie, how they are read and cut, and their record in the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from elman.data.made_tasks import is_made
from elman.data.parallel import Pairs, divide, read_pairs
from elman.errors import FailureError, MisuseError
from elman.training.material import absolute, check_same, fingerprint_of, recorded_data

SHARED = ("subwords", "bytes")


@dataclass(frozen=True)
class PairOptions:
    """How pairs are read and cut into symbols; stored with the run.

    Attributes:
        tokens: "subwords", "words", "characters" or "bytes"; None for characters of a made task, subwords else.
        size: at most so many symbols in a vocabulary; None for the vocabulary's usual number.
        min_count: rarer words are unseen.
        joint: one vocabulary of source and target; None for subwords and bytes, not for others.
        lower: lower-case everything.
        longest: training pairs with a side of more symbols are left out.
        split: shares of training, validation and test by position, where there are no files of their own.
        encoding, errors: of the files.
    """

    tokens: str | None = None
    size: int | None = None
    min_count: int | None = None
    joint: bool | None = None
    lower: bool = False
    longest: int = 100
    split: str = "95/5"
    encoding: str = "utf-8"
    errors: str = "strict"

    def settled(self, sources: Sequence[str]) -> PairOptions:
        """With what the user left open."""
        tokens = self.tokens or ("characters" if is_made(sources[0]) else "subwords")
        return replace(self, tokens=tokens, joint=tokens in SHARED if self.joint is None else self.joint)

    def pairs(self, sources: Sequence[str], notices: list[str] | None = None) -> Pairs:
        """Pairs of files, a table or a made task."""
        return read_pairs(sources, encoding=self.encoding, errors=self.errors, lower=self.lower, notices=notices)

    def building(self) -> dict[str, Any]:
        """The options of the vocabularies."""
        options: dict[str, Any] = {}
        if self.size is not None:
            options["size" if self.tokens == "subwords" else "max_size"] = self.size
        if self.min_count is not None:
            options["min_count"] = self.min_count
        return options


@dataclass(frozen=True)
class Sources:
    """Where the pairs are: two names, or that of a table or a made task.

    Attributes:
        train: of the training part, or of everything where the others are empty.
        valid, test: of parts of their own.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def moved(self, places: Sequence[str]) -> Sources:
        """The same at other places.

        Args:
            places: as many as there are names in all, those of validation and test behind those of the training.

        Raises:
            MisuseError: another number.
        """
        kinds = (self.train, self.valid, self.test)
        if len(places) != sum(map(len, kinds)):
            names = ", ".join(name for kind in kinds for name in kind)
            raise MisuseError(f"--data names {len(places)} places; name one for each of {names}, in this order.")
        rest = iter(places)
        return Sources(*(tuple(islice(rest, len(kind))) for kind in kinds))

    def parts(self, options: PairOptions, notices: list[str] | None = None) -> dict[str, Pairs]:
        """All pairs by part.

        Raises:
            MisuseError: files that are no pairs.
        """
        pairs = options.pairs(self.train, notices)
        if not self.valid and not self.test:
            return divide(pairs, options.split)
        none = pairs.part(0, 0)
        others = {"valid": self.valid, "test": self.test}
        return {"train": pairs, **{n: options.pairs(s, notices) if s else none for n, s in others.items()}}


def record(sources: Sources, options: PairOptions, parts: Mapping[str, Pairs]) -> dict[str, Any]:
    """The entry "data" of a run's configuration."""
    return {
        "sources": {name: [_placed(at) for at in where] for name, where in asdict(sources).items()},
        "options": asdict(options),
        "fingerprint": fingerprint(parts),
        "pairs": {name: len(part) for name, part in parts.items()},
    }


def parts_of_run(
    config: Mapping[str, Any], run: Path, sources: Sequence[str] | None = None
) -> tuple[dict[str, Pairs], PairOptions]:
    """The pairs that a run was trained on, from its record.

    Raises:
        FailureError: they have changed since.
        MisuseError: they are not there any more.
    """
    data = recorded_data(config, run)
    try:
        options = PairOptions(**data["options"])
        recorded = Sources(**{name: tuple(map(str, where)) for name, where in data["sources"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its data were read ({error!r}).") from error
    places = recorded.moved(sources) if sources else recorded
    parts = places.parts(options)
    check_same(fingerprint(parts), config, run, places.train)
    return parts, options


def fingerprint(parts: Mapping[str, Pairs]) -> str:
    """SHA-256 of all pairs of all parts."""
    return fingerprint_of(text for part in parts.values() for pair in (part.source, part.target) for text in pair)


def _placed(source: str) -> str:
    return source if is_made(source) else absolute(source)
