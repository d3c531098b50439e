"""What a step costs: parameters, floating-point operations and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from elman.equations.derivative import Derivative, differentiate
from elman.equations.graph import Graph, Node

_BYTES = 4  # of a float32
_FREE = ("input", "state", "vector", "const", "saved", "cotangent")


@dataclass(frozen=True, slots=True)
class Work:
    """Operations and bytes of one step of one sequence.

    Attributes:
        hoisted_flops: of what is computed for all steps at once.
        recurrent_flops: of what waits for the step before.
        bytes: float32 traffic of the recurrent part: its matrices and vectors, its states in and out, and the
            values that come from or go to the hoisted part or the other direction, each once.
    """

    hoisted_flops: int
    recurrent_flops: int
    bytes: int

    @property
    def flops(self) -> int:
        """Hoisted and recurrent together."""
        return self.hoisted_flops + self.recurrent_flops


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a recurrence at a size.

    A product counts 2 * rows * columns operations, everything else one for each element. What depends on
    neither x nor a state is computed once a sequence and does not count.

    Attributes:
        parameters: how many numbers are learnt.
        forward: one forward step.
        backward: one backward step, the gradients of weights and of x included.
    """

    parameters: int
    forward: Work
    backward: Work

    @property
    def flops(self) -> int:
        """Of a forward step."""
        return self.forward.flops

    @property
    def flops_backward(self) -> int:
        """Of a backward step."""
        return self.backward.flops

    @property
    def bytes(self) -> int:
        """Of a forward step's recurrent part."""
        return self.forward.bytes


def cost_of(graph: Graph, derivative: Derivative, sizes: Mapping[str, int], parameters: int) -> Cost:
    """Count a step.

    Args:
        graph: one step.
        derivative: its backward step.
        sizes: elements of each width: "hidden", "input", and each constant input.
        parameters: how many numbers are learnt.

    Returns:
        The cost.
    """
    width = {**sizes, "": 1, "row": 1}
    moving = frozenset(i for i, node in enumerate(graph.nodes) if node.phase != "once" and node.args)
    whole = differentiate(graph, moving)
    recurrent = _flops(graph.nodes, ("step",), width)
    hoisted = _flops(graph.nodes, ("sequence",), width)
    recurrent_back = _flops(derivative.nodes, ("step",), width)
    hoisted_back = _flops(whole.nodes, ("step", "sequence"), width) - recurrent_back
    for _, argument, _ in whole.weights:
        hoisted_back += 2 * width["hidden"] * width[graph.nodes[argument].width]
    for outer in whole.boundary:
        if graph.nodes[outer].phase == "once":
            hoisted_back += width["hidden"]  # its gradient is a sum over the steps
    return Cost(
        parameters,
        Work(hoisted, recurrent, _BYTES * _forward_elements(graph, derivative, width)),
        Work(hoisted_back, recurrent_back, _BYTES * _backward_elements(graph, derivative, width)),
    )


def _flops(nodes: Iterable[Node], phases: tuple[str, ...], width: Mapping[str, int]) -> int:
    nodes = list(nodes)
    total = 0
    for node in nodes:
        if node.phase not in phases or node.op in _FREE:
            continue
        argument = width[nodes[node.args[0]].width]
        if node.op in ("product", "product_transposed"):
            total += 2 * argument * width[node.width]
        else:
            total += argument if node.op == "mean" else width[node.width]
    return total


def _forward_elements(graph: Graph, derivative: Derivative, width: Mapping[str, int]) -> int:
    nodes = graph.nodes
    read = {a for node in nodes if node.phase == "step" for a in node.args}
    written = {i for i in (*derivative.saved, *graph.states.values()) if nodes[i].phase == "step" and nodes[i].args}
    values = sum(width[nodes[i].width] for i in read if nodes[i].phase != "step" and nodes[i].op != "const")
    values += sum(width[node.width] for node in nodes if node.op == "state")
    values += sum(width[nodes[i].width] for i in written)
    return values + _matrix_elements(nodes, "product", width)


def _backward_elements(graph: Graph, derivative: Derivative, width: Mapping[str, int]) -> int:
    values = sum(width[graph.nodes[i].width] for i in derivative.saved)
    values += sum(width["hidden"] for node in derivative.nodes if node.op == "cotangent")
    written = {*derivative.states.values(), *derivative.boundary.values()}
    written |= {gradient for _, _, gradient in derivative.weights}
    values += sum(width[derivative.nodes[i].width] for i in written)
    return values + _matrix_elements(derivative.nodes, "product_transposed", width)


def _matrix_elements(nodes: tuple[Node, ...], op: str, width: Mapping[str, int]) -> int:
    """Of the matrices that the recurrent part reads, each once."""
    sizes = {
        node.name: width[node.width] * width[nodes[node.args[0]].width]
        for node in nodes
        if node.op == op and node.phase == "step"
    }
    return sum(sizes.values())
