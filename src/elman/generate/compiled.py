"""Drawing in compiled code: layers, readout, filters and draw of many steps without Python between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from numpy.typing import NDArray

from elman.compile.cpu.readout import Format
from elman.compile.cpu.run import refusal
from elman.compile.cpu.sampler import Sampler, check
from elman.compile.cpu.stepper import Stepper, steps_alone
from elman.compile.cpu.target import host_target
from elman.errors import MisuseError
from elman.generate.filters import Filters, Scores
from elman.models.language import LanguageModel

# steps between two looks of Python: so few that a stop text or a reader of single symbols need not wait, so many that
# the look itself costs little
BLOCK = 64

PRECISIONS = ("fp32", "bf16", "int8")

Draws = Iterator[tuple[NDArray[Any], NDArray[Any]]]


def check_precision(model: Any, precision: str) -> None:
    """Refuse a precision of drawing.

    Raises:
        MisuseError: there is none of this name, or this model or machine cannot be drawn from in it.
    """
    if precision not in PRECISIONS:
        raise MisuseError(f"The precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    if precision != "fp32" and not can_draw(model):
        raise MisuseError(
            f"Drawing in {precision} needs a language model that the compiled CPU backend can step. Use fp32."
        )
    if precision == "bf16" and not host_target().bf16:
        raise MisuseError("Drawing in bf16 needs a CPU with dot products of bfloat16. Use fp32 or int8.")


def can_draw(model: Any) -> bool:
    """Whether a model can be stepped by compiled code: ours, on a CPU, in float32, and nobody looks into its layers."""
    if type(model) is not LanguageModel or model.recurrent.backend not in ("auto", "cpu"):
        return False
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return False
    if torch.is_autocast_enabled("cpu") or refusal(model.embedding.weight) is not None:
        return False
    return steps_alone(model.recurrence, model.layers)


def draws(
    model: LanguageModel,
    filters: Filters,
    scores: Scores,
    state: Mapping[str, torch.Tensor],
    uniforms: Callable[[int], NDArray[Any]],
    length: int,
    follows: Mapping[int, int],
    precision: str = "fp32",
) -> Draws:
    """Draw symbols step by step.

    Args:
        model: one that :func:`can_draw` accepts.
        filters: which symbols may be drawn.
        scores: of the first symbol [B, V].
        state: of the model before it, of batch B.
        uniforms: n to the next numbers [n, B].
        length: steps at most.
        follows: symbols that are fed, without being drawn, after a symbol.
        precision: "fp32", "bf16" for weights in bfloat16, or "int8" for weights in 8 bits.

    Yields:
        Of each step the ids [B] and their log-probabilities before the filters [B].

    Raises:
        FailureError: scores that are not finite, or no symbol left to draw.
    """
    batch = len(scores)
    names = (*model.recurrence.matrices, *model.recurrence.vectors)
    parameters = [{name: model.recurrent.parameter(name, layer) for name in names} for layer in range(model.layers)]
    stepper = Stepper(
        model.recurrence, parameters, model.embedding.weight, model.hidden, batch, cast(Format, precision)
    )
    sampler = Sampler(
        stepper.layers,
        model.embedding.weight if model.tied else model.readout_weight,
        model.readout_bias,
        stepper.tokens,
        stepper.stride,
        temperature=filters.temperature,
        top_k=filters.top_k,
        top_p=filters.top_p,
        min_p=filters.min_p,
        banned=filters.banned,
        follows=follows,
        states=stepper.states,
        format=cast(Format, precision),
    )
    stepper.put(state, sampler.parity)
    sampler.scores[:] = scores
    while length > 0:
        size = min(BLOCK, length)
        ids, logprobs, status = sampler.run(uniforms(size))
        yield from zip(ids, logprobs, strict=True)
        check(status)
        length -= size
