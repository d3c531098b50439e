"""A language model's loss on a text beside n-gram models and mixtures of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elman.data.sources import is_remote
from elman.data.splits import part_named
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.models.likelihood import token_nats
from elman.models.ngram import NgramModel, train_ngram
from elman.models.ngram.mixture import tune_weights
from elman.runs import LoadedRun
from elman.training.corpus import TextOptions, read_again
from elman.training.evaluate import Evaluation, evaluate

NGRAM_ORDERS = (2, 4, 6)


@dataclass(frozen=True)
class Text:
    """A text to be judged.

    Attributes:
        name: for reports.
        tokens: ids.
        unknown: symbols that the vocabulary lacks, by how often they occur.
        before: ids that stand before the text, as context for the n-gram models.
    """

    name: str
    tokens: np.ndarray
    unknown: Mapping[str, int]
    before: np.ndarray


def part_of_run(run: LoadedRun, folder: object, part: str) -> tuple[Text, np.ndarray]:
    """A part of the text that a run was trained on.

    Args:
        run: opened.
        folder: the run's folder, for errors.
        part: "train", "valid" or "test".

    Returns:
        The text, and the ids of the training part.

    Raises:
        MisuseError: there is no such part, or the text is gone.
        FailureError: the text has changed since.
    """
    part = part_named(part)
    corpus = read_again(run.config, folder, run.vocabulary)
    tokens = getattr(corpus, part)
    if len(tokens) < 2:
        split = run.config["data"]["options"]["split"]
        raise MisuseError(f"{folder} has no {part} part (its split is {split}). Name another --part, or give a file.")
    unknown: Mapping[str, int] = corpus.unknown.get(part, {})
    before = {"train": corpus.train[:0], "valid": corpus.train, "test": corpus.valid}[part]
    return Text(part, tokens, unknown, before[-32:]), corpus.train


def require_local(run: LoadedRun) -> None:
    """Refuse to read a training text from the network for the sake of a comparison: a run may be somebody else's.

    Raises:
        MisuseError: the run's text was read from a URL.
    """
    remote = [source for source in run.config["data"]["sources"] if is_remote(source)]
    if remote:
        raise MisuseError(f"The training text is at {remote[0]}, which is not fetched for a comparison.")


def other_text(run: LoadedRun, sources: Sequence[str], **reading: Any) -> Text:
    """A text of the user's, in the run's vocabulary.

    Args:
        run: opened.
        sources: files, folders, globs or URLs.
        reading: encoding, errors, bom, newlines where they differ from the run's.

    Raises:
        MisuseError: it cannot be read, or is too short.
    """
    options = {
        **run.config["data"]["options"],
        **{key: value for key, value in reading.items() if value is not None},
    }
    corpus = replace(TextOptions(**options), split="100/0").read(sources, run.vocabulary)
    return Text(", ".join(sources), corpus.train, corpus.unknown.get("train", {}), corpus.train[:0])


def loss(
    model: Any, vocabulary: Vocabulary, text: Text, streams: int, progress: Callable[[float], None] | None = None
) -> Evaluation:
    """The mean loss over the text, its first token not predicted.

    An n-gram model looks its tokens up, after what stands before the text; a network reads them from a zero state.
    """
    if not isinstance(model, NgramModel):
        return evaluate(model, text.tokens, streams=streams, unpredicted=vocabulary.unpredicted, progress=progress)
    started = time.monotonic()
    nats = predicted_nats(model, text, vocabulary)
    impossible = int(np.isinf(nats).sum())
    return Evaluation(float(nats.mean()), len(nats), time.monotonic() - started, impossible=impossible)


def predicted_nats(model: Any, text: Text, vocabulary: Vocabulary) -> np.ndarray:
    """Nats of every token of a text but its first and those that are never predicted."""
    if isinstance(model, NgramModel):
        nats = model.surprisal(text.tokens, text.before)[1:]
    else:
        nats = token_nats(model, text.tokens)
    return nats[~np.isin(text.tokens[1:], sorted(vocabulary.unpredicted))]


def ngram_rows(
    train: np.ndarray, vocabulary: Vocabulary, text: Text, orders: Sequence[int] = NGRAM_ORDERS
) -> dict[int, float]:
    """Kneser-Ney models of the training part, as rows beside a model's loss.

    Args:
        train: ids of the training part.
        vocabulary: of the run.
        text: to be judged.
        orders: of the models.

    Returns:
        Nats a token by order.
    """
    return {
        order: float(predicted_nats(train_ngram(train, vocabulary.size, order), text, vocabulary).mean())
        for order in orders
    }


@dataclass(frozen=True)
class MixtureResult:
    """A mixture's loss.

    Attributes:
        weights: of each model, in the order given.
        nats: loss of the mixture.
        alone: loss of each model on the same tokens.
        tokens: how many it predicted.
        tuned_on: which text its weights were tuned on.
    """

    weights: list[float]
    nats: float
    alone: list[float]
    tokens: int
    tuned_on: str


def mixture(models: Sequence[Any], vocabulary: Vocabulary, text: Text, tuning: Text | None) -> MixtureResult:
    """Mix models with weights tuned on another text, or on the first half where there is none.

    p(token) = sum_k w_k p_k(token), the weights by expectation maximisation.

    Args:
        models: language models in evaluation mode.
        vocabulary: theirs.
        text: to be judged.
        tuning: the text that the weights are tuned on; None tunes on the first half of ``text`` and judges the second.

    Returns:
        Weights and loss.
    """

    def log_probabilities(of: Text) -> np.ndarray:
        return -np.stack([predicted_nats(model, of, vocabulary) for model in models])

    judged = log_probabilities(text)
    if tuning is None:
        half = judged.shape[1] // 2
        tuned, judged, name = judged[:, :half], judged[:, half:], f"the first half of {text.name}"
    else:
        tuned, name = log_probabilities(tuning), tuning.name
    weights = tune_weights(tuned)
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp.reduce(judged + np.log(weights)[:, None], axis=0)
    alone = (-judged.mean(axis=1)).tolist()
    return MixtureResult(weights.tolist(), float(-mixed.mean()), alone, judged.shape[1], name)
