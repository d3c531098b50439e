"""A model while it reads or writes: the likeliest next symbols, and what chosen cells hold, after every symbol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.filters import Scores, log_softmax
from elman.generate.stepping import BLOCK, device_of, evaluating, opening, read
from elman.insight.lesions import cell_of, interventions_on, values_in
from elman.insight.lesions.intervention import check_interventions
from elman.insight.recording.layout import TOP, Group
from elman.insight.recording.positions import tokens_of
from elman.insight.recording.reading import quantities_of, read_block
from elman.models.language import LanguageModel

# cells that a page shows side by side
MOST_CELLS = 64

Cell = tuple[int, str, int]


def cells_of(values: Sequence[Any], model: LanguageModel) -> list[Cell]:
    """Cells of a request, each ``"1:c:17"`` or ``{"layer": 1, "name": "c", "unit": 17}``, that a model has.

    Returns:
        (layer, name, unit) of each, none twice.

    Raises:
        MisuseError: too many, malformed, or one that the model has not.
    """
    if len(values) > MOST_CELLS:
        raise MisuseError(f"{len(values)} cells are too many at once; name up to {MOST_CELLS}.")
    cells = list(dict.fromkeys(cell_of(written(value)) for value in values))
    if cells:
        check_interventions(model, interventions_on(cells))
    return cells


def written(value: Any) -> str:
    """A cell of a request as LAYER:NAME:UNIT, whichever way it was given."""
    if isinstance(value, Mapping):
        return ":".join(str(value.get(key)) for key in ("layer", "name", "unit"))
    return str(value)


def key_of(cell: Cell) -> str:
    """A cell as LAYER:NAME:UNIT."""
    return ":".join(map(str, cell))


class Observer:
    """Walks beside a text that is written, some symbols at a time.

    Args:
        model: a language model or a lesioned one, not the object that writes: it may keep what it reads.
        vocabulary: its vocabulary.
        prompt: is read first, as :func:`elman.generate.generate` reads it.
        cells: of states, whose values are told.
    """

    def __init__(self, model: Any, vocabulary: Vocabulary, prompt: str, cells: Sequence[Cell]) -> None:
        self._model, self._vocabulary, self._cells = model, vocabulary, cells
        self._names = cache(vocabulary.symbol)
        before = read(model, vocabulary, prompt)
        self._expected, self._state = before.scores, before.state

    def feed(self, tokens: Sequence[int]) -> list[dict[str, Any]]:
        """What the model thought of each symbol, and what it holds after it.

        Args:
            tokens: the next of the text, one at least.

        Returns:
            Of each {"id", "symbol", "logprob": nats, "top": [[symbol, probability], ...], "states": {cell: value}}.
        """
        follows = self._vocabulary.follows
        fed = [each for token in tokens for each in ([token, follows[token]] if token in follows else [token])]
        # where each symbol has been read, together with what follows it without being drawn
        places = np.cumsum([2 if token in follows else 1 for token in tokens]) - 1
        scores, values = self._read(torch.tensor(fed, device=device_of(self._state)).unsqueeze(1))
        logprobs = log_softmax(np.concatenate([self._expected, scores[places[:-1]]]))
        self._expected = scores[-1:]
        told = []
        tops = likeliest(self._names, logprobs)
        for token, place, before, top in zip(tokens, places.tolist(), logprobs, tops, strict=True):
            one = {
                "id": token,
                "symbol": self._names(token),
                "logprob": float(before[token]),
                "top": top,
            }
            if self._cells:
                one["states"] = {key_of(cell): round(float(values[place, i]), 5) for i, cell in enumerate(self._cells)}
            told.append(one)
        return told

    def _read(self, tokens: Tensor) -> tuple[Scores, NDArray[np.float32]]:
        """Scores [T, V] and values [T, cells] after each token [T, 1]."""
        if isinstance(self._model, LanguageModel):
            hidden, self._state, sequences = read_block(self._model, tokens, self._state)
            columns = [sequences[name][layer, :, 0, unit] for layer, name, unit in self._cells]
            values = torch.stack(columns, dim=1).cpu().numpy() if columns else np.zeros((len(tokens), 0), np.float32)
            return _scores(self._model.readout(hidden)), values
        # a model of another kind shows its state after a call only
        scores, rows = [], []
        for part in tokens.split(1 if self._cells else len(tokens)):
            logits, self._state = self._model(part, self._state)
            scores.append(_scores(logits))
            rows.append(values_in(self._state, self._cells) if self._cells else np.zeros((len(part), 0), np.float32))
        return np.concatenate(scores), np.concatenate(rows)


def likeliest(names: Callable[[int], str], logprobs: Scores) -> list[list[list[Any]]]:
    """The likeliest symbols of each row and their probabilities, the likeliest first.

    Args:
        names: the printable name of a symbol.
        logprobs: [T, V].

    Returns:
        [T][5] of [symbol, probability].
    """
    count = min(TOP, logprobs.shape[-1])
    some = np.argpartition(-logprobs, count - 1, axis=-1)[:, :count]
    values = np.take_along_axis(logprobs, some, axis=-1)
    # of equals the one with the lower id comes first
    order = np.lexsort((some, -values), axis=-1)
    best = np.take_along_axis(some, order, axis=-1).tolist()
    chances = np.exp(np.take_along_axis(values, order, axis=-1)).round(6).tolist()
    return [[[names(id), chance] for id, chance in zip(*row, strict=True)] for row in zip(best, chances, strict=True)]


def trace(model: LanguageModel, vocabulary: Vocabulary, text: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """A text as the model reads it: what each symbol does to chosen cells and to the expectation.

    Args:
        model: in evaluation mode.
        vocabulary: its vocabulary; symbols that its policy skips are not read.
        text: is read from the initial state, as a prompt is.
        cells: whose values are told.

    Returns:
        {"pieces": [N] text, "offsets": [N] first character of each, "nats": [N] surprise of each (None where nothing
        was expected), "top": [N][5] [symbol, probability] of the next one after each, "values": {cell: [N]}}.
    """
    ids, offsets = tokens_of(vocabulary, text)
    groups = _groups(model, cells)
    collected: dict[str, list[float]] = {key_of(cell): [] for cell in cells}
    names = cache(vocabulary.symbol)
    nats: list[NDArray[np.float64]] = [np.zeros(0)]
    top: list[list[list[Any]]] = []
    ends = [*offsets.tolist()[1:], len(text)]
    pieces = [text[begin:end] for begin, end in zip(offsets.tolist(), ends, strict=True)] if len(ids) else []
    with evaluating(model):
        expected = _expectation(model, vocabulary)
        state = model.initial_state(1)
        tokens = torch.from_numpy(ids.astype(np.int64)).to(device_of(state)).unsqueeze(1)
        for block in tokens.split(BLOCK) if len(ids) else ():
            hidden, after, sequences = read_block(model, block, state)
            logprobs = log_softmax(_scores(model.readout(hidden)))
            read_ids = block[:, 0].numpy(force=True)
            surprise = -logprobs[np.arange(len(read_ids) - 1), read_ids[1:]]
            first = math.nan if expected is None else -float(expected[read_ids[0]])
            nats.append(np.concatenate([[first], surprise]))
            top += likeliest(names, logprobs)
            expected = logprobs[-1]
            quantities = quantities_of(model, groups, block, state, sequences)
            found = {(group.layer, group.name): values for group, values in zip(groups, quantities, strict=True)}
            for cell in cells:
                values = found[cell[:2]][:, 0, cell[2]].double().numpy(force=True).round(5).tolist()
                collected[key_of(cell)] += values
            state = after
    surprises = np.concatenate(nats).round(5)
    surprises[np.isin(ids, sorted(vocabulary.unpredicted))] = np.nan
    return {"pieces": pieces, "offsets": offsets.tolist(), "nats": surprises, "top": top, "values": collected}


def _expectation(model: LanguageModel, vocabulary: Vocabulary) -> NDArray[np.float64] | None:
    """What is expected of a text's first symbol, where something is."""
    before = [] if vocabulary.start is not None else opening(vocabulary)
    return log_softmax(read(model, vocabulary, "").scores)[0] if before else None


def _groups(model: LanguageModel, cells: Sequence[Cell]) -> list[Group]:
    """The quantities that the cells are of, those of one layer together."""
    wanted = sorted({cell[:2] for cell in cells})
    kinds = dict.fromkeys(model.recurrence.states, "state")
    return [Group(layer, name, kinds.get(name, "gate"), "identity", 0, model.hidden) for layer, name in wanted]


def _scores(logits: Tensor) -> Scores:
    """[T, V] in float64, from logits [T, 1, V]."""
    return logits[:, 0].to(device="cpu", dtype=torch.float64).numpy()
