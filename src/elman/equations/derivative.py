"""Reverse-mode differentiation of one step, from graph to graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from elman.equations.graph import Builder, Graph, Node, keep
from elman.equations.stages import Stage, stages_of


@dataclass(frozen=True)
class Derivative:
    """The backward step.

    The gradient of a "row" node is kept as wide as the hidden state, as terms that are yet to be summed over
    it: everything that follows is linear in them, so the adjoint of `mean(v)` is the mean of these terms.

    Attributes:
        nodes: arguments before their users; leaves are "saved" (a forward value), "cotangent" (the gradient
            that arrives at a state's new value) and "const".
        saved: ids of the forward nodes that are read by "saved" leaves, parameters and inputs among them.
        states: node of the gradient for the previous value of each state; absent where it is zero.
        boundary: for each forward node outside the differentiated ones that one of them reads (or that is
            itself the new value of a state), the node of its gradient.
        weights: for every differentiated product its matrix, the forward id of its argument and the node of
            the gradient of its result: the gradient of the matrix is the sum over steps of the outer products
            of the two.
    """

    nodes: tuple[Node, ...]
    saved: tuple[int, ...]
    states: dict[str, int]
    boundary: dict[int, int]
    weights: tuple[tuple[str, int, int], ...]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The rounds of transposed products, as of a forward graph."""
        return stages_of(self.nodes)


def differentiate(graph: Graph, inner: frozenset[int] | None = None) -> Derivative:
    """Reverse mode through some nodes of a graph.

    Args:
        graph: one step.
        inner: ids of the nodes to go through; None for all that depend on a state.

    Returns:
        The backward step.
    """
    if inner is None:
        inner = frozenset(i for i, node in enumerate(graph.nodes) if node.phase == "step")
    tape = _Tape(graph)
    for name, new in graph.states.items():
        tape.receive(new, tape.builder.leaf("cotangent", name=name))
    states: dict[str, int] = {}
    boundary: dict[int, int] = {}
    weights: list[tuple[str, int, int]] = []
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        gradient = tape.gradients.get(index)
        if gradient is None or node.op == "const":
            continue
        if node.op == "state":
            states[node.name] = gradient
        elif index not in inner or not node.args:
            boundary[index] = gradient
        elif node.op == "product":
            argument = node.args[0]
            weights.append((node.name, argument, gradient))
            width = graph.nodes[argument].width
            tape.receive(argument, tape.builder.product("product_transposed", node.name, gradient, width))
        else:
            ADJOINTS[node.op](tape, index, node, gradient)
    roots = [*states.values(), *boundary.values(), *(gradient for _, _, gradient in weights)]
    nodes, moved = keep(tape.builder.nodes, roots)
    return Derivative(
        nodes,
        tuple(sorted({int(node.value) for node in nodes if node.op == "saved"})),
        {name: moved[states[name]] for name in graph.states if name in states},
        {index: moved[gradient] for index, gradient in sorted(boundary.items())},
        tuple((matrix, argument, moved[gradient]) for matrix, argument, gradient in reversed(weights)),
    )


class _Tape:
    """The gradients that have arrived so far."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.builder = Builder()
        self.gradients: dict[int, int] = {}

    def receive(self, index: int, gradient: int) -> None:
        """Add a gradient to what has arrived at a forward node."""
        if self.graph.nodes[index].op == "const":
            return
        known = self.gradients.get(index)
        self.gradients[index] = gradient if known is None else self.builder.apply("add", known, gradient)

    def saved(self, index: int) -> int:
        """The value of a forward node."""
        node = self.graph.nodes[index]
        if node.op == "const":
            return self.builder.const(node.value)
        return self.builder.leaf("saved", value=float(index), width=node.width, phase=node.phase)

    def is_const(self, index: int) -> bool:
        """Whether a forward node is a number and needs no gradient."""
        return self.graph.nodes[index].op == "const"


Adjoint = Callable[[_Tape, int, Node, int], None]


def _add(tape: _Tape, index: int, node: Node, g: int) -> None:
    tape.receive(node.args[0], g)
    tape.receive(node.args[1], g)


def _sub(tape: _Tape, index: int, node: Node, g: int) -> None:
    tape.receive(node.args[0], g)
    if not tape.is_const(node.args[1]):
        tape.receive(node.args[1], tape.builder.apply("neg", g))


def _mul(tape: _Tape, index: int, node: Node, g: int) -> None:
    a, b = node.args
    if not tape.is_const(a):
        tape.receive(a, tape.builder.apply("mul", g, tape.saved(b)))
    if not tape.is_const(b):
        tape.receive(b, tape.builder.apply("mul", g, tape.saved(a)))


def _div(tape: _Tape, index: int, node: Node, g: int) -> None:
    # y = a / b: da = g / b, db = -(g / b) y
    a, b = node.args
    share = tape.builder.apply("div", g, tape.saved(b))
    tape.receive(a, share)
    if not tape.is_const(b):
        tape.receive(b, tape.builder.apply("neg", tape.builder.apply("mul", share, tape.saved(index))))


def _extreme(tape: _Tape, index: int, node: Node, g: int) -> None:
    # The chosen argument gets the gradient, each half of it where they are equal.
    a, b = node.args
    apply, const = tape.builder.apply, tape.builder.const
    side = apply("sign", apply("sub", tape.saved(a), tape.saved(b)))
    first = apply("mul", g, apply("add", const(0.5), apply("mul", const(0.5), side)))
    second = apply("sub", g, first)
    larger, smaller = (a, b) if node.op == "maximum" else (b, a)
    tape.receive(larger, first)
    tape.receive(smaller, second)


def _neg(tape: _Tape, index: int, node: Node, g: int) -> None:
    tape.receive(node.args[0], tape.builder.apply("neg", g))


def _mean(tape: _Tape, index: int, node: Node, g: int) -> None:
    tape.receive(node.args[0], tape.builder.apply("mean", g))


def _times(slope: Callable[[_Tape, int, int], int]) -> Adjoint:
    """The adjoint of a function of one argument from its slope, given the ids of argument and result."""

    def adjoint(tape: _Tape, index: int, node: Node, g: int) -> None:
        tape.receive(node.args[0], tape.builder.apply("mul", g, slope(tape, node.args[0], index)))

    return adjoint


def _power(tape: _Tape, index: int, node: Node, g: int) -> None:
    # d(a^n) = n a^(n-1)
    apply, exponent = tape.builder.apply, node.value
    base = tape.saved(node.args[0])
    lower = base if exponent == 2 else apply("power", base, value=exponent - 1)
    slope = apply("mul", tape.builder.const(exponent), lower)
    tape.receive(node.args[0], apply("mul", g, slope))


def _sigmoid(tape: _Tape, a: int, y: int) -> int:
    # s' = s (1 - s)
    apply, saved = tape.builder.apply, tape.saved(y)
    return apply("mul", saved, apply("sub", tape.builder.const(1.0), saved))


def _tanh(tape: _Tape, a: int, y: int) -> int:
    # t' = 1 - t^2
    apply, saved = tape.builder.apply, tape.saved(y)
    return apply("sub", tape.builder.const(1.0), apply("mul", saved, saved))


def _relu(tape: _Tape, a: int, y: int) -> int:
    return tape.builder.apply("greater", tape.saved(y), tape.builder.const(0.0))


def _leaky_relu(tape: _Tape, a: int, y: int) -> int:
    apply, const = tape.builder.apply, tape.builder.const
    return apply("add", const(0.01), apply("mul", const(0.99), _relu(tape, a, y)))


def _elu(tape: _Tape, a: int, y: int) -> int:
    # 1 where a > 0, else exp(a) = y + 1
    apply, const = tape.builder.apply, tape.builder.const
    return apply("add", const(1.0), apply("minimum", tape.saved(y), const(0.0)))


def _hard_sigmoid(tape: _Tape, a: int, y: int) -> int:
    # 1/6 strictly between the ends
    apply, const, saved = tape.builder.apply, tape.builder.const, tape.saved(y)
    between = apply("mul", apply("greater", saved, const(0.0)), apply("greater", const(1.0), saved))
    return apply("mul", const(1.0 / 6.0), between)


ADJOINTS: dict[str, Adjoint] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "maximum": _extreme,
    "minimum": _extreme,
    "neg": _neg,
    "mean": _mean,
    "power": _power,
    "sigmoid": _times(_sigmoid),
    "tanh": _times(_tanh),
    "relu": _times(_relu),
    "leaky_relu": _times(_leaky_relu),
    "elu": _times(_elu),
    "softplus": _times(lambda tape, a, y: tape.builder.apply("sigmoid", tape.saved(a))),
    "exp": _times(lambda tape, a, y: tape.saved(y)),
    "log": _times(lambda tape, a, y: tape.builder.apply("div", tape.builder.const(1.0), tape.saved(a))),
    "sqrt": _times(lambda tape, a, y: tape.builder.apply("div", tape.builder.const(0.5), tape.saved(y))),
    "abs": _times(lambda tape, a, y: tape.builder.apply("sign", tape.saved(a))),
    "sin": _times(lambda tape, a, y: tape.builder.apply("cos", tape.saved(a))),
    "cos": _times(lambda tape, a, y: tape.builder.apply("neg", tape.builder.apply("sin", tape.saved(a)))),
    "hard_sigmoid": _times(_hard_sigmoid),
}
