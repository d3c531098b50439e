"""Beam search against exhaustive search and greedy decoding."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from elman.data.vocabulary import build
from elman.errors import MisuseError
from elman.generate import beam_search, generate

Maker = Callable[..., Any]
LETTERS = build("characters", ["ab\n"])  # ids: newline 0, a 1, b 2
LENGTH = 5


def logprob_of(model: Any, ids: tuple[int, ...]) -> float:
    table = torch.log_softmax(model.table, dim=-1)
    history = (0, 0, *ids)  # the state begins with 0, the opening newline is 0
    return sum(float(table[history[i], history[i + 1], history[i + 2]]) for i in range(len(ids)))


def ranked(model: Any, texts: list[tuple[int, ...]], normalisation: float = 0.0) -> list[tuple[int, ...]]:
    return sorted(texts, key=lambda ids: -logprob_of(model, ids) / ((5 + len(ids)) / 6) ** normalisation)


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_is_an_exhaustive_search(second_order: Maker, seed: int) -> None:
    model = second_order(3, seed=seed, spread=1.0)
    every = ranked(model, list(itertools.product(range(3), repeat=LENGTH)))
    found = beam_search(model, LETTERS, length=LENGTH, width=3**LENGTH, best=7)
    assert [tuple(sample.ids) for sample in found] == every[:7]
    for sample in found:
        assert sample.logprob == pytest.approx(logprob_of(model, tuple(sample.ids)))
        assert sample.logprob == pytest.approx(sum(sample.token_logprobs))
        assert (sample.text, sample.stopped, sample.seed) == (LETTERS.decode(sample.ids), "length", None)


def until(ids: tuple[int, ...], stop: str) -> tuple[int, ...]:
    for count in range(len(ids) + 1):
        if LETTERS.decode(ids[:count]).endswith(stop):
            return ids[:count]
    return ids


@pytest.mark.parametrize("normalisation", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_stop_texts_and_normalisation_against_an_exhaustive_search(
    second_order: Maker, seed: int, normalisation: float
) -> None:
    model = second_order(3, seed=seed, spread=1.0)
    every = {until(ids, "ba") for ids in itertools.product(range(3), repeat=LENGTH)}
    expected = ranked(model, sorted(every), normalisation)[:5]
    found = beam_search(
        model, LETTERS, length=LENGTH, width=3**LENGTH, best=5, normalisation=normalisation, stop=["ba"]
    )
    assert [tuple(sample.ids) for sample in found] == expected
    for sample in found:
        stopped = LETTERS.decode(sample.ids).endswith("ba")
        assert sample.stopped == ("stop" if stopped else "length")
        assert sample.text == LETTERS.decode(sample.ids[:-2] if stopped else sample.ids)


@pytest.mark.parametrize("seed", range(5))
def test_width_one_is_greedy(second_order: Maker, seed: int) -> None:
    vocabulary = build("characters", ["abcdefg\n"])
    model = second_order(8, seed=seed)
    for stop in ([], ["ca", "b"]):
        (found,) = beam_search(model, vocabulary, prompt="ab", length=60, width=1, stop=stop)
        (greedy,) = generate(model, vocabulary, prompt="ab", length=60, temperature=0, seed=0, stop=stop)
        assert (found.ids, found.text, found.stopped) == (greedy.ids, greedy.text, greedy.stopped)
        assert found.logprob == pytest.approx(greedy.logprob)


@pytest.mark.parametrize("seed", range(5))
def test_a_wider_beam_is_no_worse_here_and_its_texts_differ(second_order: Maker, seed: int) -> None:
    vocabulary = build("characters", ["abcdefg\n"])
    model = second_order(8, seed=seed, spread=0.7)
    narrow = beam_search(model, vocabulary, length=12, width=1)[0]
    wide = beam_search(model, vocabulary, length=12, width=200, best=200)
    assert wide[0].logprob >= narrow.logprob
    assert len({tuple(sample.ids) for sample in wide}) == 200
    assert all(one.logprob >= two.logprob for one, two in itertools.pairwise(wide))


def test_the_best_cannot_be_more_than_the_width(second_order: Maker) -> None:
    with pytest.raises(MisuseError, match="width"):
        beam_search(second_order(3), LETTERS, width=2, best=3)
    with pytest.raises(MisuseError, match="normalisation"):
        beam_search(second_order(3), LETTERS, normalisation=-1)
    with pytest.raises(MisuseError, match="length"):
        beam_search(second_order(3), LETTERS, length=-1)


def test_fewer_texts_than_asked_for_are_all_there_are(second_order: Maker) -> None:
    found = beam_search(second_order(3), LETTERS, length=1, width=50, best=50)
    assert sorted(sample.ids[0] for sample in found) == [0, 1, 2]


def test_the_beam_goes_on_after_an_end_symbol_as_sampling_does() -> None:
    text = "a b a\nb b\n"
    vocabulary = build("words", [text])
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(4))
    table[:, 2] += 1.5  # ends are likely

    class Chain:
        vocabulary_size = 5

        def initial_state(self, batch: int) -> dict[str, Any]:
            return {"count": torch.zeros(1, batch)}

        def __call__(self, tokens: Any, state: Any) -> Any:
            return table[tokens], {"count": state["count"] + len(tokens)}

    (greedy,) = generate(Chain(), vocabulary, length=12, temperature=0, seed=0)
    (found,) = beam_search(Chain(), vocabulary, length=12, width=1)
    assert 2 in greedy.ids
    assert (found.ids, found.text) == (greedy.ids, greedy.text)
    assert 1 not in beam_search(Chain(), vocabulary, length=8, width=20)[0].ids
    assert beam_search(Chain(), vocabulary, length=8, width=20, until_end=True)[0].stopped == "end"
