"""The n-gram model as a language model: call form, maximum likelihood, sampling, storage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.models.ngram import NgramModel, train_ngram

WORD = "abracadabra"
LETTERS = "abcdr"
ABRACADABRA = np.array([LETTERS.index(letter) for letter in WORD], np.uint8)


def after(model: NgramModel, context: str) -> dict[str, float]:
    """The symbols that can follow, with their probabilities."""
    row = model.distribution(np.array([[LETTERS.index(letter) for letter in context]], np.int64))[0]
    return {letter: float(p) for letter, p in zip(LETTERS, row, strict=True) if p > 0}


def test_maximum_likelihood_counts_by_hand() -> None:
    model = train_ngram(ABRACADABRA, 5, 2, "maximum-likelihood")
    # a is followed by b twice, by c and d once each; the last a by nothing.
    assert after(model, "a") == pytest.approx({"b": 0.5, "c": 0.25, "d": 0.25})
    assert after(model, "b") == {"r": 1.0}
    assert after(model, "") == pytest.approx({"a": 5 / 11, "b": 2 / 11, "c": 1 / 11, "d": 1 / 11, "r": 2 / 11})
    longer = train_ngram(ABRACADABRA, 5, 4, "maximum-likelihood")
    assert after(longer, "abr") == {"a": 1.0}
    assert after(longer, "bra") == {"c": 1.0}


def test_unseen_contexts_fall_back_to_the_longest_seen_ending() -> None:
    model = train_ngram(ABRACADABRA, 5, 4, "maximum-likelihood")
    assert after(model, "dda") == after(model, "da") == {"b": 1.0}
    assert after(model, "ccr") == after(model, "r") == {"a": 1.0}
    # The text ends in "cad abra": no symbol follows the last "abra", but one follows its ending "bra".
    ending = train_ngram(np.array([0, 1, 2, 3]), 5, 3, "maximum-likelihood")
    assert after(ending, "cd") == after(ending, "")


def test_impossible_tokens_are_counted_and_infinite() -> None:
    model = train_ngram(ABRACADABRA, 5, 2, "maximum-likelihood")
    nats = model.surprisal(np.array([0, 1, 2, 0]))
    np.testing.assert_allclose(nats, [-math.log(5 / 11), math.log(2), math.inf, 0], atol=1e-6)
    found = model.evaluate(np.array([0, 1, 2, 0]))
    assert (found.nats, found.tokens, found.impossible) == (math.inf, 4, 1)
    assert found.nats_of_possible == pytest.approx((math.log(11 / 5) + math.log(2)) / 3, abs=1e-6)
    nothing = train_ngram(np.array([0, 0]), 2, 1, "maximum-likelihood").evaluate(np.array([1]))
    assert nothing.impossible == 1
    assert math.isnan(nothing.nats_of_possible)


def test_pruned_maximum_likelihood_still_sums_to_one() -> None:
    model = train_ngram(ABRACADABRA, 5, 3, "maximum-likelihood", min_counts=(1, 2))
    assert after(model, "a") == {"b": 1.0}
    got = model.distribution(np.array([[i, j] for i in range(5) for j in range(5)]))
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)


def test_sampling_reproduces_a_text_that_its_contexts_determine() -> None:
    text = np.frombuffer(b"In the beginning was the word; and what followed, followed. ", np.uint8)
    tokens = np.tile(text, 3)
    model = train_ngram(tokens, 256, 12, "maximum-likelihood")
    drawn = model.sample(2 * len(text), np.random.default_rng(0), context=text[:11].tolist())
    assert bytes(drawn.astype(np.uint8)) == bytes(tokens[11 : 11 + 2 * len(text)])
    unprompted = model.sample(20, np.random.default_rng(1))
    assert bytes(unprompted.astype(np.uint8))[-12:] in bytes(np.tile(text, 4))


def test_sampling_follows_the_distribution_and_the_seed() -> None:
    model = train_ngram(ABRACADABRA, 5, 2)
    drawn = model.sample(4000, np.random.default_rng(5))
    np.testing.assert_array_equal(drawn, model.sample(4000, np.random.default_rng(5)))
    next_after_a = drawn[1:][drawn[:-1] == 0]
    shares = np.bincount(next_after_a, minlength=5) / len(next_after_a)
    np.testing.assert_allclose(shares, model.distribution(np.array([[0]]))[0], atol=0.04)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=8, max_size=60),
    st.integers(1, 6),
    st.sampled_from(["kneser-ney", "maximum-likelihood"]),
    st.integers(1, 9),
)
def test_call_surprisal_and_distribution_agree(text: list[int], order: int, estimator: str, block: int) -> None:
    tokens = np.array(text)
    model = train_ngram(tokens[: max(order, len(tokens) // 2)], 6, order, estimator)
    two = np.stack([tokens, tokens[::-1]], axis=1)
    state, rows = model.initial_state(2), []
    for piece in torch.from_numpy(two.copy()).split(block):
        before = {name: tensor.clone() for name, tensor in state.items()}
        logs, new = model(piece, state)
        assert torch.equal(state["context"], before["context"]), "the old state is not to be changed"
        state = new
        rows.append(logs)
    whole = torch.cat(rows)
    assert whole.shape == (len(tokens), 2, 6)
    assert whole.dtype == torch.float32
    np.testing.assert_allclose(whole.double().exp().sum(-1), 1, atol=1e-5)
    for column, one in enumerate((tokens, tokens[::-1])):
        predicted = -whole[:-1, column].gather(1, torch.from_numpy(one[1:].copy())[:, None])[:, 0].double()
        np.testing.assert_allclose(model.surprisal(one)[1:], predicted, rtol=1e-5, atol=1e-6)
    last = model.distribution(two[-(order - 1) :].T if order > 1 else np.empty((2, 0), np.int64))
    np.testing.assert_allclose(whole[-1].double().exp(), last, atol=1e-6)


def test_state_has_the_batch_in_dimension_1() -> None:
    model = train_ngram(ABRACADABRA, 5, 4)
    state = model.initial_state(3)
    assert state["context"].tolist() == [[-1] * 3] * 3
    _, state = model(torch.tensor([[0, 1, 2], [3, 4, 0]]), state)
    assert state["context"].tolist() == [[-1] * 3, [0, 1, 2], [3, 4, 0]]
    assert train_ngram(ABRACADABRA, 5, 1).initial_state(3)["context"].shape == (0, 3)


def test_surprisal_in_blocks_and_with_context(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, size=200)
    model = train_ngram(tokens, 4, 5)
    whole = model.surprisal(tokens)
    monkeypatch.setattr("elman.models.ngram.model.SCORED_AT_ONCE", 3)
    np.testing.assert_array_equal(model.surprisal(tokens), whole)
    np.testing.assert_array_equal(model.surprisal(tokens[90:], context=tokens[:90]), whole[90:])
    assert len(model.surprisal(tokens[:0])) == 0


def test_large_batches_are_filled_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, size=200)
    model = train_ngram(tokens, 4, 3)
    block = torch.from_numpy(tokens.reshape(50, 4).copy())
    whole, _ = model(block, model.initial_state(4))
    monkeypatch.setattr("elman.models.ngram.tables.SLAB", 12)
    slabs, _ = model(block, model.initial_state(4))
    assert torch.equal(whole, slabs)


@pytest.mark.parametrize("estimator", ["kneser-ney", "maximum-likelihood"])
@pytest.mark.parametrize("size", [5, 300, 70_000])
def test_round_trip_through_configuration_and_tensors(estimator: str, size: int) -> None:
    tokens = np.random.default_rng(4).integers(0, 30, size=2000) * size // 30
    model = train_ngram(tokens, size, 3, estimator, min_counts=(1, 1, 2))
    again = NgramModel.from_configuration(json.loads(json.dumps(model.configuration())))
    with pytest.raises(MisuseError, match="load_state_dict"):
        again.surprisal(tokens)
    tensors = model.state_dict()
    again.load_state_dict(tensors)
    assert (again.order, again.vocabulary_size, again.report) == (3, size, model.report)
    np.testing.assert_array_equal(again.surprisal(tokens), model.surprisal(tokens))
    assert tensors["1.symbols"].dtype == {5: torch.uint8, 300: torch.int16, 70_000: torch.int32}[size]
    assert sum(tensor.nbytes for tensor in tensors.values()) <= model.memory()


HOSTILE = {
    "missing": lambda t: t.pop("2.symbols"),
    "unknown": lambda t: t.update({"9.symbols": torch.zeros(1)}),
    "not a tensor": lambda t: t.update({"1.symbols": [0, 1]}),
    "not flat": lambda t: t.update({"1.symbols": t["1.symbols"][None]}),
    "a number": lambda t: t.update({"1.symbols": torch.tensor(3)}),
    "too short": lambda t: t.update({"2.symbols": t["2.symbols"][:-1]}),
    "too few weights": lambda t: t.update({"1.weights": t["1.weights"][:-1]}),
    "symbol out of range": lambda t: t["2.symbols"].__setitem__(0, 5),
    "symbols out of order": lambda t: t.update({"1.symbols": t["1.symbols"].flip(0)}),
    "symbol twice": lambda t: t["1.symbols"].__setitem__(1, 0),
    "negative symbol": lambda t: t.update({"1.symbols": t["1.symbols"].to(torch.int16) - 1}),
    "fractional symbols": lambda t: t.update({"1.symbols": t["1.symbols"].float()}),
    "negative children": lambda t: t.update({"1.children": -t["1.children"].to(torch.int64)}),
    "huge children": lambda t: t.update({"1.children": torch.full((5,), 2**62)}),
    "children moved": lambda t: t.update({"1.children": torch.tensor([0, 0, 0, 0, 7])}),
    "probability above 1": lambda t: t["1.probabilities"].__setitem__(0, 1.5),
    "negative probability": lambda t: t["1.probabilities"].__setitem__(0, -0.5),
    "not a number": lambda t: t["1.weights"].__setitem__(0, math.nan),
    "double": lambda t: t.update({"1.weights": t["1.weights"].double()}),
}


@pytest.mark.parametrize("damage", HOSTILE)
def test_hostile_tensors_are_refused(damage: str) -> None:
    model = train_ngram(ABRACADABRA, 5, 2)
    tensors = model.state_dict()
    HOSTILE[damage](tensors)
    with pytest.raises(MisuseError):
        NgramModel.from_configuration(model.configuration()).load_state_dict(tensors)


@pytest.mark.parametrize(
    "change",
    [
        {"order": 0},
        {"order": "3"},
        {"order": 10**9},
        {"vocabulary_size": -1},
        {"vocabulary_size": 2**80},
        {"estimator": "x"},
        {"estimator": []},
        {"report": [{"order": 1}]},
        {"report": 5},
        {"report": [{"order": 1, "distinct": 1, "kept": 1, "discounts": ["x"]}]},
    ],
)
def test_hostile_configurations_are_refused(change: dict) -> None:  # type: ignore[type-arg]
    configuration = train_ngram(ABRACADABRA, 5, 2).configuration()
    with pytest.raises(MisuseError):
        NgramModel.from_configuration({**configuration, **change})
    with pytest.raises(MisuseError):
        NgramModel.from_configuration({name: v for name, v in configuration.items() if name not in change})


def test_another_vocabulary_size_cannot_overflow_the_keys() -> None:
    model = train_ngram(ABRACADABRA, 5, 2)
    other = NgramModel(2, 2**62, "kneser-ney")
    with pytest.raises(MisuseError, match="63 bits"):
        other.load_state_dict(model.state_dict())


def test_wrong_tokens_and_states_are_refused() -> None:
    model = train_ngram(ABRACADABRA, 5, 3)
    state = model.initial_state(2)
    with pytest.raises(MisuseError, match="Symbol 5"):
        model(torch.tensor([[0, 5]]), state)
    with pytest.raises(MisuseError, match="Symbol -1"):
        model(torch.tensor([[0, -1]]), state)
    with pytest.raises(MisuseError, match=r"not \[1, 3\] with \[2, 2\]"):
        model(torch.tensor([[0, 1, 2]]), state)
    with pytest.raises(MisuseError, match="None"):
        model(torch.tensor([[0, 1]]), {})
    with pytest.raises(MisuseError, match="Symbol 7"):
        model.surprisal(np.array([0, 7]))
    with pytest.raises(MisuseError, match="Symbol -2"):
        model.distribution(np.array([[0, -2]]))
    with pytest.raises(MisuseError, match="no token"):
        model.evaluate(np.array([], np.uint8))
