"""Labelled words in columns: a word a line, an empty line after each sentence, as in the CoNLL shared tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.data.reading import BYTE_ORDER_MARK, Source, read_text
from elman.data.sources import resolve
from elman.data.words import Words
from elman.errors import MisuseError

# what stands between documents in the files of 2003
DOCUMENT = "-DOCSTART-"
# the columns of universal dependencies, and the line by which a file of any columns names them
CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.*)")
SUFFIXES = (".conllu", ".conllup")
WORD_NAMES = ("FORM", "WORD", "TOKEN", "TEXT")
# a longer one is a file without empty lines
LONGEST_SENTENCE = 5_000


@dataclass(frozen=True)
class Tagged:
    """Sentences with a label for each word, in the order of the files.

    Attributes:
        sentences: the words of each.
        labels: the labels of each; empty where the file has none.
        places: file and first line of each, for messages.
    """

    sentences: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sentences)

    def take(self, rows: Iterable[int]) -> Tagged:
        """Chosen sentences, in the order of their numbers given."""
        chosen = list(rows)
        return Tagged(
            tuple(self.sentences[row] for row in chosen),
            tuple(self.labels[row] for row in chosen) if self.labels else (),
            tuple(self.places[row] for row in chosen),
        )

    @property
    def words(self) -> int:
        """Number of words."""
        return sum(map(len, self.sentences))

    @property
    def tags(self) -> tuple[str, ...]:
        """The different labels, ``O`` first, the others alphabetically."""
        found = {label for sentence in self.labels for label in sentence}
        return tuple(sorted(found, key=lambda label: (label != "O", label)))


def read_tagged(
    sources: Sequence[str],
    *,
    word_column: str | None = None,
    tag_column: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    tags_needed: bool = True,
    notices: list[str] | None = None,
) -> Tagged:
    """Read labelled words.

    Columns are separated by tabs where the first word's line has one, else by white space. ``-DOCSTART-`` lines are
    left out; so are, in .conllu and .conllup files and where a first line names ``global.columns``, comments, the
    lines of contracted words (``1-2``) and of words that are not written (``1.1``).

    Args:
        sources: files, folders, globs or URLs.
        word_column: number from 1 (-1 is the last) or, where the file names its columns, a name. Default the column
            FORM, WORD, TOKEN or TEXT of a file that names them, else the first.
        tag_column: likewise; default the last.
        encoding, errors: as for :func:`elman.data.reading.read_text`.
        tags_needed: False reads only the words, from a file that may have just these.
        notices: receives a sentence about what was left out.

    Returns:
        The sentences that have words.

    Raises:
        MisuseError: a column that is not there, a line of another number of columns, with file and line; a sentence
            without end; no words at all.
    """
    sentences: list[tuple[str, ...]] = []
    labels: list[tuple[str, ...]] = []
    places: list[str] = []
    documents = 0
    for source in resolve(sources, notices):
        whole = "".join(read_text([source], encoding, errors, "strip", "unix"))
        reader = _Columns(source, word_column, tag_column if tags_needed else None, tags_needed)
        words: list[str] = []
        tags: list[str] = []
        begin = 0

        def close(words: list[str], tags: list[str], begin: int, name: str = source.name) -> None:
            if words:
                sentences.append(tuple(words))
                places.append(f"{name}, line {begin}")
                if tags_needed:
                    labels.append(tuple(tags))

        for number, fields in reader.rows(whole):
            if fields is None or fields[0] == DOCUMENT:
                documents += fields is not None
                close(words, tags, begin)
                words, tags = [], []
                continue
            begin = begin if words else number
            word, tag = reader.pick(fields, number)
            words.append(word)
            tags.append(tag)
            if len(words) > LONGEST_SENTENCE:
                raise MisuseError(
                    f"{source.name}, line {begin}: a sentence of more than {LONGEST_SENTENCE:,} words. "
                    "An empty line ends a sentence; has this file any?"
                )
        close(words, tags, begin)
    if not sentences:
        raise MisuseError(f"{', '.join(map(str, sources))} holds no words.")
    if documents and notices is not None:
        notices.append(f"{documents:,} lines {DOCUMENT} were left out.")
    return Tagged(tuple(sentences), tuple(labels), tuple(places))


class _Columns:
    """Reads the lines of one file; the first word's line settles separator and number of columns."""

    def __init__(self, source: Source, word_column: str | None, tag_column: str | None, tagged: bool) -> None:
        self.source, self.tagged = source, tagged
        self.word_column, self.tag_column = word_column, tag_column
        self.names: tuple[str, ...] = ()
        self.treebank = Path(source.name).suffix.lower() in SUFFIXES
        if Path(source.name).suffix.lower() == ".conllu":
            self.names = CONLL_U
        self.separator: str | None = None
        self.count = 0
        self.word_at = self.tag_at = 0

    def rows(self, whole: str) -> Iterator[tuple[int, list[str] | None]]:
        """Number and columns of each line with a word; None for a line that ends a sentence."""
        for number, line in enumerate(whole.removeprefix(BYTE_ORDER_MARK).split("\n"), 1):
            if not line.strip():
                yield number, None
                continue
            named = GLOBAL_COLUMNS.fullmatch(line.strip())
            if named and not self.count:
                self.names, self.treebank = tuple(name.split(":")[-1] for name in named[1].split()), True
                continue
            # elsewhere a line may well begin with the word "#"
            if self.treebank and line.startswith("#"):
                continue
            if not self.count and line.split()[0] != DOCUMENT:
                self.separator = "\t" if "\t" in line.strip("\t") else None
            fields = [field.strip() for field in line.rstrip("\n").split(self.separator)]
            if self.treebank and not fields[0].isdigit() and fields[0].replace("-", "").replace(".", "").isdigit():
                continue
            if fields[0] != DOCUMENT:
                self._settle(fields, number)
            yield number, fields

    def _settle(self, fields: list[str], number: int) -> None:
        if self.count:
            if len(fields) != self.count:
                raise MisuseError(
                    f"{self.source.name}, line {number}: {len(fields)} columns, where the lines before have "
                    f"{self.count}: {' '.join(fields)[:80]!r}."
                )
            return
        self.count = len(fields)
        usual = next((str(self.names.index(name) + 1) for name in WORD_NAMES if name in self.names), "1")
        self.word_at = self._place(self.word_column or usual, "word", number)
        self.tag_at = self._place(self.tag_column or "-1", "tag", number) if self.tagged else self.word_at
        if self.tagged and self.tag_at == self.word_at:
            raise MisuseError(
                f"{self.source.name}, line {number}: column {self.word_at + 1} of {self.count} would be both the word "
                "and its label. Say which with --word-column and --tag-column."
            )

    def _place(self, column: str, what: str, number: int) -> int:
        if column in self.names and self.names.index(column) < self.count:
            return self.names.index(column)
        if column.lstrip("-").isdigit() and len(column) < 6:
            place = int(column)
            if 1 <= abs(place) <= self.count:
                return place - 1 if place > 0 else self.count + place
        known = f" its columns are named {', '.join(self.names)};" if self.names else ""
        raise MisuseError(
            f"{self.source.name}, line {number}: there is no column {column!r} for the {what};{known} the line has "
            f"{self.count} columns, from 1 (-1 is the last). Name it with --{what}-column."
        )

    def pick(self, fields: list[str], number: int) -> tuple[str, str]:
        """Word and label of a line."""
        word, tag = fields[self.word_at], fields[self.tag_at]
        if not word or not tag:
            raise MisuseError(f"{self.source.name}, line {number}: the {'label' if word else 'word'} is empty.")
        return word, tag


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a running text, as :class:`elman.data.words.Words` cuts it."""
    # any vocabulary cuts alike; a start symbol stands before the line
    return Words(("a",)).tokenize(text.replace("\n", " "))[1:]
