"""From what the user named to token ids in three parts: ``prepare(sources) -> Corpus``."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.data.reading import Survey, check_reading_options, read_text, survey
from elman.data.sources import resolve
from elman.data.splits import PARTS, borders, divide, parse_split
from elman.data.symbols import UnseenError, describe
from elman.data.token_cache import DamagedError, Entry, TokenCache, Tokens, token_type
from elman.data.vocabulary import Vocabulary, build, class_of, encoder
from elman.errors import FailureError, MisuseError

__all__ = ["Corpus", "Part", "TokenCache", "prepare"]

# Different unseen symbols that are kept by name; all of them are counted.
_NAMED = 10_000
_NAMES = {"train": "training", "valid": "validation", "test": "test"}


@dataclass
class Part:
    """One part of a text: training, validation or test.

    Attributes:
        tokens: number of ids.
        characters: length in code points, unseen symbols included.
        bytes: length in UTF-8.
        unseen: number of unseen symbols.
        unknown: how often each of them occurred; in a text with very many, the most frequent ones.
    """

    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    unseen: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    def count(self, tokens: int, unknown: Counter[str]) -> None:
        """Add one encoded piece."""
        self.tokens += tokens
        self.unseen += unknown.total()
        self.unknown += unknown
        if len(self.unknown) > 2 * _NAMED:
            self.unknown = Counter(dict(self.unknown.most_common(_NAMED)))


@dataclass(frozen=True)
class Corpus:
    """A text as token ids.

    Attributes:
        vocabulary: what the ids mean.
        tokens: all ids, one dimension, read-only where they come from the cache.
        train: view of the training part.
        valid: view of the validation part.
        test: view of the test part.
        parts: the sizes and unseen symbols of ``"train"``, ``"valid"`` and ``"test"``.
        fingerprint: SHA-256 of the decoded text.
        characters: its length in code points.
        bytes: its length in UTF-8.
        sources: the names of the files that were read, in order.
        notices: sentences that the user should see.
        cached: whether the ids were found in the cache.
    """

    vocabulary: Vocabulary
    tokens: Tokens
    train: Tokens
    valid: Tokens
    test: Tokens
    parts: dict[str, Part]
    fingerprint: str
    characters: int
    bytes: int
    sources: list[str]
    notices: list[str]
    cached: bool

    @property
    def unknown(self) -> dict[str, Counter[str]]:
        """How often each unseen symbol occurred, by part."""
        return {name: part.unknown for name, part in self.parts.items()}


def prepare(
    sources: Sequence[str | os.PathLike[str]],
    *,
    kind: str | None = None,
    split: str | Sequence[float | str] = (90, 10),
    unknown: str | None = None,
    encoding: str = "utf-8",
    errors: str | None = None,
    bom: str = "keep",
    newlines: str = "keep",
    vocabulary_options: Mapping[str, Any] | None = None,
    vocabulary: Vocabulary | None = None,
    cache: bool = True,
) -> Corpus:
    """Read texts, build a vocabulary from their training part, and encode them.

    The text is streamed: memory does not grow with it. It is split by position, in characters; for words and
    subwords a border moves forward to the next beginning of a line.

    Args:
        sources: files, folders, glob patterns, URLs, ``"python:stdlib"``; read one after the other.
        kind: ``"characters"`` (default), ``"bytes"``, ``"words"`` or ``"subwords"``.
        split: training/validation/test as percentages, fractions or numbers of characters.
        unknown: treatment of unseen symbols, ``"skip"``, ``"unk"``, ``"error"`` or ``"replace:SYMBOL"``;
            default is ``"skip"`` for characters, ``"unk"`` for words, and the given vocabulary's own.
        encoding: how the files are encoded.
        errors: what happens to bytes that cannot be decoded: ``"strict"`` (default), ``"replace"``,
            ``"ignore"``; for a vocabulary of bytes they are kept as they are unless this is given.
        bom: ``"keep"`` or ``"strip"`` a byte order mark.
        newlines: ``"keep"`` line ends or make them ``"unix"``.
        vocabulary_options: for :func:`elman.data.vocabulary.build`.
        vocabulary: use this one as it is, instead of building one.
        cache: keep the ids in the cache folder and map them; False keeps them in memory.

    Returns:
        The corpus.

    Raises:
        MisuseError: a source, an option or a text that cannot be used; each part that is asked for needs two
            tokens.
        FailureError: a file changed while it was read, or could not be written or downloaded.
    """
    notices: list[str] = []
    if vocabulary is not None:
        if kind not in (None, vocabulary.kind):
            raise MisuseError(f"A vocabulary of {vocabulary.kind} was given, but {kind} asked for.")
        if vocabulary_options:
            raise MisuseError("A given vocabulary is used as it is: it takes no vocabulary options.")
        kind = vocabulary.kind
        vocabulary = vocabulary if unknown is None else vocabulary.with_unknown(unknown)
    kind = kind or "characters"
    class_of(kind)
    options = dict(vocabulary_options or {})
    if vocabulary is None and unknown is not None:
        options["unknown"] = unknown
    errors = errors or ("surrogateescape" if kind == "bytes" else "strict")
    if errors == "surrogateescape" and kind != "bytes":
        raise MisuseError("--errors surrogateescape keeps undecodable bytes, which only a vocabulary of bytes can.")
    shares = parse_split(split)
    if shares[0] == 0 and vocabulary is None:
        raise MisuseError("The training part of --split is 0, so there is no text to build a vocabulary from.")
    check_reading_options(encoding, errors, bom, newlines)
    files = resolve(sources, notices)
    read = partial(read_text, files, encoding, errors, bom, newlines)
    seen = survey(read(notices=notices))
    named = files[0].name if len(files) == 1 else f"The {len(files)} files"
    if seen.characters < 2:
        raise MisuseError(
            f"{named} {'is empty' if not seen.characters else 'has one character'}: "
            "a text needs at least two, one to read and one to predict."
        )
    job = _Job(
        read,
        seen,
        borders(shares, seen.characters),
        tuple(share > 0 for share in shares),
        kind,
        options,
        vocabulary,
    )
    entry, cached = job.stored(cache, notices)
    return job.corpus(entry, cached, [file.name for file in files], notices)


@dataclass(frozen=True)
class _Job:
    """What has to be encoded, decided and checked."""

    read: Callable[..., Iterator[str]]
    seen: Survey
    ends: tuple[int, int]
    wanted: tuple[bool, ...]
    kind: str
    options: dict[str, Any]
    given: Vocabulary | None

    def stored(self, cache: bool, notices: list[str]) -> tuple[Entry, bool]:
        """The encoded text and whether it was found in the cache."""
        if not cache:
            return self._in_memory(), False
        # The fingerprint is of the decoded text, so it stands for the reading options as well.
        key = {
            "fingerprint": self.seen.fingerprint,
            "ends": self.ends,
            "vocabulary": self.given.to_json() if self.given else {"kind": self.kind, **self.options},
        }
        store = TokenCache(key)
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            notices.append(
                f"Tokens are kept in memory: {store.folder} cannot be made ({error.strerror}). "
                "ELMAN_CACHE_DIR names another folder."
            )
            return self._in_memory(), False
        try:
            if entry := store.open():
                return entry, True
        except DamagedError as error:
            notices.append(f"The token file {store.tokens_path.name} was damaged ({error}) and is made again.")
        vocabulary = self._vocabulary()
        manifest: dict[str, Any] = {}
        store.write(token_type(vocabulary.size), self._encode(vocabulary, manifest), manifest)
        entry = store.open()
        if entry is None:
            raise FailureError(f"{store.tokens_path} vanished while it was written.")
        return entry, False

    def corpus(self, entry: Entry, cached: bool, names: list[str], notices: list[str]) -> Corpus:
        """The opened tokens in their parts, and what is to be said about them."""
        tokens, manifest = entry
        vocabulary = self.given or class_of(self.kind).from_json(manifest["vocabulary"])
        parts = {
            name: Part(**{**stored, "unknown": Counter(stored["unknown"])})
            for name, stored in manifest["parts"].items()
        }
        train, valid, test = np.split(tokens, np.cumsum([part.tokens for part in parts.values()])[:2])
        notices.extend(_remarks(vocabulary, parts, built=self.given is None))
        return Corpus(
            vocabulary,
            tokens,
            train,
            valid,
            test,
            parts,
            self.seen.fingerprint,
            self.seen.characters,
            self.seen.bytes,
            names,
            notices,
            cached,
        )

    def _in_memory(self) -> Entry:
        vocabulary = self._vocabulary()
        manifest: dict[str, Any] = {}
        kind = token_type(vocabulary.size)
        blocks = [block.astype(kind) for block in self._encode(vocabulary, manifest)]
        return Entry(np.concatenate(blocks), manifest)

    def _pieces(self) -> Iterator[tuple[int, str]]:
        return divide(self.read(), self.ends, whole_lines=self.kind in ("words", "subwords"))

    def _vocabulary(self) -> Vocabulary:
        """The given vocabulary, or one of the training part."""
        if self.given is not None:
            return self.given
        return build(self.kind, _of_first_part(self._pieces()), **self.options)

    def _encode(self, vocabulary: Vocabulary, manifest: dict[str, Any]) -> Iterator[npt.NDArray[np.uint32]]:
        """The ids of all parts, in order; afterwards `manifest` holds the vocabulary and the parts' sizes."""
        parts = [Part() for _ in PARTS]
        streams = [encoder(vocabulary) for _ in PARTS]
        digest = hashlib.sha256()
        current = 0

        def finish(upto: int) -> Iterator[npt.NDArray[np.uint32]]:
            nonlocal current
            while current < upto:
                ids, unknown = streams[current].finish()
                parts[current].count(ids.size, unknown)
                yield ids
                current += 1

        try:
            for number, piece in self._pieces():
                yield from finish(number)
                ids, unknown = streams[number].feed(piece)
                parts[number].characters += len(piece)
                data = piece.encode("utf-8", "surrogateescape")
                digest.update(data)
                parts[number].bytes += len(data)
                parts[number].count(ids.size, unknown)
                yield ids
            yield from finish(len(PARTS))
        except UnseenError as error:
            raise MisuseError(f"In the {_NAMES[PARTS[current]]} part: {error}") from error
        if digest.hexdigest() != self.seen.fingerprint:
            raise FailureError("The text changed while it was read; try again when nothing writes to it.")
        self._check_sizes(parts)
        manifest["vocabulary"] = vocabulary.to_json()
        manifest["parts"] = {name: vars(part) for name, part in zip(PARTS, parts, strict=True)}

    def _check_sizes(self, parts: Sequence[Part]) -> None:
        """Two tokens at least in every part that was asked for: one to read, one to predict."""
        for name, part, wanted in zip(PARTS, parts, self.wanted, strict=False):
            if wanted and part.tokens < 2:
                total = sum(part.tokens for part in parts)
                asked = sum(self.wanted)
                unseen = f" ({part.unseen} unseen symbols left out)" if part.unseen else ""
                advice = "--split 100/0 uses all of it for training"
                if self.seen.characters >= 4 and asked == 2 and self.kind in ("characters", "bytes"):
                    first = min(max(2, int(0.8 * self.seen.characters)), self.seen.characters - 2)
                    advice = f"--split {first}/{self.seen.characters - first} leaves enough, and {advice}"
                raise MisuseError(
                    f"The {_NAMES[name]} part has {part.tokens} of the text's {total} tokens{unseen}, "
                    f"and needs at least 2. {advice}."
                )


