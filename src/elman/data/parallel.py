"""Pairs of sentences: two files line by line, a table of two columns, or a made task; and their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.made_tasks import is_made, made_pairs
from elman.data.reading import read_text
from elman.data.sources import resolve
from elman.data.splits import borders as split_borders
from elman.data.splits import parse_split
from elman.data.vocabulary import Vocabulary, build
from elman.errors import MisuseError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, in the order of the files.

    Attributes:
        source: [N] texts.
        target: [N] texts.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)

    def part(self, begin: int, end: int) -> Pairs:
        """Pairs ``begin`` to ``end - 1``."""
        return Pairs(self.source[begin:end], self.target[begin:end])


def read_pairs(
    sources: Sequence[str],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    lower: bool = False,
    notices: list[str] | None = None,
) -> Pairs:
    """Read pairs of sentences.

    Args:
        sources: two names, of the sources and of their translations line by line; or one, of a file with
            ``source TAB target`` in each line, or of a made task (:func:`elman.data.made_tasks.made_pairs`). A name is
            that of a file (.gz too), a folder, a glob or a URL.
        encoding, errors: as for :func:`elman.data.reading.read_text`.
        lower: lower-case both sides.
        notices: receives a sentence about pairs that were left out because a side is empty.

    Returns:
        The pairs, white space at their ends removed.

    Raises:
        MisuseError: more or fewer than one or two names, files of unequal length, a line without its translation, no
            pair at all.
    """
    named = " and ".join(map(str, sources))
    if len(sources) == 1 and is_made(sources[0]):
        found: Iterator[tuple[str, str, int]] = ((*pair, line) for line, pair in enumerate(made_pairs(sources[0]), 1))
    elif len(sources) == 1:
        found = _from_table(sources[0], encoding, errors, notices)
    elif len(sources) == 2:
        found = _from_two(sources, encoding, errors, notices)
    else:
        raise MisuseError(
            f"Pairs of sentences come from two files, one line for one line, or from one with a tab between source "
            f"and target; {len(sources)} are named."
        )
    kept: list[tuple[str, str]] = []
    empty: list[int] = []
    for source, target, line in found:
        if source.strip() and target.strip():
            kept.append((source.strip(), target.strip()))
        else:
            empty.append(line)
    if not kept:
        raise MisuseError(f"{named}: there is no pair of sentences.")
    if empty and notices is not None:
        notices.append(f"{named}: {len(empty):,} pairs with an empty side were left out, the first in line {empty[0]}.")
    if lower:
        kept = [(source.lower(), target.lower()) for source, target in kept]
    first, second = zip(*kept, strict=True)
    return Pairs(first, second)


def _lines(name: str, encoding: str, errors: str, notices: list[str] | None) -> list[str]:
    text = "".join(read_text(resolve([name], notices), encoding, errors, "strip", "unix"))
    # splitlines() would also end a line at characters that stand inside sentences, such as U+2028
    return text.removesuffix("\n").split("\n") if text else []


def _from_two(
    sources: Sequence[str], encoding: str, errors: str, notices: list[str] | None
) -> Iterator[tuple[str, str, int]]:
    first, second = (_lines(name, encoding, errors, notices) for name in sources)
    if len(first) != len(second):
        raise MisuseError(
            f"{sources[0]} has {len(first):,} lines and {sources[1]} has {len(second):,}; every line needs its "
            "translation in the same line of the other file."
        )
    yield from zip(first, second, range(1, len(first) + 1), strict=True)


def _from_table(name: str, encoding: str, errors: str, notices: list[str] | None) -> Iterator[tuple[str, str, int]]:
    for number, line in enumerate(_lines(name, encoding, errors, notices), 1):
        fields = line.split("\t")
        if len(fields) < 2 and line.strip():
            raise MisuseError(
                f"{name}, line {number}: {line[:60]!r} has no tab; a line is a sentence, a tab and its translation. "
                "Where the translations are in a file of their own, name both files."
            )
        # what stands in further columns, as in files of Tatoeba, is where a sentence comes from
        yield (fields[0], fields[1], number) if len(fields) > 1 else ("", "", number)


def divide(pairs: Pairs, split: str) -> dict[str, Pairs]:
    """Training, validation and test pairs by position.

    Args:
        pairs: all of them.
        split: such as ``"90/10"`` or ``"80/10/10"``.

    Raises:
        MisuseError: not a split, or one that leaves nothing to train on.
    """
    ends = split_borders(parse_split(split), len(pairs))
    if not ends[0]:
        raise MisuseError(f"--split {split} of {len(pairs)} pairs leaves none to train on.")
    return {
        "train": pairs.part(0, ends[0]),
        "valid": pairs.part(ends[0], ends[1]),
        "test": pairs.part(ends[1], len(pairs)),
    }


def build_vocabularies(pairs: Pairs, kind: str, joint: bool, **options: Any) -> tuple[Vocabulary, Vocabulary]:
    """Vocabularies of the training pairs.

    Args:
        pairs: of the training part.
        kind: "characters", "bytes", "words" or "subwords".
        joint: one vocabulary of both sides.
        **options: as for :func:`elman.data.vocabulary.build`.

    Returns:
        That of the source and that of the target.

    Raises:
        MisuseError: an option that cannot be.
    """
    sides = [f"{text}\n" for text in pairs.source], [f"{text}\n" for text in pairs.target]
    if joint:
        both = build(kind, sides[0] + sides[1], **options)
        return both, both
    return build(kind, sides[0], **options), build(kind, sides[1], **options)


def borders(vocabulary: Vocabulary) -> tuple[int, int]:
    """The ids that a sentence begins after and ends with: ``<S>`` and ``<E>``, or the line end for both.

    Raises:
        MisuseError: the vocabulary has neither.
    """
    if vocabulary.start is not None and vocabulary.end is not None:
        return vocabulary.start, vocabulary.end
    line_end = vocabulary.encode("\n").ids.tolist()
    if len(line_end) != 1:
        raise MisuseError(f"A vocabulary of {vocabulary.kind} without a line end cannot say where a sentence ends.")
    return line_end[0], line_end[0]


def encode_sentences(vocabulary: Vocabulary, texts: Sequence[str]) -> list[Ids]:
    """Each text as ids with the end symbol behind it and no start symbol before.

    Args:
        vocabulary: its policy decides what becomes of unseen symbols.
        texts: of one line each.

    Raises:
        MisuseError: an unseen symbol under the policy "error"; a text of several lines.
    """
    start, end = borders(vocabulary)
    ids = vocabulary.encode("".join(f"{text}\n" for text in texts)).ids.astype(np.int64)
    if start != end:
        ids = ids[ids != start]
    ends = np.flatnonzero(ids == end) + 1
    if len(ends) != len(texts):
        # only a line end that is part of a larger symbol, or one within a text, can do that
        raise MisuseError(f"{len(texts)} sentences were read as {len(ends)}: is there a line end within a sentence?")
    return np.split(ids, ends[:-1]) if len(texts) else []


@dataclass(frozen=True)
class TokenPairs:
    """Pairs as ids, each side with its end symbol.

    Attributes:
        source: [N] arrays.
        target: [N] arrays.
        start: the target's start symbol.
    """

    source: list[Ids]
    target: list[Ids]
    start: int

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> Ids:
        """[N] symbols of source and target together."""
        sides = zip(self.source, self.target, strict=True)
        return np.array([len(source) + len(target) for source, target in sides], dtype=np.int64)

    def batch(self, rows: Sequence[int] | Ids) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Some pairs side by side.

        Args:
            rows: their numbers.

        Returns:
            Source [S, B] and its lengths [B]; target [T + 1, B] with the start symbol first, and its lengths [B]
            without it.
        """
        begin = np.array([self.start])
        source, source_lengths = padded([self.source[row] for row in rows])
        target, target_lengths = padded([np.concatenate((begin, self.target[row])) for row in rows])
        return source, source_lengths, target, target_lengths - 1


