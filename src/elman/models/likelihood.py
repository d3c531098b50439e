"""How much probability a language model of any kind gives to the tokens of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.errors import MisuseError

State = dict[str, Tensor]

# time steps a call: long enough that the call's own cost vanishes
STEPS = 256
# numbers in the scores [T, B, V] of one call, so that a large vocabulary takes no more memory than a small one
SCORES = 2**24


def block_steps(vocabulary_size: int, batch: int = 1) -> int:
    """Time steps of one call, so that its scores stay within bounds."""
    return max(1, min(STEPS, SCORES // (vocabulary_size * batch)))


def block_nats(model: Any, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
    """-log P(target) after each input.

    Args:
        model: a language model: ``model(tokens [T, B], state) -> (scores [T, B, V], state)``.
        inputs: [T, B] ids that are read.
        targets: [T, B] ids that are predicted.
        state: of the model, which tells its device too.

    Returns:
        Nats [T, B] in float64 on the CPU, and the state after the last input.
    """
    device = next((tensor.device for tensor in state.values()), torch.device("cpu"))
    scores, state = model(inputs.to(device), state)
    log_probabilities = torch.log_softmax(scores.float(), dim=-1)
    picked = log_probabilities.gather(-1, targets.to(device).unsqueeze(-1)).squeeze(-1)
    return -picked.double().cpu(), state


@torch.inference_mode()
def token_nats(
    model: Any,
    tokens: npt.NDArray[np.integer],
    *,
    steps: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> npt.NDArray[np.float64]:
    """-log P of every token of a text but the first, the state carried from the first to the last.

    Args:
        model: a language model in evaluation mode.
        tokens: [N] ids, N >= 2.
        steps: time steps a call; default as many as memory allows.
        progress: called with the share that is done.

    Returns:
        [N - 1] nats, of the tokens 1 to N - 1; infinite where the model gives probability 0.

    Raises:
        MisuseError: there are fewer than two tokens.
    """
    if len(tokens) < 2:
        raise MisuseError(f"Prediction needs a text of at least two tokens, not {len(tokens)}.")
    steps = steps or block_steps(model.vocabulary_size)
    result = np.empty(len(tokens) - 1)
    state = model.initial_state(1)
    for begin in range(0, len(result), steps):
        part = torch.from_numpy(np.asarray(tokens[begin : begin + steps + 1]).astype(np.int64)).unsqueeze(1)
        nats, state = block_nats(model, part[:-1], part[1:], state)
        result[begin : begin + len(nats)] = nats[:, 0].numpy()
        if progress:
            progress((begin + len(nats)) / len(result))
    return result
