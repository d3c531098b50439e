"""Layers and directions of a recurrence, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.compile import Result
from elman.nn.dropout import dropout as drop_units
from elman.nn.ragged import Ragged

Part = Callable[[int, int, Tensor], Result]


@dataclass(frozen=True, slots=True)
class Stacked:
    """What a stack gives.

    Attributes:
        y: the top layer's output [T, B, directions * hidden].
        final: by state the last values [layers * directions, B, hidden], layer by layer, forward before reverse.
        sequences: by state all values [layers * directions, T, B, hidden], or empty.
        backend: what ran.
    """

    y: Tensor
    final: dict[str, Tensor]
    sequences: dict[str, Tensor]
    backend: str


def run_stack(
    part: Part,
    x: Tensor,
    output: str,
    layers: int,
    directions: int,
    *,
    ragged: Ragged | None = None,
    dropout: float = 0.0,
    every_state: bool = False,
) -> Stacked:
    """Run all layers and directions.

    Args:
        part: (layer, direction, x in that direction's order) to its result, which has the lengths in account.
        x: [T, B, input].
        output: the state that leaves the cell.
        layers: number of layers.
        directions: 1, or 2 for forward and reverse.
        ragged: the rows' own lengths.
        dropout: rate between layers; 0 outside training.
        every_state: give all states' sequences, which part has to give too.
    """

    def turned(tensor: Tensor) -> Tensor:
        return tensor.flip(0) if ragged is None else ragged.back(tensor)

    finals: list[dict[str, Tensor]] = []
    sequences: list[dict[str, Tensor]] = []
    backend = ""
    for layer in range(layers):
        if layer:
            x = drop_units(x, dropout)
        outputs = []
        for direction in range(directions):
            given = turned(x) if direction else x
            result = part(layer, direction, given)
            backend = result.backend
            finals.append(result.final)
            in_time = {name: turned(values) if direction else values for name, values in result.outputs.items()}
            sequences.append(in_time)
            outputs.append(in_time[output])
        x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
    cut = (lambda tensor: tensor) if ragged is None else ragged.cut
    collected = {}
    if every_state:
        collected = {name: torch.stack([cut(each[name]) for each in sequences]) for name in sequences[0]}
    return Stacked(
        cut(x),
        {name: torch.stack([final[name] for final in finals]) for name in finals[0]},
        collected,
        backend,
    )
