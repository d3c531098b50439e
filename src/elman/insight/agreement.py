"""Which n-gram model a network resembles as it learns: divergences of their predictions at kept weights.

Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, section 4.3: a
network is first near the unigrams, then near longer and longer n-grams.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import CancelledError, FailureError, MisuseError
from elman.generate.stepping import device_of, evaluating
from elman.models.language import LanguageModel
from elman.models.likelihood import block_steps
from elman.models.ngram import NgramModel, train_ngram
from elman.runs import LoadedRun, RunFolder, list_snapshots, load_snapshot

ORDERS = tuple(range(1, 9))
POSITIONS = 20_000
# numbers of all n-gram models' predictions together that are held at once: float32, 1 GB
HELD = 2**28
# of the whole work, what counting the n-grams takes
COUNTING = 0.6
STOPPED = "The comparison with n-gram models was cancelled."

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class Snapshot:
    """A model at one step of its training, beside n-gram models.

    Attributes:
        step: optimiser steps taken.
        nats: mean surprise of the judged tokens under the model.
        to_ngram: by order, KL(model || n-gram) = sum p log(p / q), nats, mean over the judged places.
        from_ngram: by order, KL(n-gram || model).
    """

    step: int
    nats: float
    to_ngram: dict[int, float]
    from_ngram: dict[int, float]

    @property
    def symmetric(self) -> dict[int, float]:
        """By order, the mean of the two directions."""
        return {order: (self.to_ngram[order] + self.from_ngram[order]) / 2 for order in self.to_ngram}

    @property
    def nearest(self) -> int:
        """The order with the smallest symmetric divergence."""
        symmetric = self.symmetric
        return min(symmetric, key=symmetric.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""

        def keyed(values: Mapping[int, float]) -> dict[str, float]:
            return {str(order): value for order, value in values.items()}

        return {
            "step": self.step,
            "nats": self.nats,
            "nearest": self.nearest,
            "symmetric": keyed(self.symmetric),
            "to_ngram": keyed(self.to_ngram),
            "from_ngram": keyed(self.from_ngram),
        }


@dataclass(frozen=True)
class Agreement:
    """A training as its distance from n-gram models.

    Attributes:
        snapshots: in the order of their steps.
        ngrams: by order, mean surprise of the judged tokens under the n-gram models.
        positions: places at which predictions were compared.
    """

    snapshots: tuple[Snapshot, ...]
    ngrams: dict[int, float]
    positions: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "positions": self.positions,
            "ngrams": {str(order): nats for order, nats in self.ngrams.items()},
            "snapshots": [snapshot.to_json() for snapshot in self.snapshots],
        }


def agreement(
    models: Sequence[tuple[int, Callable[[], Any]]],
    ngrams: Sequence[NgramModel],
    tokens: NDArray[np.integer],
    *,
    positions: int = POSITIONS,
    streams: int = 64,
    burn_in: int = 100,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Agreement:
    """Compare what models predict with what n-gram models predict, symbol by symbol of the vocabulary.

    Args:
        models: steps in the order of training, each with a function that gives the language model after it. One is done
            with before the next is asked for, so that one model may come again and again with other weights.
        ngrams: models over the same vocabulary that give nothing probability 0 (Kneser-Ney).
        tokens: [N] ids of a held-out text.
        positions: places to compare at, spread over the text; fewer where the text is short or the vocabulary large.
        streams: stretches of text that are read side by side.
        burn_in: tokens that warm a model up at each of them.
        progress: called with the share that is done and what is being done.
        cancel: asked now and then; True stops.

    Returns:
        Divergences at every step.

    Raises:
        MisuseError: the text is too short, or there are no n-gram models.
        FailureError: scores that are not numbers.
        CancelledError: ``cancel`` said so.
    """
    if not ngrams:
        raise MisuseError("Agreement needs at least one n-gram model to agree with.")
    if len(tokens) < burn_in + 2:
        raise MisuseError(
            f"A text of {len(tokens)} tokens is too short: {burn_in} warm a model up, one is read after them and one "
            "is predicted."
        )
    places = min(positions, HELD // (ngrams[0].vocabulary_size * len(ngrams)))
    streams = max(1, min(streams, len(tokens) // (2 * burn_in + 1), places))
    length = burn_in + max(1, min(places // streams, len(tokens) - 1 - burn_in))
    starts = np.linspace(0, len(tokens) - 1 - length, streams).astype(np.int64)
    rows = torch.from_numpy(np.asarray(tokens)[starts + np.arange(length + 1)[:, None]].astype(np.int64))
    work = len(ngrams) + len(models)
    references: dict[int, Tensor] = {}
    surprise: dict[int, float] = {}
    for done, ngram in enumerate(ngrams):
        if progress:
            progress(done / work, f"order {ngram.order} n-grams")
        reading = _Reading(rows, burn_in, cancel)
        with evaluating(ngram):
            references[ngram.order] = torch.cat(list(reading.of(ngram)))
        surprise[ngram.order] = reading.nats
    found = []
    for done, (step, model) in enumerate(models, start=len(ngrams)):
        if progress:
            progress(done / work, f"step {step:,}")
        found.append(_compared(step, model(), references, _Reading(rows, burn_in, cancel)))
    return Agreement(tuple(found), surprise, (length - burn_in) * streams)


def run_agreement(
    run: LoadedRun,
    folder: str | Path,
    train: NDArray[np.integer],
    tokens: NDArray[np.integer],
    *,
    orders: Sequence[int] = ORDERS,
    positions: int = POSITIONS,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Agreement:
    """Compare the weights that a run kept on its way (``elman train lm --snapshots N``) with n-gram models.

    Args:
        run: opened.
        folder: of the run.
        train: ids of its training text, on which the n-gram models are trained.
        tokens: ids of a held-out text.
        orders: of the n-gram models.
        positions, progress, cancel: as of :func:`agreement`.

    Raises:
        MisuseError: the run kept no weights, or a text is too short.
        FailureError: kept weights that are damaged, or scores that are not numbers.
        CancelledError: ``cancel`` said so.
    """
    kept = require_snapshots(folder)
    # the run's own model keeps its weights
    model = copy.deepcopy(run.model)

    def after(path: Path) -> LanguageModel:
        load_snapshot(path, model)
        return model

    counted = []
    for place, order in enumerate(orders):
        if cancel is not None and cancel():
            raise CancelledError(STOPPED)
        if progress:
            progress(COUNTING * place / len(orders), f"counting order {order} n-grams")
        counted.append(train_ngram(train, run.vocabulary.size, order))
    return agreement(
        [(step, partial(after, path)) for step, path in kept.items()],
        counted,
        tokens,
        positions=positions,
        progress=progress and (lambda share, doing: progress(COUNTING + (1 - COUNTING) * share, doing)),
        cancel=cancel,
    )


def require_snapshots(folder: str | Path) -> dict[int, Path]:
    """The weights that a run kept on its way, by step.

    Raises:
        MisuseError: there are none.
    """
    kept = list_snapshots(RunFolder(Path(folder)))
    if not kept:
        raise MisuseError(
            f"{folder} kept no weights on its way. Train a network with `elman train lm ... --snapshots 20`."
        )
    return kept


def _compared(step: int, model: Any, references: Mapping[int, Tensor], reading: _Reading) -> Snapshot:
    """One model beside all n-gram models."""
    towards, away = dict.fromkeys(references, 0.0), dict.fromkeys(references, 0.0)
    place = rows = 0
    with evaluating(model):
        for logs in reading.of(model):
            probabilities = logs.exp()
            for order, reference in references.items():
                other = reference[place : place + len(logs)]
                # KL(p || q) = sum p (log p - log q)
                towards[order] += float((probabilities * (logs - other)).sum(dtype=torch.float64))
                away[order] += float((other.exp() * (other - logs)).sum(dtype=torch.float64))
            place += len(logs)
            rows += logs.shape[0] * logs.shape[1]
    return Snapshot(
        step,
        reading.nats,
        {order: total / rows for order, total in towards.items()},
        {order: total / rows for order, total in away.items()},
    )


class _Reading:
    """Stretches of text that a model reads side by side.

    Attributes:
        nats: mean surprise of the tokens that count, once all blocks were given.
    """

    def __init__(self, rows: Tensor, burn_in: int, cancel: Cancel | None) -> None:
        self.rows, self.burn_in, self.cancel = rows, burn_in, cancel
        self.nats = math.nan

    def of(self, model: Any) -> Iterator[Tensor]:
        """What a model predicts behind the burn-in, as blocks of log-probabilities [T, B, V] on the CPU."""
        inputs, targets = self.rows[:-1], self.rows[1:]
        total = 0.0
        state = model.initial_state(inputs.shape[1])
        steps = block_steps(model.vocabulary_size, inputs.shape[1])
        for begin in range(0, len(inputs), steps):
            if self.cancel is not None and self.cancel():
                raise CancelledError(STOPPED)
            scores, state = model(inputs[begin : begin + steps].to(device_of(state)), state)
            skip = min(max(0, self.burn_in - begin), len(scores))
            logs = torch.log_softmax(scores[skip:].float().cpu(), dim=-1)
            wanted = targets[begin + skip : begin + len(scores)].unsqueeze(-1)
            total -= float(logs.gather(-1, wanted).sum(dtype=torch.float64))
            yield logs
        self.nats = total / targets[self.burn_in :].numel()
        if math.isnan(self.nats):
            raise FailureError("The model's scores are not numbers: its weights are damaged or its training diverged.")
