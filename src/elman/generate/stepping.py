"""Walking a language model through a text: what sampling, beam search and scoring share.

A model here is anything with the call form of a language model: ``initial_state(batch)`` gives a dict of
tensors whose dimension 1 is the batch, ``model(tokens [T, B], state)`` gives scores [T, B, V] and the next
state, and ``vocabulary_size`` is V.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile import frozen_weights
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.filters import Scores

State = dict[str, Tensor]

# a prompt longer than this is read in blocks, so that its scores [T, 1, V] need little memory
BLOCK = 1024


class Reading(NamedTuple):
    """A model that has read a prompt.

    Attributes:
        scores: [1, V], of the symbol that follows the prompt.
        state: the model's state, of batch 1.
        last: the id that was read last; None where nothing was read.
        unknown: symbols of the prompt that the vocabulary lacks, with their counts.
    """

    scores: Scores
    state: State
    last: int | None
    unknown: Counter[str]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within it the model neither records gradients nor drops units out; its mode is restored afterwards."""
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        with torch.inference_mode(), frozen_weights():
            yield
    finally:
        if was_training:
            model.train()


@contextmanager
def single_steps() -> Iterator[None]:
    """Within it torch's recurrent layers take single steps fast.

    oneDNN reorders the weights of such a layer at every call, which takes longer than one step: without it, a step of
    an LSTM is about 4 times faster at batch 1 and about as fast at 64. Over many steps a call it is the faster one.
    """
    one_dnn: Any = torch.backends.mkldnn
    was_enabled = one_dnn.enabled
    try:
        one_dnn.enabled = False
        yield
    finally:
        one_dnn.enabled = was_enabled


def check_sizes(model: Any, vocabulary: Vocabulary) -> None:
    """Refuse a model and a vocabulary that do not belong together.

    Raises:
        MisuseError: their sizes differ.
    """
    if model.vocabulary_size != vocabulary.size:
        raise MisuseError(
            f"The model knows {model.vocabulary_size} symbols and the vocabulary has {vocabulary.size}; "
            "use the vocabulary that the model was trained with."
        )


def opening(vocabulary: Vocabulary) -> list[int]:
    """The ids that a text begins after: the vocabulary's start symbol, else a newline, else none.

    Texts are mostly lines, so what a model expects after a newline is how a text begins. With neither,
    nothing is known of the first symbol, and all are taken to be equally likely.
    """
    if vocabulary.start is not None:
        return [vocabulary.start]
    newline = [int(token) for token in vocabulary.ids(vocabulary.tokenize("\n"))]
    return newline if len(newline) == 1 and newline[0] >= 0 else []


def read(model: Any, vocabulary: Vocabulary, prompt: str) -> Reading:
    """Feed a prompt to a model in its initial state.

    Args:
        model: a language model.
        vocabulary: its vocabulary; its policy decides what becomes of symbols that it lacks.
        prompt: text; when empty (or skipped altogether by the policy), see :func:`opening`.

    Returns:
        The scores of the next symbol, the state, and the unknown symbols.

    Raises:
        MisuseError: an unknown symbol under the policy "error".
    """
    encoded = vocabulary.encode(prompt)
    ids = encoded.ids.astype(np.int64).tolist() or opening(vocabulary)
    if ids and ids[-1] in vocabulary.follows:
        ids.append(vocabulary.follows[ids[-1]])
    state = model.initial_state(1)
    if not ids:
        return Reading(np.zeros((1, vocabulary.size)), state, None, encoded.unknown)
    tokens = torch.tensor(ids, dtype=torch.long, device=device_of(state))[:, None]
    for block in tokens.split(BLOCK):
        logits, state = model(block, state)
    return Reading(last_scores(logits), state, ids[-1], encoded.unknown)


def advance(model: Any, ids: NDArray[np.int64], state: State, follows: Mapping[int, int]) -> tuple[Scores, State]:
    """Feed the drawn symbols, and after an end symbol the start symbol that follows it without being drawn.

    Args:
        model: a language model.
        ids: [B], just drawn.
        state: of batch B.
        follows: the vocabulary's.

    Returns:
        Scores of the next symbols [B, V], and the state.
    """
    # a fresh tensor each time: a model may keep what it is fed as part of its state
    logits, state = model(torch.from_numpy(ids)[None].to(device_of(state)), state)
    scores = last_scores(logits)
    rows = [row for row, token in enumerate(ids.tolist()) if token in follows] if follows else []
    if rows:
        starts = np.array([follows[int(ids[row])] for row in rows])
        later_scores, later = advance(model, starts, select(state, rows), {})
        scores = scores.copy()
        scores[rows] = later_scores
        index = torch.tensor(rows, device=device_of(state))
        state = {name: tensor.index_copy(1, index, later[name]) for name, tensor in state.items()}
    return scores, state


def select(state: State, rows: Sequence[int] | NDArray[np.int64]) -> State:
    """The state of chosen rows, in the order given; a row may be chosen several times."""
    index = torch.as_tensor(rows, dtype=torch.long, device=device_of(state))
    return {name: tensor.index_select(1, index) for name, tensor in state.items()}


def device_of(state: State) -> torch.device:
    """Where a model that has this state lives."""
    return next((tensor.device for tensor in state.values()), torch.device("cpu"))


def last_scores(logits: Tensor) -> Scores:
    """Scores after the last step [B, V], from logits [T, B, V], as float64 on the CPU."""
    return logits[-1].to(device="cpu", dtype=torch.float64).numpy()
