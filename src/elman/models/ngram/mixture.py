"""Mixtures of language models, with weights tuned on a validation text.

    p(w | history) = sum_k w_k p_k(w | history),   w_k >= 0,   sum_k w_k = 1

A recurrent and an n-gram model err in different places, so that their mixture is often better than either (T.
Mikolov et al., "Recurrent neural network based language model", Interspeech 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from elman.errors import MisuseError

State = dict[str, torch.Tensor]


class Mixture:
    """Language models over one vocabulary, mixed with fixed weights, called like each of them."""

    def __init__(self, models: Sequence[Any], weights: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Hold models and weights.

        Args:
            models: K language models with equal vocabularies, called in the mode they are in: set one that
                drops units out to evaluation before.
            weights: K numbers that sum to 1.

        Raises:
            MisuseError: the vocabularies differ in size, or the weights are not K probabilities.
        """
        sizes = sorted({model.vocabulary_size for model in models})
        if len(sizes) != 1:
            raise MisuseError(f"A mixture needs models over one vocabulary, not of the sizes {sizes}.")
        shares = np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(models),) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
            raise MisuseError(f"A mixture of {len(models)} models has as many weights, of sum 1: not {shares}.")
        self.models = tuple(models)
        self.weights = shares
        self.vocabulary_size: int = sizes[0]

    def initial_state(self, batch: int) -> State:
        """The states of all models, each name behind the model's number: ``{"0.h": ..., "1.context": ...}``.

        Args:
            batch: B.

        Returns:
            The state before any symbol.
        """
        return _join([model.initial_state(batch) for model in self.models])

    def __call__(self, tokens: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Read symbols and predict the next one after each.

        Args:
            tokens: [T, B] integers.
            state: as of :meth:`initial_state`.

        Returns:
            Log-probabilities [T, B, V] in nats, float32, and the new state.
        """
        states: list[State] = []
        mixed = torch.full((*tokens.shape, self.vocabulary_size), -torch.inf, device=tokens.device)
        for number, model in enumerate(self.models):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}
            logits, after = model(tokens, own)
            states.append(after)
            if self.weights[number] > 0:
                # log sum_k w_k p_k
                weighted = torch.log_softmax(logits.float(), -1) + float(np.log(self.weights[number]))
                mixed = torch.logaddexp(mixed, weighted)
        return mixed, _join(states)


def tune_weights(
    log_probabilities: npt.NDArray[np.floating], *, tolerance: float = 1e-9, iterations: int = 10_000
) -> npt.NDArray[np.float64]:
    """Mixture weights that make a validation text most probable, by expectation maximisation.

    Args:
        log_probabilities: [K, N] log p_k of token i in nats.
        tolerance: stop when no weight moves by more than this.
        iterations: stop after so many rounds in any case.

    Returns:
        [K] weights that sum to 1.

    Raises:
        MisuseError: the shape or a value is wrong, or a token is impossible under every model.
    """
    logs = np.asarray(log_probabilities, dtype=np.float64)
    if logs.ndim != 2 or 0 in logs.shape:
        raise MisuseError(f"Mixture weights are tuned on [models, tokens] log-probabilities, not {list(logs.shape)}.")
    if not (logs <= 1e-6).all():
        raise MisuseError("A log-probability is above 0 or not a number.")
    best = logs.max(axis=0)
    if impossible := int(np.isneginf(best).sum()):
        raise MisuseError(
            f"{impossible} of {logs.shape[1]} tokens have probability 0 under every model; "
            "add a smoothed model such as Kneser-Ney to the mixture."
        )
    # Only ratios between the models matter, so the best model of each token is set to 1.
    likelihoods = np.exp(logs - best)
    weights = np.full(len(logs), 1.0 / len(logs))
    for _ in range(iterations):
        # r_k,i = w_k p_k,i / sum_j w_j p_j,i;   w_k <- mean_i r_k,i
        mixed = weights @ likelihoods
        updated = weights * (likelihoods @ (1 / mixed)) / logs.shape[1]
        moved = np.abs(updated - weights).max()
        weights = updated
        if moved < tolerance:
            break
    return weights / weights.sum()


def _join(states: Sequence[State]) -> State:
    return {f"{number}.{name}": part for number, state in enumerate(states) for name, part in state.items()}
