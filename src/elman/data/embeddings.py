"""Word vectors that somebody has trained: word2vec and GloVe text files, safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError

# a line of text holds a word and a vector; what is longer is no file of vectors
LONGEST_LINE = 1 << 20
WIDEST = 8192
ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class WordVectors:
    """A row for each word of a vocabulary.

    Attributes:
        matrix: [V, D] float32; rows of words that the file lacks are drawn at random.
        found: [V] whether the file has the word.
        lowered: how many of these it has only in lower case.
        notices: what the reading left out.
    """

    matrix: NDArray[np.float32]
    found: NDArray[np.bool_]
    lowered: int
    notices: tuple[str, ...]


def read_embeddings(path: str | Path, words: Sequence[str], seed: int = 1) -> WordVectors:
    """The vectors of some words, read line by line: memory grows with the words, not with the file.

    A text file has a word and D numbers a line, with a first line ``N D`` (word2vec) or without (GloVe). A .safetensors
    file has one matrix [N, D] and in its metadata ``words``, a JSON list of N strings. The first vector of a word
    counts. A word that the file lacks takes the vector of its lower-case form; what is left is drawn from a normal
    distribution with the mean and the deviation of the vectors found, column by column.

    Args:
        path: the file.
        words: the vocabulary's words by id.
        seed: of the rows that are drawn.

    Returns:
        The matrix and which of its rows are the file's.

    Raises:
        MisuseError: no such file, a line that is no vector of the file's width, or none of the words.
    """
    path = Path(path)
    wanted: dict[str, list[int]] = {}
    lowered: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        wanted.setdefault(word, []).append(place)
        if word.lower() != word:
            lowered.setdefault(word.lower(), []).append(place)
    notices: list[str] = []
    rows: Rows = _of_safetensors(path) if path.suffix.lower() == ".safetensors" else _of_text(path, notices)
    width = next(rows)
    assert isinstance(width, int)
    matrix = np.zeros((len(words), width), dtype=np.float32)
    # 2: the word itself, 1: its lower-case form
    kind = np.zeros(len(words), dtype=np.int8)
    needed = wanted.keys() | lowered.keys()
    for entry in rows:
        assert not isinstance(entry, int)
        word, vector = entry
        if word not in needed:
            continue
        places = [place for place in wanted.get(word, ()) if kind[place] < 2]
        others = [place for place in lowered.get(word, ()) if not kind[place]]
        if places or others:
            matrix[[*places, *others]] = vector()
            kind[places], kind[others] = 2, 1
    found = kind > 0
    if not found.any():
        raise MisuseError(f"{path} holds none of the {len(words):,} words of the texts; is it of another language?")
    if not np.isfinite(matrix).all():
        raise MisuseError(f"{path} holds vectors that are no finite numbers.")
    known = matrix[found]
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal((int((~found).sum()), width), dtype=np.float32)
    matrix[~found] = known.mean(0) + known.std(0) * drawn
    return WordVectors(matrix, found, int((kind == 1).sum()), tuple(notices))


# first the width, then word and vector of each row
Rows = Iterator[int | tuple[str, Callable[[], NDArray[np.float32]]]]


def _of_text(path: Path, notices: list[str]) -> Rows:
    try:
        with path.open("rb") as stream:
            lines = _numbered(stream)
            first = next(lines, (1, b""))
            fields = first[1].split()
            headed = len(fields) == 2 and all(field.isdigit() for field in fields)
            width = int(fields[1][:9]) if headed else len(fields) - 1
            if not 1 <= width <= WIDEST:
                raise MisuseError(
                    f"{path} does not begin like a file of word vectors: its first line has {len(fields)} columns, "
                    "where a word and its numbers, or the count and the width of the vectors, are expected."
                )
            yield width
            damaged = 0
            for number, line in lines if headed else chain([first], lines):
                # a word may hold spaces, the numbers stand at its end
                word, *numbers = line.rstrip().replace(b"\t", b" ").rsplit(b" ", width)
                if len(numbers) != width:
                    raise MisuseError(
                        f"{path}, line {number}: {len(numbers)} columns after the word, where {width} are expected."
                    )
                try:
                    yield word.decode("utf-8"), partial(_numbers, path, number, numbers)
                except UnicodeDecodeError:
                    damaged += 1
            if damaged:
                notices.append(f"{path}: {damaged:,} words that are not UTF-8 were left out.")
    except OSError as error:
        raise MisuseError(f"{path} cannot be read: {error.strerror or error}.") from error


def _numbered(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        yield number, line


def _numbers(path: Path, line: int, columns: list[bytes]) -> NDArray[np.float32]:
    try:
        return np.array([float(column) for column in columns], dtype=np.float32)
    except ValueError as error:
        raise MisuseError(f"{path}, line {line}: {str(error)[:80]}; expected numbers after the word.") from error


def _of_safetensors(path: Path) -> Rows:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stored:
            names = [name for name in stored.keys() if len(stored.get_slice(name).get_shape()) == 2]  # noqa: SIM118
            words = json.loads((stored.metadata() or {}).get("words", "null"))
            if len(names) != 1 or not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise MisuseError(
                    f"{path} is no file of word vectors: it needs one matrix [N, D], and in its metadata 'words', a "
                    "JSON list of N strings."
                )
            part = stored.get_slice(names[0])
            count, width = part.get_shape()
            if count != len(words) or not 1 <= width <= WIDEST:
                raise MisuseError(f"{path}: the matrix {names[0]} is [{count}, {width}], for {len(words)} words.")
            yield width
            for begin in range(0, count, ROWS_AT_ONCE):
                end = min(count, begin + ROWS_AT_ONCE)
                for word, row in zip(words[begin:end], part[begin:end], strict=True):
                    yield word, partial(np.asarray, row, dtype=np.float32)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise MisuseError(f"{path} cannot be read as safetensors ({error}).") from error
