"""The loop that everybody writes first: a recurrence as its equations say it, operation by operation, step by step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.compile.operations import evaluate, number
from elman.equations import Recurrence
from elman.nn import Recurrent

State = dict[str, Tensor]


class Eager(nn.Module):
    """A :class:`elman.nn.Recurrent` that is run by a plain Python loop and autograd: nothing hoisted, nothing merged.

    Args:
        layers: whose cell and parameters it uses; one direction.
    """

    def __init__(self, layers: Recurrent) -> None:
        super().__init__()
        self.layers = layers

    def initial_state(self, batch: int) -> State:
        """The state before the first step, by name [layers, B, hidden]."""
        return self.layers.initial_state(batch)

    def forward(self, x: Tensor, state: State | None = None, **constants: Tensor) -> tuple[Tensor, State]:
        """Outputs [T, B, hidden] of x [T, B, input], and the state after the last step."""
        recurrence = self.layers.recurrence
        names = (*recurrence.matrices, *recurrence.vectors)
        state = self.initial_state(x.shape[1]) if state is None else state
        last = []
        for layer in range(self.layers.num_layers):
            table = {name: self.layers.parameter(name, layer) for name in names}
            x, final = loop(recurrence, table, x, {name: value[layer] for name, value in state.items()}, constants)
            last.append(final)
        return x, {name: torch.stack([final[name] for final in last]) for name in state}


def loop(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: State,
    constants: Mapping[str, Tensor],
) -> tuple[Tensor, State]:
    """Outputs [T, B, hidden] and the last state of one layer; arguments as of :func:`elman.compile.run`."""
    graph = recurrence.graph
    nodes = graph.nodes
    like = next(iter(state.values()))
    fixed: dict[int, Tensor] = {}
    for index, node in enumerate(nodes):
        if node.op == "vector":
            fixed[index] = parameters[node.name]
        elif node.op == "const":
            fixed[index] = number(node.value, like)
        elif node.op == "input" and node.name != "x":
            fixed[index] = constants[node.name]
    evaluate(nodes, [i for i, n in enumerate(nodes) if n.phase == "once"], fixed, parameters, functional.linear)
    moving = [index for index, node in enumerate(nodes) if node.phase != "once"]
    outputs = []
    for row in x.unbind(0):
        values = dict(fixed)
        for index in moving:
            if nodes[index].op == "state":
                values[index] = state[nodes[index].name]
            elif nodes[index].op == "input":
                values[index] = row
        evaluate(nodes, moving, values, parameters, functional.linear)
        state = {name: values[new].expand(like.shape) for name, new in graph.states.items()}
        outputs.append(state[recurrence.output])
    return torch.stack(outputs), state
