"""The labelled words of a tagger: how they are read, turned into ids and put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.characters import Characters
from elman.data.conll import Tagged, read_tagged
from elman.data.labelled import padded
from elman.data.words import RESERVED, Words
from elman.errors import MisuseError
from elman.metrics.entities import SCHEMES, convert, follows
from elman.models.tagger import Allowed, Spelling
from elman.training.material import fingerprint_of
from elman.training.systems.parts import Sources, read_parts_again

# what is longer is an address or a row of signs, and its middle tells nothing
LONGEST_WORD = 40


@dataclass(frozen=True)
class Reading:
    """How labelled words are read; stored with the run.

    Attributes:
        word_column, tag_column, encoding, errors: as for :func:`elman.data.conll.read_tagged`.
        split: shares of training, validation and test, drawn at random by sentences, where there are no files.
        split_seed: of that draw.
        scheme: the labels are rewritten in it: "iob1", "iob2" or "iobes"; None keeps them.
        lower: words are looked up in lower case; their characters keep it.
        vocabulary: min_count, max_size.
    """

    word_column: str | None = None
    tag_column: str | None = None
    encoding: str = "utf-8"
    errors: str = "strict"
    split: str = "90/10"
    split_seed: int = 1
    scheme: str | None = None
    lower: bool = True
    vocabulary: Mapping[str, Any] = field(default_factory=dict)

    def read(self, sources: Sequence[str], notices: list[str] | None = None, tags_needed: bool = True) -> Tagged:
        """Labelled words of some files, in the scheme of the run."""
        read = read_tagged(
            sources,
            word_column=self.word_column,
            tag_column=self.tag_column if tags_needed else None,
            encoding=self.encoding,
            errors=self.errors,
            tags_needed=tags_needed,
            notices=notices,
        )
        if self.scheme is None or not tags_needed:
            return read
        if self.scheme not in SCHEMES:
            raise MisuseError(f"--scheme is {self.scheme!r}; it takes {', '.join(SCHEMES)}.")
        rewritten = []
        for labels, place in zip(read.labels, read.places, strict=True):
            try:
                rewritten.append(tuple(convert(labels, self.scheme)))
            except MisuseError as error:
                raise MisuseError(f"{place}: {error} --scheme is for labels of entities.") from error
        return Tagged(read.sentences, tuple(rewritten), read.places)

    def build(self, sentences: Sequence[Sequence[str]]) -> Words:
        """The words of the training sentences, the most frequent first.

        Raises:
            MisuseError: no word occurs often enough.
        """
        counts = Counter(self.normal(word) for sentence in sentences for word in sentence)
        least, most = int(self.vocabulary.get("min_count", 1)), self.vocabulary.get("max_size")
        kept = [word for word, times in counts.items() if times >= least and word not in RESERVED]
        if not kept:
            raise MisuseError(f"No word occurs {least} times: choose a smaller --min-count.")
        kept.sort(key=lambda word: (-counts[word], word))
        room = None if most is None else max(1, int(most) - len(RESERVED))
        return Words(tuple(kept[:room]), whitespace=True)

    def normal(self, word: str) -> str:
        """A word as the vocabulary has it: no white space within, lower case if wanted."""
        joined = "_".join(word.split()) or "_"
        return joined.lower() if self.lower else joined


def parts_of(sources: Sources, reading: Reading, notices: list[str] | None = None) -> dict[str, Tagged]:
    """All sentences by part.

    Raises:
        MisuseError: files that cannot be read so, or a single label.
    """
    parts = sources.parts(lambda files: reading.read(files, notices), reading.split, reading.split_seed)
    tags = parts["train"].tags
    if len(tags) < 2:
        raise MisuseError(
            f"All {parts['train'].words:,} training words have the label {tags[0]!r}; a tagger needs two. "
            "Is it the right column? Say --tag-column."
        )
    if notices is not None:
        for name in ("valid", "test"):
            if strange := set(parts[name].tags) - set(tags):
                notices.append(f"The {name} part has labels that training lacks: {', '.join(sorted(strange))[:200]}.")
    return parts


def characters_of(sentences: Sequence[Sequence[str]]) -> Characters:
    """The characters of the training words, with an ``<unk>`` for others."""
    return Characters.build(("".join(sentence) for sentence in sentences), unknown="unk")


@dataclass(frozen=True)
class Coded:
    """Sentences as numbers.

    Attributes:
        words: [N] sequences of word ids.
        labels: [N] sequences of label numbers, -1 for a label that the model lacks; empty without labels.
        spelled: [N] sequences of places in ``letters``.
        letters: the characters of each different word; empty for a model without them.
    """

    words: list[NDArray[np.int64]]
    labels: list[NDArray[np.int64]]
    spelled: list[NDArray[np.int64]]
    letters: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] words of each sentence."""
        return np.array([len(row) for row in self.words], dtype=np.int64)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, Spelling | None]:
        """Chosen sentences side by side: words [T, B], lengths [B] and the spelling of the words."""
        words, lengths = padded([self.words[row] for row in rows])
        spelling = None
        if self.letters:
            places, _ = padded([self.spelled[row] for row in rows])
            different, inverse = np.unique(places, return_inverse=True)
            characters, sizes = padded([self.letters[place] for place in different])
            spelling = Spelling(
                torch.from_numpy(characters), torch.from_numpy(sizes), torch.from_numpy(inverse.reshape(places.shape))
            )
        return torch.from_numpy(words), torch.from_numpy(lengths), spelling


