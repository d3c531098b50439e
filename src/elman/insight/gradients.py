"""How far a gradient reaches back: the norm of dL_t/ds_{t-k} by lag k, and the matrices that decide it.

Hochreiter 1991 and Bengio, Simard and Frasconi 1994, "Learning long-term dependencies with gradient descent is
difficult": through k steps a gradient is multiplied by k Jacobians, so it vanishes or explodes as a power of k.
Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", for the part of the
recurrent matrix's singular values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import CancelledError, FailureError, MisuseError
from elman.generate.stepping import device_of, evaluating
from elman.insight.one_step import Key, OneStep, States
from elman.models.language import LanguageModel

Floats = NDArray[np.float64]

# after so many steps less than a hundredth of the gradient left is called vanishing, a hundredfold exploding
HORIZON = 100
FEW, MANY = 0.01, 100.0
# of the whole work, what the way forward takes
FORWARD = 0.25


@dataclass(frozen=True)
class StateFlow:
    """The gradient of one step's loss with respect to one state, by lag.

    The derivative is the total one: a change of the state acts on everything that is computed from it, within the
    step and above it too.

    Attributes:
        layer: from 0, the lowest.
        state: as the equations call it.
        log_norms: [lags + 1, B] natural logarithm of the Euclidean norm over the units; entry k is of dL_t/ds_{t-k}
            for each of B positions t, -inf where the gradient is exactly zero.
    """

    layer: int
    state: str
    log_norms: Floats

    @cached_property
    def log_mean(self) -> Floats:
        """[lags + 1] logarithm of the geometric mean over the positions whose gradient is not zero."""
        alive = np.isfinite(self.log_norms)
        total = np.where(alive, self.log_norms, 0.0).sum(axis=1)
        return np.where(alive.any(axis=1), total / np.maximum(alive.sum(axis=1), 1), -np.inf)

    def log_quantile(self, share: float) -> Floats:
        """[lags + 1] logarithm of a quantile over the positions; the one below it where it lies between two."""
        return np.quantile(self.log_norms, share, axis=1, method="lower")

    @cached_property
    def factor(self) -> float:
        """What a step multiplies the norm by: e to the slope of a straight line through ``log_mean``, from lag 1 on."""
        lags = np.arange(len(self.log_mean))
        kept = (lags >= 1) & np.isfinite(self.log_mean)
        if np.count_nonzero(kept) < 2:
            return math.nan
        return math.exp(float(np.polyfit(lags[kept], self.log_mean[kept], 1)[0]))

    @property
    def half_life(self) -> float:
        """Steps in which the norm halves at that factor; infinite where it does not fall."""
        return math.log(2) / -math.log(self.factor) if self.factor < 1 else math.inf

    def left(self, lag: int) -> float:
        """Geometric mean of the norm at a lag as a share of that at lag 1; NaN where that one is zero."""
        with np.errstate(invalid="ignore"):
            difference = float(self.log_mean[lag] - self.log_mean[1])
        return math.exp(min(difference, 700.0)) if not math.isnan(difference) else math.nan

    @property
    def horizon(self) -> int:
        """The lag at which :attr:`verdict` is given: 100, or the longest there is."""
        return min(HORIZON, len(self.log_norms) - 1)

    @property
    def verdict(self) -> str:
        """ "vanishes", "explodes" or "is carried", by what is left at :attr:`horizon`; "is zero" where nothing was."""
        left = self.left(self.horizon)
        if math.isnan(left):
            return "is zero"
        return "vanishes" if left < FEW else "explodes" if left > MANY else "is carried"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        name = f"layer {self.layer} {self.state}"
        if self.verdict == "is zero":
            return f"{name}: the gradient is zero at lag 1."
        pace = f"halves every {self.half_life:.3g} steps" if self.factor < 1 else "does not fall"
        return (
            f"{name}: the gradient {self.verdict}: times {self.factor:.4f} a step ({pace}); "
            f"{self.left(self.horizon):.3g} of that at lag 1 is left at lag {self.horizon}."
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; norms as decimal logarithms, null where they are zero."""

        def decimal(values: Floats) -> list[float | None]:
            return [round(v / math.log(10), 5) if math.isfinite(v) else None for v in values.tolist()]

        return {
            "layer": self.layer,
            "state": self.state,
            "log10_mean": decimal(self.log_mean),
            "log10_median": decimal(self.log_quantile(0.5)),
            "log10_quartiles": [decimal(self.log_quantile(0.25)), decimal(self.log_quantile(0.75))],
            "zero": (~np.isfinite(self.log_norms)).mean(axis=1).round(5).tolist(),
            "factor": _finite(self.factor),
            "half_life": _finite(self.half_life),
            "left": {"lag": self.horizon, "share": _finite(self.left(self.horizon))},
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class RecurrentMatrix:
    """A matrix that is applied to something that depends on a state.

    Attributes:
        layer: from 0.
        name: as the equations call it.
        singular_values: [hidden], falling.
        spectral_radius: largest absolute value of an eigenvalue.
    """

    layer: int
    name: str
    singular_values: Floats
    spectral_radius: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        values = self.singular_values
        return {
            "layer": self.layer,
            "name": self.name,
            "spectral_radius": self.spectral_radius,
            "largest": float(values[0]),
            "median": float(np.median(values)),
            "singular_values": values.round(5).tolist(),
        }


@dataclass(frozen=True)
class GradientFlow:
    """How a language model's gradient flows back through time.

    Attributes:
        states: one entry a layer and state, the lowest layer first.
        matrices: the recurrent matrices; none where the states meet no matrix.
        lags: the largest lag K.
        positions: [B] the tokens t whose successor's loss was differentiated.
        burn_in: tokens that were read before the first differentiated one.
        nats: mean loss at the positions.
        seed: that drew the positions.
    """

    states: tuple[StateFlow, ...]
    matrices: tuple[RecurrentMatrix, ...]
    lags: int
    positions: NDArray[np.int64]
    burn_in: int
    nats: float
    seed: int

    def of(self, layer: int, state: str) -> StateFlow:
        """The flow of one state.

        Raises:
            MisuseError: there is none.
        """
        for flow in self.states:
            if (flow.layer, flow.state) == (layer, state):
                return flow
        known = ", ".join(f"layer {flow.layer} {flow.state}" for flow in self.states)
        raise MisuseError(f"There is no state {state!r} in layer {layer}; there are: {known}.")

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "lags": self.lags,
            "positions": len(self.positions),
            "burn_in": self.burn_in,
            "nats": self.nats,
            "seed": self.seed,
            "states": [flow.to_json() for flow in self.states],
            "matrices": [matrix.to_json() for matrix in self.matrices],
        }


