"""What cells usually are: their means, their magnitudes, and values to draw from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.vocabulary import Vocabulary
from elman.errors import CancelledError, MisuseError
from elman.generate.stepping import check_sizes, device_of, evaluating
from elman.insight.recording.layout import Group
from elman.insight.recording.plan import network_of
from elman.insight.recording.positions import tokens_of
from elman.insight.recording.reading import block_steps, quantities_of, read_block
from elman.models.language import LanguageModel
from elman.training.evaluate import staggered

Key = tuple[int, str]

# places at which the text is read at once, and tokens that warm up each
STREAMS = 32
BURN_IN = 200


@dataclass(frozen=True, eq=False)
class CellStatistics:
    """What cells did over a text.

    Attributes:
        tokens: how many were read.
        mean: by (layer, name) [hidden].
        magnitude: by (layer, name) the mean absolute value [hidden].
        pool: by (layer, name) the values at random positions [P, hidden].
        on, off: by (layer, name) the mean where a label is on, and where it is off [hidden]; empty without labels.
    """

    tokens: int
    mean: dict[Key, Tensor]
    magnitude: dict[Key, Tensor]
    pool: dict[Key, Tensor]
    on: dict[Key, Tensor] = field(default_factory=dict)
    off: dict[Key, Tensor] = field(default_factory=dict)


@torch.inference_mode()
def cell_statistics(
    model: Any,
    vocabulary: Vocabulary,
    text: str,
    *,
    cells: Sequence[Key] | None = None,
    labels: NDArray[np.integer] | None = None,
    above: int = 0,
    limit: int = 100_000,
    pool: int = 2048,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> CellStatistics:
    """Read a text and see what the cells do.

    Args:
        model: a recurrent language model.
        vocabulary: its vocabulary.
        text: such as that of a recording.
        cells: (layer, name) of states or of other names that the equations assign; default every state of every layer.
        labels: [characters] of a label, for the means where it is on and off; negative where nothing is said.
        above: the label is on where it is larger than this.
        limit: tokens that are read at most.
        pool: positions whose values are kept at most.
        seed: chooses these positions.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Raises:
        MisuseError: a model without states, a quantity that it has not, an empty text, or labels of another length.
        CancelledError: ``cancel`` said so.
    """
    network = network_of(model)
    check_sizes(network, vocabulary)
    tokens = tokens_of(vocabulary, text)
    ids = tokens.ids[:limit]
    sides = {}
    if labels is not None:
        on, off = on_and_off(text, labels, tokens.offsets[:limit], above)
        sides = {"on": on, "off": off}
    if not len(ids):
        raise MisuseError("The text is empty: there is nothing to learn from it about the cells.")
    states = network.recurrence.states
    keys = list(dict.fromkeys(cells or [(layer, name) for layer in range(network.layers) for name in states]))
    kept = np.sort(np.random.default_rng(seed).choice(len(ids), min(pool, len(ids)), replace=False))
    total = {key: torch.zeros(network.hidden, dtype=torch.float64) for key in keys}
    absolute = {key: torch.zeros(network.hidden, dtype=torch.float64) for key in keys}
    of_side = {side: {key: torch.zeros(network.hidden, dtype=torch.float64) for key in keys} for side in sides}
    values: dict[Key, list[Tensor]] = {key: [] for key in keys}
    counted_tokens = 0
    with evaluating(network):
        for block in _blocks(network, ids, keys):
            if cancel is not None and cancel():
                raise CancelledError("The measurement of the cells was cancelled.")
            counted = torch.from_numpy(block.counted)
            drawn = torch.from_numpy(np.isin(block.places, kept) & block.counted)
            where = {side: torch.from_numpy(held[block.places[block.counted]]) for side, held in sides.items()}
            for key, quantity in block.values.items():
                whole = quantity.cpu()[counted]
                for side, held in where.items():
                    of_side[side][key] += whole[held].double().sum(0)
                total[key] += whole.double().sum(0)
                absolute[key] += whole.abs().double().sum(0)
                values[key].append(quantity.cpu()[drawn])
            counted_tokens += int(counted.sum())
            if progress:
                progress(counted_tokens / len(ids))
    means = {
        side: {key: (tensor / max(1, int(np.count_nonzero(sides[side])))).float() for key, tensor in found.items()}
        for side, found in of_side.items()
    }
    return CellStatistics(
        len(ids),
        {key: (tensor / len(ids)).float() for key, tensor in total.items()},
        {key: (tensor / len(ids)).float() for key, tensor in absolute.items()},
        {key: torch.cat(parts) for key, parts in values.items()},
        **means,
    )


def on_and_off(
    text: str, labels: NDArray[np.integer], offsets: NDArray[np.int64], above: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a label is on and where it is off.

    Args:
        text: the labelled text.
        labels: [characters] whole numbers; negative where nothing is said.
        offsets: [N] first character of each token, whose label is the token's.
        above: the label is on where it is larger than this.

    Returns:
        Two of bool [N]; a place may be neither.

    Raises:
        MisuseError: labels that are not one whole number a character.
    """
    array = np.asarray(labels)
    if array.shape != (len(text),) or array.dtype.kind not in "biu":
        raise MisuseError(
            f"The labels must be one whole number for each of the {len(text):,} characters; "
            f"they are {array.dtype} {list(array.shape)}."
        )
    here = array.astype(np.int64)[offsets]
    return (here >= 0) & (here > above), (here >= 0) & (here <= above)


@dataclass(frozen=True, eq=False)
class _Block:
    """Some steps of all streams: values by key [T, B, hidden], their places in the text, and which of them count."""

    values: dict[Key, Tensor]
    places: NDArray[np.int64]
    counted: NDArray[np.bool_]


def _blocks(network: LanguageModel, ids: NDArray[np.int64], keys: Sequence[Key]) -> Iterator[_Block]:
    states = network.recurrence.states
    # the groups of a layer have to stand together
    groups = [
        Group(layer, name, "state" if name in states else "gate", "identity", 0, network.hidden)
        for layer, name in sorted(keys)
    ]
    plan = staggered(len(ids), STREAMS, BURN_IN)
    state = network.initial_state(len(plan.starts))
    steps = block_steps(network, groups, len(plan.starts))
    for begin in range(0, plan.length, steps):
        offsets = np.arange(begin, min(begin + steps, plan.length))[:, None]
        places = plan.starts[None, :] + offsets
        counted = (places < len(ids)) & ((offsets >= plan.warm) | (plan.starts[None, :] == 0))
        tokens = torch.from_numpy(ids[np.minimum(places, len(ids) - 1)]).to(device_of(state))
        _, after, sequences = read_block(network, tokens, state)
        quantities = quantities_of(network, groups, tokens, state, sequences)
        found = {(group.layer, group.name): values for group, values in zip(groups, quantities, strict=True)}
        yield _Block(found, places, counted)
        state = after