def code(
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]],
    reading: Reading,
    vocabulary: Words,
    characters: Characters | None,
    tags: Sequence[str],
) -> Coded:
    """Sentences and labels as numbers.

    Args:
        sentences: words of each.
        labels: of each, or none at all.
        reading: how words are looked up.
        vocabulary: of the words.
        characters: that words are spelled with; None for a model without them.
        tags: labels by number.
    """
    numbers = {tag: number for number, tag in enumerate(tags)}
    places: dict[str, int] = {}
    letters: list[NDArray[np.int64]] = []
    words, spelled = [], []
    for sentence in sentences:
        ids = vocabulary.ids([reading.normal(word) for word in sentence])
        words.append(np.where(ids < 0, 0, ids))
        for word in sentence:
            if characters is not None and word not in places:
                places[word] = len(places)
                own = characters.ids(list(word[:LONGEST_WORD]))
                letters.append(np.where(own < 0, characters.size - 1, own))
        if characters is not None:
            spelled.append(np.array([places[word] for word in sentence], dtype=np.int64))
    coded = [np.array([numbers.get(label, -1) for label in row], dtype=np.int64) for row in labels]
    return Coded(words, coded, spelled, letters)


def allowed_pairs(tags: Sequence[str], scheme: str) -> Allowed:
    """Which labels a scheme lets stand where.

    Args:
        tags: labels by number.
        scheme: as :func:`elman.metrics.entities.follows` takes it.
    """
    pairs = torch.tensor([[follows(scheme, before, after) for after in tags] for before in tags])
    begin = torch.tensor([follows(scheme, None, tag) for tag in tags])
    end = torch.tensor([follows(scheme, tag, None) for tag in tags])
    return Allowed(pairs, begin, end)


def fingerprint(parts: Mapping[str, Tagged]) -> str:
    """SHA-256 of all words and labels of all parts."""
    return fingerprint_of(
        item
        for part in parts.values()
        for sentence, labels in zip(part.sentences, part.labels, strict=True)
        for item in ("\n".join(sentence), "\n".join(labels))
    )


def read_again(
    config: Mapping[str, Any], run: Path, train: Sequence[str] | None = None
) -> tuple[dict[str, Tagged], Reading]:
    """The sentences that a run was trained on; see :func:`elman.training.systems.parts.read_parts_again`."""
    return read_parts_again(config, run, train, Reading, parts_of, fingerprint)
