"""The labelled texts of a classifier: how they are read, divided, turned into ids and recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.labelled import Labelled, read_labelled, token_ids
from elman.data.vocabulary import Vocabulary, build
from elman.errors import MisuseError
from elman.training.folds import fold_parts
from elman.training.material import fingerprint_of
from elman.training.systems.parts import Sources, read_parts_again


@dataclass(frozen=True)
class Reading:
    """How labelled texts are read and cut into tokens; stored with the run.

    Attributes:
        tokens: "words", "characters", "bytes" or "subwords".
        form, text_column, label_column, encoding, errors: as for :func:`elman.data.labelled.read_labelled`.
        split: shares of training, validation and test, drawn at random, where there are no files of their own.
        split_seed: of that draw, and of the folds.
        folds: of a cross-validation; 0 for none.
        fold: which of them is tested, from 1.
        longest: tokens of a text that are read.
        vocabulary: cap, least count, lower-casing and so on.
    """

    tokens: str = "words"
    form: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    encoding: str = "utf-8"
    errors: str = "strict"
    split: str = "90/10"
    split_seed: int = 1
    folds: int = 0
    fold: int = 0
    longest: int = 1000
    vocabulary: Mapping[str, Any] = field(default_factory=dict)

    def read(self, sources: Sequence[str], notices: list[str] | None = None, labels_needed: bool = True) -> Labelled:
        """Labelled texts of some files."""
        return read_labelled(
            sources,
            form=self.form,
            text_column=self.text_column,
            label_column=self.label_column if labels_needed else None,
            encoding=self.encoding,
            errors=self.errors,
            labels_needed=labels_needed,
            notices=notices,
        )

    def build(self, texts: Sequence[str]) -> Vocabulary:
        """The vocabulary of the training texts; symbols that it lacks are read as ``<unk>``."""
        options = dict(self.vocabulary)
        if self.tokens == "characters":
            options.setdefault("unknown", "unk")
        return build(self.tokens, (text.replace("\n", " ") + "\n" for text in texts), **options)


def parts_of(sources: Sources, reading: Reading, notices: list[str] | None = None) -> dict[str, Labelled]:
    """All texts by part.

    Raises:
        MisuseError: files that cannot be read so, a label that training lacks, or only one class.
    """

    def fold(whole: Labelled) -> dict[str, NDArray[np.int64]]:
        return fold_parts(whole.labels, reading.folds, reading.fold, reading.split_seed)

    parts = sources.parts(
        lambda files: reading.read(files, notices), reading.split, reading.split_seed, fold if reading.folds else None
    )
    classes = set(parts["train"].classes)
    for name in ("valid", "test"):
        check_labels(parts[name], classes)
    if len(classes) < 2:
        raise MisuseError(
            f"All {len(parts['train']):,} training texts have the label {min(classes)!r}; a classifier needs two."
        )
    if notices is not None:
        known = set(parts["train"].texts)
        for name in ("valid", "test"):
            if again := sum(text in known for text in parts[name].texts):
                notices.append(f"{again:,} of {len(parts[name]):,} {name} texts also stand in the training part.")
    return parts


def check_labels(texts: Labelled, classes: set[str]) -> None:
    """Refuse a text whose label no training text has.

    Raises:
        MisuseError: naming the first, with its place.
    """
    for label, place in zip(texts.labels, texts.places, strict=True):
        if label not in classes:
            raise MisuseError(
                f"{place}: no training text has the label {label!r}; there are {', '.join(sorted(classes))[:200]}."
            )


@dataclass(frozen=True)
class Coded:
    """Texts as numbers.

    Attributes:
        ids: [N] sequences of token ids.
        classes: [N] class numbers.
        cut: how many texts were longer than allowed.
    """

    ids: list[NDArray[np.int64]]
    classes: NDArray[np.int64]
    cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of each."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)


def code(texts: Labelled, vocabulary: Vocabulary, classes: Sequence[str], longest: int) -> Coded:
    """Texts and labels as numbers.

    Args:
        texts: whose labels are among the classes.
        vocabulary: of the tokens.
        classes: by number.
        longest: tokens of a text that are read.
    """
    rows = [token_ids(vocabulary, text, longest + 1) for text in texts.texts]
    cut = sum(len(row) > longest for row in rows)
    numbers = {name: number for number, name in enumerate(classes)}
    found = np.array([numbers[str(label)] for label in texts.labels], dtype=np.int64)
    return Coded([row[:longest] for row in rows], found, cut)


def fingerprint(parts: Mapping[str, Labelled]) -> str:
    """SHA-256 of all texts and labels of all parts."""
    return fingerprint_of(
        item for part in parts.values() for pair in zip(part.labels, part.texts, strict=True) for item in map(str, pair)
    )


def read_again(
    config: Mapping[str, Any], run: Path, train: Sequence[str] | None = None
) -> tuple[dict[str, Labelled], Reading]:
    """The texts that a run was trained on; see :func:`elman.training.systems.parts.read_parts_again`."""
    return read_parts_again(config, run, train, Reading, parts_of, fingerprint)
