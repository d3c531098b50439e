"""Mixtures: the weights are found again, the mixture is a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.models.likelihood import token_nats
from elman.models.ngram import Mixture, NgramModel, train_ngram, tune_weights


class Repeater:
    """A stand-in for a recurrent model: unnormalised scores, a state that counts steps."""

    vocabulary_size = 4

    def initial_state(self, batch: int) -> dict[str, torch.Tensor]:
        return {"h": torch.zeros(1, batch, 2)}

    def __call__(self, tokens: torch.Tensor, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
        scores = 3.0 * torch.nn.functional.one_hot(tokens, 4).float() + 7.0
        return scores, {"h": state["h"] + len(tokens)}


def bigram(seed: int) -> NgramModel:
    return train_ngram(np.random.default_rng(seed).integers(0, 4, size=300), 4, 2)


@pytest.mark.parametrize("true", [[0.7, 0.3], [0.1, 0.9], [0.2, 0.3, 0.5]])
def test_a_known_mixture_is_found_again(true: list[float]) -> None:
    generator = np.random.default_rng(0)
    parts = generator.dirichlet(np.full(12, 0.3), size=len(true)) + 1e-6
    parts /= parts.sum(axis=1, keepdims=True)
    drawn = generator.choice(12, size=40_000, p=np.array(true) @ parts)
    found = tune_weights(np.log(parts[:, drawn]))
    np.testing.assert_allclose(found, true, atol=0.03)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_tuned_weights_are_at_least_as_good_as_others(models: int, tokens: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logs = -generator.exponential(3, size=(models, tokens))
    found = tune_weights(logs)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    reached = np.log(found @ np.exp(logs)).mean()
    for other in [*np.eye(models), *generator.dirichlet(np.ones(models), size=20)]:
        assert reached >= np.log(other @ np.exp(logs)).mean() - 1e-5


def test_weights_with_impossible_tokens() -> None:
    # Model 0 is perfect on half of the tokens and impossible on the others.
    logs = np.array([[0.0, -np.inf] * 10, [np.log(0.5)] * 20])
    found = tune_weights(logs)
    # maximise log(w + (1 - w) / 2) + log((1 - w) / 2): w = 0
    np.testing.assert_allclose(found, [0, 1], atol=1e-3)
    with pytest.raises(MisuseError, match="1 of 3 tokens"):
        tune_weights(np.array([[-np.inf, -1, -1], [-np.inf, -2, -2]]))


@pytest.mark.parametrize(
    "logs", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 0)), np.full((2, 2), 0.5), np.full((2, 2), np.nan)]
)
def test_wrong_log_probabilities_are_refused(logs: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(MisuseError):
        tune_weights(logs)


def test_a_mixture_is_called_like_a_model() -> None:
    models = [Repeater(), bigram(0)]
    mixture = Mixture(models, [0.25, 0.75])
    tokens = torch.from_numpy(np.random.default_rng(3).integers(0, 4, size=(9, 3)))
    state = mixture.initial_state(3)
    assert {name: tensor.shape[1] for name, tensor in state.items()} == {"0.h": 3, "1.context": 3}
    first, state = mixture(tokens[:4], state)
    second, state = mixture(tokens[4:], state)
    assert state["0.h"].unique().tolist() == [9]
    single = [model(tokens, model.initial_state(3))[0].softmax(-1) for model in models]
    expected = 0.25 * single[0] + 0.75 * single[1]
    torch.testing.assert_close(torch.cat([first, second]).exp(), expected)


def test_a_weight_of_zero_or_an_impossible_symbol_is_no_trouble() -> None:
    tokens = np.array([0, 1, 0, 1, 0, 1])
    strict = train_ngram(tokens, 4, 2, "maximum-likelihood")
    block = torch.tensor([[0], [3]])
    for weights in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]):
        mixture = Mixture([strict, bigram(1)], weights)
        logs, _ = mixture(block, mixture.initial_state(1))
        torch.testing.assert_close(logs.exp().sum(-1), torch.ones(2, 1))


def test_many_symbols_after_many_mixtures_nest() -> None:
    inner = Mixture([Repeater(), bigram(0)], [0.5, 0.5])
    outer = Mixture([inner, bigram(1)], [0.5, 0.5])
    logs, state = outer(torch.tensor([[1, 2]]), outer.initial_state(2))
    assert set(state) == {"0.0.h", "0.1.context", "1.context"}
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(1, 2))


def test_token_nats_are_the_surprisals() -> None:
    tokens = np.random.default_rng(8).integers(0, 4, size=50)
    model = bigram(0)
    for steps in (1, 7, None):
        np.testing.assert_allclose(token_nats(model, tokens, steps=steps), model.surprisal(tokens)[1:], rtol=1e-5)
    with pytest.raises(MisuseError, match="two tokens"):
        token_nats(model, tokens[:1])


def test_tuning_helps_a_text_that_both_models_know_a_part_of() -> None:
    generator = np.random.default_rng(0)
    text = np.repeat(generator.integers(0, 4, size=200), 2)
    models = [Repeater(), train_ngram(text[:200], 4, 3)]
    logs = -np.stack([token_nats(model, text[200:]) for model in models])
    mixture = Mixture(models, tune_weights(logs))
    mixed = -token_nats(mixture, text[200:]).mean()
    assert mixed >= logs.mean(axis=1).max() - 1e-6


def test_wrong_mixtures_are_refused() -> None:
    other = train_ngram(np.arange(5), 5, 2)
    with pytest.raises(MisuseError, match=r"\[4, 5\]"):
        Mixture([bigram(0), other], [0.5, 0.5])
    for weights in ([0.5, 0.6], [1.5, -0.5], [1.0], [np.nan, 1.0]):
        with pytest.raises(MisuseError, match="2 models"):
            Mixture([bigram(0), bigram(1)], weights)
    with pytest.raises(MisuseError):
        Mixture([], [])
