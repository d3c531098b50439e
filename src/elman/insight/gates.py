"""How often a gate is open or shut: the share of steps that it spends near 1 and near 0.

Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, section 4.2:
a gate is left-saturated where it is below 0.1 and right-saturated where it is above 0.9. A forget gate that is
right-saturated nearly always belongs to a cell that remembers for long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.equations import Recurrence
from elman.errors import CancelledError, FailureError, MisuseError
from elman.generate.stepping import device_of, evaluating
from elman.insight.recording.layout import Group
from elman.insight.recording.plan import network_of
from elman.insight.recording.reading import block_steps, quantities_of, read_block
from elman.training.evaluate import staggered

LEFT, RIGHT = 0.1, 0.9
# a unit whose gate is saturated on one side for more than this share of the steps is counted as nearly always so
MOSTLY = 0.9

#: Operations whose value lies between 0 and 1: what makes a value on the way a gate.
GATES = ("sigmoid", "hard_sigmoid")


@dataclass(frozen=True)
class Gate:
    """One gate of one layer.

    Attributes:
        layer: from 0, the lowest.
        name: as the equations call it.
        left: [hidden] share of the steps at which each unit's gate is below 0.1.
        right: [hidden] share of the steps at which it is above 0.9.
    """

    layer: int
    name: str
    left: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def mostly_left(self) -> int:
        """Units that are left-saturated at more than nine steps of ten."""
        return int(np.count_nonzero(self.left > MOSTLY))

    @property
    def mostly_right(self) -> int:
        """Units that are right-saturated at more than nine steps of ten."""
        return int(np.count_nonzero(self.right > MOSTLY))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "layer": self.layer,
            "name": self.name,
            "left": self.left.round(6).tolist(),
            "right": self.right.round(6).tolist(),
            "mean_left": float(self.left.mean()),
            "mean_right": float(self.right.mean()),
            "mostly_left": self.mostly_left,
            "mostly_right": self.mostly_right,
        }


@dataclass(frozen=True)
class GateSaturation:
    """The gates of a model over a text.

    Attributes:
        gates: layer by layer, in the order of the equations.
        tokens: steps that were counted.
        streams: places at which the text was read at once.
        burn_in: tokens that warmed each stream but the first up and were not counted.
    """

    gates: tuple[Gate, ...]
    tokens: int
    streams: int
    burn_in: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "tokens": self.tokens,
            "streams": self.streams,
            "burn_in": self.burn_in,
            "limits": [LEFT, RIGHT],
            "gates": [gate.to_json() for gate in self.gates],
        }


def gate_names(recurrence: Recurrence) -> tuple[str, ...]:
    """The gates of a recurrence: the names that its equations assign to a sigmoid and that are no states."""
    known = recurrence.intermediates
    return tuple(name for name, index in known.names.items() if known.nodes[index].op in GATES)


def gate_saturation(
    model: Any,
    tokens: NDArray[np.integer],
    *,
    streams: int = 32,
    burn_in: int = 200,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> GateSaturation:
    """Count how often every gate of a model is saturated while it reads a text.

    Args:
        model: a recurrent language model.
        tokens: [N] ids of the text.
        streams: places at which it is read at once; 1 carries the state from the first token to the last.
        burn_in: tokens that warm up every stream but the first.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Returns:
        For every layer and gate the shares by unit.

    Raises:
        MisuseError: the model has no gates, or the text is empty.
        FailureError: gates that are not numbers.
        CancelledError: ``cancel`` said so.
    """
    network = network_of(model)
    names = gate_names(network.recurrence)
    if not names:
        title = network.recurrence.name or "this recurrence"
        raise MisuseError(
            f"{title} has no gates: no name that its equations assign is a sigmoid. Try a run of lstm or gru."
        )
    if not len(tokens):
        raise MisuseError("There is no text to read; give one of at least one token.")
    groups = [Group(layer, name, "gate", "identity", 0, 0) for layer in range(network.layers) for name in names]
    counts: list[list[torch.Tensor | int]] = [[0, 0] for _ in groups]
    places = staggered(len(tokens), streams, burn_in)
    own = np.arange(len(places.starts))
    read = 0
    with evaluating(network):
        state = network.initial_state(len(places.starts))
        device = device_of(state)
        block = block_steps(network, groups, len(places.starts))
        for begin in range(0, places.length, block):
            if cancel is not None and cancel():
                raise CancelledError("The count of saturated gates was cancelled.")
            offsets = np.arange(begin, min(begin + block, places.length))[:, None]
            where = places.starts + offsets
            counted = torch.from_numpy((where < len(tokens)) & ((offsets >= places.warm) | (own == 0))).to(device)
            ids = torch.from_numpy(np.asarray(tokens)[np.minimum(where, len(tokens) - 1)].astype(np.int64)).to(device)
            _, after, sequences = read_block(network, ids, state)
            for count, values in zip(counts, quantities_of(network, groups, ids, state, sequences), strict=True):
                kept = values[counted]
                if torch.isnan(kept).any():
                    raise FailureError("The model's gates are not numbers: its weights are damaged.")
                count[0] += (kept < LEFT).sum(dim=0)
                count[1] += (kept > RIGHT).sum(dim=0)
            read += int(counted.sum())
            state = after
            if progress is not None:
                progress(min(1.0, (begin + block) / places.length))
    gates = tuple(
        Gate(group.layer, group.name, *(torch.as_tensor(each).cpu().double().numpy() / read for each in count))
        for group, count in zip(groups, counts, strict=True)
    )
    return GateSaturation(gates, read, len(places.starts), places.warm)
