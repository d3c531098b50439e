"""Gradient flow against finite differences in numpy, against autograd through the engine, and on planted matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from elman.equations import Recurrence, zoo
from elman.equations import cell as zoo_cell
from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.gradients import gradient_flow, recurrent_matrices
from elman.models.language import LanguageModel
from elman.models.ngram import train_ngram

SIZE, HIDDEN = 9, 6
TOKENS = np.random.default_rng(5).integers(0, SIZE, 60).astype(np.uint8)
Floats = NDArray[np.float64]


def model(recurrence: str | Recurrence, layers: int = 1, hidden: int = HIDDEN) -> LanguageModel:
    torch.manual_seed(2)
    return LanguageModel(recurrence, SIZE, hidden=hidden, layers=layers).double().eval()


class NumpyLSTM:
    """The loss after the last token, with a change of one state at one step."""

    def __init__(self, made: LanguageModel) -> None:
        names = (*made.recurrence.matrices, *made.recurrence.vectors)
        self.layers = [
            {name: made.recurrent.parameter(name, layer).detach().numpy() for name in names}
            for layer in range(made.layers)
        ]
        self.embedding = made.embedding.weight.detach().numpy()
        self.readout, self.bias = made.readout_weight.detach().numpy(), made.readout_bias.detach().numpy()

    def loss(self, tokens: NDArray[np.integer], layer: int, state: str, step: int, change: Floats) -> float:
        hidden = len(self.layers[0]["bi"])
        h, c = [np.zeros(hidden) for _ in self.layers], [np.zeros(hidden) for _ in self.layers]
        for place, token in enumerate(tokens[:-1].tolist()):
            x = self.embedding[token]
            for number, p in enumerate(self.layers):

                def gate(name: str, p: dict[str, Floats] = p, x: Floats = x, before: Floats = h[number]) -> Floats:
                    return p[f"W{name}"] @ x + p[f"U{name}"] @ before + p[f"b{name}"]

                def opened(name: str, gate=gate) -> Floats:  # type: ignore[no-untyped-def]
                    return 1 / (1 + np.exp(-gate(name)))

                here = place == step and number == layer
                c[number] = opened("f") * c[number] + opened("i") * np.tanh(gate("g"))
                if here and state == "c":
                    c[number] = c[number] + change
                h[number] = opened("o") * np.tanh(c[number])
                if here and state == "h":
                    h[number] = h[number] + change
                x = h[number]
        scores = self.readout @ x + self.bias
        return float(np.log(np.exp(scores).sum()) - scores[tokens[-1]])


def test_norms_are_those_of_finite_differences() -> None:
    """A change of c acts through h of the same step, a change of h of layer 0 through layer 1 of the same step."""
    made = model("lstm", layers=2)
    flow = gradient_flow(made, TOKENS, lags=7, positions=3, burn_in=4, seed=1)
    by_hand = NumpyLSTM(made)
    small = 1e-5
    for column, position in enumerate(flow.positions.tolist()):
        tokens = TOKENS[position - 11 : position + 2]
        for layer in range(2):
            for state in "ch":
                for lag in (0, 1, 4, 7):
                    gradient = [
                        (
                            by_hand.loss(tokens, layer, state, 11 - lag, small * unit)
                            - by_hand.loss(tokens, layer, state, 11 - lag, -small * unit)
                        )
                        / (2 * small)
                        for unit in np.eye(HIDDEN)
                    ]
                    norm = math.exp(flow.of(layer, state).log_norms[lag, column])
                    assert norm == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-4)


REGISTER = Recurrence("n = tanh(Wx @ x + Wh @ h + Wg @ g + b)\ng = h\nh = n")
# what c remembers is x alone, so its new value depends on no state
DELAY = Recurrence("h = tanh(Wx @ x + Wc @ c + Wh @ h + b)\nc = tanh(Wv @ x)", output="h")
SINGLE = [name for name in zoo() if not zoo_cell(name).inputs and len(zoo_cell(name).states) == 1]


@pytest.mark.parametrize("recurrence", [*SINGLE, REGISTER, DELAY], ids=str)
def test_any_recurrence_agrees_with_autograd_through_the_engine(recurrence: str | Recurrence) -> None:
    """Where no state reads another one of the same step, dL/ds is the gradient of what follows from s alone."""
    made = model(recurrence)
    flow = gradient_flow(made, TOKENS, lags=6, positions=4, burn_in=3)
    tokens = torch.from_numpy(TOKENS.astype(np.int64))
    for column, position in enumerate(flow.positions.tolist()):
        for lag in (1, 2, 6):
            begin = position - 9
            _, state = made(tokens[begin : position - lag + 1, None])
            state = {name: value.detach().requires_grad_() for name, value in state.items()}
            scores, _ = made(tokens[position - lag + 1 : position + 1, None], state)
            loss = -torch.log_softmax(scores[-1, 0], -1)[tokens[position + 1]]
            gradients = torch.autograd.grad(loss, list(state.values()), allow_unused=True)
            for name, gradient in zip(state, gradients, strict=True):
                norm = 0.0 if gradient is None else float(gradient.norm())
                assert math.exp(flow.of(0, name).log_norms[lag, column]) == pytest.approx(norm, rel=1e-6, abs=1e-300)


def test_a_state_that_depends_on_no_state_acts_within_its_step_too() -> None:
    """c is x alone and is read by h at once: dL/dc = what arrives from later steps + Wc^T (1 - h^2) dL/dh."""
    text = "m = c\nc = tanh(Wv @ x)\nh = tanh(Wx @ x + Wh @ h + Wc @ c + Wm @ m)"
    made = model(Recurrence(text, output="h"))
    flow = gradient_flow(made, TOKENS, lags=4, positions=3, burn_in=2)
    tokens = torch.from_numpy(TOKENS.astype(np.int64))
    for column, position in enumerate(flow.positions.tolist()):
        for lag in (1, 4):
            _, state = made(tokens[position - 6 : position - lag + 1, None])
            state = {name: value.detach().requires_grad_() for name, value in state.items()}
            scores, _ = made(tokens[position - lag + 1 : position + 1, None], state)
            loss = -torch.log_softmax(scores[-1, 0], -1)[tokens[position + 1]]
            h, c = (grad[0, 0] for grad in torch.autograd.grad(loss, [state["h"], state["c"]]))
            within = made.recurrent.parameter("Wc").T @ ((1 - state["h"][0, 0] ** 2) * h)
            for name, whole in (("h", h), ("c", c + within)):
                assert math.exp(flow.of(0, name).log_norms[lag, column]) == pytest.approx(
                    float(whole.detach().norm()), rel=1e-6
                )


LINEAR = Recurrence("h = Wx @ x + Wh @ h")


def linear(factor: float) -> LanguageModel:
    """The gradient through a rotation times a number is multiplied by that number at every step."""
    made = model(LINEAR)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(HIDDEN, HIDDEN)))
    with torch.no_grad():
        made.recurrent.parameter("Wh").copy_(torch.from_numpy(factor * rotation))
        made.embedding.weight.mul_(1e-3)
    return made


@pytest.mark.parametrize(
    ("factor", "verdict", "half_life"),
    [(0.9, "vanishes", math.log(2) / -math.log(0.9)), (0.995, "is carried", 138.3), (1.1, "explodes", math.inf)],
)
def test_a_planted_rate_is_found(factor: float, verdict: str, half_life: float) -> None:
    text = np.tile(TOKENS, 10)
    state = gradient_flow(linear(factor), text, lags=120, positions=5, burn_in=0).of(0, "h")
    assert state.factor == pytest.approx(factor, rel=1e-9)
    assert state.half_life == pytest.approx(half_life, rel=1e-3)
    assert state.left(100) == pytest.approx(factor**99, rel=1e-6)
    assert state.verdict == verdict
    assert f"times {factor:.4f} a step" in state.sentence


def test_what_leaves_the_range_of_numbers_is_still_measured() -> None:
    """0.01 to the power of 400 is no float of any width."""
    made = linear(0.01).float()
    state = gradient_flow(made, np.tile(TOKENS, 10), lags=400, positions=2, burn_in=0).of(0, "h")
    assert state.log_mean[400] - state.log_mean[0] == pytest.approx(400 * math.log(0.01), rel=1e-4)
    assert state.to_json()["log10_mean"][400] == pytest.approx(state.log_mean[400] / math.log(10), abs=1e-4)


def test_units_that_are_dead_are_counted_and_left_out() -> None:
    made = model("rnn-relu")
    with torch.no_grad():
        made.recurrent.parameter("b").fill_(-1e6)
    state = gradient_flow(made, TOKENS, lags=5, positions=4, burn_in=0).of(0, "h")
    told = state.to_json()
    assert told["zero"] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert told["log10_mean"][1:] == [None] * 5
    assert (state.verdict, told["factor"], told["left"]["share"]) == ("is zero", None, None)


def test_quantiles_lie_around_the_mean() -> None:
    state = gradient_flow(model("gru"), TOKENS, lags=8, positions=20, burn_in=2).of(0, "h")
    low, middle, high = (np.array(state.log_quantile(share)) for share in (0.25, 0.5, 0.75))
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert (low < high).any()
    assert (np.sort(state.log_norms, axis=1)[:, 9] == middle).all()


def test_positions_come_from_the_seed() -> None:
    made = model("gru")
    one, same, other = (gradient_flow(made, TOKENS, lags=5, positions=8, burn_in=2, seed=seed) for seed in (4, 4, 5))
    assert one.to_json() == same.to_json()
    assert one.positions.tolist() != other.positions.tolist()
    assert len(set(one.positions.tolist())) == 8
    assert min(one.positions) >= 7
    assert max(one.positions) < len(TOKENS) - 1


def test_recurrent_matrices_have_their_singular_values() -> None:
    made = model("gru", layers=2)
    values = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    left, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    shift = np.diag(np.full(5, 4.0), k=1)  # nilpotent: singular values of 4, and every eigenvalue 0
    with torch.no_grad():
        made.recurrent.parameter("Uz", 1).copy_(torch.from_numpy(left @ np.diag(values)))
        made.recurrent.parameter("Uh", 0).copy_(torch.from_numpy(shift))
    found = {(matrix.layer, matrix.name): matrix for matrix in recurrent_matrices(made)}
    assert list(found) == [(layer, name) for layer in range(2) for name in ("Ur", "Uz", "Uh")]
    assert found[1, "Uz"].singular_values == pytest.approx(values)
    assert found[0, "Uh"].singular_values == pytest.approx([4, 4, 4, 4, 4, 0], abs=1e-9)
    assert found[0, "Uh"].spectral_radius == pytest.approx(0, abs=1e-2)
    assert recurrent_matrices(model("indrnn")) == ()


def test_it_tells_how_far_it_is_and_stops_when_asked() -> None:
    told: list[float] = []
    gradient_flow(model("gru"), TOKENS, lags=5, positions=2, burn_in=0, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    with pytest.raises(CancelledError):
        gradient_flow(model("gru"), TOKENS, lags=5, burn_in=0, cancel=lambda: True)


def test_what_cannot_be_measured_is_refused() -> None:
    made = model("rnn")
    with pytest.raises(MisuseError, match="too short"):
        gradient_flow(made, TOKENS, lags=50, burn_in=10)
    with pytest.raises(MisuseError, match="lags is 0"):
        gradient_flow(made, TOKENS, lags=0)
    with pytest.raises(MisuseError, match="recurrent"):
        gradient_flow(train_ngram(TOKENS, SIZE, 2), TOKENS)  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="layer 0 h"):
        gradient_flow(made, TOKENS, lags=2, burn_in=0).of(3, "h")
    with torch.no_grad():
        made.readout_weight.fill_(torch.nan)
    with pytest.raises(FailureError, match="not numbers"):
        gradient_flow(made, TOKENS, lags=2, burn_in=0)
