"""Typed nodes and how they are built: common subexpressions merged, numbers folded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Op:
    """What an operation of a graph takes and means."""

    arity: int
    meaning: str


#: Every operation of a forward or derivative graph.
OPS: dict[str, Op] = {
    "input": Op(0, "x or the constant input `name`"),
    "state": Op(0, "the previous step's value of the state `name`"),
    "vector": Op(0, "the parameter `name`, [hidden]"),
    "const": Op(0, "the number `value`"),
    "product": Op(1, "the matrix `name` [hidden, width of the argument] times a vector"),
    "add": Op(2, "a + b"),
    "sub": Op(2, "a - b"),
    "mul": Op(2, "a * b"),
    "div": Op(2, "a / b"),
    "maximum": Op(2, "the larger of a and b"),
    "minimum": Op(2, "the smaller of a and b"),
    "power": Op(1, "a to the whole number `value`, 2 to 8"),
    "neg": Op(1, "-a"),
    "sigmoid": Op(1, "1 / (1 + exp(-a))"),
    "tanh": Op(1, "tanh(a)"),
    "relu": Op(1, "max(a, 0)"),
    "leaky_relu": Op(1, "a where a > 0, else 0.01 a"),
    "elu": Op(1, "a where a > 0, else exp(a) - 1"),
    "softplus": Op(1, "log(1 + exp(a))"),
    "exp": Op(1, "exp(a)"),
    "log": Op(1, "the natural logarithm of a"),
    "sqrt": Op(1, "the square root of a"),
    "abs": Op(1, "|a|"),
    "sin": Op(1, "sin(a)"),
    "cos": Op(1, "cos(a)"),
    "hard_sigmoid": Op(1, "min(max(a + 3, 0), 6) / 6"),
    "mean": Op(1, "the mean of a over the hidden width: one number a row, which broadcasts"),
    "saved": Op(0, "derivative only: the value of the forward node `value`"),
    "cotangent": Op(0, "derivative only: the gradient that arrives at the new value of the state `name`"),
    "product_transposed": Op(1, "derivative only: the transpose of the matrix `name` times a vector"),
    "sign": Op(1, "derivative only: -1, 0 or 1"),
    "greater": Op(2, "derivative only: 1 where a > b, else 0"),
}

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum"})
PHASES = ("once", "sequence", "step")


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a step.

    Attributes:
        op: a key of :data:`OPS`.
        args: ids of the nodes that it reads, all smaller than its own.
        name: of an input, state, vector or matrix.
        value: of a number, an exponent, or the forward id of a saved value.
        width: "" (a number), "row" (one number a sequence), "hidden", "input", or a constant input's name.
        phase: "once" (numbers, parameters, constant inputs), "sequence" (reads x but no state: known for all
            steps at once) or "step" (reads a state).
    """

    op: str
    args: tuple[int, ...] = ()
    name: str = ""
    value: float = 0.0
    width: str = "hidden"
    phase: str = "step"


@dataclass(frozen=True, slots=True)
class Graph:
    """One time step.

    Attributes:
        nodes: arguments before their users; every one is needed by some state.
        states: node id of the new value of each state.
        output: the state that leaves the cell.
    """

    nodes: tuple[Node, ...]
    states: Mapping[str, int]
    output: str

    def sole_readers(self) -> dict[int, int]:
        """As :func:`sole_readers`; a state's new value is wanted too."""
        return sole_readers(self.nodes, self.states.values())


def sole_readers(nodes: Sequence[Node], roots: Iterable[int]) -> dict[int, int]:
    """For every node that is read once and only by another node: that node.

    Args:
        nodes: of a graph.
        roots: nodes whose values are wanted apart from that.
    """
    reads = Counter(argument for node in nodes for argument in node.args)
    reads.update(roots)
    reader = {argument: index for index, node in enumerate(nodes) for argument in node.args}
    return {argument: index for argument, index in reader.items() if reads[argument] == 1}


_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": max,
    "minimum": min,
    "neg": lambda a: -a,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a)),
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "leaky_relu": lambda a: a if a > 0 else 0.01 * a,
    "elu": lambda a: a if a > 0 else math.expm1(a),
    "softplus": lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))),
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
    "sin": math.sin,
    "cos": math.cos,
    "hard_sigmoid": lambda a: min(max(a + 3, 0.0), 6.0) / 6,
    "sign": lambda a: float((a > 0) - (a < 0)),
    "greater": lambda a, b: float(a > b),
}


