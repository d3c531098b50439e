"""The reference engine: any recurrence in eager torch, any device and floating type. It defines what is right."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elman.compile.hoist import compute, linear
from elman.compile.operations import evaluate, number
from elman.compile.plan import Plan, plan
from elman.compile.steps import loop
from elman.compile.unroll import Operands, Sizes
from elman.equations import Recurrence


def run(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    *,
    every_state: bool = False,
    lengths: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a whole sequence; arguments and results as of :func:`elman.compile.engine.run`, which checks them."""
    made = plan(recurrence)
    nodes = made.graph.nodes
    matrices = {name: parameters[name] for name in recurrence.matrices}
    like = next(iter(state.values()))
    sizes = Sizes(x.shape[0], x.shape[1], like.shape[-1], _autocast_type(x))

    values: dict[int, Tensor] = {}
    for index, node in enumerate(nodes):
        if node.op == "input":
            values[index] = (x if node.name == "x" else constants[node.name]).to(like.dtype)
        elif node.op == "vector":
            values[index] = parameters[node.name]
        elif node.op == "const":
            values[index] = number(node.value, like)
    if sizes.steps == 1 and not torch.is_grad_enabled():
        return _single_step(recurrence, made, matrices, values, state, every_state)
    pieces = compute(made.hoisted, nodes, values, matrices, linear)

    outside = {name: values[made.graph.states[name]] for name in recurrence.states if name not in made.inside}
    shape = (sizes.steps, sizes.batch, sizes.hidden)
    known = {name: value.expand(shape) for name, value in outside.items()}
    wanted = recurrence.states if every_state or lengths is not None else (recurrence.output,)
    computed: dict[str, Tensor] = {}
    final = {name: value[-1] for name, value in known.items()}
    if made.inside:
        addends: list[Tensor | None] = []
        for group in made.groups:
            if not group.addends:
                addends.append(None)
            elif group.addends in pieces:
                addends.append(pieces[group.addends])
            else:
                addends.append(_side_by_side([values[index] for index in group.addends], sizes, group.varies))
        operands = Operands(
            tuple(addends),
            {index: values[index] for index in made.free},
            {name: matrices[name] for name in made.matrices},
            {name: state[name] for name in made.read},
        )
        computed, last = loop(made, operands, sizes, [name for name in wanted if name in made.inside])
        final |= last
    sequences = {name: computed[name] if name in computed else known[name] for name in wanted}
    if lengths is not None:
        final = {name: at_ends(sequences[name], lengths) for name in wanted}
        wanted = wanted if every_state else (recurrence.output,)
    return {name: sequences[name] for name in wanted}, {name: final[name] for name in recurrence.states}


def at_ends(sequence: Tensor, lengths: Tensor) -> Tensor:
    """The values [B, hidden] of a sequence [T, B, hidden] at every row's own last step."""
    index = (lengths - 1).reshape(1, -1, 1).expand(1, *sequence.shape[1:])
    return sequence.gather(0, index).squeeze(0)


def _single_step(
    recurrence: Recurrence,
    made: Plan,
    matrices: Mapping[str, Tensor],
    values: dict[int, Tensor],
    state: Mapping[str, Tensor],
    every_state: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step without a record: node by node, because putting matrices side by side would cost more than it saves."""
    nodes = made.graph.nodes
    for index, node in enumerate(nodes):
        if node.op == "state":
            values[index] = state[node.name]
        elif node.op == "input" and node.name == "x":
            values[index] = values[index][0]
    evaluate(nodes, range(len(nodes)), values, matrices, linear)
    shape = next(iter(state.values())).shape
    # a copy where the value is what was given, so that no result is the caller's own tensor
    final = {
        name: values[new].expand(shape).clone() if not nodes[new].args else values[new].expand(shape)
        for name, new in made.graph.states.items()
    }
    wanted = recurrence.states if every_state else (recurrence.output,)
    return {name: final[name].unsqueeze(0).clone() for name in wanted}, final


def _autocast_type(x: Tensor) -> torch.dtype | None:
    """The type of matrix products under autocast."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _side_by_side(parts: list[Tensor], sizes: Sizes, varies: bool) -> Tensor:
    """Addends of a group as one tensor, repeated where they have to be."""
    rows = (sizes.batch, sizes.hidden)
    if varies:
        shape: tuple[int, ...] = (sizes.steps, *rows)
    else:
        shape = rows if any(part.dim() > 1 for part in parts) else rows[1:]
    parts = [part.expand(shape) for part in parts]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
