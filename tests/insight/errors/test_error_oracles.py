"""Oracles and their order: on a text whose answers are written down, and beside a plain loop over every character."""

from __future__ import annotations

import itertools
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.data.symbols import code_points
from elman.data.vocabulary import build
from elman.errors import MisuseError
from elman.insight.errors import Evidence, characters_of, error_taxonomy
from elman.insight.errors.characters import Words, class_of, text_of

NAMES = ("ngram", "memory", "rare", "word", "punctuation", "boost", "remainder")


def evidence(text: str, p: list[float], ngrams: dict[int, list[float]] | None = None, train: str = "") -> Evidence:
    with np.errstate(divide="ignore"):
        return Evidence(
            code_points(text),
            -np.log(np.array(p)),
            {order: -np.log(np.array(values)) for order, values in (ngrams or {}).items()},
            code_points(train),
        )


def named(found: Evidence) -> list[str]:
    taxonomy = error_taxonomy(found)
    return ["" if place < 0 else NAMES[place] for place in taxonomy.assigned.tolist()]


KNOWN = "cat " * 6 + "dog " * 6 + "cow " * 3


def test_each_error_belongs_to_the_first_oracle_that_explains_it() -> None:
    #       0         1         2
    #       0123456789012345678901234567
    text = 'cat dog cat; cow\n"ok" dog x.'
    p = [0.9] * len(text)
    expected = [""] * len(text)

    def err(place: int, oracle: str, probability: float = 0.2) -> None:
        p[place], expected[place] = probability, oracle

    ngram = [0.1] * len(text)
    err(1, "ngram")  # the a of the first cat, which 4-grams know
    ngram[1] = 0.6
    err(4, "word")  # the d of the first dog: after a space, and dog is well known
    err(5, "remainder")  # its o: no memory of dog yet
    err(9, "memory")  # the a of the second cat
    err(8, "word")  # its c is no matter of memory
    err(11, "punctuation")
    err(13, "rare")  # cow occurs three times in training, so its first letter is the rare word's
    err(16, "remainder")  # a newline is no sign
    err(17, "word")  # after a newline, though it is a sign too
    err(18, "rare")  # ok was never seen
    err(20, "punctuation")
    err(24, "memory")  # the g of the second dog
    err(27, "boost", 0.4)
    expected[27] = "punctuation"  # nearly right, but a sign before that
    p[23], expected[23] = 0.5, ""  # one half is no error
    err(10, "memory", 0.45)
    assert named(evidence(text, p, {4: ngram}, KNOWN)) == expected


def test_nearly_right_is_boosted_and_the_rest_divided() -> None:
    text = "abcdefgh"
    p = [0.9, 0.41, 0.4, 0.39, 0.25, 0.15, 0.05, 0.0]
    taxonomy = error_taxonomy(evidence(text, p, train="abcdefgh " * 6))
    boost, rest = taxonomy.categories[-2:]
    assert (taxonomy.errors, boost.count, rest.count) == (7, 2, 5)
    assert dict(rest.parts) == {"0.2 more": 1, "0.3 more": 1, "0.4 more": 1, "0.5 more": 2}
    assert [category.left for category in taxonomy.categories] == [7, 7, 7, 7, 7, 5, 0]


def test_memory_reaches_so_far_and_no_further() -> None:
    reaches = (100, 500, 1000, 5000)
    for ago in (100, 101, 500, 999, 5000, 5001):
        # the second horse begins so many characters after the first
        text = "horse" + " " * (ago - 5) + "horse"
        p = [0.9] * len(text)
        p[-1] = 0.1
        found = error_taxonomy(evidence(text, p, train="horse " * 7))
        expected = [0, 0, 0, 0]
        if ago <= 5000:
            expected[next(place for place, reach in enumerate(reaches) if ago <= reach)] = 1
        assert [count for _, count in found.categories[1].parts] == expected
        assert found.categories[-1].count == (ago > 5000)


def test_ngrams_are_credited_to_the_shortest() -> None:
    p, yes, no = [0.1, 0.1, 0.1], [0.1, 0.6, 0.6], [0.1, 0.1, 0.6]
    taxonomy = error_taxonomy(evidence("zzz", p, {2: no, 3: yes, 5: [0.6] * 3}, "zzz " * 9))
    assert taxonomy.categories[0].parts == (("order 2", 1), ("order 3", 1), ("order 5", 1))


