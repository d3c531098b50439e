"""One time step of a recurrent language model, with autograd's own functions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from elman.compile.operations import evaluate, number
from elman.equations import Recurrence
from elman.models.language import LanguageModel

Key = tuple[int, str]  # layer, state
States = dict[Key, Tensor]  # each [B, hidden]


class OneStep:
    """One time step of all layers, in which every state's new value is one tensor that all later values read.

    So autograd gives the total derivative with respect to a state, through whatever reads it in the same step too.

    Args:
        model: any recurrence; its weights take no part in autograd.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.recurrence: Recurrence = model.recurrence
        self.embedding = model.embedding.weight.detach()
        self.readout = self.embedding if model.tied else model.readout_weight.detach()
        self.bias = model.readout_bias.detach()
        names = (*self.recurrence.matrices, *self.recurrence.vectors)
        self.parameters: list[Mapping[str, Tensor]] = [
            {name: model.recurrent.parameter(name, layer).detach() for name in names} for layer in range(model.layers)
        ]

    def __call__(self, ids: Tensor, states: States) -> States:
        """The states after the tokens [B]."""
        graph = self.recurrence.graph
        x = self.embedding[ids]
        after: States = {}
        for layer, parameters in enumerate(self.parameters):
            shape = states[layer, self.recurrence.output].shape
            values: dict[int, Tensor] = {}
            for index, node in enumerate(graph.nodes):
                if node.op == "state":
                    values[index] = states[layer, node.name]
                elif node.op == "input":
                    values[index] = x
                elif node.op == "vector":
                    values[index] = parameters[node.name]
                elif node.op == "const":
                    values[index] = number(node.value, x)
                evaluate(graph.nodes, (index,), values, parameters, linear)
                if node.args and index in graph.states.values():
                    # what later nodes read must be the very tensor whose gradient is asked for
                    values[index] = _tracked(values[index].expand(shape))
            taken: set[int] = set()
            for name, new in graph.states.items():
                # a state that is handed on as it was, or that equals another one, needs a tensor of its own
                alias = new in taken or not graph.nodes[new].args
                after[layer, name] = _tracked(values[new].expand(shape).clone()) if alias else values[new]
                taken.add(new)
            x = after[layer, self.recurrence.output]
        return after

    def nats(self, states: States, targets: Tensor) -> Tensor:
        """-log P(target) [B] after these states."""
        top = states[len(self.parameters) - 1, self.recurrence.output]
        scores = linear(top, self.readout, self.bias)
        return cross_entropy(scores, targets, reduction="none")


def _tracked(value: Tensor) -> Tensor:
    """The value, or a leaf that equals it where it depends on no state: its gradient is wanted all the same."""
    return value if value.requires_grad or not torch.is_grad_enabled() else value.detach().requires_grad_()
