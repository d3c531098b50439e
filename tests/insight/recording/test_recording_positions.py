"""Where tokens stand in a text: every vocabulary's ids, and pieces that give the text again."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.vocabulary import Vocabulary, build
from elman.errors import MisuseError
from elman.insight.recording.positions import tokens_of

PROSE = "The cat sat on the mat.\n\n\"Why?\" said the dog; İt's 5 o'clock, ΣΑΣ!\n<S> is no <E> nor <unk>.\n"
LETTERS = st.text(st.sampled_from("aT \n\t.'<S>Eéß中𝄞İΣ\u0301\x85\udc80"), max_size=40)
LINES = st.lists(st.sampled_from(["the", "dog", "cat", "<S>", "<E>", "<unk>", "\n", "\n", " ", ".", "İt's", "x"]))


@cache
def vocabulary(kind: str, *options: tuple[str, object]) -> Vocabulary:
    return build(kind, [PROSE], **dict(options))


def pieces(offsets: np.ndarray, text: str) -> list[str]:
    borders = [*offsets.tolist(), len(text)]
    return [text[begin:end] for begin, end in pairwise(borders)]


@given(LETTERS)
def test_characters_are_where_they_are(text: str) -> None:
    for kept in (vocabulary("characters"), vocabulary("characters", ("unknown", "unk"))):
        ids, offsets = tokens_of(kept, text)
        assert ids.tolist() == kept.encode(text).ids.tolist()
        known = [place for place, letter in enumerate(text) if letter in PROSE or kept.unknown == "unk"]
        assert offsets.tolist() == known


@given(LETTERS)
def test_bytes_stand_at_their_character(text: str) -> None:
    kept = vocabulary("bytes")
    ids, offsets = tokens_of(kept, text)
    assert ids.tolist() == kept.encode(text).ids.tolist()
    expected = [place for place, letter in enumerate(text) for _ in letter.encode("utf-8", "surrogateescape")]
    assert offsets.tolist() == expected


@settings(deadline=None)
@given(LETTERS)
def test_subwords_stand_at_the_character_that_they_begin_in(text: str) -> None:
    pytest.importorskip("tokenizers")
    kept = vocabulary("subwords", ("size", 300))
    text = text.replace("\udc80", "")
    ids, offsets = tokens_of(kept, text)
    assert ids.tolist() == kept.encode(text).ids.tolist()
    begin = 0
    for token, offset in zip(ids.tolist(), offsets.tolist(), strict=True):
        assert len(text[:offset].encode()) <= begin < len(text[: offset + 1].encode())
        begin += len(kept.decode_bytes([token]))
    assert "".join(pieces(offsets, text)) == text


@settings(max_examples=300)
@given(
    st.one_of(LETTERS.map(lambda text: text.replace("\udc80", "")), LINES.map(" ".join), LINES.map("".join)),
    st.sampled_from(["unk", "skip", "replace:the"]),
    st.booleans(),
    st.booleans(),
)
def test_words_stand_at_their_first_character(text: str, unknown: str, lower: bool, whitespace: bool) -> None:
    options = (("lower", lower), ("whitespace", whitespace))
    kept = vocabulary("words", *options).with_unknown(unknown)
    ids, offsets = tokens_of(kept, text)
    assert ids.tolist() == kept.encode(text).ids.tolist()
    assert (np.diff(offsets) >= 0).all()
    for token, piece in zip(ids.tolist(), pieces(offsets, text), strict=True):
        if token == kept.end:
            assert piece.startswith("\n")
        elif token == kept.start:
            assert piece == "" or unknown == "skip"
        elif token >= 3 and unknown != "replace:the":
            word = kept.words[token - 3]  # type: ignore[attr-defined]
            assert (piece.lower() if lower else piece).startswith(word)


def test_words_as_they_stand() -> None:
    text = "  The  dog sat.\n\nOn the mat"
    ids, offsets = tokens_of(vocabulary("words"), text)
    names = [vocabulary("words").symbol(token) for token in ids]
    assert names == ["<S>", "The", "dog", "sat", ".", "<E>", "<S>", "<E>", "<S>", "<unk>", "the", "mat"]
    assert pieces(offsets, text) == ["", "The  ", "dog ", "sat", ".", "\n", "", "\n", "", "On ", "the ", "mat"]


def test_an_empty_text_has_no_token() -> None:
    for kind in ("characters", "bytes", "words", "subwords"):
        ids, offsets = tokens_of(vocabulary(kind), "")
        assert (len(ids), len(offsets)) == (0, 0)


def test_a_text_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(MisuseError, match="surrogate"):
        tokens_of(vocabulary("bytes"), "a\ud800")
