"""Surprise of a text's symbols, against a model whose probabilities are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elman.data.vocabulary import build
from elman.errors import FailureError, MisuseError
from elman.generate import generate
from elman.insight.surprisal import surprisal
from elman.models import likelihood


class Chain:
    """P(next | current, number of symbols read so far modulo 3), from a table of scores [3, V, V]."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.vocabulary_size = size
        self.table = torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed)) * 2

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"count": torch.zeros(1, batch, dtype=torch.long)}

    def __call__(self, tokens: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        counts = state["count"] + torch.arange(len(tokens))[:, None]
        return self.table[counts % 3, tokens], {"count": state["count"] + len(tokens)}

    def nats(self, fed: list[int], targets: list[int]) -> list[float]:
        table = torch.log_softmax(self.table, dim=-1)
        pairs = enumerate(zip(fed, targets, strict=True))
        return [-float(table[place % 3, token, target]) for place, (token, target) in pairs]


TEXT = "abcab\nccba\nbbb"
LETTERS = build("characters", ["abc\n"])  # ids: newline 0, a 1, b 2, c 3
MODEL = Chain(4)


def test_every_symbol_is_scored_from_what_stands_before_it() -> None:
    ids = LETTERS.encode(TEXT).ids.tolist()
    scored = surprisal(MODEL, LETTERS, TEXT)
    expected = MODEL.nats([0, *ids[:-1]], ids)
    assert scored.nats == pytest.approx(expected, abs=1e-5)
    assert "".join(scored.pieces) == TEXT
    assert scored.tokens[:6] == ["a", "b", "c", "a", "b", "\\n"]
    assert scored.total == pytest.approx(sum(expected), abs=1e-4)
    assert scored.mean == pytest.approx(scored.total / len(TEXT))
    assert scored.bits == pytest.approx(scored.mean / math.log(2))
    assert scored.perplexity == pytest.approx(math.exp(scored.mean))
    assert (scored.predicted, scored.impossible, len(scored.unknown)) == (len(TEXT), 0, 0)


@pytest.mark.parametrize("steps", [1, 2, 5, 14, 1000])
def test_blocks_do_not_show(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = surprisal(MODEL, LETTERS, TEXT)
    monkeypatch.setattr(likelihood, "STEPS", steps)
    done: list[float] = []
    assert surprisal(MODEL, LETTERS, TEXT, progress=done.append).nats == pytest.approx(whole.nats)
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_ids_are_scored_as_their_text() -> None:
    ids = LETTERS.encode(TEXT).ids
    by_ids, by_text = surprisal(MODEL, LETTERS, ids), surprisal(MODEL, LETTERS, TEXT)
    assert by_ids.nats.tolist() == by_text.nats.tolist()
    assert (by_ids.tokens, by_ids.pieces) == (by_text.tokens, by_text.pieces)


def test_a_generated_text_scores_what_its_sample_says() -> None:
    for vocabulary, model in ((LETTERS, MODEL), (build("characters", ["abcd"]), Chain(4, seed=1))):
        sample = generate(model, vocabulary, length=50, seed=0)[0]
        scored = surprisal(model, vocabulary, sample.text)
        assert -scored.nats == pytest.approx(sample.token_logprobs, abs=1e-5)


def test_without_anything_before_it_the_first_symbol_is_one_of_all() -> None:
    scored = surprisal(MODEL, build("characters", ["abcd"]), "dab")
    assert scored.nats == pytest.approx([math.log(4), *MODEL.nats([3, 0], [0, 1])], abs=1e-5)


def test_skipped_symbols_are_neither_fed_nor_scored() -> None:
    scored = surprisal(MODEL, LETTERS, "aébü\n")
    known = surprisal(MODEL, LETTERS, "ab\n")
    assert scored.unknown.tolist() == [1, 3]
    assert np.isnan(scored.nats).tolist() == [False, True, False, True, False]
    assert scored.nats[[0, 2, 4]].tolist() == known.nats.tolist()
    assert (scored.total, scored.predicted) == (known.total, 3)
    assert scored.tokens == ["a", "é", "b", "ü", "\\n"]
    assert "".join(scored.pieces) == "aébü\n"
    assert scored.unknown_counts() == {"é": 1, "ü": 1}


def test_replaced_symbols_are_scored_as_their_replacement() -> None:
    scored = surprisal(MODEL, LETTERS.with_unknown("replace:c"), "aéb")
    assert scored.nats.tolist() == surprisal(MODEL, LETTERS, "acb").nats.tolist()
    assert (scored.unknown.tolist(), scored.tokens) == ([1], ["a", "é", "b"])


def test_unknown_symbols_may_be_refused() -> None:
    with pytest.raises(MisuseError, match="'é'"):
        surprisal(MODEL, LETTERS.with_unknown("error"), "aéb")


def test_words_between_start_and_end() -> None:
    vocabulary = build("words", ["the cat sat.\nthe mat.\n"])
    model = Chain(vocabulary.size)
    scored = surprisal(model, vocabulary, "the dog sat.\nthe cat.\n")
    ids = vocabulary.encode("the dog sat.\nthe cat.\n").ids.tolist()
    assert scored.tokens == ["<S>", "the", "dog", "sat", ".", "<E>", "<S>", "the", "cat", ".", "<E>"]
    assert np.isnan(scored.nats).tolist() == [token == 1 for token in ids]
    expected = model.nats(ids[:-1], ids[1:])
    assert scored.nats[1:6] == pytest.approx(expected[:5], abs=1e-5)
    assert scored.nats[7:] == pytest.approx(expected[6:], abs=1e-5)
    assert scored.unknown.tolist() == [2]
    assert "".join(scored.pieces) == "the dog sat.\nthe cat.\n"


def test_a_character_of_several_bytes_is_spelt_by_its_last() -> None:
    scored = surprisal(Chain(256), build("bytes", []), "é!")
    assert scored.tokens == ["\\xc3", "\\xa9", "!"]
    assert scored.pieces == ["", "é", "!"]
    cut = surprisal(Chain(256), build("bytes", []), np.array([0x61, 0xC3]))
    assert cut.pieces == ["a", "\ufffd"]


def test_what_a_model_holds_impossible_is_infinite() -> None:
    model = Chain(4)
    model.table[:, 1, 2] = -math.inf
    scored = surprisal(model, LETTERS, "aab")
    assert np.isinf(scored.nats).tolist() == [False, False, True]
    assert (scored.impossible, scored.total, scored.perplexity) == (1, math.inf, math.inf)


def test_scores_that_are_no_numbers_are_a_failure() -> None:
    model = Chain(4)
    model.table[:] = math.nan
    with pytest.raises(FailureError, match="not numbers"):
        surprisal(model, LETTERS, "ab")


@pytest.mark.parametrize("ids", [np.array([0, 4]), np.array([-1]), np.zeros((2, 2), dtype=int)])
def test_ids_outside_the_vocabulary_are_refused(ids: Any) -> None:
    with pytest.raises(MisuseError, match="from 0 to 3"):
        surprisal(MODEL, LETTERS, ids)


def test_an_empty_text_has_no_surprise() -> None:
    scored = surprisal(MODEL, LETTERS, "")
    assert (scored.predicted, scored.total, scored.tokens) == (0, 0, [])
    assert math.isnan(scored.mean)
