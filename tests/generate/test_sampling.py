"""Texts drawn from a model: seeds, batches, stops, log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from elman.data.vocabulary import build
from elman.errors import FailureError, MisuseError
from elman.generate import generate
from elman.generate.stepping import BLOCK

Maker = Callable[..., Any]
LETTERS = build("characters", ["abcde\n"])  # id 0 is the newline


@dataclass(frozen=True)
class Sentences:
    """A vocabulary with a start symbol (0), an end symbol (1) and the letters a to d."""

    chained: bool = True  # whether a sentence follows on the last
    kind = "words"
    size = 6
    unknown = "skip"
    start = 0
    end = 1
    unpredicted = frozenset({0})

    @property
    def follows(self) -> dict[int, int]:
        return {1: 0} if self.chained else {}

    def tokenize(self, text: str) -> list[str]:
        return list(text)

    def ids(self, tokens: list[str]) -> Any:
        return np.array(["SEabcd".find(token) for token in tokens], dtype=np.int64)

    def encode(self, text: str) -> Any:
        return build("characters", ["SEabcd"]).encode(text)._replace(ids=self.ids(list(text)))

    def decode(self, ids: Any) -> str:
        return "".join("SEabcd"[int(token)] for token in ids)


def test_the_same_seed_draws_the_same_text(second_order: Maker) -> None:
    model = second_order(6)
    first, again, other = (generate(model, LETTERS, length=80, seed=seed)[0] for seed in (3, 3, 4))
    assert first == again
    assert first.text != other.text
    assert (len(first.ids), first.stopped, first.seed) == (80, "length", 3)
    assert first.text == LETTERS.decode(first.ids)


def test_a_text_does_not_depend_on_its_batch(second_order: Maker) -> None:
    model = second_order(6)
    options: dict[str, Any] = {"prompt": "ab", "length": 300, "temperature": 0.9, "top_p": 0.95}
    batch = generate(model, LETTERS, samples=5, seed=2**32 - 2, **options)
    assert [sample.seed for sample in batch] == [2**32 - 2, 2**32 - 1, 0, 1, 2]
    assert len({sample.text for sample in batch}) == 5
    for sample in batch:
        assert generate(model, LETTERS, seed=sample.seed, **options) == [sample]


def test_frequencies_are_the_models(second_order: Maker) -> None:
    model = second_order(6)
    share = torch.softmax(model.table[0, 1], dim=0)  # after "\n", "a"
    drawn = generate(model, LETTERS, prompt="\na", length=1, samples=4000, seed=1)
    counts = np.bincount([sample.ids[0] for sample in drawn], minlength=6) / 4000
    assert np.abs(counts - share.numpy()).max() < 0.03


def test_log_probabilities_are_the_models_own(second_order: Maker) -> None:
    model = second_order(6)
    sample = generate(model, LETTERS, prompt="ab", length=50, temperature=0.3, top_k=2, seed=9)[0]
    ids = [1, 2, *sample.ids]
    table = torch.log_softmax(model.table, dim=-1)
    expected = [float(table[ids[i], ids[i + 1], ids[i + 2]]) for i in range(50)]
    assert sample.token_logprobs == pytest.approx(expected)
    assert sample.logprob == pytest.approx(sum(expected))


def test_temperature_zero_is_greedy(second_order: Maker) -> None:
    model = second_order(6)
    first, second = generate(model, LETTERS, prompt="a", length=20, temperature=0, samples=2, seed=0)
    assert first.ids == second.ids
    previous, current = 0, 1
    for token in first.ids:
        assert token == int(model.table[previous, current].argmax())
        previous, current = current, token


def test_top_k_one_is_greedy_too(second_order: Maker) -> None:
    model = second_order(6)
    greedy = generate(model, LETTERS, length=30, temperature=0, seed=0)[0]
    assert generate(model, LETTERS, length=30, top_k=1, seed=5)[0].ids == greedy.ids


def test_the_prompt_is_read_in_one_call_and_its_state_carried(second_order: Maker) -> None:
    model = second_order(6)
    generate(model, LETTERS, prompt="abcab", length=4, seed=0)
    assert model.calls == 1 + 3
    after_long = generate(model, LETTERS, prompt="e" * (BLOCK + 5) + "ab", length=20, seed=0)[0]
    assert after_long.ids == generate(model, LETTERS, prompt="ab", length=20, seed=0)[0].ids


def test_without_a_prompt_a_text_begins_as_after_a_newline(second_order: Maker) -> None:
    model = second_order(6)
    assert (
        generate(model, LETTERS, length=9, seed=0)[0].ids
        == generate(model, LETTERS, prompt="\n", length=9, seed=0)[0].ids
    )


def test_without_prompt_and_newline_the_first_symbol_is_uniform(second_order: Maker) -> None:
    vocabulary = build("characters", ["abcdef"])
    drawn = generate(second_order(6), vocabulary, length=2, samples=600, seed=0)
    assert all(sample.token_logprobs[0] == pytest.approx(-math.log(6)) for sample in drawn)
    counts = np.bincount([sample.ids[0] for sample in drawn], minlength=6)
    assert counts.min() > 60


def test_unknown_symbols_of_the_prompt_are_counted(second_order: Maker) -> None:
    sample = generate(second_order(6), LETTERS, prompt="aéébü", length=5, seed=0)[0]
    assert dict(sample.unknown) == {"é": 2, "ü": 1}
    assert sample.ids == generate(second_order(6), LETTERS, prompt="ab", length=5, seed=0)[0].ids
    with pytest.raises(MisuseError, match="'é'"):
        generate(second_order(6), LETTERS.with_unknown("error"), prompt="aé", length=5, seed=0)


def test_banned_symbols_are_not_drawn(second_order: Maker) -> None:
    sample = generate(second_order(6, spread=0.1), LETTERS, length=200, banned={0, 3}, seed=0)[0]
    assert set(sample.ids) == {1, 2, 4, 5}
    with pytest.raises(MisuseError, match="outside the vocabulary"):
        generate(second_order(6), LETTERS, length=2, banned=[-1], seed=0)
    with pytest.raises(FailureError, match="no symbol left"):
        generate(second_order(6), LETTERS, length=2, banned=range(6), seed=0)


def test_after_the_end_symbol_the_start_symbol_is_fed_and_never_drawn(second_order: Maker) -> None:
    model = second_order(6, spread=0.5)
    drawn = generate(model, Sentences(), length=100, samples=3, seed=0)
    table = torch.log_softmax(model.table, dim=-1)
    for sample in drawn:
        assert sample.stopped == "length"
        assert sample.ids.count(1) > 3
        assert 0 not in sample.ids
        fed, expected = [0, 0], []  # the initial state, then the start symbol
        for token in sample.ids:
            expected.append(float(table[fed[-2], fed[-1], token]))
            fed += [1, 0] if token == 1 else [token]
        assert sample.token_logprobs == pytest.approx(expected)
    assert generate(model, Sentences(), length=100, seed=drawn[2].seed)[0] == drawn[2]


def test_a_prompt_of_whole_sentences_is_followed_by_a_new_one(second_order: Maker) -> None:
    model = second_order(6)
    share = torch.log_softmax(model.table[1, 0], dim=0)  # after the end and the start symbol
    sample = generate(model, Sentences(), prompt="SabE", length=1, seed=0)[0]
    assert sample.logprob == pytest.approx(float(share[sample.ids[0]]))


@pytest.mark.parametrize(("chained", "until_end"), [(False, False), (True, True)])
def test_a_text_ends_at_the_end_symbol(second_order: Maker, chained: bool, until_end: bool) -> None:
    drawn = generate(
        second_order(6, spread=0.5), Sentences(chained), length=300, samples=20, until_end=until_end, seed=0
    )
    assert all(sample.stopped == "end" and sample.ids[-1] == 1 and 1 not in sample.ids[:-1] for sample in drawn)
    assert all(sample.text == Sentences().decode(sample.ids[:-1]) for sample in drawn)
    assert len({len(sample.ids) for sample in drawn}) > 5


def test_a_stop_text_ends_the_text_before_it(second_order: Maker) -> None:
    model = second_order(6, spread=0.5)
    whole = generate(model, LETTERS, length=200, samples=10, seed=0)
    cut = generate(model, LETTERS, length=200, samples=10, seed=0, stop=["cab", "ee\n"])
    for full, part in zip(whole, cut, strict=True):
        places = [place for stop in ("cab", "ee\n") if (place := full.text.find(stop)) >= 0]
        assert part.text == (full.text[: min(places)] if places else full.text)
        assert part.stopped == ("stop" if places else "length")
        assert part.ids == full.ids[: len(part.ids)]
        assert len(part.token_logprobs) == len(part.ids) == (min(places) + 3 if places else 200)


def test_tokens_arrive_one_by_one_and_join_to_the_text(second_order: Maker) -> None:
    seen: dict[int, list[tuple[int, str]]] = {}
    drawn = generate(
        second_order(6),
        LETTERS,
        length=60,
        samples=3,
        seed=0,
        stop=["da"],
        on_token=lambda row, token, text: seen.setdefault(row, []).append((token, text)),
    )
    for row, sample in enumerate(drawn):
        assert [token for token, _ in seen[row]] == sample.ids
        assert "".join(text for _, text in seen[row]) == sample.text


def test_byte_models_stream_whole_characters() -> None:
    class Noise:
        vocabulary_size = 256

        def initial_state(self, batch: int) -> dict[str, Any]:
            return {}

        def __call__(self, tokens: Any, state: Any) -> Any:
            return torch.zeros(*tokens.shape, 256), state

    streamed: list[str] = []
    sample = generate(
        Noise(),
        build("bytes", []),
        length=500,
        seed=1,
        on_token=lambda _row, _id, text: streamed.append(text),
    )[0]
    assert "".join(streamed) == sample.text == bytes(sample.ids).decode("utf-8", "replace")


def test_a_generator_chooses_the_seed(second_order: Maker) -> None:
    seeds = [
        generate(second_order(6), LETTERS, length=1, generator=torch.Generator().manual_seed(k))[0].seed
        for k in (1, 1, 2)
    ]
    assert seeds[0] == seeds[1] != seeds[2]
    fresh = {generate(second_order(6), LETTERS, length=1)[0].seed for _ in range(3)}
    assert len(fresh) == 3


def test_a_network_is_neither_trained_nor_left_in_another_mode() -> None:
    class Network(torch.nn.Module):
        vocabulary_size = 6

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))

        def initial_state(self, batch: int) -> dict[str, Any]:
            return {"h": torch.zeros(1, batch, 1)}

        def forward(self, tokens: Any, state: Any) -> Any:
            assert not self.training
            assert not torch.is_grad_enabled()
            return torch.nn.functional.dropout(self.weight[tokens], 0.9, self.training), state

    network = Network().train()
    first = generate(network, LETTERS, length=20, seed=0)[0]
    assert network.training
    assert first == generate(network.eval(), LETTERS, length=20, seed=0)[0]
    assert not network.training


def test_no_symbols_are_a_text_too(second_order: Maker) -> None:
    sample = generate(second_order(6), LETTERS, length=0, seed=0)[0]
    assert (sample.text, sample.ids, sample.logprob) == ("", [], 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"length": -1}, "length"),
        ({"samples": 0}, "samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"stop": [""]}, "empty"),
        ({"temperature": -0.5}, "temperature"),
    ],
)
def test_misuse(second_order: Maker, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisuseError, match=named):
        generate(second_order(6), LETTERS, **arguments)


def test_a_model_of_another_vocabulary_is_refused(second_order: Maker) -> None:
    with pytest.raises(MisuseError, match="5 symbols and the vocabulary has 6"):
        generate(second_order(5), LETTERS)


def test_a_diverged_model_is_a_failure(second_order: Maker) -> None:
    model = second_order(6)
    model.table[:] = math.nan
    with pytest.raises(FailureError, match="not finite"):
        generate(model, LETTERS, length=3, seed=0)
