"""The loss of a model, and of a language model over a whole text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from elman.errors import MisuseError
from elman.models.likelihood import block_nats, block_steps
from elman.training.distributed import own_rows
from elman.training.distributed import total as sums


@dataclass(frozen=True)
class Evaluation:
    """The loss of a model on data that it was not trained on.

    Attributes:
        nats: mean negative log-likelihood a predicted token; infinite where something impossible occurred.
        tokens: how many were predicted.
        seconds: time taken.
        streams: 1 if the state was carried over the whole text.
        burn_in: tokens read before each further stream began to count.
        impossible: tokens to which the model gave no probability at all.
        scores: what else was measured, by name, such as accuracy.
        criterion: lower is better; decides which weights are kept where the loss is not what counts.
    """

    nats: float
    tokens: int
    seconds: float
    streams: int = 1
    burn_in: int = 0
    impossible: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    criterion: float | None = None

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


class Staggered(NamedTuple):
    """Streams that read a text at several places at once, each but the first warmed up on what is before its part.

    Attributes:
        starts: [B] index of the first token that each stream reads.
        warm: tokens that each but the first reads before its own part.
        length: tokens that each reads; the last one's may reach beyond the end.
    """

    starts: np.ndarray
    warm: int
    length: int


def staggered(count: int, streams: int, burn_in: int) -> Staggered:
    """Divide a text among streams.

    Args:
        count: tokens to be read.
        streams: how many at most; fewer where burn-in would be more than half of what they read.
        burn_in: tokens that warm up each stream but the first.
    """
    streams = max(1, min(streams, count // max(1, 2 * burn_in))) if streams > 1 else 1
    warm = burn_in if streams > 1 else 0
    # all but the first stream spend `warm` of their tokens on the part of the one before
    length = -(-(count + (streams - 1) * warm) // streams)
    starts = np.arange(streams) * (length - warm)
    # where parts are short, rounding up leaves nothing for the last streams
    return Staggered(starts[starts + warm < count], warm, length)


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
    starts, warm, length = staggered(count - 1, streams, burn_in)
    streams = len(starts)
    # processes that train together read shares of the streams; a stream does not depend on its neighbours
    starts = starts[own_rows(streams)]
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        state = model.initial_state(len(starts))
        total, predicted, impossible = 0.0, 0, 0
        skip = torch.tensor(sorted(unpredicted), dtype=torch.long)
        block = block_steps(model.vocabulary_size, streams)
        for begin in range(0, length if len(starts) else 0, block):
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
    total, *counts = sums([total, predicted, impossible])
    predicted, impossible = (int(count) for count in counts)
    if not predicted:
        raise MisuseError("Nothing in this text is ever predicted, so it has no loss.")
    return Evaluation(total / predicted, predicted, time.monotonic() - started, streams, warm, impossible)