def test_a_model_without_errors_has_none_and_skipped_ones_do_not_count() -> None:
    found = evidence("abc", [0.9, 0.9, 0.9], train="abc")
    assert error_taxonomy(found).errors == 0
    assert error_taxonomy(found).to_json()["error_rate"] == 0
    unread = Evidence(found.points, np.array([np.nan, 3.0, 0.1]), {}, found.train)
    taxonomy = error_taxonomy(unread)
    assert (taxonomy.characters, taxonomy.errors) == (2, 1)
    assert taxonomy.nats == pytest.approx(1.55)


def naive(text: str, p: NDArray[np.float64], ngrams: dict[int, NDArray[np.float64]], train: str) -> list[str]:
    """The same answers, character by character."""

    def letter(character: str) -> bool:
        return character == "_" or unicodedata.category(character)[0] in "LMN"

    def word_at(body: str, place: int) -> tuple[int, str]:
        begin = end = place
        while begin and letter(body[begin - 1]):
            begin -= 1
        while end < len(body) and letter(body[end]):
            end += 1
        return begin, body[begin:end]

    def words(body: str) -> list[tuple[int, str]]:
        begins = [i for i, c in enumerate(body) if letter(c) and not (i and letter(body[i - 1]))]
        return [word_at(body, i) for i in begins]

    here, known = words(text), [word for _, word in words(train)]
    result = []
    for place, character in enumerate(text):
        begin, word = word_at(text, place) if letter(character) else (place, "")
        before = [start for start, other in here if other == word and start < begin]
        if p[place] >= 0.5:
            result.append("")
        elif any(values[place] > 0.5 for values in ngrams.values()):
            result.append("ngram")
        elif word and place > begin and before and begin - before[-1] <= 5000:
            result.append("memory")
        elif word and known.count(word) <= 5:
            result.append("rare")
        elif place and text[place - 1] in " \t\n\"'`":
            result.append("word")
        elif unicodedata.category(character)[0] in "PS" and character != "_":
            result.append("punctuation")
        else:
            result.append("boost" if p[place] >= 0.4 else "remainder")
    return result


@settings(max_examples=150, deadline=None)
@given(st.text("ab_3 \n\t\"'.;(é", max_size=60), st.text("ab_3 .\n", max_size=200), st.integers(0, 2**32 - 1))
def test_a_plain_loop_says_the_same(text: str, train: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    p, one, two = generator.random((3, len(text)))
    ngrams = {1: one * 0.6, 7: two * 0.6}
    found = Evidence(code_points(text), -np.log(p), {n: -np.log(v) for n, v in ngrams.items()}, code_points(train))
    assert named(found) == naive(text, p, ngrams, train)
    taxonomy = error_taxonomy(found)
    assert sum(category.count for category in taxonomy.categories) == taxonomy.errors
    lefts = [taxonomy.errors, *(category.left for category in taxonomy.categories)]
    assert [a - b for a, b in itertools.pairwise(lefts)] == [c.count for c in taxonomy.categories]


def test_bytes_stand_for_the_characters_that_they_belong_to() -> None:
    text = "naïve “cat”"
    vocabulary = build("bytes", [])
    ids = vocabulary.encode(text).ids
    assert text_of(characters_of(vocabulary, ids)) == "naïïve “““cat”””"
    cut = characters_of(vocabulary, ids[3:])  # begins within the ï
    assert text_of(cut) == "\ufffdve “““cat”””"
    assert len(cut) == len(ids) - 3
    letters = build("characters", [text])
    assert text_of(characters_of(letters, letters.encode(text).ids)) == text


def test_other_tokens_than_characters_are_refused() -> None:
    words = build("words", ["a cat sat"])
    with pytest.raises(MisuseError, match="words"):
        characters_of(words, words.encode("a cat").ids)
    with pytest.raises(MisuseError, match="as many"):
        Evidence(code_points("abc"), np.zeros(2), {}, code_points(""))


def test_words_and_classes() -> None:
    words = Words.of(code_points("if (x_1) return él; if"))
    assert words.names == ["if", "x_1", "return", "él", "if"]
    assert words.since_last()[[0, 4]].tolist() == [np.iinfo(np.int64).max, 20]
    kinds = [class_of(c) for c in 'aQ7 \n\t_"({)];%\u2014']
    assert kinds == [
        "small letter", "capital", "digit", "space", "newline", "tab", "underscore", "quote", "opening bracket",
        "opening bracket", "closing bracket", "closing bracket", "stop", "other punctuation", "other punctuation",
    ]  # fmt: skip
    assert math.isclose(words.ends[0] - words.begins[0], 2)
