"""All that is said of a model's errors on a text: categories, braces, characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.errors import CancelledError, FailureError, MisuseError
from elman.generate.stepping import check_sizes, evaluating
from elman.insight.errors.braces import BraceCurve, brace_curve
from elman.insight.errors.by_character import ByCharacter, by_character
from elman.insight.errors.characters import characters_of
from elman.insight.errors.oracles import ORDERS, Evidence
from elman.insight.errors.taxonomy import ErrorTaxonomy, error_taxonomy
from elman.models.likelihood import block_nats, block_steps
from elman.models.ngram import NgramModel, train_ngram
from elman.training.evaluate import staggered

COMPARED = 20
# of a long order, n-grams from this length on are kept from two occurrences: most were seen once, and say little
PRUNED_FROM = 7
STREAMS, BURN_IN = 32, 500
# of the whole work, what reading with the model takes
MODEL_SHARE = 0.25

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class ErrorAnalysis:
    """A model's errors on a text.

    Attributes:
        taxonomy: errors by oracle.
        braces: the closing braces; None for a text without them.
        characters: the model beside the long n-gram model.
        model_nats, ngram_nats: mean surprise of a character under the two.
        order: of the long n-gram model.
        ngrams: by order, mean surprise under the models of the n-gram oracle.
    """

    taxonomy: ErrorTaxonomy
    braces: BraceCurve | None
    characters: ByCharacter
    model_nats: float
    ngram_nats: float
    order: int
    ngrams: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model_nats": self.model_nats,
            "ngram_nats": self.ngram_nats,
            "order": self.order,
            "ngrams": {str(order): nats for order, nats in self.ngrams.items()},
            "taxonomy": self.taxonomy.to_json(),
            "braces": None if self.braces is None else self.braces.to_json(),
            "by_character": self.characters.to_json(),
        }


def analyse_errors(
    model: Any,
    vocabulary: Vocabulary,
    tokens: NDArray[np.integer],
    train: NDArray[np.integer],
    *,
    before: NDArray[np.integer] | Sequence[int] = (),
    order: int = COMPARED,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ErrorAnalysis:
    """Take a model's errors on a text apart.

    Args:
        model: any language model of characters or bytes.
        vocabulary: its vocabulary.
        tokens: [N] ids of the text; its first character is not predicted.
        train: ids of the text that the model was trained on; the n-gram models are trained on it too.
        before: ids that stand before the text, as context for the n-gram models.
        order: of the n-gram model that the model is compared with. From order 7 on, it drops what occurred once.
        progress: called with the share that is done and what is being done.
        cancel: asked now and then; True stops.

    Returns:
        The analysis.

    Raises:
        MisuseError: a vocabulary of words or subwords, or a text or training text that is too short.
        FailureError: scores that are not numbers.
        CancelledError: ``cancel`` said so.
    """
    check_sizes(model, vocabulary)
    points, trained_on = characters_of(vocabulary, tokens), characters_of(vocabulary, train)
    if len(tokens) < 2 or len(train) < max(order, ORDERS[-1]):
        raise MisuseError(
            f"Errors need a text of at least 2 characters and a training text of {max(order, ORDERS[-1])}; "
            f"these have {len(tokens)} and {len(train)}."
        )
    watch = _Watch(progress or (lambda share, doing: None), cancel)
    nats = _model_nats(model, tokens, watch)
    ngrams: dict[int, NDArray[np.float32]] = {}
    work = [(each, float(each)) for each in ORDERS] + [(order, 2.0 * order)]
    whole, done = sum(cost for _, cost in work), 0.0
    surprises = []
    for each, cost in work:
        watch(MODEL_SHARE + (1 - MODEL_SHARE) * done / whole, f"order {each} n-grams")
        surprises.append(
            _ngram_nats(train, vocabulary.size, each, tokens, before, prune=each == order and each not in ORDERS)
        )
        done += cost
    ngrams = dict(zip(ORDERS, surprises[:-1], strict=True))
    long = surprises[-1]
    watch(1.0, "errors")
    evidence = Evidence(points, nats, ngrams, trained_on)
    predicted = ~np.isnan(nats)
    return ErrorAnalysis(
        taxonomy=error_taxonomy(evidence),
        braces=brace_curve(points, nats, long, order),
        characters=by_character(points, nats, long, order),
        model_nats=float(nats[predicted].mean()),
        ngram_nats=float(long[predicted].mean()),
        order=order,
        ngrams={each: float(values[predicted].mean()) for each, values in ngrams.items()},
    )


class _Watch:
    """Tells how far it is, and stops when it was asked to."""

    def __init__(self, progress: Progress, cancel: Cancel | None) -> None:
        self.progress, self.cancel = progress, cancel

    def __call__(self, share: float, doing: str) -> None:
        if self.cancel is not None and self.cancel():
            raise CancelledError("The analysis of errors was cancelled.")
        self.progress(share, doing)


def _ngram_nats(
    train: NDArray[np.integer],
    size: int,
    order: int,
    tokens: NDArray[np.integer],
    before: NDArray[np.integer] | Sequence[int],
    *,
    prune: bool,
) -> NDArray[np.float32]:
    min_counts = (1,) * (PRUNED_FROM - 1) + (2,) if prune and order >= PRUNED_FROM else (1,)
    return train_ngram(train, size, order, min_counts=min_counts).surprisal(tokens, before).astype(np.float32)


def _model_nats(model: Any, tokens: NDArray[np.integer], watch: _Watch) -> NDArray[np.float32]:
    """[N] -log p of every character but the first, which is NaN; read at several places at once."""
    result = np.full(len(tokens), np.nan, dtype=np.float32)
    if isinstance(model, NgramModel):
        result[1:] = model.surprisal(tokens[1:], tokens[:1])
        return result
    count = len(tokens) - 1
    starts, warm, length = staggered(count, STREAMS, BURN_IN)
    with evaluating(model):
        state = model.initial_state(len(starts))
        block = block_steps(model.vocabulary_size, len(starts))
        for begin in range(0, length, block):
            watch(MODEL_SHARE * begin / length, "reading")
            offsets = np.arange(begin, min(begin + block, length))[:, None]
            places = starts + offsets
            reads = np.minimum(places, count - 1)
            inputs, targets = (torch.from_numpy(np.asarray(tokens)[at].astype(np.int64)) for at in (reads, reads + 1))
            nats, state = block_nats(model, inputs, targets, state)
            counted = (places < count) & ((offsets >= warm) | (starts == 0))
            result[(places + 1)[counted]] = nats.numpy()[counted]
    if np.isnan(result[1:]).any():
        raise FailureError("The model's scores are not numbers: its weights are damaged or its training diverged.")
    return result