def gradient_flow(
    model: LanguageModel,
    tokens: NDArray[np.integer],
    *,
    lags: int = 200,
    positions: int = 64,
    burn_in: int = 200,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> GradientFlow:
    """Measure how the gradient of the loss at single steps flows back to earlier states.

    The model reads the text before each position once; then one pass back through the steps, all positions side by
    side, takes the gradient from state to state. A row is scaled at every step and the scale kept as a logarithm, so
    neither a vanishing nor an exploding gradient leaves the range of numbers, in the model's own floating type.

    Args:
        model: a recurrent language model of any recurrence.
        tokens: [N] ids of a text.
        lags: K, how many steps to go back.
        positions: B, at how many random places t of the text.
        burn_in: tokens read before the step t - K.
        seed: draws the positions.
        progress: called with the share that is done.
        cancel: asked at every step; True stops.

    Returns:
        Norms by lag, layer and state, and the singular values of the recurrent matrices.

    Raises:
        MisuseError: the text is too short, a number is out of range, or the model is no recurrent one.
        FailureError: the model's scores are not numbers.
        CancelledError: ``cancel`` said so.
    """
    if not isinstance(model, LanguageModel):
        raise MisuseError("Only a recurrent model has a gradient through time; give the run of one.")
    for name, value, least in (("lags", lags, 1), ("positions", positions, 1), ("burn_in", burn_in, 0)):
        if value < least:
            raise MisuseError(f"{name} is {value}; it must be at least {least}.")
    room = len(tokens) - 1 - (burn_in + lags)
    if room < 1:
        raise MisuseError(
            f"A text of {len(tokens)} tokens is too short for {burn_in} tokens of burn-in, {lags} lags and one token "
            "to predict. Take a longer text or fewer lags."
        )
    places = burn_in + lags + np.random.default_rng(seed).choice(room, min(positions, room), replace=False)
    places.sort()
    rows = np.asarray(tokens)[places[None, :] + np.arange(-burn_in - lags, 2)[:, None]].astype(np.int64)

    def tell(share: float) -> None:
        if cancel is not None and cancel():
            raise CancelledError("The measurement of gradients was cancelled.")
        if progress is not None:
            progress(share)

    norms, nats = _norms(model, torch.from_numpy(rows), burn_in, tell)
    flows = tuple(StateFlow(layer, state, values) for (layer, state), values in norms.items())
    return GradientFlow(flows, recurrent_matrices(model), lags, places, burn_in, nats, seed)


def recurrent_matrices(model: LanguageModel) -> tuple[RecurrentMatrix, ...]:
    """The matrices through which states reach later states, with their singular values, layer by layer."""
    recurrence = model.recurrence
    names = dict.fromkeys(node.name for node in recurrence.graph.nodes if node.op == "product" and node.phase == "step")
    found = []
    for layer in range(model.layers):
        for name in names:
            matrix = model.recurrent.parameter(name, layer).detach().double().cpu().numpy()
            radius = float(np.abs(np.linalg.eigvals(matrix)).max())
            found.append(RecurrentMatrix(layer, name, np.linalg.svd(matrix, compute_uv=False), radius))
    return tuple(found)


def _norms(
    model: LanguageModel, tokens: Tensor, burn_in: int, tell: Callable[[float], None]
) -> tuple[dict[Key, Floats], float]:
    """Logarithms of norms [lags + 1, B] by layer and state, and the mean loss of the last row of tokens."""
    step = OneStep(model)
    states = _opening(model, tokens[:burn_in])
    device = device_of({"": next(iter(states.values()))})
    steps = tokens[burn_in:-1].to(device)
    before: list[States] = []
    with torch.no_grad():
        for place, ids in enumerate(steps):
            tell(FORWARD * place / len(steps))
            before.append(states)
            states = step(ids, states)
    logs = {key: np.empty((len(steps), tokens.shape[1])) for key in states}
    scale = torch.zeros(tokens.shape[1], dtype=torch.float64, device=device)
    arriving: States = {}
    nats = math.nan
    for lag, (ids, given) in enumerate(zip(reversed(steps), reversed(before), strict=True)):
        leaves = {key: state.requires_grad_() for key, state in given.items()}
        after = step(ids, leaves)
        outputs: list[Tensor] = list(after.values())
        weights: list[Tensor | None] = [arriving.get(key) for key in after]
        if lag == 0:
            losses = step.nats(after, tokens[-1].to(device))
            nats = float(losses.detach().mean())
            outputs, weights = [losses.sum()], [None]
        # the gradient of a state that later ones of the same step read holds what comes back from those too
        wanted = [*after.values(), *leaves.values()]
        gradients = torch.autograd.grad(outputs, wanted, weights, allow_unused=True)
        for key, gradient in zip(after, gradients, strict=False):
            norm = torch.zeros_like(scale) if gradient is None else gradient.norm(dim=1)
            logs[key][lag] = (norm.double().log() + scale).cpu().numpy()
        back = gradients[len(after) :]
        arriving = {
            key: torch.zeros_like(leaf) if gradient is None else gradient
            for (key, leaf), gradient in zip(leaves.items(), back, strict=True)
        }
        largest = torch.stack([gradient.abs().amax(dim=1) for gradient in arriving.values()]).amax(dim=0)
        largest = torch.where(largest > 0, largest, torch.ones_like(largest))
        arriving = {key: gradient / largest[:, None] for key, gradient in arriving.items()}
        scale += largest.double().log()
        tell(FORWARD + (1 - FORWARD) * (lag + 1) / len(steps))
    if math.isnan(nats) or any(np.isnan(values).any() for values in logs.values()):
        raise FailureError("The model's scores are not numbers: its weights are damaged or its training diverged.")
    return logs, nats


def _opening(model: LanguageModel, tokens: Tensor) -> States:
    """The states after the tokens that only warm the model up."""
    state = model.initial_state(tokens.shape[1])
    if len(tokens):
        with evaluating(model):
            _, state = model.features(tokens.to(device_of(state)), state)
    # a clone, since what was made in inference mode takes no part in autograd
    return {
        (layer, name): state[name][layer].detach().clone()
        for layer in range(model.layers)
        for name in model.recurrence.states
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
