"""Sizes, batch and rate for a text and a time, each with the reason; what the user gives stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from elman.data.batches import geometry, windows
from elman.errors import MisuseError
from elman.training.optimisers import ADAPTIVE, USUAL_RATES, optimiser_name
from elman.training.schedules import most_steps
from elman.training.settings import Settings

HIDDEN_WIDTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

# Measured on tiny Shakespeare: a width pays once the run reads about this many tokens for each of its weights
TOKENS_A_WEIGHT = 6.0
# and with dropout a text carries about this many weights for each of its tokens before they only memorise
WEIGHTS_A_TOKEN = 4.0
PROBES = 4


@dataclass(frozen=True)
class Sizes:
    """The shape of a language model.

    Attributes:
        hidden, layers: width and number of layers.
        embedding: width of the embedding; None for ``hidden``.
        dropout: between layers and before the softmax.
    """

    hidden: int
    layers: int
    embedding: int | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class Request:
    """What the user gave; None is left to :func:`choose`.

    Attributes:
        hidden, layers, embedding, dropout, batch, unroll, lr, precision, eval_every, warmup: as in the command line.
        settings: everything that has one usual value, as the user wants it.
    """

    hidden: int | None = None
    layers: int | None = None
    embedding: int | None = None
    dropout: float | None = None
    batch: int | None = None
    unroll: int | None = None
    lr: float | None = None
    precision: str = "auto"
    eval_every: int | None = None
    warmup: int | None = None
    decay: float | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        tokens: of the training part.
        unit: what a token is.
        seconds: left for training, if the limit is in minutes.
        bf16_pays: whether this device and recurrence are faster in bfloat16.
        products: hidden-by-hidden matrices of one layer, counting those on x; LSTM has 8.
    """

    tokens: int
    unit: str
    seconds: float | None
    bf16_pays: Callable[[int], bool]
    products: int = 8


@dataclass(frozen=True)
class Choice:
    """The outcome.

    Attributes:
        sizes, settings: complete.
        steps: optimiser steps of the plan.
        reasons: a sentence for each thing that was chosen.
    """

    sizes: Sizes
    settings: Settings
    steps: int
    reasons: list[str]


