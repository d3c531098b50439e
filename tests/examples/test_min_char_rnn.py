"""examples/min_char_rnn.py against the same algorithm by hand: forward, backward and Adagrad in numpy."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 9
ITERATIONS = 240
Weights = dict[str, np.ndarray]
RunExample = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("min_char_rnn")


def piece_gradients(
    w: Weights, read: np.ndarray, wanted: np.ndarray, h0: np.ndarray
) -> tuple[float, Weights, np.ndarray]:
    """The summed loss of a piece, its gradients by backpropagation through time, and the last state.

    Args:
        w: Wxh [H, V], Whh [H, H], bh [H], Why [V, H], by [V].
        read, wanted: character numbers [T].
        h0: the state before the piece [H].
    """
    steps = len(read)
    states = np.empty((steps + 1, len(h0)))  # states[t + 1] is the state after reading character t
    states[0] = h0
    for t, character in enumerate(read):
        states[t + 1] = np.tanh(w["Wxh"][:, character] + w["Whh"] @ states[t] + w["bh"])
    scores = states[1:] @ w["Why"].T + w["by"]  # [T, V]
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_probability[np.arange(steps), wanted].sum()

    # dL/dscores = softmax(scores) - onehot(wanted)
    d_scores = np.exp(log_probability)
    d_scores[np.arange(steps), wanted] -= 1.0
    from_above = d_scores @ w["Why"]  # [T, H]
    d_sums = np.empty((steps, len(h0)))  # of the argument of tanh
    from_later = np.zeros_like(h0)
    for t in range(steps - 1, -1, -1):
        d_sums[t] = (from_above[t] + from_later) * (1.0 - states[t + 1] ** 2)
        from_later = d_sums[t] @ w["Whh"]
    d_wxh = np.zeros_like(w["Wxh"])
    np.add.at(d_wxh.T, read, d_sums)
    gradients = {
        "Wxh": d_wxh,
        "Whh": d_sums.T @ states[:-1],
        "bh": d_sums.sum(axis=0),
        "Why": d_scores.T @ states[1:],
        "by": d_scores.sum(axis=0),
    }
    return float(loss), gradients, states[-1]


def pieces(text: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Pieces of 25 characters, the characters that follow them, whether the text starts anew; without end."""
    while True:
        for place in range(0, len(text) - 26, 25):
            yield text[place : place + 25], text[place + 1 : place + 26], place == 0


def corrected(w: Weights, memory: Weights, gradients: Weights, rate: float = 0.1) -> Weights:
    """The weights after a step of Adagrad with gradients held within 5; ``memory`` is changed in place."""
    after = {}
    for name, gradient in gradients.items():
        held = np.maximum(np.minimum(gradient, 5.0), -5.0)
        memory[name] = memory[name] + held**2
        after[name] = w[name] - rate * held / np.sqrt(memory[name] + 1e-8)
    return after


def losses_by_hand(w: Weights, text: np.ndarray, rate: float = 0.1) -> Iterator[float]:
    """The loss of each piece before its correction."""
    memory = {name: np.zeros_like(value) for name, value in w.items()}
    h = np.zeros_like(w["bh"])
    for read, wanted, anew in pieces(text):
        loss, gradients, h = piece_gradients(w, read, wanted, np.zeros_like(h) if anew else h)
        yield loss
        w = corrected(w, memory, gradients, rate)


def as_numpy(model: torch.nn.Module) -> Weights:
    tensors = {
        "Wxh": model.recurrence.parameter("Wxh"),
        "Whh": model.recurrence.parameter("Whh"),
        "bh": model.recurrence.parameter("bh"),
        "Why": model.readout.weight,
        "by": model.readout.bias,
    }
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def started(example: ModuleType, seed: int, hidden: int = 100) -> tuple[torch.nn.Module, np.ndarray]:
    """A model with its initial numbers, and the text as character numbers."""
    alphabet = sorted(set(TEXT))
    text = np.array([alphabet.index(character) for character in TEXT])
    return example.MinCharRNN(len(alphabet), hidden, torch.Generator().manual_seed(seed)), text


def test_gradients_by_hand_are_those_of_finite_differences() -> None:
    """The oracle itself is right: central differences of its loss give its gradients."""
    random = np.random.default_rng(5)
    hidden, vocabulary = 4, 3
    weights = {
        "Wxh": random.normal(size=(hidden, vocabulary)),
        "Whh": random.normal(size=(hidden, hidden)) * 0.5,
        "bh": random.normal(size=hidden),
        "Why": random.normal(size=(vocabulary, hidden)),
        "by": random.normal(size=vocabulary),
    }
    read, wanted = random.integers(vocabulary, size=(2, 6))
    h0 = random.normal(size=hidden)
    _, gradients, _ = piece_gradients(weights, read, wanted, h0)
    for name, value in weights.items():
        for place in np.ndindex(value.shape):
            losses = []
            for change in (1e-6, -1e-6):
                moved = weights | {name: value.copy()}
                moved[name][place] += change
                losses.append(piece_gradients(moved, read, wanted, h0)[0])
            assert gradients[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("hidden", "rate"), [(10, 0.1), (100, 0.005)])
