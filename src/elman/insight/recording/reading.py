"""A model reads ids block by block, and what its cells hold is written down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile.intermediates import named_values
from elman.errors import CancelledError, FailureError
from elman.generate.stepping import device_of
from elman.insight.recording.layout import TOP, VALUES, Group
from elman.insight.recording.quantise import SLACK, largest, quantise
from elman.models.language import LanguageModel, State
from elman.training.evaluate import Staggered

# tokens that are read first, to see which quantities stay within [-1, 1]
PROBE = 4096
# float32 numbers that one block of steps computes: 128 MB
NUMBERS = 2**25
STEPS = 1024
# int8 levels by which one value may differ from itself, as it is computed in another order
ROUNDING = 2
# values that are held while a gate is computed
ON_THE_WAY = 4


class Reader:
    """One pass of a model over a text.

    Args:
        network: the model, in evaluation mode.
        groups: what to keep.
        ids: int64 [M] what is read.
        lead: ids at the beginning that are read and not kept.
        places: the streams that read it.
        arrays: those of a recording, to be filled.

    Attributes:
        clipped: values that were beyond [-1, 1] and cut off.
        warmed: int8 [B, cells] what every stream but the first holds at its last token of burn-in.
    """

    def __init__(
        self,
        network: LanguageModel,
        groups: Sequence[Group],
        ids: NDArray[np.int64],
        lead: int,
        places: Staggered,
        arrays: Mapping[str, NDArray[Any]],
    ) -> None:
        self.network, self.groups, self.ids, self.lead = network, groups, ids, lead
        self.places, self.arrays = places, arrays
        self.clipped = 0
        self.warmed = np.zeros((len(places.starts), sum(group.count for group in groups)), dtype=np.int8)

    def run(self, progress: Callable[[float], None] | None, cancel: Callable[[], bool] | None) -> None:
        """Read everything.

        Raises:
            CancelledError: ``cancel`` gave True.
            FailureError: states or scores that are not numbers.
        """
        starts, _, length = self.places
        if not self.lead:
            # nothing stands before the first token: it is one of V
            self.arrays["nats.npy"][0] = math.log(self.network.vocabulary_size)
        steps = block_steps(self.network, self.groups, len(starts))
        state = self.network.initial_state(len(starts))
        for begin in range(0, length, steps):
            if cancel is not None and cancel():
                raise CancelledError("The recording was cancelled.")
            state = self._block(begin, min(begin + steps, length), state)
            if progress is not None:
                progress(min(1.0, (begin + steps) / length))

    def _block(self, begin: int, end: int, state: State) -> State:
        reads = np.minimum(self.places.starts + np.arange(begin, end)[:, None], len(self.ids) - 1)
        tokens = torch.from_numpy(self.ids[reads]).to(device_of(state))
        hidden, after, sequences = read_block(self.network, tokens, state)
        spans = list(self._spans(begin, end))
        self._predictions(self.network.readout(hidden), reads, spans)
        kept = self.arrays[VALUES]
        quantities = quantities_of(self.network, self.groups, tokens, state, sequences)
        for group, values in zip(self.groups, quantities, strict=True):
            rounded, clipped = quantise(values, group.transform)
            cells, block = slice(group.first, group.first + group.count), rounded.numpy()
            for stream, steps, positions in spans:
                kept[cells, positions] = block[stream, :, steps]
                if clipped is not None:
                    self.clipped += int(clipped[steps, stream].sum())
            if begin < self.places.warm <= end:
                self.warmed[:, cells] = block[:, :, self.places.warm - 1 - begin]
        return after

    @property
    def unsettled(self) -> float:
        """The share of cells that burn-in does not bring to where the stream before has them, over all seams."""
        starts, warm, _ = self.places
        if not warm or len(starts) == 1:
            return 0.0
        before = self.arrays[VALUES][:, starts[1:] + (warm - 1 - self.lead)]
        return float((np.abs(before.T.astype(np.int16) - self.warmed[1:]) > ROUNDING).mean())

    def _spans(self, begin: int, end: int) -> Iterator[tuple[int, slice, slice]]:
        """For every stream that has something to keep: its number, the steps of the block, the positions they are."""
        for stream, start in enumerate(self.places.starts.tolist()):
            warm = self.places.warm if stream else self.lead
            first, last = max(begin, warm), min(end, len(self.ids) - start)
            if first < last:
                shift = start - self.lead
                yield stream, slice(first - begin, last - begin), slice(first + shift, last + shift)

    def _predictions(self, scores: Tensor, reads: NDArray[np.int64], spans: Sequence[tuple[int, slice, slice]]) -> None:
        log_probabilities = torch.log_softmax(scores.float(), dim=-1)
        targets = torch.from_numpy(self.ids[np.minimum(reads + 1, len(self.ids) - 1)]).to(scores.device)
        nats = -log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1).cpu().numpy()
        if np.isnan(nats).any():
            raise FailureError("The model's scores are not numbers: its weights are damaged or its training diverged.")
        count = min(TOP, log_probabilities.shape[-1])
        likeliest, places = (each.cpu().numpy() for each in torch.topk(log_probabilities, count, dim=-1))
        out = self.arrays
        for stream, steps, positions in spans:
            out["top_ids.npy"][positions, :count] = places[steps, stream]
            out["top_ids.npy"][positions, count:] = -1
            out["top_logprobs.npy"][positions, :count] = likeliest[steps, stream]
            out["top_logprobs.npy"][positions, count:] = -np.inf
            # what is predicted after a position is the token at the next
            following = out["nats.npy"][positions.start + 1 : positions.stop + 1]
            following[:] = nats[steps, stream][: len(following)]
        if self.lead and not reads[0, 0]:
            out["nats.npy"][0] = nats[self.lead - 1, 0]


def read_block(network: LanguageModel, tokens: Tensor, state: State) -> tuple[Tensor, State, State]:
    """Read tokens [T, B]: the top layer's output, the state after them, and all states [layers, T, B, hidden]."""
    table = network.embedding.weight
    return network.recurrent(tokens, state, table=table, return_states=True)