def choose(request: Request, facts: Facts, probe: Callable[[Sizes, Settings], float]) -> Choice:
    """Complete a request.

    Args:
        request: what the user gave.
        facts: of text and machine.
        probe: seconds of one optimiser step with these sizes and settings, measured; asked for only where the limit is
            in minutes.

    Returns:
        Sizes, settings, number of steps, and why.

    Raises:
        MisuseError: values that cannot be.
    """
    reasons: list[str] = []
    settings = _shape_of_batches(request, facts, reasons)
    settings = _rates(request, settings, reasons)
    widths = (request.hidden,) if request.hidden else HIDDEN_WIDTHS
    layers = request.layers or (2 if facts.tokens >= 50_000 else 1)
    if request.layers is None:
        reasons.append(f"layers {layers}: {'the usual' if layers == 2 else 'the text is small'}")
    candidates = [Sizes(width, layers, request.embedding) for width in widths]
    if facts.seconds is None:
        steps = _steps(settings, facts)
        sizes = _by_tokens(candidates, steps * settings.batch * settings.unroll, facts)
    else:
        sizes, steps = _by_probe(candidates, settings, request, facts, probe)
    settings = _precision(settings, request, facts, sizes)
    if request.precision == "auto":
        why = "faster here" if settings.precision == "bf16" else "bfloat16 brings nothing here"
        reasons.append(f"precision {settings.precision}: {why}")
    seen = steps * settings.batch * settings.unroll
    passes = seen / facts.tokens
    if request.hidden is None:
        weights = recurrent_weights(sizes, facts)
        reasons.append(
            f"hidden {sizes.hidden}: {weights:,} recurrent weights for {facts.tokens:,} training {facts.unit}s, "
            f"of which {seen:,} are read ({passes:.1f} passes)"
        )
    if request.dropout is not None:
        sizes = replace(sizes, dropout=request.dropout)
    else:
        sizes = replace(sizes, dropout=usual_dropout(passes))
        reasons.append(f"dropout {sizes.dropout}: for {passes:.1f} passes over the text")
    if request.lr is None:
        settings = replace(settings, lr=usual_rate(settings.optimizer, sizes.hidden))
        reasons.append(f"lr {settings.lr:.2g}: usual for {settings.optimizer} at this width")
    warmup = min(100, steps // 20) if request.warmup is None else request.warmup
    eval_every = request.eval_every or max(1, -(-steps // evaluations(facts.seconds)))
    settings = replace(settings, warmup=warmup, eval_every=eval_every)
    return Choice(sizes, settings, steps, reasons)


def recurrent_weights(sizes: Sizes, facts: Facts) -> int:
    """Weights of the recurrent layers, biases left out."""
    return sizes.layers * facts.products * sizes.hidden**2


def usual_dropout(passes: float) -> float:
    """More dropout the more often the text is read."""
    for bound, rate in ((1.5, 0.0), (5, 0.1), (15, 0.2), (30, 0.25), (60, 0.4)):
        if passes < bound:
            return rate
    return 0.5


def usual_rate(optimizer: str, hidden: int) -> float:
    """A sound learning rate; adaptive optimisers get less from a width of 256 on, as 1 / sqrt(width)."""
    name = optimizer.lower()
    rate = USUAL_RATES.get(name, 1e-3)
    if name in ADAPTIVE and hidden > 256:
        rate *= (256 / hidden) ** 0.5
    return float(f"{rate:.2g}")


def evaluations(seconds: float | None) -> int:
    """How many evaluations a training gets: about four a minute in short runs, fewer in long ones."""
    if seconds is None:
        return 20
    return int(min(40, max(4, seconds / 18)))


def _shape_of_batches(request: Request, facts: Facts, reasons: list[str]) -> Settings:
    unroll = request.unroll
    if unroll is None:
        unroll = 100 if facts.unit in ("character", "byte") else 50
        unroll = max(1, min(unroll, facts.tokens // 4))
        reasons.append(f"unroll {unroll}: about the length of a sentence or two")
    batch = request.batch
    if batch is None:
        # at least ten windows a stream, or the carried state would hardly be carried
        batch = max(1, min(50, facts.tokens // (10 * unroll)))
        reasons.append(f"batch {batch}: {'the usual' if batch == 50 else 'so that each stream has ten windows'}")
    if request.settings.accumulate > batch:
        raise MisuseError(f"--accumulate is {request.settings.accumulate}; it takes at most the batch, {batch}.")
    return replace(request.settings, batch=batch, unroll=unroll)


def _rates(request: Request, settings: Settings, reasons: list[str]) -> Settings:
    changes: dict[str, Any] = {"optimizer": optimiser_name(settings.optimizer)}
    # the probe needs some rate; the chosen width settles it afterwards
    changes["lr"] = request.lr if request.lr is not None else usual_rate(settings.optimizer, 256)
    if request.decay is None:
        changes["decay"] = 0.95 if settings.schedule == "step" else 0.5
    else:
        changes["decay"] = request.decay
    return replace(settings, **changes)


def _precision(settings: Settings, request: Request, facts: Facts, sizes: Sizes) -> Settings:
    precision = request.precision
    if precision == "auto":
        precision = "bf16" if facts.bf16_pays(sizes.hidden) else "fp32"
    return replace(settings, precision=precision)


def _steps(settings: Settings, facts: Facts) -> int:
    _, unroll, length = geometry(facts.tokens, settings.batch, settings.unroll)
    steps = most_steps(settings, windows(length, unroll))
    if steps is None:
        raise MisuseError("A training needs a limit: --minutes, --steps or --epochs.")
    return steps


def _by_tokens(candidates: list[Sizes], seen: int, facts: Facts) -> Sizes:
    fitting = [sizes for sizes in candidates if _pays(sizes, seen, facts)]
    return fitting[-1] if fitting else candidates[0]


def _pays(sizes: Sizes, seen: float, facts: Facts) -> bool:
    weights = recurrent_weights(sizes, facts)
    return weights * TOKENS_A_WEIGHT <= seen and weights <= WEIGHTS_A_TOKEN * facts.tokens


def _by_probe(
    candidates: list[Sizes],
    settings: Settings,
    request: Request,
    facts: Facts,
    probe: Callable[[Sizes, Settings], float],
) -> tuple[Sizes, int]:
    """Climb or descend the widths from the middle, guided by measured steps."""
    assert facts.seconds is not None
    measured: dict[int, float] = {}

    def seconds_a_step(place: int) -> float:
        if place not in measured:
            sizes = candidates[place]
            measured[place] = probe(sizes, _precision(settings, request, facts, sizes))
        return measured[place]

    def seen(place: int) -> float:
        return facts.seconds / seconds_a_step(place) * settings.batch * settings.unroll  # type: ignore[operator]

    place = min(len(candidates) - 1, next((i for i, s in enumerate(candidates) if s.hidden >= 128), 0))
    while place > 0 and not _pays(candidates[place], seen(place), facts):
        place -= 1
    while place + 1 < len(candidates) and len(measured) < PROBES:
        # a wider model is never faster: skip measuring what cannot pay even at the present speed
        if not _pays(candidates[place + 1], seen(place), facts) or not _pays(
            candidates[place + 1], seen(place + 1), facts
        ):
            break
        place += 1
    limits = [max(1, int(facts.seconds / seconds_a_step(place)))]
    if settings.steps is not None or settings.epochs is not None:
        limits.append(_steps(settings, facts))
    return candidates[place], min(limits)
