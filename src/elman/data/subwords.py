"""Subwords: byte-level byte-pair encoding (Sennrich et al. 2016 on bytes, as in GPT-2), trained by
`tokenizers`.

Only the tokens and the merges are stored; how a text is divided before them is fixed here. A line feed always
ends a token, so that lines can be encoded one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from elman.data.pieces import Carry, after_line, whole_pieces
from elman.data.symbols import Encoded, checked_ids, distinct_strings, printable, stored
from elman.errors import MisuseError, require

_MOST = 1_000_000
_BATCH = 1 << 15  # characters that are encoded as one item of a parallel batch


@dataclass(frozen=True)
class Subwords:
    """A vocabulary of byte sequences; all 256 single bytes are among them, so nothing is ever unseen.

    Attributes:
        tokens: the tokens in byte-level spelling (one printable character a byte); the id of each is its
            place.
        merges: the pairs that are joined, the first to be applied first.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    kind: ClassVar[str] = "subwords"
    unknown: ClassVar[str] = "none"
    unpredicted: ClassVar[frozenset[int]] = frozenset()
    follows: ClassVar[dict[int, int]] = {}
    start: ClassVar[None] = None
    end: ClassVar[None] = None

    def __post_init__(self) -> None:
        known = set(self.tokens)
        spelling = _spelling()
        if len(known) < len(self.tokens):
            raise MisuseError("The subwords of a vocabulary must be different.")
        if not known.issuperset(spelling) or not set("".join(self.tokens)) <= spelling.keys():
            raise MisuseError("A vocabulary of subwords must hold the 256 bytes, in byte-level spelling.")
        if wrong := next((pair for pair in self.merges if not {*pair, "".join(pair)} <= known), None):
            raise MisuseError(f"The merge of {wrong[0]!r} and {wrong[1]!r} has no token in the vocabulary.")

    @classmethod
    def build(
        cls, chunks: Iterable[str], *, size: int = 4096, min_count: int = 2, sample: int = 100_000_000
    ) -> Subwords:
        """Learn merges from a training text.

        Args:
            chunks: the text.
            size: at most so many tokens, the 256 bytes included.
            min_count: a pair must occur so often to be joined.
            sample: characters of the text that are learned from, counted from its beginning; the trainer
                keeps all different words in memory.

        Returns:
            The vocabulary.

        Raises:
            MisuseError: an option that cannot be, or `tokenizers` is not installed.
        """
        if size < 256 or min_count < 1 or sample < 1:
            raise MisuseError("A vocabulary of subwords needs size >= 256, min_count >= 1 and sample >= 1.")
        library = require("tokenizers", "subwords")
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = _division()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_count,
            initial_alphabet=sorted(_spelling()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_lines(_beginning(chunks, sample)), trainer)
        model = json.loads(tokenizer.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        # Older versions of the library write a merge as "a b".
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        return cls(tuple(tokens), tuple((first, second) for first, second in pairs))

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def with_unknown(self, unknown: str) -> Subwords:
        """Itself for ``"none"``; nothing else makes sense.

        Raises:
            MisuseError: another treatment of unseen symbols than ``"none"``.
        """
        if unknown != self.unknown:
            raise MisuseError(f"unknown={unknown} has no meaning for subwords: no text is ever unseen.")
        return self

    def tokenize(self, text: str) -> list[str]:
        """The text's subwords, in byte-level spelling."""
        return [self.tokens[place] for place in self.encode(text).ids.tolist()]

    def ids(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """The id of each subword in byte-level spelling, -1 where there is none."""
        return np.array([self._places.get(token, -1) for token in tokens], dtype=np.int64)

    def encode(self, text: str) -> Encoded:
        """The text as ids.

        Raises:
            MisuseError: `tokenizers` is not installed, or the text has a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise MisuseError(f"The text has a lone surrogate at character {error.start}.") from error
        encodings = self._tokenizer.encode_batch_fast(list(_lines([text])), add_special_tokens=False)
        parts = [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
        return Encoded(np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint32), Counter())

    def encoder(self) -> SubwordsEncoder:
        """A streaming encoder."""
        return SubwordsEncoder(self)

    def decode_bytes(self, ids: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """The ids as bytes, exactly."""
        return b"".join(self._bytes[place] for place in checked_ids(ids, self.size).tolist())

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """The ids as text; bytes that are not UTF-8 read as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def symbol(self, id: int) -> str:
        """A token's printable name; bytes that are not whole characters as ``\\xe9``."""
        return printable(self.decode_bytes([id]).decode("utf-8", "backslashreplace"))

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON."""
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "merges": [list(pair) for pair in self.merges],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subwords:
        """Read what :meth:`to_json` wrote.

        Raises:
            MisuseError: it is not a vocabulary of subwords.
        """
        tokens = distinct_strings(data, "tokens", _MOST)
        merges = stored(data, "merges", list)
        if len(merges) > _MOST or not all(
            type(pair) is list and len(pair) == 2 and all(type(half) is str for half in pair) for pair in merges
        ):
            raise MisuseError("The stored vocabulary is damaged: its 'merges' must be pairs of strings.")
        return cls(tuple(tokens), tuple((first, second) for first, second in merges))

    @cached_property
    def _bytes(self) -> list[bytes]:
        spelling = _spelling()
        return [bytes(spelling[character] for character in token) for token in self.tokens]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens)}

    @cached_property
    def _tokenizer(self) -> Any:
        library = require("tokenizers", "subwords")
        tokenizer = library.Tokenizer(library.models.BPE(vocab=self._places, merges=list(self.merges)))
        tokenizer.pre_tokenizer = _division()
        return tokenizer


class SubwordsEncoder:
    """Encodes a text chunk by chunk, line by line.

    Args:
        vocabulary: the subwords.
    """

    def __init__(self, vocabulary: Subwords) -> None:
        self._vocabulary = vocabulary
        self._carry = Carry(after_line)

    def feed(self, chunk: str) -> Encoded:
        """The ids of the lines that are complete after this chunk."""
        return self._vocabulary.encode(self._carry.feed(chunk))

    def finish(self) -> Encoded:
        """The ids of the last line."""
        return self._vocabulary.encode(self._carry.finish())


def _division() -> Any:
    """What no token reaches across: line ends, then GPT-2's borders of words, numbers, marks and spaces."""
    library = require("tokenizers", "subwords")
    pre = library.pre_tokenizers
    return pre.Sequence([pre.Split("\n", "merged_with_previous"), pre.ByteLevel(add_prefix_space=False)])


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """Pieces of about `_BATCH` characters that end with a token."""
    blocks = (chunk[at : at + _BATCH] for chunk in chunks for at in range(0, len(chunk), _BATCH))
    return whole_pieces(blocks, after_line)


def _beginning(chunks: Iterable[str], characters: int) -> Iterator[str]:
    for chunk in chunks:
        yield chunk[:characters]
        characters -= len(chunk)
        if characters <= 0:
            return


@lru_cache(maxsize=1)
def _spelling() -> dict[str, int]:
    """Byte-level spelling: printable Latin-1 characters stand for themselves, the other bytes for U+0100 and
    on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in plain]
    return {chr(value): value for value in plain} | {chr(0x100 + place): value for place, value in enumerate(others)}
