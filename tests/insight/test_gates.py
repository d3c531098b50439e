"""Saturated gates, counted beside a step-by-step computation in numpy and on gates that are planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from elman.equations import cell
from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.gates import gate_names, gate_saturation
from elman.models.language import LanguageModel
from elman.models.ngram import train_ngram

TOKENS = np.random.default_rng(3).integers(0, 11, 700).astype(np.uint8)


def model(name: str, hidden: int = 12, layers: int = 2) -> LanguageModel:
    torch.manual_seed(1)
    made = LanguageModel(name, 11, hidden=hidden, layers=layers).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4)  # so that some gates saturate
    return made


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def lstm_gates(made: LanguageModel, tokens: NDArray[np.integer]) -> dict[tuple[int, str], NDArray[np.float64]]:
    """Every gate at every step, [T, hidden], by the textbook in float64."""
    values: dict[tuple[int, str], list[NDArray[np.float64]]] = {}
    h = [np.zeros(made.hidden) for _ in range(made.layers)]
    c = [np.zeros(made.hidden) for _ in range(made.layers)]
    embedding = made.embedding.weight.detach().double().numpy()
    for token in tokens:
        x = embedding[token]
        for layer in range(made.layers):
            p = {
                name: made.recurrent.parameter(name, layer).detach().double().numpy()
                for name in (*made.recurrence.matrices, *made.recurrence.vectors)
            }
            gates = {g: sigmoid(p[f"W{g}"] @ x + p[f"U{g}"] @ h[layer] + p[f"b{g}"]) for g in "ifo"}
            c[layer] = gates["f"] * c[layer] + gates["i"] * np.tanh(p["Wg"] @ x + p["Ug"] @ h[layer] + p["bg"])
            h[layer] = x = gates["o"] * np.tanh(c[layer])
            for name, value in gates.items():
                values.setdefault((layer, name), []).append(value)
    return {key: np.array(rows) for key, rows in values.items()}


def test_shares_are_those_of_the_textbook() -> None:
    made = model("lstm")
    expected = lstm_gates(made, TOKENS)
    found = gate_saturation(made, TOKENS, streams=1)
    assert [(gate.layer, gate.name) for gate in found.gates] == [(0, g) for g in "ifo"] + [(1, g) for g in "ifo"]
    assert (found.tokens, found.streams, found.burn_in) == (700, 1, 0)
    for gate in found.gates:
        values = expected[gate.layer, gate.name]
        # a value on the very limit may fall on either side in float32
        assert gate.left == pytest.approx((values < 0.1).mean(axis=0), abs=2 / 700)
        assert gate.right == pytest.approx((values > 0.9).mean(axis=0), abs=2 / 700)
        assert 0 < gate.left.max() < 1


@pytest.mark.parametrize("streams", [1, 2, 7, 32])
def test_every_step_is_counted_once_however_it_is_read(streams: int) -> None:
    made = model("mingru", layers=1)  # its gate sees the token alone, so burn-in does not matter
    whole = gate_saturation(made, TOKENS, streams=1)
    found = gate_saturation(made, TOKENS, streams=streams, burn_in=10)
    assert found.tokens == len(TOKENS)
    assert found.streams == streams
    for gate, expected in zip(found.gates, whole.gates, strict=True):
        assert gate.left.tolist() == expected.left.tolist()
        assert gate.right.tolist() == expected.right.tolist()


def test_planted_gates_are_found() -> None:
    made = model("lstm")
    with torch.no_grad():
        made.recurrent.parameter("bf", 1)[:3] = 100.0
        made.recurrent.parameter("bo", 0)[5] = -100.0
    found = {(gate.layer, gate.name): gate for gate in gate_saturation(made, TOKENS).gates}
    assert found[1, "f"].right[:3].tolist() == [1.0, 1.0, 1.0]
    assert found[1, "f"].left[:3].tolist() == [0.0, 0.0, 0.0]
    assert found[0, "o"].left[5] == 1.0
    assert found[1, "f"].mostly_right >= 3
    assert found[0, "o"].mostly_left >= 1


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("lstm", ("i", "f", "o")),
        ("gru", ("r", "z")),
        ("mut2", ("z", "r")),
        ("minlstm", ("k",)),
        ("sru", ("f", "r")),
        ("rnn", ()),
        ("rnn-sigmoid", ()),  # its sigmoid is the state itself
    ],
)
def test_a_gate_is_a_named_sigmoid_that_is_no_state(name: str, gates: tuple[str, ...]) -> None:
    assert gate_names(cell(name)) == gates


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(MisuseError, match="no gates"):
        gate_saturation(model("rnn"), TOKENS)
    with pytest.raises(MisuseError, match="n-gram"):
        gate_saturation(train_ngram(TOKENS, 11, 2), TOKENS)
    with pytest.raises(MisuseError, match="no text"):
        gate_saturation(model("lstm"), TOKENS[:0])
    broken = model("lstm")
    with torch.no_grad():
        broken.recurrent.parameter("Wi")[0, 0] = torch.nan
    with pytest.raises(FailureError, match="not numbers"):
        gate_saturation(broken, TOKENS)


def test_it_tells_how_far_it_is_and_stops_when_asked() -> None:
    done: list[float] = []
    found = gate_saturation(model("gru"), TOKENS, progress=done.append)
    assert done[-1] == 1.0
    assert found.to_json()["gates"][0]["left"] == found.gates[0].left.round(6).tolist()
    with pytest.raises(CancelledError):
        gate_saturation(model("gru"), TOKENS, cancel=lambda: True)
