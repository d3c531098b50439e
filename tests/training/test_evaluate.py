"""The loss over a whole text: every token once, the state carried."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.language import LanguageModel
from elman.models.ngram import train_ngram
from elman.training.evaluate import Evaluation, evaluate, staggered


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel("gru", 7, hidden=8, layers=2, dropout=0.5)


def tokens(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 7, count).astype(np.uint8)


def step_by_step(model: LanguageModel, text: np.ndarray, begin: int = 0) -> list[float]:
    """Nats of text[begin + 1:], one token at a time with the state carried from text[begin]."""
    model.eval()
    state = model.initial_state(1)
    losses = []
    with torch.no_grad():
        for read, predicted in zip(text[begin:-1], text[begin + 1 :], strict=True):
            scores, state = model(torch.tensor([[int(read)]]), state)
            losses.append(float(functional.cross_entropy(scores[0], torch.tensor([int(predicted)]))))
    return losses


@pytest.mark.parametrize("count", [2, 3, 255, 256, 257, 258, 700])
def test_one_stream_equals_step_by_step(model: LanguageModel, count: int) -> None:
    text = tokens(count)
    result = evaluate(model.train(), text)
    assert result.tokens == count - 1
    assert result.nats == pytest.approx(np.mean(step_by_step(model, text)), rel=1e-5)
    assert result.streams == 1
    assert not result.impossible


@pytest.mark.parametrize(("count", "streams", "burn_in"), [(700, 4, 20), (701, 5, 33), (403, 3, 1)])
def test_streams_predict_every_token_once_after_their_burn_in(
    model: LanguageModel, count: int, streams: int, burn_in: int
) -> None:
    text = tokens(count)
    result = evaluate(model, text, streams=streams, burn_in=burn_in)
    assert (result.tokens, result.streams, result.burn_in) == (count - 1, streams, burn_in)
    length = -(-(count - 1 + (streams - 1) * burn_in) // streams)
    expected: list[float] = []
    for stream in range(streams):
        start = stream * (length - burn_in)
        losses = step_by_step(model, text[: min(start + length, count - 1) + 1], start)
        expected += losses[burn_in if stream else 0 :]
    assert len(expected) == count - 1
    assert result.nats == pytest.approx(np.mean(expected), rel=1e-5)


@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 60))
def test_every_token_is_in_the_part_of_one_stream(count: int, streams: int, burn_in: int) -> None:
    starts, warm, length = staggered(count, streams, burn_in)
    kept = [place for start in starts for place in range(start + (warm if start else 0), start + length)]
    assert [place for place in kept if place < count] == list(range(count))
    assert len(starts) <= streams
    # no stream reads only for others
    assert (starts + warm < count).all() or len(starts) == 1


def test_short_texts_use_fewer_streams(model: LanguageModel) -> None:
    result = evaluate(model, tokens(50), streams=32, burn_in=256)
    assert (result.streams, result.tokens) == (1, 49)


def test_training_mode_is_left_as_it_was(model: LanguageModel) -> None:
    evaluate(model.train(), tokens(10))
    assert model.training
    evaluate(model.eval(), tokens(10))
    assert not model.training


def test_what_is_never_predicted_does_not_count(model: LanguageModel) -> None:
    text = tokens(300)
    result = evaluate(model, text, unpredicted=frozenset({2, 5}))
    losses = step_by_step(model, text)
    kept = [loss for loss, token in zip(losses, text[1:], strict=True) if token not in (2, 5)]
    assert result.tokens == len(kept)
    assert result.nats == pytest.approx(np.mean(kept), rel=1e-5)


def test_an_impossible_token_makes_the_loss_infinite() -> None:
    ngram = train_ngram(np.array([0, 1, 0, 1, 0, 1]), 3, 2, "maximum-likelihood")
    result = evaluate(ngram, np.array([0, 1, 2, 0]))
    assert result.impossible >= 1
    assert math.isinf(result.nats)
    assert math.isinf(result.perplexity)


def test_ngram_and_vectorised_surprisal_agree() -> None:
    text = tokens(900)
    ngram = train_ngram(text[:600], 7, 4)
    assert evaluate(ngram, text[600:]).nats == pytest.approx(ngram.surprisal(text[600:])[1:].mean(), rel=1e-5)


def test_units() -> None:
    result = Evaluation(nats=math.log(8), tokens=1, seconds=0.0)
    assert result.bits == pytest.approx(3)
    assert result.perplexity == pytest.approx(8)


def test_one_token_has_no_loss(model: LanguageModel) -> None:
    with pytest.raises(MisuseError, match="at least 2 tokens"):
        evaluate(model, tokens(1))
