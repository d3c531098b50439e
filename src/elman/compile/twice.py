"""Functions with a backward of their own that can be differentiated any number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def gradients_of(
    outputs: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    *,
    create_graph: bool,
) -> list[Tensor | None]:
    """Backward by autograd, of a computation that autograd has recorded.

    Args:
        outputs: what was computed.
        gradients: what arrives at each output; None where nothing does.
        inputs: what it was computed from.
        needed: for each input whether its gradient is asked for.
        create_graph: record the backward too.

    Returns:
        For each input its gradient, or None.
    """
    pairs = [(out, g) for out, g in zip(outputs, gradients, strict=True) if g is not None and out.requires_grad]
    asked = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
    if not pairs or not asked:
        return [None] * len(inputs)
    found = iter(
        torch.autograd.grad(
            [out for out, _ in pairs], asked, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
        )
    )
    return [next(found) if need else None for need in needed]


def twice_differentiable(
    kernel: Callable[..., tuple[Tensor, ...]], plain: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """A kernel whose gradient has no gradient, made differentiable any number of times.

    Args:
        kernel: takes the tensors, returns tensors; differentiable once.
        plain: computes the same, differentiable any number of times; called only for second derivatives.
        tensors: the operands.

    Returns:
        What the kernel returns.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Twice.apply(kernel, plain, *tensors)
    return kernel(*tensors)


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Any, plain: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.kernel, ctx.plain = kernel, plain
        device = tensors[0].device.type
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(*tensors)
        ctx.inner = _record(kernel, tensors, ctx.needs_input_grad[2:])
        return tuple(output.detach() for output in ctx.inner[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        again = torch.is_grad_enabled()
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype=dtype, enabled=enabled):
            if again:
                inputs: Sequence[Tensor] = [tensor.view_as(tensor) for tensor in tensors]
                outputs = ctx.plain(*inputs)
            else:
                # the kernel's own record serves once; a second pass over a retained graph makes another
                inputs, outputs = ctx.inner or _record(ctx.kernel, tensors, needed)
        ctx.inner = None
        return (None, None, *gradients_of(outputs, gradients, inputs, needed, create_graph=again))


def _record(
    kernel: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Call a kernel on copies that autograd follows; the copies and the outputs."""
    own = [tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needed, strict=True)]
    with torch.enable_grad():
        return own, kernel(*own)
