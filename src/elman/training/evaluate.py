"""The loss of a language model over a whole text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from elman.errors import MisuseError
from elman.models.likelihood import block_nats, block_steps


@dataclass(frozen=True)
class Evaluation:
    """The loss of a model on a text.

    Attributes:
        nats: mean negative log-likelihood a predicted token; infinite where something impossible occurred.
        tokens: how many were predicted.
        seconds: time taken.
        streams: 1 if the state was carried over the whole text.
        burn_in: tokens read before each further stream began to count.
        impossible: tokens to which the model gave no probability at all.
    """

    nats: float
    tokens: int
    seconds: float
    streams: int = 1
    burn_in: int = 0
    impossible: int = 0

    @property
    def bits(self) -> float:
        """Bits a token: nats / ln 2."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the nats."""
        return math.exp(self.nats) if self.nats < 700 else math.inf

    @property
    def carried(self) -> str:
        """In words, how the state was carried."""
        if self.streams == 1:
            return "state carried over the whole text"
        return f"{self.streams} streams, each after {self.burn_in} tokens of burn-in"


@torch.inference_mode()
def evaluate(
    model: Any,
    tokens: np.ndarray,
    *,
    streams: int = 1,
    burn_in: int = 1000,
    unpredicted: frozenset[int] = frozenset(),
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Mean loss of a model over a text, every token after the first predicted exactly once.

    Args:
        model: a language model: ``model(tokens [T, B], state) -> (scores [T, B, V], state)``.
        tokens: 1-D ids.
        streams: 1 carries the state from the first token to the last. More read the text at as many places at once,
            which is faster; each but the first then starts ``burn_in`` tokens early with a zero state.
        burn_in: tokens that warm a stream up and do not count.
        unpredicted: ids that are fed but never predicted, such as a sentence's start.
        progress: called with the share that is done.

    Returns:
        The loss and how it was measured.

    Raises:
        MisuseError: fewer than two tokens.
    """
    count = len(tokens)
    if count < 2:
        raise MisuseError(f"A loss needs at least 2 tokens, one to read and one to predict; this text has {count}.")
    started = time.monotonic()
    streams = max(1, min(streams, (count - 1) // max(1, 2 * burn_in))) if streams > 1 else 1
    warm = burn_in if streams > 1 else 0
    # every stream reads `length` tokens; all but the first spend `warm` of them on what the one before predicts
    length = -(-(count - 1 + (streams - 1) * warm) // streams)
    starts = np.arange(streams)[None, :] * (length - warm)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        state = model.initial_state(streams)
        total, predicted, impossible = 0.0, 0, 0
        skip = torch.tensor(sorted(unpredicted), dtype=torch.long)
        block = block_steps(model.vocabulary_size, streams)
        for begin in range(0, length, block):
            offsets = np.arange(begin, min(begin + block, length))[:, None]
            places = starts + offsets
            counted = torch.from_numpy((places < count - 1) & ((offsets >= warm) | (starts == 0)))
            reads = np.minimum(places, count - 2)
            inputs = torch.from_numpy(tokens[reads].astype(np.int64))
            targets = torch.from_numpy(tokens[reads + 1].astype(np.int64))
            nats, state = block_nats(model, inputs, targets, state)
            kept = nats[counted & ~torch.isin(targets, skip)]
            impossible += int(torch.isinf(kept).sum())
            total += float(kept.sum())
            predicted += kept.numel()
            if progress:
                progress(min(1.0, (begin + block) / length))
    finally:
        if was_training:
            model.train()
    if not predicted:
        raise MisuseError("Nothing in this text is ever predicted, so it has no loss.")
    return Evaluation(total / predicted, predicted, time.monotonic() - started, streams, warm, impossible)