@dataclass
class Builder:
    """Grows a list of nodes in which equal values are one node."""

    nodes: list[Node] = field(default_factory=list)
    _index: dict[Node, int] = field(default_factory=dict)

    def const(self, value: float) -> int:
        """The node of a number.

        Raises:
            ArithmeticError: the number is not finite.
        """
        if not math.isfinite(value):
            raise ArithmeticError("the result is not a finite number")
        return self._intern(Node("const", value=value + 0.0, width="", phase="once"))  # + 0.0: one zero only

    def leaf(self, op: str, *, name: str = "", value: float = 0.0, width: str = "hidden", phase: str = "step") -> int:
        """The node of something that is not computed here."""
        return self._intern(Node(op, (), name, value, width, phase))

    def product(self, op: str, matrix: str, argument: int, width: str = "hidden") -> int:
        """The node of a matrix, or its transpose, times a vector."""
        return self._intern(Node(op, (argument,), matrix, 0.0, width, self.nodes[argument].phase))

    def apply(self, op: str, *args: int, value: float = 0.0) -> int:
        """The node of an elementwise operation or a mean, simplified where that changes no value.

        Args:
            op: a key of :data:`OPS` that is no leaf and no product.
            args: node ids.
            value: the exponent of "power".

        Returns:
            The id of the node.

        Raises:
            ArithmeticError, ValueError: numbers were folded and the result is none (1 / 0, log(-1)).
        """
        operands = [self.nodes[argument] for argument in args]
        if all(node.op == "const" for node in operands):
            numbers = [node.value for node in operands]
            return self.const(numbers[0] ** value if op == "power" else _FOLD[op](*numbers))
        simpler = self._simplify(op, args, operands)
        if simpler is not None:
            return simpler
        wide = {node.width for node in operands} - {"", "row"}
        width = "row" if op == "mean" or not wide else wide.pop() if len(wide) == 1 else "hidden"
        phase = PHASES[max(PHASES.index(node.phase) for node in operands)]
        return self._intern(Node(op, args, "", value, width, phase))

    def _simplify(self, op: str, args: tuple[int, ...], operands: list[Node]) -> int | None:
        """A node that has the value already, by the neutral elements and by signs that meet."""
        numbers = [node.value if node.op == "const" else None for node in operands]
        negated = [node.args[0] if node.op == "neg" else None for node in operands]
        match op:
            case "add" if 0.0 in numbers:
                return args[1 - numbers.index(0.0)]
            case "add" if negated[1] is not None:
                return self.apply("sub", args[0], negated[1])
            case "add" if negated[0] is not None:
                return self.apply("sub", args[1], negated[0])
            case "sub" if numbers[1] == 0.0:
                return args[0]
            case "sub" if numbers[0] == 0.0:
                return self.apply("neg", args[1])
            case "sub" if negated[1] is not None:
                return self.apply("add", args[0], negated[1])
            case "mul" if 1.0 in numbers:
                return args[1 - numbers.index(1.0)]
            case "mul" if -1.0 in numbers:
                return self.apply("neg", args[1 - numbers.index(-1.0)])
            case "div" if numbers[1] == 1.0:
                return args[0]
            case "neg" if negated[0] is not None:
                return negated[0]
        return None

    def _intern(self, node: Node) -> int:
        key = Node(node.op, tuple(sorted(node.args)), width=node.width) if node.op in COMMUTATIVE else node
        if key not in self._index:
            self._index[key] = len(self.nodes)
            self.nodes.append(node)
        return self._index[key]


def keep(nodes: list[Node], roots: Iterable[int]) -> tuple[tuple[Node, ...], dict[int, int]]:
    """Drop every node that no root needs.

    Args:
        nodes: arguments before their users.
        roots: ids that must stay.

    Returns:
        The nodes that stay, in their order, and the new id of each by its old one.
    """
    needed = set(roots)
    for index in range(len(nodes) - 1, -1, -1):
        if index in needed:
            needed.update(nodes[index].args)
    moved = {old: new for new, old in enumerate(sorted(needed))}
    kept = tuple(replace(nodes[old], args=tuple(moved[a] for a in nodes[old].args)) for old in moved)
    return kept, moved
