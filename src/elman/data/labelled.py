"""Labelled texts: CSV, TSV, JSON lines, or a label at the beginning of each line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elman.data.reading import BYTE_ORDER_MARK, Source, read_text
from elman.data.sources import resolve
from elman.data.symbols import UNKNOWN
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError

FORMATS = ("csv", "tsv", "jsonl", "label-first")
TEXT_NAMES = ("text", "sentence", "review", "question", "content", "document")
LABEL_NAMES = ("label", "class", "category", "sentiment", "target", "y")
# a field longer than this is a quote that was never closed
LONGEST_FIELD = 10_000_000

_BY_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True)
class Labelled:
    """Texts with their labels, in the order of the files.

    Attributes:
        texts: [N].
        labels: [N] as written; None for a text without one.
        places: [N] file and line of each, for messages.
    """

    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels, numbers in their order, other words alphabetically."""
        found = {label for label in self.labels if label is not None}
        return tuple(sorted(found, key=lambda label: (not label.lstrip("-").isdigit(), _number(label), label)))

    def take(self, rows: Iterable[int]) -> Labelled:
        """Chosen texts, in the order of their numbers given."""
        chosen = list(rows)
        return Labelled(
            tuple(self.texts[row] for row in chosen),
            tuple(self.labels[row] for row in chosen),
            tuple(self.places[row] for row in chosen),
        )


def read_labelled(
    sources: Sequence[str],
    *,
    form: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    labels_needed: bool = True,
    notices: list[str] | None = None,
) -> Labelled:
    """Read labelled texts.

    Args:
        sources: files, folders, globs or URLs.
        form: one of ``FORMATS``; default by the file's ending: .csv, .tsv, .jsonl, anything else label-first.
        text_column, label_column: name of a column (or key), or its number from 1; default the first of the usual names
            (text, sentence, ...; label, class, ...), in a table of two columns without such names the label is the one
            with fewer different values.
        encoding, errors: as for :func:`elman.data.reading.read_text`.
        labels_needed: refuse a text without a label instead of reading None.
        notices: receives a sentence about empty texts that were left out.

    Returns:
        The texts; those that are empty or white space are left out.

    Raises:
        MisuseError: a line that cannot be read, with file and line; no text at all.
    """
    if form is not None and form not in FORMATS:
        raise MisuseError(f"--format is {form!r}; it takes {', '.join(FORMATS)}.")
    texts: list[str] = []
    labels: list[str | None] = []
    places: list[str] = []
    empty = 0
    for source in resolve(sources, notices):
        kind = form or _BY_SUFFIX.get(Path(source.name).suffix.lower(), "label-first")
        whole = "".join(read_text([source], encoding, errors, "strip", "unix"))
        for text, label, line in _rows(whole, kind, source, text_column, label_column, labels_needed):
            if not text.strip():
                empty += 1
                continue
            if labels_needed and not label:
                raise MisuseError(f"{source.name}, line {line}: the text has no label.")
            texts.append(text)
            labels.append(label or None)
            places.append(f"{source.name}, line {line}")
    if not texts:
        raise MisuseError(f"{', '.join(map(str, sources))} holds no labelled text.")
    if empty and notices is not None:
        notices.append(f"{empty:,} empty texts were left out.")
    return Labelled(tuple(texts), tuple(labels), tuple(places))


def spelled(vocabulary: Vocabulary, text: str) -> list[str]:
    """The tokens of a text as a classifier reads them: a text is one sequence, without marks of sentences."""
    if vocabulary.kind != "words":
        return vocabulary.tokenize(text)
    # words are read line by line, each line after a start symbol
    return vocabulary.tokenize(text.replace("\n", " "))[1:]


def token_ids(vocabulary: Vocabulary, text: str, longest: int | None = None) -> NDArray[np.int64]:
    """A text as ids, unseen tokens as ``<unk>``, or left out where the vocabulary has none.

    Args:
        vocabulary: of any kind.
        text: with something in it.
        longest: what stands beyond so many tokens is left out.

    Returns:
        [T] int64, at least one.
    """
    ids = vocabulary.ids(spelled(vocabulary, text)[:longest]).astype(np.int64)
    if (ids < 0).any():
        unknown = unknown_id(vocabulary)
        ids = ids[ids >= 0] if unknown is None else np.where(ids < 0, unknown, ids)
    # nothing that the model knows is still a text
    return ids if len(ids) else np.zeros(1, dtype=np.int64)


def unknown_id(vocabulary: Vocabulary) -> int | None:
    """The id of ``<unk>``; None where nothing can be unseen."""
    if vocabulary.unknown == "none":
        return None
    place = int(vocabulary.ids([UNKNOWN])[0])
    return place if place >= 0 else None


