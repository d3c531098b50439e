"""How parameters start, by their role in the equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from elman.equations import Recurrence
from elman.errors import MisuseError

Rule = Callable[[Tensor], Tensor | None]
Start = Tensor | Rule

IRNN_SCALE = 0.001


def initialise(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    overrides: Mapping[str, Start] | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Fill the parameters of one layer and direction, in place.

    | role | start |
    |---|---|
    | matrix on something that depends on a state | orthogonal (Saxe et al. 2014) |
    | other matrices | uniform, Glorot and Bengio 2010 |
    | gain of a norm | 1 |
    | ``bf`` in the gate that multiplies the same state's past | 1 (Gers et al. 2000; Jozefowicz et al. 2015) |
    | every other vector: biases, peepholes, update gates' biases | 0 |
    | ``irnn``: matrix on the state; other matrices | identity; normal of deviation 0.001 (Le et al. 2015) |
    | ``indrnn``: the vector on the state | uniform between 0 and 1 (Li et al. 2018) |

    Args:
        recurrence: whose parameters they are.
        parameters: by name.
        overrides: by name a tensor of the parameter's shape, or a function that fills its argument in place or returns
            such a tensor.
        generator: source of randomness; default torch's global one.

    Raises:
        MisuseError: an override for a parameter that there is not, or of another shape.
    """
    overrides = overrides or {}
    for name in overrides:
        if name not in parameters:
            raise MisuseError(f"There is no parameter {name!r} to initialise; there are: {', '.join(parameters)}.")
    recurrent, forget = recurrent_matrices(recurrence), _forget_biases(recurrence)
    with torch.no_grad():
        for name, tensor in parameters.items():
            if name in overrides:
                _override(name, tensor, overrides[name])
            elif tensor.dim() == 2:
                _fill_matrix(recurrence.name, name in recurrent, tensor, generator)
            elif name in recurrence.gains or name in forget:
                tensor.fill_(1.0)
            elif recurrence.name == "indrnn" and _multiplies_state(recurrence, name):
                tensor.uniform_(0.0, 1.0, generator=generator)
            else:
                tensor.zero_()


def recurrent_matrices(recurrence: Recurrence) -> frozenset[str]:
    """The matrices whose argument depends on a state."""
    return frozenset(node.name for node in recurrence.graph.nodes if node.op == "product" and node.phase == "step")


def _fill_matrix(cell: str, recurrent: bool, tensor: Tensor, generator: torch.Generator | None) -> None:
    if cell == "irnn":
        if recurrent:
            nn.init.eye_(tensor)
        else:
            tensor.normal_(0.0, IRNN_SCALE, generator=generator)
    elif recurrent:
        # the decomposition behind it knows no half precision
        start = torch.empty(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32), device=tensor.device)
        tensor.copy_(nn.init.orthogonal_(start, generator=generator))
    else:
        nn.init.xavier_uniform_(tensor, generator=generator)


def _override(name: str, tensor: Tensor, start: Start) -> None:
    value = start if isinstance(start, Tensor) else start(tensor)
    if value is None or value is tensor:
        return
    if value.shape != tensor.shape:
        raise MisuseError(f"The start of {name} must be {list(tensor.shape)}; got {list(value.shape)}.")
    tensor.copy_(value)


def _forget_biases(recurrence: Recurrence) -> frozenset[str]:
    """``bf``, where the new value of a state has the term sigmoid(... + bf) * (the same state before)."""
    nodes = recurrence.graph.nodes

    def terms(index: int) -> list[int]:
        return [t for a in nodes[index].args for t in terms(a)] if nodes[index].op == "add" else [index]

    found: set[str] = set()
    for state, new in recurrence.graph.states.items():
        for term in terms(new):
            if nodes[term].op != "mul":
                continue
            for gate, past in (nodes[term].args, nodes[term].args[::-1]):
                if nodes[past].op == "state" and nodes[past].name == state and nodes[gate].op == "sigmoid":
                    found.update(nodes[t].name for t in terms(nodes[gate].args[0]) if nodes[t].op == "vector")
    return frozenset(found & {"bf"})


def _multiplies_state(recurrence: Recurrence, name: str) -> bool:
    nodes = recurrence.graph.nodes
    return any(
        node.op == "mul"
        and {nodes[a].op for a in node.args} == {"state", "vector"}
        and any(nodes[a].name == name for a in node.args)
        for node in nodes
    )
