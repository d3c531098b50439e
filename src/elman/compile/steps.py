"""The time loop as one differentiable function, any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman.compile import unroll
from elman.compile.hoist import linear
from elman.compile.operations import evaluate, number
from elman.compile.plan import Plan
from elman.compile.twice import gradients_of
from elman.compile.unroll import Operands, Sizes, Unrolled


def loop(
    plan: Plan, operands: Operands, sizes: Sizes, wanted: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a sequence, differentiably.

    Args:
        plan: of the recurrence.
        operands: what it is given.
        sizes: its sizes.
        wanted: states, among those that the loop computes, whose sequences are asked for.

    Returns:
        The sequences [T, B, hidden] that were asked for, and the last value [B, hidden] of every state of the loop.
    """
    tensors = operands.pack()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results = _Loop.apply(plan, sizes, tuple(wanted), *tensors)
        sequences = dict(zip(wanted, results, strict=False))
        return sequences, dict(zip(plan.inside, results[len(wanted) :], strict=True))
    device = tensors[0].device.type
    with torch.no_grad(), torch.autocast(device, enabled=False):
        unrolled = unroll.forward(plan, operands, sizes, wanted, record=False)
    return (
        {name: unrolled.sequences[name] for name in wanted},
        {name: unrolled.final[name].clone() for name in plan.inside},
    )


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, sizes: Sizes, wanted: tuple[str, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.sizes, ctx.wanted = plan, sizes, wanted
        with torch.autocast(tensors[0].device.type, enabled=False):
            unrolled = unroll.forward(plan, Operands.unpack(plan, tensors), sizes, wanted, record=True)
        ctx.kept = tuple(unrolled.sequences)
        ctx.save_for_backward(*tensors, *unrolled.sequences.values(), *unrolled.buffers)
        finals = [unrolled.final[name].clone() for name in plan.inside]
        return (*(unrolled.sequences[name] for name in wanted), *finals)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        plan, sizes, wanted = ctx.plan, ctx.sizes, ctx.wanted
        saved = ctx.saved_tensors
        count = len(saved) - len(ctx.kept) - len(plan.forward.buffers)
        tensors, sequences = saved[:count], saved[count : count + len(ctx.kept)]
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            return (None, None, None, *_differentiable_backward(plan, sizes, wanted, tensors, gradients, needed))
        unrolled = Unrolled(dict(zip(ctx.kept, sequences, strict=True)), {}, list(saved[count + len(ctx.kept) :]))
        with torch.autocast(tensors[0].device.type, enabled=False):
            results = unroll.backward(
                plan,
                Operands.unpack(plan, tensors),
                sizes,
                unrolled,
                dict(zip(wanted, gradients, strict=False)),
                dict(zip(plan.inside, gradients[len(wanted) :], strict=True)),
                needed,
            )
        return (None, None, None, *results)


def _differentiable_backward(
    plan: Plan,
    sizes: Sizes,
    wanted: Sequence[str],
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Backward that can be differentiated again: the loop once more in plain torch, differentiated by autograd."""
    # views of their own, so that gradients do not flow through what the operands have in common
    own = [tensor.view_as(tensor) for tensor in tensors]
    sequences, finals = plain_loop(plan, Operands.unpack(plan, own), sizes)
    outputs = [*(sequences[name] for name in wanted), *(finals[name] for name in plan.inside)]
    return gradients_of(outputs, gradients, own, needed, create_graph=True)


def plain_loop(plan: Plan, operands: Operands, sizes: Sizes) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same loop node by node with autograd's own functions; sequences and last values of all states of the loop."""
    nodes = plan.graph.nodes
    like = next(iter(operands.states.values()))
    fixed = {index: number(node.value, like) for index, node in enumerate(nodes) if node.op == "const"}
    varying: dict[int, Sequence[Tensor]] = {}

    def give(node: int, tensor: Tensor) -> None:
        if nodes[node].phase == "sequence":
            varying[node] = tensor.unbind(0)
        else:
            fixed[node] = tensor

    for node, tensor in operands.free.items():
        give(node, tensor)
    for group, addend in zip(plan.groups, operands.addends, strict=True):
        if addend is not None:
            for node, part in zip(group.addends, addend.split(sizes.hidden, -1), strict=True):
                give(node, part)
    inner = [index for index, node in enumerate(nodes) if node.phase == "step" and node.args]
    values: dict[str, list[Tensor]] = {name: [] for name in plan.read}
    current = dict(operands.states)
    shape = (sizes.batch, sizes.hidden)
    with torch.autocast(like.device.type, dtype=sizes.low, enabled=sizes.low is not None):
        for t in range(sizes.steps):
            step = fixed | {node: series[t] for node, series in varying.items()}
            step |= {index: current[node.name] for index, node in enumerate(nodes) if node.op == "state"}
            evaluate(nodes, inner, step, operands.matrices, linear)
            current = {name: step[plan.graph.states[name]].expand(shape) for name in plan.read}
            for name, value in current.items():
                values[name].append(value)
        sequences = {name: torch.stack(series) for name, series in values.items()}
    return sequences, current