def padded(rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequences of unequal length side by side.

    Args:
        rows: B sequences of ids.

    Returns:
        Ids [T, B], 0 beyond a row's end, and lengths [B].
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.zeros((int(lengths.max()), len(rows)), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[: len(row), place] = row
    return ids, lengths


Row = tuple[str, str | None, int]


def _rows(
    whole: str, kind: str, source: Source, text_column: str | None, label_column: str | None, labels_needed: bool
) -> Iterator[Row]:
    if kind == "label-first":
        if text_column or label_column:
            raise MisuseError(
                f"{source.name} is read as lines that begin with their label, which have no columns to name; "
                "say --format csv, tsv or jsonl."
            )
        return _label_first(whole, source, labels_needed)
    if kind == "jsonl":
        return _json_lines(whole, source, text_column, label_column, labels_needed)
    return _table(whole, kind, source, text_column, label_column, labels_needed)


def _label_first(whole: str, source: Source, labels_needed: bool) -> Iterator[Row]:
    # splitlines() would also end a line at characters that stand inside texts, such as U+0085
    for number, line in enumerate(whole.removesuffix("\n").split("\n"), 1):
        if not labels_needed:
            yield line, None, number
            continue
        label, _, text = line.strip(" \t").replace("\t", " ", 1).partition(" ")
        if label and not text.strip():
            raise MisuseError(
                f"{source.name}, line {number}: {line[:60]!r} is not a label, a space and a text. "
                "If the file is a table, say --format csv or tsv."
            )
        # fastText writes its labels so
        yield text, label.removeprefix("__label__"), number


def _json_lines(
    whole: str, source: Source, text_column: str | None, label_column: str | None, labels_needed: bool
) -> Iterator[Row]:
    for number, line in enumerate(whole.removesuffix("\n").split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MisuseError(f"{source.name}, line {number}: this is not JSON ({error}).") from error
        if not isinstance(values, dict):
            raise MisuseError(
                f"{source.name}, line {number}: expected an object such as {{'text': ..., 'label': ...}}."
            )
        text = values.get(_key(values, text_column, TEXT_NAMES, "text", source, number))
        label = None
        if labels_needed or label_column:
            label = values.get(_key(values, label_column, LABEL_NAMES, "label", source, number))
        if not isinstance(text, str):
            raise MisuseError(f"{source.name}, line {number}: the text is {text!r}, which is no string.")
        if label is not None and not isinstance(label, str | int | float | bool):
            raise MisuseError(f"{source.name}, line {number}: the label is {label!r}; it must be a word or a number.")
        yield text, None if label is None else str(label), number


def _key(
    values: dict[str, object], wanted: str | None, usual: Sequence[str], what: str, source: Source, line: int
) -> str:
    for name in [wanted] if wanted else usual:
        if name in values:
            return str(name)
    raise MisuseError(
        f"{source.name}, line {line}: there is no key {wanted or ' or '.join(usual[:2])} (it has {', '.join(values)}); "
        f"name it with --{what}-column."
    )


def _table(
    whole: str, kind: str, source: Source, text_column: str | None, label_column: str | None, labels_needed: bool
) -> Iterator[Row]:
    reader = csv.reader(
        io.StringIO(whole.removeprefix(BYTE_ORDER_MARK), newline=""),
        delimiter="," if kind == "csv" else "\t",
        quoting=csv.QUOTE_MINIMAL if kind == "csv" or '"\t' in whole else csv.QUOTE_NONE,
        strict=kind == "csv",
    )
    rows: list[tuple[int, list[str]]] = []
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        begin = 1
        for fields in reader:
            if fields:
                rows.append((begin, fields))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise MisuseError(f"{source.name}, line {begin}: {error}.") from error
    finally:
        csv.field_size_limit(before)
    if not rows:
        return
    text_at, label_at, has_header = _columns(
        [fields for _, fields in rows], text_column, label_column, source, labels_needed
    )
    needed = max(text_at, label_at if labels_needed else 0)
    for number, fields in rows[has_header:]:
        if len(fields) <= needed:
            raise MisuseError(
                f"{source.name}, line {number}: {len(fields)} columns where column {needed + 1} is needed; "
                "a text that holds the separator has to stand in quotes."
            )
        yield fields[text_at], fields[label_at] if 0 <= label_at < len(fields) else None, number


def _columns(
    rows: list[list[str]], text_column: str | None, label_column: str | None, source: Source, labels_needed: bool
) -> tuple[int, int, bool]:
    """Number of the text's and of the label's column (-1: none), and whether the first row names columns."""
    first = [field.strip() for field in rows[0]]
    lower = [field.lower() for field in first]

    def find(wanted: str | None, usual: Sequence[str], what: str) -> int | None:
        if wanted is None:
            return next((lower.index(name) for name in usual if name in lower), None)
        if wanted in first:
            return first.index(wanted)
        if wanted.isdigit() and 1 <= int(wanted) <= len(first):
            return int(wanted) - 1
        raise MisuseError(
            f"{source.name} has no column {wanted!r} for the {what}; its first line has: {', '.join(first)[:200]}. "
            "A column can also be given by its number, from 1."
        )

    text, label = find(text_column, TEXT_NAMES, "text"), find(label_column, LABEL_NAMES, "label")
    named = any(
        name in lower for name in (*TEXT_NAMES, *LABEL_NAMES, *filter(None, (text_column, label_column))) if name
    ) or any(given in first and not given.isdigit() for given in (text_column, label_column) if given)
    if text is not None and label is None and not labels_needed:
        return text, -1, named
    if len(first) == 1 and label is None:
        return text or 0, -1, named and text is not None
    if text is None or label is None:
        if len(first) != 2:
            missing = "text" if text is None else "label"
            raise MisuseError(
                f"{source.name}: which of the columns {', '.join(first)[:200]} is the {missing}? "
                f"Name it with --{missing}-column."
            )
        if text is None and label is None:
            # of two columns the label is the one that repeats itself
            different = [len({fields[at] for fields in rows if len(fields) > at}) for at in (0, 1)]
            label = 0 if different[0] <= different[1] else 1
        if text is None:
            assert label is not None
            text = 1 - label
        label = 1 - text if label is None else label
    return text, label, named


def _number(label: str) -> int:
    return int(label) if label.lstrip("-").isdigit() and len(label) < 18 else 0
