"""The words that mattered: where they stand in the text, what they did, and pages that run nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.labelled import spelled
from elman.data.vocabulary import build
from elman.insight.word_weights import Explained, by_character, coloured, explain, heaviest, page_of, places
from elman.models.classifier import Classifier

WORDS = build("words", ["the cat isn't a dog , really .\n"], lower=True)


def made(pooling: str = "max") -> Classifier:
    torch.manual_seed(0)
    return Classifier("gru", WORDS.size, 2, 8, pooling=pooling).eval()


@pytest.mark.parametrize("text", ["The cat, isn't  a DOG.\nzebra", "a a a", " cat ", "İstanbul a cat"])
def test_words_are_found_where_they_stand(text: str) -> None:
    tokens = spelled(WORDS, text)
    found = places(WORDS, text, tokens)
    assert len(found) == len(tokens)
    assert all(begin <= end for begin, end in found)
    for (begin, end), token in zip(found, tokens, strict=True):
        if "İ" not in text:
            assert text[begin:end].lower() == token
    assert [begin for begin, _ in found] == sorted(begin for begin, _ in found)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_bytes_and_characters_cover_the_text(text: str) -> None:
    for vocabulary in (build("bytes", []), build("characters", [text])):
        tokens = spelled(vocabulary, text)
        covered = np.zeros(len(text), dtype=int)
        for begin, end in places(vocabulary, text, tokens):
            assert end == begin + 1
            covered[begin] += 1
        sizes = [len(sign.encode()) if vocabulary.kind == "bytes" else 1 for sign in text]
        assert covered.tolist() == sizes


def test_subwords_cover_the_text() -> None:
    pytest.importorskip("tokenizers")
    text = "naïve cats, naïve dogs \U0001f600"
    vocabulary = build("subwords", [text * 20], size=300)
    tokens = spelled(vocabulary, text)
    found = places(vocabulary, text, tokens)
    assert (found[0][0], found[-1][1]) == (0, len(text))
    assert all(before[1] >= after[0] for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_an_explanation_is_of_the_likeliest_class(pooling: str) -> None:
    model = made(pooling)
    model.temperature.fill_(2.0)
    texts = ["the cat really", "a zebra", "dog"] * 15
    found = explain(model, WORDS, ("no", "yes"), texts, 10)
    assert len(found) == 45
    for each, text in zip(found, texts, strict=True):
        ids = torch.from_numpy(WORDS.ids(spelled(WORDS, text)).clip(0)).unsqueeze(1)
        lengths = torch.tensor([len(ids)])
        scores = model(ids, lengths)
        expected = torch.softmax(scores / 2, -1)[0]
        assert each.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
        best = int(scores.argmax())
        assert each.best == ("no", "yes")[best]
        slopes = model.contributions(ids, lengths, torch.tensor([best]))[:, 0]
        assert each.contributions == pytest.approx(slopes.tolist(), abs=1e-6)
        assert np.abs(each.shares).max() == pytest.approx(1.0)
        assert (each.attention is None) == (pooling == "max")
        if each.attention is not None:
            assert each.attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert found[1].unknown.tolist() == [False, True]


def given_explained(text: str = "the <b>cat</b>") -> Explained:
    tokens = spelled(WORDS, text)
    values = np.linspace(-1, 2, len(tokens))
    return Explained(
        text, ("no", "yes"), np.array([0.25, 0.75]), tokens, WORDS.ids(tokens) < 0, values, np.full(len(tokens), 0.2)
    )


def test_values_are_spread_over_the_characters_of_their_tokens() -> None:
    each = given_explained("cat the")
    assert by_character(WORDS, each, np.array([2.0, -1.0])).tolist() == [2, 2, 2, 0, -1, -1, -1]
    assert heaviest(given_explained("the cat a dog"), 2) == [("dog", 2.0), ("the", -1.0)]


def test_a_terminal_gets_the_text_and_no_control_characters() -> None:
    line = coloured(WORDS, given_explained("the \x1b[31m cat\ndog"))
    assert line.plain.startswith("yes 0.75  the ")
    assert "\x1b" not in line.plain
    assert "\n" not in line.plain


def test_a_page_shows_the_text_and_runs_nothing() -> None:
    shown = page_of(WORDS, [given_explained(), given_explained("dog <script>alert(1)</script>")], "a & b")
    assert "<script" not in shown
    assert "&lt;" in shown
    assert "a &amp; b" in shown
    assert "default-src 'none'" in shown
    assert "yes 0.750, no 0.250" in shown
    assert shown.count("attention") >= 2