def _of_first_part(pieces: Iterator[tuple[int, str]]) -> Iterator[str]:
    for number, piece in pieces:
        if number:
            return
        yield piece


def _remarks(vocabulary: Vocabulary, parts: Mapping[str, Part], built: bool) -> Iterator[str]:
    """What the user should know about the symbols."""
    treated = {"skip": "left out", "unk": "read as <unk>"}.get(
        vocabulary.unknown, f"read as {vocabulary.unknown.removeprefix('replace:')!r}"
    )
    for name, part in parts.items():
        if part.unseen:
            most = ", ".join(f"{describe(symbol)} {times}x" for symbol, times in part.unknown.most_common(3))
            more = ", ..." if len(part.unknown) > 3 else ""
            yield (
                f"{part.unseen:,} symbols of the {_NAMES[name]} part are not in the vocabulary "
                f"and were {treated} (unknown={vocabulary.unknown}): {most}{more}."
            )
    if built and vocabulary.unknown == "unk" and not parts["train"].unseen:
        yield (
            "No training text became <unk>, so the model learns nothing about it; "
            "min_count=2 makes symbols that occur once <unk>."
        )
    if vocabulary.size == 1:
        yield f"The text has one symbol only ({describe(vocabulary.symbol(0))}): there is nothing to learn."
