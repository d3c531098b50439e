"""torch's layer for a recurrence that it has one for, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from elman.compile.torch_fused import Fused, recognise
from elman.equations import Recurrence
from elman.nn import Recurrent

_MODULES: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
}


def counterpart(layers: Recurrent) -> nn.RNNBase | None:
    """torch's module with the weights of Elman's; None where torch has none for this recurrence."""
    fused = recognise(layers.recurrence)
    if fused is None:
        return None
    module = _MODULES[fused.kernel](layers.input_size, layers.hidden_size, layers.num_layers)
    with torch.no_grad():
        for layer in range(layers.num_layers):
            for name, matrix in matrices(layers.recurrence, module, layer).items():
                matrix.copy_(layers.parameter(name, layer))
            for number, gate in enumerate(fused.gates):
                for kind, names in (("bias_ih", gate.biases), ("bias_hh", gate.recurrent_biases)):
                    bias = _gates(fused, getattr(module, f"{kind}_l{layer}"))[number]
                    bias.zero_()
                    for name in names:
                        bias += layers.parameter(name, layer)
    return module


def matrices(
    recurrence: Recurrence, module: nn.RNNBase, layer: int = 0, *, gradient: bool = False
) -> dict[str, Tensor]:
    """Parts of torch's stacked weights, or of their gradients, by the matrix's name in the equations."""
    fused = recognise(recurrence)
    assert fused is not None, "only recurrences that torch has a module for come here"
    found: dict[str, Tensor] = {}
    for kind, attribute in (("weight_ih", "matrix"), ("weight_hh", "recurrent")):
        weight = getattr(module, f"{kind}_l{layer}")
        parts = _gates(fused, weight.grad if gradient else weight)
        found |= {getattr(gate, attribute): part for gate, part in zip(fused.gates, parts, strict=True)}
    return found


def _gates(fused: Fused, stacked: Tensor) -> tuple[Tensor, ...]:
    return stacked.chunk(len(fused.gates))
