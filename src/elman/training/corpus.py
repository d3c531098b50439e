"""The text of a run: how it is read, told and recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elman.data.sources import is_path
from elman.data.tokens import Corpus, prepare
from elman.data.vocabulary import Vocabulary, from_json
from elman.errors import FailureError, MisuseError
from elman.training.display import Display

UNITS = {"characters": "character", "bytes": "byte", "words": "word", "subwords": "subword"}


@dataclass(frozen=True)
class TextOptions:
    """How a text is read and cut into tokens; stored with the run, so that a resume reads it the same way.

    Attributes:
        kind: "characters", "bytes", "words" or "subwords".
        split: shares of training, validation and test.
        unknown: policy for unseen symbols, None for the vocabulary's usual one.
        encoding, errors, bom, newlines: as for :func:`elman.data.tokens.prepare`.
        vocabulary_options: cap, least count, lower-casing and so on.
    """

    kind: str = "characters"
    split: str = "90/10"
    unknown: str | None = None
    encoding: str = "utf-8"
    errors: str | None = None
    bom: str = "keep"
    newlines: str = "keep"
    vocabulary_options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, sources: Sequence[str], vocabulary: Vocabulary | None = None) -> Corpus:
        """The corpus of these sources.

        Args:
            sources: files, folders, globs, URLs or ``python:stdlib``.
            vocabulary: use this one, with its own treatment of unseen symbols, and do not build another.
        """
        building = {"unknown": self.unknown, "vocabulary_options": dict(self.vocabulary_options)}
        return prepare(
            sources,
            kind=self.kind,
            split=self.split,
            encoding=self.encoding,
            errors=self.errors,
            bom=self.bom,
            newlines=self.newlines,
            **(building if vocabulary is None else {"vocabulary": vocabulary}),
        )


def unit_of(vocabulary: Vocabulary) -> str:
    """What a token is called: "character", "byte", "word", "subword"."""
    return UNITS[vocabulary.kind]


def describe_corpus(corpus: Corpus, display: Display) -> None:
    """Say what was read: sizes, and what the reading noticed, such as unseen symbols."""
    unit = unit_of(corpus.vocabulary)
    for notice in corpus.notices:
        display.warn(notice)
    test = f", {len(corpus.test):,} to test" if len(corpus.test) else ""
    display.note(
        f"{len(corpus.train):,} {unit}s to train on, {len(corpus.valid):,} to validate{test}; "
        f"{corpus.vocabulary.size:,} symbols; fingerprint {corpus.fingerprint[:12]}"
    )


def refuse_inside(out: Path, sources: Sequence[str]) -> None:
    """Refuse a run folder inside a text folder: the run would become part of the text, which could not be read again.

    Raises:
        MisuseError: naming both.
    """
    inside = Path(os.path.realpath(out))
    for source in sources:
        folder = Path(os.path.realpath(os.path.expanduser(source)))
        if is_path(source) and os.path.isdir(folder) and inside.is_relative_to(folder):
            raise MisuseError(f"The run folder {out} lies inside {source}, which is read. Name another with --out.")


def describe_data(sources: Sequence[str], text: TextOptions, corpus: Corpus) -> dict[str, Any]:
    """The record of a run's text for ``config.json``."""
    return {
        "sources": [os.path.abspath(os.path.expanduser(source)) if is_path(source) else source for source in sources],
        "options": asdict(text),
        "fingerprint": corpus.fingerprint,
        "tokens": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
        "unknown": {name: part.unseen for name, part in corpus.parts.items()},
    }


def read_again(
    config: Mapping[str, Any],
    run: object,
    vocabulary: Vocabulary | None = None,
    sources: Sequence[str] | None = None,
) -> Corpus:
    """The corpus that a run was trained on, from its record.

    Args:
        config: of the run.
        run: its folder, for the error.
        vocabulary: the run's own with another treatment of unseen symbols, or None for the recorded one.
        sources: where the text lies now; None for the recorded places.

    Raises:
        FailureError: the text has changed since.
        MisuseError: it is not there any more.
    """
    try:
        data = config["data"]
        options, recorded, fingerprint = TextOptions(**data["options"]), list(data["sources"]), str(data["fingerprint"])
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its text was read ({error!r}).") from error
    places = list(sources) if sources else recorded
    corpus = options.read(places, vocabulary or from_json(config["vocabulary"]))
    if corpus.fingerprint != fingerprint:
        raise FailureError(
            f"The text is not the one that {run} was trained on (fingerprint {corpus.fingerprint[:12]}, not "
            f"{fingerprint[:12]}). Restore {', '.join(places)}, or train anew."
        )
    return corpus
