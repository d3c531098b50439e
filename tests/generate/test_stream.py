"""Text that grows symbol by symbol: whole characters, stop texts, terminals."""

from __future__ import annotations

import copy
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.vocabulary import build
from elman.errors import MisuseError
from elman.generate import Detokenizer, StopFinder, visible

BYTES = build("bytes", [])
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("é€😀\ufffd")), max_size=20)


def pieces(ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(BYTES)
    return [*(detokenizer.feed(token) for token in ids), detokenizer.finish()]


@given(st.binary(max_size=60))
def test_random_bytes_join_to_what_a_decoder_gives(data: bytes) -> None:
    assert "".join(pieces(list(data))) == data.decode("utf-8", "replace")


@given(st.lists(st.sampled_from([0xF0, 0x9F, 0x98, 0x80, 0xE2, 0x82, 0xFF, 0x61]), max_size=60))
def test_bytes_that_nearly_are_characters_join_to_what_a_decoder_gives(data: list[int]) -> None:
    assert "".join(pieces(data)) == bytes(data).decode("utf-8", "replace")


@given(TEXTS)
def test_no_piece_of_sound_text_is_broken(text: str) -> None:
    parts = pieces(list(text.encode()))
    assert "".join(parts) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


def test_a_character_appears_with_its_last_byte() -> None:
    assert pieces(list("a😀b".encode())) == ["a", "", "", "", "😀", "b", ""]


def test_an_incomplete_character_is_marked_once_at_the_end() -> None:
    assert pieces(list("a😀".encode()[:-1])) == ["a", "", "", "", "\ufffd"]


def test_malformed_bytes_without_end_do_not_pile_up() -> None:
    detokenizer = Detokenizer(BYTES)
    for _ in range(1000):
        detokenizer.feed(0xFF)
        assert len(detokenizer._window) <= 9


def test_characters_and_words_join_to_their_text() -> None:
    text = "To be, or not to be:\nthat is the question.\n"
    for kind in ("characters", "words"):
        vocabulary = build(kind, [text])
        detokenizer = Detokenizer(vocabulary)
        ids = vocabulary.encode(text).ids.tolist()
        joined = "".join([*(detokenizer.feed(token) for token in ids), detokenizer.finish()])
        assert joined == vocabulary.decode(ids)


def test_subwords_that_end_within_a_character_join_to_their_text() -> None:
    pytest.importorskip("tokenizers")
    text = "né 😀 naïve 😁 — čau\n" * 10
    vocabulary = build("subwords", [text], size=258)
    ids = vocabulary.encode(text).ids.tolist()
    detokenizer = Detokenizer(vocabulary)
    parts = [*(detokenizer.feed(token) for token in ids), detokenizer.finish()]
    assert "".join(parts) == text
    assert "" in parts[:-1]
    assert not any("\ufffd" in part for part in parts)


def find(parts: list[str], stops: list[str]) -> tuple[str, bool]:
    finder = StopFinder(stops)
    out = [finder.feed(part) for part in parts]
    if not finder.found:
        out.append(finder.finish())
    return "".join(out), finder.found


@given(
    st.lists(st.text("abc", max_size=3), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_a_stop_text_is_found_wherever_the_pieces_are_cut(parts: list[str], stops: list[str]) -> None:
    text = "".join(parts)
    after_each = ["".join(parts[: count + 1]) for count in range(len(parts))]
    first = next((seen for seen in after_each if any(stop in seen for stop in stops)), None)
    if first is None:
        assert find(parts, stops) == (text, False)
    else:
        cut = min(first.find(stop) for stop in stops if stop in first)
        assert find(parts, stops) == (text[:cut], True)


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    finder = StopFinder(["\n\nROMEO"])
    assert finder.feed("night.\n") == "night."
    assert finder.feed("\nROSA") == "\n\nROSA"
    assert finder.feed("\n") == ""
    assert finder.finish() == "\n"


def test_a_copy_goes_its_own_way() -> None:
    finder, detokenizer = StopFinder(["ab"]), Detokenizer(BYTES)
    finder.feed("a")
    detokenizer.feed(0xC3)
    other_finder, other_detokenizer = copy.copy(finder), copy.copy(detokenizer)
    assert finder.feed("b") == ""
    assert finder.found
    assert other_finder.feed("c") == "ac"
    assert not other_finder.found
    assert (detokenizer.feed(0xA9), other_detokenizer.feed(0xA8)) == ("é", "è")


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(MisuseError, match="empty"):
        StopFinder(["x", ""])


@given(st.text(st.one_of(st.characters(), st.characters(max_codepoint=0xA0))))
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") for c in shown if c not in "\n\t")
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode("utf-8")


def test_controls_are_shown() -> None:
    assert visible("a\x1b[31mb\n\tc\r\x7f\x9b0m\u202e\ud800") == "a␛[31mb\n\tc␍␡<9b>0m<202e>\ufffd"