def encode_pairs(
    pairs: Pairs,
    source: Vocabulary,
    target: Vocabulary,
    *,
    longest: int | None = None,
    notices: list[str] | None = None,
) -> TokenPairs:
    """Pairs as ids.

    Args:
        pairs: texts.
        source, target: vocabularies.
        longest: pairs with a side of more symbols are left out.
        notices: receives a sentence about pairs that were left out.

    Raises:
        MisuseError: every pair is too long.
    """
    first, second = encode_sentences(source, pairs.source), encode_sentences(target, pairs.target)
    if longest is not None:
        kept = [row for row in range(len(first)) if max(len(first[row]), len(second[row])) <= longest]
        left_out = len(first) - len(kept)
        if first and not kept:
            raise MisuseError(f"All {len(first):,} pairs have a side of more than {longest} symbols.")
        if left_out and notices is not None:
            notices.append(f"{left_out:,} pairs with a side of more than {longest} symbols were left out.")
        first, second = [first[row] for row in kept], [second[row] for row in kept]
    return TokenPairs(first, second, borders(target)[0])


def padded(rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Sequences side by side.

    Args:
        rows: [B] arrays of ids.

    Returns:
        [T, B] with zeros beyond a row's end, and the lengths [B].
    """
    lengths = torch.tensor([len(row) for row in rows])
    table = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for place, row in enumerate(rows):
        table[place, : len(row)] = torch.from_numpy(row)
    return table.t().contiguous(), lengths
