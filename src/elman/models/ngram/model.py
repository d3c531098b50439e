"""The n-gram language model, called like every other language model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from elman.errors import MisuseError
from elman.models.ngram.counting import DEFAULT_MAX_NGRAMS, LARGEST_KEY, count_orders
from elman.models.ngram.estimators import OrderReport, kneser_ney, maximum_likelihood
from elman.models.ngram.storage import from_tensors, to_tensors
from elman.models.ngram.tables import NgramTables

State = dict[str, torch.Tensor]

ESTIMATORS = {"kneser-ney": kneser_ney, "maximum-likelihood": maximum_likelihood}
LARGEST_ORDER = 1000
SCORED_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class NgramEvaluation:
    """How well a model predicts a text.

    Attributes:
        nats: mean surprisal of a token, infinite as soon as one token had probability 0.
        tokens: how many were predicted.
        impossible: how many of them had probability 0.
        nats_of_possible: mean surprisal of the others (NaN when there are none).
    """

    nats: float
    tokens: int
    impossible: int
    nats_of_possible: float


class NgramModel:
    """An n-gram model over any vocabulary: characters, bytes, words or subwords.

    Build one with :func:`train_ngram`, or with :meth:`from_configuration` and :meth:`load_state_dict`.
    """

    def __init__(
        self,
        order: int,
        vocabulary_size: int,
        estimator: str,
        tables: NgramTables | None = None,
        report: Sequence[OrderReport] = (),
    ) -> None:
        """Hold the tables of a model.

        Args:
            order: n; a symbol is predicted from the n-1 before it.
            vocabulary_size: V.
            estimator: a key of :data:`ESTIMATORS`.
            tables: None until :meth:`load_state_dict`.
            report: what was estimated, an entry an order.
        """
        _check_sizes(order, vocabulary_size, estimator)
        self.order = order
        self.vocabulary_size = vocabulary_size
        self.estimator = estimator
        self.report = tuple(report)
        self._tables = tables

    @property
    def tables(self) -> NgramTables:
        """The tables.

        Raises:
            MisuseError: none were loaded yet.
        """
        if self._tables is None:
            raise MisuseError("This n-gram model has no tables yet; load them with load_state_dict.")
        return self._tables

    def initial_state(self, batch: int) -> State:
        """The state before any symbol.

        Args:
            batch: B.

        Returns:
            ``{"context": [n-1, B]}``, -1 where no symbol was read yet.
        """
        return {"context": torch.full((self.order - 1, batch), -1, dtype=torch.int64)}

    def __call__(self, tokens: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Read symbols and predict the next one after each.

        Args:
            tokens: [T, B] integers.
            state: as of :meth:`initial_state`.

        Returns:
            Log-probabilities [T, B, V] in nats, float32, and the new state.

        Raises:
            MisuseError: the shapes of tokens and state disagree, or a token is not in the vocabulary.
        """
        history = self._history(tokens, state)
        steps, batch = tokens.shape
        logs = np.empty((steps * batch, self.vocabulary_size), dtype=np.float32)
        with np.errstate(divide="ignore"):
            for rows, probabilities in self.tables.distributions(history.numpy(), steps):
                np.log(probabilities, out=logs[rows], casting="same_kind")
        context = history[len(history) - (self.order - 1) :].clone()
        result = torch.from_numpy(logs).reshape(steps, batch, self.vocabulary_size)
        return result.to(tokens.device), {"context": context.to(tokens.device)}

    def distribution(self, contexts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Probabilities of the next symbol.

        Args:
            contexts: [B, any length]: the symbols before it, of which the last n-1 count; -1 before the text.

        Returns:
            [B, V], every row of which sums to 1.

        Raises:
            MisuseError: a symbol is not in the vocabulary.
        """
        contexts = np.asarray(contexts)
        self._check_symbols(contexts, least=-1)
        recent = contexts[:, max(contexts.shape[1] - self.order + 1, 0) :]
        # One place before the text gives room for the prediction after an empty context.
        history = np.full((recent.shape[1] + 1, len(recent)), -1, dtype=np.int64)
        history[1:] = recent.T
        return np.concatenate([rows for _, rows in self.tables.distributions(history, 1)])

    def surprisal(
        self, tokens: npt.NDArray[np.integer], context: npt.NDArray[np.integer] | Sequence[int] = ()
    ) -> npt.NDArray[np.float64]:
        """Nats of every token of a text.

        Args:
            tokens: [N] integers; the first ones are predicted from as many symbols as there are before them.
            context: symbols that stand before the text.

        Returns:
            [N] values of -log p, infinite where the model gives probability 0.

        Raises:
            MisuseError: a token is not in the vocabulary.
        """
        before = np.asarray(context, dtype=np.int64)[max(len(context) - self.order + 1, 0) :]
        self._check_symbols(before, least=0)
        result = np.empty(len(tokens))
        for low in range(0, len(tokens), SCORED_AT_ONCE):
            part = np.asarray(tokens[low : low + SCORED_AT_ONCE]).astype(np.int64)
            self._check_symbols(part, least=0)
            history = np.concatenate([before, part])
            result[low : low + len(part)] = self.tables.surprisal(history, len(before))
            before = history[max(len(history) - self.order + 1, 0) :]
        return result

    def evaluate(
        self, tokens: npt.NDArray[np.integer], context: npt.NDArray[np.integer] | Sequence[int] = ()
    ) -> NgramEvaluation:
        """Mean surprisal of a text, and how many of its tokens the model holds impossible.

        Args:
            tokens: [N] integers, N >= 1.
            context: symbols that stand before the text.

        Returns:
            The evaluation.

        Raises:
            MisuseError: there is no token, or one is not in the vocabulary.
        """
        if not len(tokens):
            raise MisuseError("There is no token to evaluate; give a text of at least one.")
        nats = self.surprisal(tokens, context)
        possible = nats[np.isfinite(nats)]
        rest = float(possible.mean()) if len(possible) else math.nan
        return NgramEvaluation(float(nats.mean()), len(nats), len(nats) - len(possible), rest)

    def sample(self, length: int, generator: np.random.Generator, context: Sequence[int] = ()) -> npt.NDArray[np.int64]:
        """Draw a text symbol by symbol.

        Args:
            length: symbols to draw.
            generator: the source of randomness.
            context: symbols that stand before the text.

        Returns:
            [length] symbols.

        Raises:
            MisuseError: a symbol of the context is not in the vocabulary.
        """
        text = [-1] * (self.order - 1) + list(context)
        start = len(text)
        for _ in range(length):
            recent = text[len(text) - self.order + 1 :]
            totals = np.cumsum(self.distribution(np.asarray([recent], dtype=np.int64))[0])
            text.append(int(np.searchsorted(totals, generator.random() * totals[-1], side="right")))
        return np.asarray(text[start:], dtype=np.int64)

    def memory(self) -> int:
        """Bytes of the tables."""
        return self.tables.memory

    def configuration(self) -> dict[str, Any]:
        """What :meth:`from_configuration` needs, as JSON values."""
        return {
            "order": self.order,
            "vocabulary_size": self.vocabulary_size,
            "estimator": self.estimator,
            "report": [{**asdict(entry), "discounts": list(entry.discounts)} for entry in self.report],
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> NgramModel:
        """A model without tables, for :meth:`load_state_dict`.

        Args:
            configuration: as of :meth:`configuration`.

        Returns:
            The model.

        Raises:
            MisuseError: an entry is missing, unknown or out of range.
        """
        try:
            report = [
                OrderReport(**{**entry, "discounts": tuple(map(float, entry["discounts"]))})
                for entry in configuration["report"]
            ]
            sizes = {name: configuration[name] for name in ("order", "vocabulary_size", "estimator")}
        except (KeyError, TypeError, ValueError) as error:
            raise MisuseError(f"The configuration of an n-gram model is damaged at {error}.") from error
        return cls(**sizes, report=report)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tables as flat tensors by name."""
        return to_tensors(self.tables)

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take tables from tensors, after checking all of them.

        Args:
            tensors: as of :meth:`state_dict`.

        Raises:
            MisuseError: the tensors are not the tables of a model of this order and vocabulary.
        """
        self._tables = from_tensors(tensors, self.order, self.vocabulary_size)

    def _history(self, tokens: torch.Tensor, state: State) -> torch.Tensor:
        """The symbols before the tokens and the tokens, [n-1+T, B] on the CPU."""
        context = state.get("context")
        if tokens.dim() != 2 or context is None or context.shape != (self.order - 1, tokens.shape[1]):
            shape = None if context is None else list(context.shape)
            raise MisuseError(
                f"An n-gram model of order {self.order} reads tokens [T, B] with a context "
                f"[{self.order - 1}, B], not {list(tokens.shape)} with {shape}."
            )
        tokens, context = tokens.detach().cpu().to(torch.int64), context.detach().cpu().to(torch.int64)
        self._check_symbols(tokens.numpy(), least=0)
        self._check_symbols(context.numpy(), least=-1)
        return torch.cat([context, tokens])

    def _check_symbols(self, symbols: npt.NDArray[np.integer], least: int) -> None:
        if symbols.size and not least <= symbols.min() <= symbols.max() < self.vocabulary_size:
            wrong = symbols.min() if symbols.min() < least else symbols.max()
            raise MisuseError(
                f"Symbol {wrong} is not in the vocabulary: its symbols are 0 to {self.vocabulary_size - 1}."
            )


def train_ngram(
    tokens: npt.NDArray[np.integer],
    vocabulary_size: int,
    order: int,
    estimator: str = "kneser-ney",
    *,
    min_counts: Sequence[int] = (1,),
    max_ngrams: int = DEFAULT_MAX_NGRAMS,
) -> NgramModel:
    """Count a text and estimate an n-gram model.

    Args:
        tokens: [N] integers in 0..V-1, any integer type, memory-mapped or not.
        vocabulary_size: V.
        order: n; a symbol is predicted from the n-1 before it.
        estimator: "kneser-ney" (interpolated, modified) or "maximum-likelihood".
        min_counts: least number of occurrences of a kept n-gram by order; the last one holds for all higher
            orders. What was pruned stands in ``model.report``.
        max_ngrams: bound on the kept n-grams of all orders together; the tables take 16 bytes each.

    Returns:
        The model.

    Raises:
        MisuseError: an argument is out of range, a token is not below V, or the bound is exceeded.
    """
    _check_sizes(order, vocabulary_size, estimator)
    counts = count_orders(
        tokens,
        vocabulary_size,
        order,
        continuation=estimator == "kneser-ney",
        min_counts=min_counts,
        max_ngrams=max_ngrams,
    )
    tables, report = ESTIMATORS[estimator](counts, vocabulary_size)
    return NgramModel(order, vocabulary_size, estimator, tables, report)


def _check_sizes(order: int, vocabulary_size: int, estimator: str) -> None:
    if not isinstance(order, int) or not 1 <= order <= LARGEST_ORDER:
        raise MisuseError(f"The order of an n-gram model is from 1 to {LARGEST_ORDER}, not {order!r}.")
    if not isinstance(vocabulary_size, int) or not 1 <= vocabulary_size <= LARGEST_KEY:
        raise MisuseError(f"The vocabulary size of an n-gram model is at least 1, not {vocabulary_size!r}.")
    if not isinstance(estimator, str) or estimator not in ESTIMATORS:
        raise MisuseError(f"There is no estimator {estimator!r}; there are: {', '.join(ESTIMATORS)}.")