def test_losses_equal_those_by_hand_step_by_step(example: ModuleType, hidden: int, rate: float) -> None:
    """240 corrections on each side from the same numbers, over the text's end more than seven times."""
    model, text = started(example, seed=3, hidden=hidden)
    by_hand = losses_by_hand(as_numpy(model), text, rate)
    smooth = np.log(len(set(TEXT))) * 25
    first = None
    for iteration in itertools.islice(example.train(model, torch.from_numpy(text), rate), ITERATIONS):
        loss = next(by_hand)
        smooth = smooth * 0.999 + loss * 0.001
        first = first or loss
        assert iteration.loss == pytest.approx(loss, rel=1e-9), iteration.number
        assert iteration.smooth_loss == pytest.approx(smooth, rel=1e-9), iteration.number
    assert iteration.number == ITERATIONS - 1
    assert loss < 0.7 * first


def test_at_full_size_each_correction_equals_that_by_hand(example: ModuleType) -> None:
    """Hidden 100 at rate 0.1: both sides start each of 240 pieces from the example's weights.

    Left alone they part: see test_at_full_size_rounding_grows.
    """
    model, text = started(example, seed=3)
    ours = example.train(model, torch.from_numpy(text))
    weights = as_numpy(model)
    memory = {name: np.zeros_like(value) for name, value in weights.items()}
    for (read, wanted, anew), iteration in zip(pieces(text), itertools.islice(ours, ITERATIONS), strict=False):
        before = as_numpy(model)
        for name, value in before.items():
            np.testing.assert_allclose(value, weights[name], rtol=1e-9, atol=1e-9, err_msg=name)
        h = iteration.h.numpy()
        assert not anew or not h.any()
        loss, gradients, _ = piece_gradients(before, read, wanted, h)
        assert iteration.loss == pytest.approx(loss, rel=1e-9), iteration.number
        weights = corrected(before, memory, gradients)
    assert iteration.number == ITERATIONS - 1
    assert iteration.smooth_loss < 85.1


def test_at_full_size_rounding_grows(example: ModuleType) -> None:
    """The program's own arithmetic at hidden 100 and rate 0.1 turns a change of 1e-15 into one of 1e-3."""
    model, text = started(example, seed=3)
    weights = as_numpy(model)
    changed = weights | {"Whh": weights["Whh"] * (1 + 1e-15)}
    both = zip(losses_by_hand(weights, text), losses_by_hand(changed, text), strict=True)
    apart = [abs(one - other) / one for one, other in itertools.islice(both, ITERATIONS)]
    assert apart[0] < 1e-14
    assert max(apart) > 1e-3


def test_torchs_own_adagrad_takes_another_step(example: ModuleType) -> None:
    """The small number under the root, as the program has it, against after the root, as torch has it."""
    gradient = torch.tensor([1e-5, 1.0], dtype=torch.float64)
    ours = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    theirs = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    ours.grad, theirs.grad = gradient.clone(), gradient.clone()
    example.adagrad(ours, torch.zeros_like(gradient), rate=0.1)
    torch.optim.Adagrad([theirs], lr=0.1, eps=1e-8).step()
    expected = -0.1 * gradient / (gradient**2 + 1e-8).sqrt()
    torch.testing.assert_close(ours.detach(), expected, rtol=1e-12, atol=0)
    assert abs(ours[0] / theirs[0]) < 0.2


def test_samples_repeat_with_their_seed(example: ModuleType) -> None:
    model, _ = started(example, seed=6, hidden=8)
    h = torch.zeros(8, dtype=torch.float64)
    drawn = [example.sample(model, h, 0, 40, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 40


def test_the_example_runs(tmp_path: Path, run_example: RunExample) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    done = run_example("min_char_rnn", text, "--iterations", 400, "--sample-every", 400)
    assert done.returncode == 0, done.stderr
    assert f"data has {len(TEXT)} characters, {len(set(TEXT))} unique." in done.stdout
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("iteration")]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert done.stdout.count("----") == 4


def test_a_text_that_is_too_short_is_refused(tmp_path: Path, run_example: RunExample) -> None:
    text = tmp_path / "text.txt"
    text.write_text("too short", encoding="utf-8")
    done = run_example("min_char_rnn", text)
    assert done.returncode == 2
    assert "at least 27 are needed" in done.stderr
