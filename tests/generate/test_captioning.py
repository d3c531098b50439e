"""Captions that are searched, drawn or greedy, beside every caption there can be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from caption_models import captioner, features

from elman.data.words import Words
from elman.errors import MisuseError
from elman.generate.captioning import (
    Manner,
    draw,
    never_written,
    opening_of,
    tags_of,
    write,
)

# with <unk>, <S> and <E> as many as the model's words
VOCABULARY = Words(("<de>", "<en>", "a", "b", "c", "d", "e", "f"), whitespace=True)
PLAIN = replace(VOCABULARY, words=tuple("abcdefgh"))
LETTERS = range(5, 11)


def logprobs_of(model, seen: torch.Tensor, ids: list[int]) -> list[float]:
    """log P of each symbol after <S> <en>, read all at once."""
    tokens = torch.tensor([1, 4, *ids[:-1]]).unsqueeze(1)
    with torch.no_grad():
        scores, _ = model(tokens, model.begin(seen))
    chosen = torch.log_softmax(scores[1:, 0].double(), -1)
    return chosen[torch.arange(len(ids)), torch.tensor(ids)].tolist()


def test_the_opening_is_the_start_and_the_tag():
    assert tags_of(VOCABULARY) == {"de": 3, "en": 4}
    assert opening_of(VOCABULARY, "en") == [1, 4]
    assert opening_of(PLAIN) == [1]
    assert never_written(VOCABULARY) == {0, 1, 3, 4}
    with pytest.raises(MisuseError, match=r"--tag is none; it takes one of de, en"):
        opening_of(VOCABULARY)
    with pytest.raises(MisuseError, match=r"--tag is 'fr'; this model was trained without"):
        opening_of(PLAIN, "fr")


@pytest.mark.parametrize("way", ["first", "constant-first", "attention", "two-layer-factored"])
@pytest.mark.parametrize("normalisation", [0.0, 0.7])
def test_a_wide_beam_finds_the_best_of_all_captions(way: str, normalisation: float):
    model = captioner(way)
    seen = features(model, 1)
    every = []
    for length in range(3):
        for words in itertools.product(LETTERS, repeat=length):
            every.append([*words, 2])
    # those that are cut by the limit of 3 symbols count as they are
    every += [list(words) for words in itertools.product(LETTERS, repeat=3)]
    ranked = sorted(
        ((sum(logprobs_of(model, seen, ids)) / ((5 + len(ids)) / 6) ** normalisation, ids) for ids in every),
        reverse=True,
    )
    manner = Manner(best=4, beam=300, normalisation=normalisation, length=3)
    (found,) = write(model, VOCABULARY, seen, "en", manner)
    assert [caption.ids for caption in found] == [ids for _, ids in ranked[:4]]
    for caption, (score, ids) in zip(found, ranked, strict=False):
        assert caption.score == pytest.approx(score, abs=1e-5)
        assert caption.logprobs == pytest.approx(logprobs_of(model, seen, ids), abs=1e-5)
        assert caption.logprob == pytest.approx(sum(caption.logprobs))
        assert caption.text == " ".join(VOCABULARY.symbol(token) for token in ids if token != 2)


def test_greedy_takes_the_likeliest_word_again_and_again():
    model = captioner("every")
    seen = features(model, 3)
    opening = opening_of(VOCABULARY, "en")
    banned = never_written(VOCABULARY)
    drawn = draw(model, model.begin(seen), opening, end=2, banned=banned, length=8, temperature=0)
    for row, ids in enumerate(drawn.rows(2)):
        words: list[int] = []
        while len(words) < 8:
            tokens = torch.tensor([*opening, *words]).unsqueeze(1)
            scores = model(tokens, model.begin(seen[row : row + 1]))[0][-1, 0]
            scores[sorted(banned)] = -torch.inf
            if int(scores.argmax()) == 2:
                break
            words.append(int(scores.argmax()))
        assert ids == words
        (found,) = write(model, VOCABULARY, seen[row : row + 1], "en", Manner(beam=1, length=8))[0]
        assert [token for token in found.ids if token != 2] == words


def test_draws_follow_the_models_distribution():
    model = captioner("every")
    seen = features(model, 1)
    many = model.begin(seen.expand(20_000, -1))
    opening, banned = opening_of(VOCABULARY, "de"), never_written(VOCABULARY)
    random = torch.Generator().manual_seed(0)
    drawn = draw(model, many, opening, end=2, banned=banned, length=1, temperature=0.5, generator=random)
    scores = model(torch.tensor([[1], [3]]), model.begin(seen))[0][-1, 0]
    scores[sorted(banned)] = -torch.inf
    expected = torch.softmax(scores / 0.5, 0).detach().numpy()
    counts = np.bincount(drawn.tokens[0].numpy(), minlength=11) / 20_000
    assert np.abs(counts - expected).max() < 0.015
    # what is reported is the model's own probability, whatever the temperature
    own = torch.log_softmax(model(torch.tensor([[1], [3]]), model.begin(seen))[0][-1, 0], 0)
    torch.testing.assert_close(drawn.logprobs[0], own[drawn.tokens[0]].detach())


def test_after_its_end_a_caption_says_nothing_more():
    model = captioner("first")
    many = model.begin(features(model, 64))
    random = torch.Generator().manual_seed(0)
    drawn = draw(model, many, [1, 4], end=2, banned=never_written(VOCABULARY), length=12, generator=random)
    for column, nats, length in zip(drawn.tokens.T, drawn.logprobs.T, drawn.lengths, strict=True):
        assert (column[: length - 1] != 2).all()
        assert (column[length:] == 2).all()
        assert (nats[:length] < 0).all()
        assert (nats[length:] == 0).all()
        assert column[length - 1] == 2 or length == len(column)
    assert len(set(drawn.lengths.tolist())) > 3


def test_draws_are_their_seeds():
    model = captioner("every")
    seen = features(model, 2)
    manner = Manner(best=3, temperature=1.0, length=6, seed=5)
    first, again = (write(model, VOCABULARY, seen, "en", manner) for _ in range(2))
    assert [[c.ids for c in own] for own in first] == [[c.ids for c in own] for own in again]
    other = write(model, VOCABULARY, seen, "en", replace(manner, seed=6))
    assert [c.ids for c in other[0]] != [c.ids for c in first[0]]
    # the second image is drawn with the next seed
    moved = write(model, VOCABULARY, seen[1:], "en", replace(manner, seed=6))
    assert [c.ids for c in moved[0]] == [c.ids for c in first[1]]


def test_attention_is_of_the_step_that_chose_the_word():
    model = captioner("attention")
    seen = features(model, 1)
    ((found,),) = write(model, VOCABULARY, seen, "en", Manner(length=5))
    assert found.weights is not None
    assert found.weights.shape == (len(found.ids), 3, 3)
    torch.testing.assert_close(found.weights.sum((1, 2)), torch.ones(len(found.ids)))
    tokens = torch.tensor([1, 4, *found.ids[:-1]]).unsqueeze(1)
    _, _, weights = model.read(tokens, model.begin(seen))
    torch.testing.assert_close(found.weights.flatten(1), weights[1:, 0].detach())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"best": 4}, "4 best"), ({"normalisation": -1.0}, "normalisation"), ({"temperature": -0.1}, "--temperature")],
)
def test_manners_that_cannot_be(wrong: dict[str, float], message: str):
    with pytest.raises(MisuseError, match=message):
        Manner(**wrong)