def quantities_of(
    network: LanguageModel, groups: Sequence[Group], tokens: Tensor, before: State, sequences: State
) -> Iterator[Tensor]:
    """The values [T, B, width] of every group, in their order.

    Args:
        network: the model.
        groups: those of one layer stand together.
        tokens: [T, B] what was read.
        before: the state before it, by name [layers, B, hidden].
        sequences: what :func:`read_block` gave.
    """
    for layer, members in itertools.groupby(groups, key=lambda group: group.layer):
        here = list(members)
        names = [group.name for group in here if group.kind == "gate"]
        gates = _gates(network, layer, names, tokens, before, sequences) if names else {}
        for group in here:
            yield gates[group.name] if group.kind == "gate" else sequences[group.name][layer]


def _gates(
    network: LanguageModel, layer: int, names: Sequence[str], tokens: Tensor, before: State, sequences: State
) -> dict[str, Tensor]:
    recurrence, recurrent = network.recurrence, network.recurrent
    parameters = {name: recurrent.parameter(name, layer) for name in (*recurrence.matrices, *recurrence.vectors)}
    x = sequences[recurrence.output][layer - 1] if layer else network.embedding(tokens)
    earlier = {
        name: torch.cat([before[name][layer].unsqueeze(0), sequences[name][layer, :-1]]) for name in recurrence.states
    }
    return named_values(recurrence, parameters, x, earlier, names)


def block_steps(network: LanguageModel, groups: Sequence[Group], batch: int) -> int:
    """Time steps of one block, so that what it computes stays within bounds."""
    # scores, their logarithms and the states, which are copied once; a layer's gates and what is on the way to them
    states = network.layers * len(network.recurrence.states)
    gates = sum(group.kind == "gate" for group in groups) // network.layers
    numbers = 2 * network.vocabulary_size + 2 * (states + (gates + ON_THE_WAY if gates else 0)) * network.hidden
    return max(1, min(STEPS, NUMBERS // (numbers * batch)))


def transforms(network: LanguageModel, groups: Sequence[Group], ids: NDArray[np.int64]) -> tuple[Group, ...]:
    """The groups; those with values beyond [-1, 1] at the beginning of a text are to be kept as their tanh.

    Args:
        network: the model, in evaluation mode.
        groups: the groups.
        ids: int64 [M] the text.
    """
    highest = [0.0] * len(groups)
    state = network.initial_state(1)
    tokens = torch.from_numpy(ids[:PROBE]).to(device_of(state)).unsqueeze(1)
    for part in tokens.split(block_steps(network, groups, 1)):
        _, after, sequences = read_block(network, part, state)
        for index, values in enumerate(quantities_of(network, groups, part, state, sequences)):
            highest[index] = max(highest[index], largest(values))
        state = after
    return tuple(
        replace(group, transform="tanh" if high > 1 + SLACK else "identity")
        for group, high in zip(groups, highest, strict=True)
    )
