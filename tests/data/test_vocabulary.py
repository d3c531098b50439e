"""Vocabularies: round trips, chunk borders, unseen symbols, hostile files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.bytelevel import Bytes
from elman.data.characters import Characters
from elman.data.subwords import Subwords
from elman.data.vocabulary import KINDS, Vocabulary, build, encoder, from_json
from elman.data.words import Words
from elman.errors import MisuseError

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80)
lines = st.text(alphabet="ab 'sé\n\t.,🎈ी1\r\u2028", max_size=60)

TRAINING = "the cat sat on the mat.\nthe dog isn't here, is it?\n  the end\n\n\tnaïve 🎈\n" * 3


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    pytest.importorskip("tokenizers")
    return Subwords.build([TRAINING], size=320)


@pytest.fixture(scope="module")
def vocabularies(subwords: Subwords) -> dict[str, Vocabulary]:
    return {
        "characters": Characters.build([TRAINING]),
        "characters-unk": Characters.build([TRAINING], unknown="unk", min_count=4),
        "bytes": Bytes(),
        "words": Words.build([TRAINING]),
        "words-lower": Words.build([TRAINING], lower=True, max_size=9),
        "words-whitespace": Words.build([TRAINING], whitespace=True, unknown="skip"),
        "subwords": subwords,
    }


def streamed(vocabulary: Vocabulary, chunks: list[str]) -> tuple[list[int], Counter[str]]:
    stream = encoder(vocabulary)
    results = [*(stream.feed(chunk) for chunk in chunks), stream.finish()]
    ids = np.concatenate([result.ids for result in results]).tolist()
    return ids, sum((result.unknown for result in results), Counter())


# Round trips


@given(texts.filter(bool))
def test_characters_and_bytes_come_back(text: str) -> None:
    for vocabulary in (Characters.build([text]), Bytes()):
        encoded = vocabulary.encode(text)
        assert encoded.ids.dtype == np.uint32
        assert vocabulary.decode(encoded.ids) == text
        assert not encoded.unknown
        assert vocabulary.ids(vocabulary.tokenize(text)).tolist() == encoded.ids.tolist()


@settings(deadline=None)
@given(text=st.one_of(texts, lines))
def test_subwords_come_back(subwords: Subwords, text: str) -> None:
    encoded = subwords.encode(text)
    assert subwords.decode(encoded.ids) == text
    assert subwords.decode_bytes(encoded.ids) == text.encode()
    assert subwords.ids(subwords.tokenize(text)).tolist() == encoded.ids.tolist()


@given(st.binary(max_size=40))
def test_any_bytes_come_back(content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    assert Bytes().decode_bytes(Bytes().encode(text).ids) == content


@settings(deadline=None)
@given(text=lines, steps=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_chunk_borders_change_nothing(vocabularies: dict[str, Vocabulary], text: str, steps: list[int]) -> None:
    chunks, at = [], 0
    while at < len(text):
        step = steps[len(chunks) % len(steps)]
        chunks.append(text[at : at + step])
        at += step
    for name, vocabulary in vocabularies.items():
        ids, unknown = streamed(vocabulary, chunks)
        assert (ids, unknown) == streamed(vocabulary, [text]), name
        whole = vocabulary.encode(text)
        assert unknown == whole.unknown, name
        closing = [vocabulary.end] if ids[len(whole.ids) :] else []
        assert ids == [*whole.ids.tolist(), *closing], name


@pytest.mark.parametrize("kind", KINDS)
def test_building_does_not_depend_on_chunk_borders(kind: str) -> None:
    if kind == "subwords":
        pytest.importorskip("tokenizers")
    pieces = [TRAINING[at : at + 7] for at in range(0, len(TRAINING), 7)]
    assert build(kind, pieces).to_json() == build(kind, [TRAINING]).to_json()


def test_json_round_trip(vocabularies: dict[str, Vocabulary]) -> None:
    for name, vocabulary in vocabularies.items():
        again = from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary, name
        assert again.encode(TRAINING).ids.tolist() == vocabulary.encode(TRAINING).ids.tolist(), name
        symbols = [again.symbol(place) for place in range(again.size)]
        assert all(symbol.isprintable() and symbol for symbol in symbols), name


# Characters


def test_characters_are_sorted_by_code_point() -> None:
    vocabulary = Characters.build(["hello\n", "🎈é"])
    assert vocabulary.symbols == "\nehloé🎈"
    assert vocabulary.encode("hole").ids.tolist() == [2, 4, 3, 1]
    assert vocabulary.symbol(0) == "\\n"
    assert (vocabulary.start, vocabulary.end, vocabulary.follows) == (None, None, {})


def test_tiny_shakespeare_has_65_characters(shared_data: Path) -> None:
    text = (shared_data / "text" / "tinyshakespeare.txt").read_text()
    vocabulary = Characters.build([text[:1_003_854]])
    assert vocabulary.size == 65
    assert vocabulary.decode(vocabulary.encode(text).ids) == text


@pytest.mark.parametrize(
    ("policy", "decoded"),
    [("skip", "ab"), ("unk", "a\ufffd\ufffdb"), ("replace:a", "aaab")],
)
def test_unseen_characters(policy: str, decoded: str) -> None:
    vocabulary = Characters.build(["aabb"], unknown=policy)
    encoded = vocabulary.encode("aé🎈b")
    assert vocabulary.decode(encoded.ids) == decoded
    assert encoded.unknown == Counter({"é": 1, "🎈": 1})
    assert vocabulary.ids(list("aé")).tolist() == [0, -1]


def test_an_unseen_character_as_an_error() -> None:
    vocabulary = Characters.build(["abc"]).with_unknown("error")
    with pytest.raises(MisuseError, match=r"'é' \(U\+00E9, LATIN .*3 symbols .*after 'abc'"):
        vocabulary.encode("abcé")
    assert vocabulary.encode("cab").ids.tolist() == [2, 0, 1]


def test_rare_characters() -> None:
    vocabulary = Characters.build(["aaabbc"], min_count=2, unknown="unk")
    assert vocabulary.symbols == "ab"
    assert vocabulary.size == 3
    assert vocabulary.encode("abc").ids.tolist() == [0, 1, 2]
    assert vocabulary.symbol(2) == "<unk>"
    assert Characters.build(["cccabb"], max_size=2).symbols == "bc"


@pytest.mark.parametrize(
    "policy",
    ["unk", "guess", "replace:", "replace:z", "replace:ab", ""],
    ids=lambda policy: policy or "empty",
)
def test_treatments_that_cannot_be(policy: str) -> None:
    with pytest.raises(MisuseError, match="unknown="):
        Characters("ab").with_unknown(policy)


def test_lone_surrogates_are_unseen_characters() -> None:
    encoded = Characters("ab").encode("a\udce9b")
    assert encoded.ids.tolist() == [0, 1]
    assert encoded.unknown == Counter({"\udce9": 1})
    with pytest.raises(MisuseError, match="surrogate"):
        Bytes().encode("\ud800")


@pytest.mark.parametrize("ids", [[-1], [2], [0, 1, 99]])
def test_ids_outside_the_vocabulary(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="outside this vocabulary of 2"):
        Characters("ab").decode(ids)


# Words


def test_each_line_is_a_sentence() -> None:
    vocabulary = Words.build(["cat sat on mat\n"])
    assert vocabulary.tokenize("cat sat\n\nmat") == ["<S>", "cat", "sat", "<E>", "<S>", "<E>", "<S>", "mat"]
    assert vocabulary.decode(vocabulary.encode("cat sat\n\nmat").ids) == "cat sat\n\nmat"
    tokens = vocabulary.tokenize("cat sat\nmat\n")
    assert vocabulary.ids(tokens).tolist() == vocabulary.encode("cat sat\nmat\n").ids.tolist()
    assert vocabulary.unpredicted == {vocabulary.start}
    assert vocabulary.follows == {vocabulary.end: vocabulary.start}
    assert [vocabulary.symbol(place) for place in range(3)] == ["<unk>", "<S>", "<E>"]


def test_a_streamed_text_closes_its_last_line() -> None:
    vocabulary = Words.build(["cat sat"])
    assert [vocabulary.symbol(place) for place in streamed(vocabulary, ["ca", "t sat"])[0]] == [
        "<S>", "cat", "sat", "<E>",
    ]  # fmt: skip
    assert streamed(vocabulary, ["cat\n"])[0] == streamed(vocabulary, ["cat"])[0]
    assert streamed(vocabulary, [""])[0] == []


@pytest.mark.parametrize(
    "text",
    [
        "Don't go, he said (twice); 3.5% of us didn't!\n",
        "a well-known rock’n’roll — or not…\n",
        "हिन्दी में लिखा\n",
    ],
)
def test_words_and_marks(text: str) -> None:
    vocabulary = Words.build([text])
    assert {"Don't", "rock’n’roll", "हिन्दी"} & set(vocabulary.words)
    again = vocabulary.encode(vocabulary.decode(vocabulary.encode(text).ids))
    assert again.ids.tolist() == vocabulary.encode(text).ids.tolist()


@given(st.lists(st.integers(0, 11), max_size=20))
def test_joining_depends_on_neighbours_only(ids: list[int]) -> None:
    vocabulary = Words.build(["a ( ) , - it's $ b c\n"], whitespace=False)
    joined = "".join(
        vocabulary.decode(ids[place - 1 : place + 1]).removeprefix(vocabulary.decode(ids[place - 1 : place]))
        if place
        else vocabulary.decode(ids[:1])
        for place in range(len(ids))
    )
    assert joined == vocabulary.decode(ids)


def test_the_most_frequent_words_are_kept() -> None:
    vocabulary = Words.build(["c c c b b a a d\n"], max_size=6)
    assert vocabulary.words == ("c", "a", "b")
    encoded = vocabulary.encode("c d e\n")
    assert [vocabulary.symbol(place) for place in encoded.ids] == ["<S>", "c", "<unk>", "<unk>", "<E>"]
    assert encoded.unknown == Counter("de")
    assert Words.build(["c c b"], min_count=2).words == ("c",)
    assert vocabulary.with_unknown("skip").encode("d c").ids.tolist() == vocabulary.encode("c").ids.tolist()
    assert vocabulary.with_unknown("replace:a").encode("d").ids.tolist() == vocabulary.encode("a").ids.tolist()
    with pytest.raises(MisuseError, match=r"'d' .*is not among .*comes after 'c b'"):
        vocabulary.with_unknown("error").encode("c b d")


def test_lower_case_and_white_space() -> None:
    assert set(Words.build(["The the THE end."], lower=True).words) == {"the", "end", "."}
    assert Words.build(["The end. (so)"], whitespace=True).words == ("(so)", "The", "end.")
    marked = Words.build(["a <unk> <S> b\n"], whitespace=True)
    assert set(marked.words) == {"a", "b"}
    encoded = marked.encode("a <unk> <S>\n")
    assert [marked.symbol(place) for place in encoded.ids] == ["<S>", "a", "<unk>", "<unk>", "<E>"]
    assert encoded.unknown == Counter({"<S>": 1})


# Subwords and bytes


def test_subwords_learn_words(subwords: Subwords) -> None:
    assert subwords.size <= 320
    assert "the" in subwords.tokens
    assert len(subwords.encode("the cat").ids) < 4
    assert subwords.symbol(subwords.tokens.index("Ċ")) == "\\n"


def test_the_trained_merges_encode_as_the_library_does(subwords: Subwords) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={token: place for place, token in enumerate(subwords.tokens)}, merges=list(subwords.merges)
        )
    )
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    line = "the dog isn't  here, naïve 🎈 x1"
    assert subwords.encode(line).ids.tolist() == theirs.encode(line).ids


def test_nothing_is_unseen_in_bytes_and_subwords(subwords: Subwords) -> None:
    for vocabulary in (Bytes(), subwords):
        assert vocabulary.with_unknown("none") is vocabulary
        with pytest.raises(MisuseError, match="has no meaning"):
            vocabulary.with_unknown("skip")
    assert Bytes().symbol(0xE9) == "\\xe9"
    assert Bytes().decode([0x61, 0xE9]) == "a\ufffd"


# Building and reading


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("letters", {}, "characters, bytes, words, subwords"),
        ("characters", {"lower": True}, "no option 'lower'; it has unknown, min_count, max_size"),
        ("bytes", {"max_size": 3}, "it has none"),
        ("characters", {"min_count": 0}, "min_count >= 1"),
        ("characters", {"min_count": 100}, "100 times"),
        ("words", {"max_size": 3}, "max_size >= 4"),
        ("words", {"unknown": "replace:zebra"}, "'zebra' is itself not"),
        ("subwords", {"size": 255}, "size >= 256"),
    ],
)
def test_options_that_cannot_be(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        build(kind, ["some text"], **options)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_no_text(kind: str) -> None:
    with pytest.raises(MisuseError, match="no"):
        build(kind, [])


CHARACTERS = {"kind": "characters", "unknown": "skip", "has_unknown": False, "symbols": "ab"}
WORDS = {"kind": "words", "unknown": "unk", "lower": False, "whitespace": False, "words": ["a", "b"]}
SUBWORDS = {"kind": "subwords", "tokens": ["a", "b"], "merges": []}


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        [],
        "characters",
        {},
        {"kind": "os"},
        {"kind": ["characters"]},
        {**CHARACTERS, "symbols": "ba"},
        {**CHARACTERS, "symbols": "aa"},
        {**CHARACTERS, "symbols": ""},
        {**CHARACTERS, "symbols": ["a", "b"]},
        {**CHARACTERS, "symbols": "\ud800"},
        {**CHARACTERS, "unknown": "unk"},
        {**CHARACTERS, "has_unknown": 1},
        {**WORDS, "words": ["a", "a"]},
        {**WORDS, "words": ["a", 1]},
        {**WORDS, "words": ["a b"]},
        {**WORDS, "words": ["<S>"]},
        {**WORDS, "words": [""]},
        {**WORDS, "words": ["a\n"]},
        {**WORDS, "lower": "no"},
        {**WORDS, "words": {"a": 0}},
        SUBWORDS,
        {**SUBWORDS, "merges": [["a"]]},
        {**SUBWORDS, "merges": "a b"},
        {**SUBWORDS, "tokens": [" ", "b"]},
    ],
    ids=repr,
)
def test_hostile_files(hostile: Any) -> None:
    with pytest.raises(MisuseError):
        from_json(hostile)


def test_hostile_subwords(subwords: Subwords) -> None:
    good = subwords.to_json()
    for change in (
        {"merges": [*good["merges"], ["qq", "zz"]]},
        {"tokens": good["tokens"][1:]},
        {"tokens": [*good["tokens"], "\u4e00"]},
        {"tokens": [*good["tokens"], good["tokens"][0]]},
    ):
        with pytest.raises(MisuseError):
            from_json({**good, **change})
