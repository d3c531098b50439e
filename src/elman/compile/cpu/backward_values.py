"""What a compiled backward step computes, as a list of values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from elman.compile.cpu.values import Value, Values, external_nodes, is_per_row
from elman.equations import Derivative, Graph, Recurrence, differentiate


@dataclass(frozen=True)
class BackwardStep:
    """A backward step.

    Attributes:
        values: arguments before their users.
        states: by name the position of the gradient of the previous value.
        slots: positions of the gradients of products' results, in the order in which memory holds them.
        weights: (matrix, forward node id of the operand, slot).
        vectors, rows: by forward node id the position of the terms of its gradient.
        elementwise: by input's node id the position of the part of its gradient that no product gives.
        stored: forward node ids of what the forward step has to keep, states and inputs apart.
        narrow: those of them that are one number a row.
        read_states: names of states whose sequences are read, by this step or as operands of weights.
        operands: forward node ids of what weights' gradients read, states and inputs apart.
    """

    values: tuple[Value, ...]
    states: dict[str, int]
    slots: tuple[int, ...]
    weights: tuple[tuple[str, int, int], ...]
    vectors: dict[int, int]
    rows: dict[int, int]
    elementwise: dict[int, int]
    stored: tuple[int, ...]
    narrow: frozenset[int]
    read_states: frozenset[str]
    operands: tuple[int, ...]


def lower_backward(graph: Graph) -> BackwardStep:
    """The values of a backward step.

    Args:
        graph: one time step.
    """
    nodes, external = graph.nodes, external_nodes(graph)
    inner = frozenset(i for i, node in enumerate(nodes) if node.args and node.phase != "once" and i not in external)
    derivative = differentiate(graph, inner)
    return _Backward(graph, external, derivative).lower()


class _Backward:
    def __init__(self, graph: Graph, external: frozenset[int], derivative: Derivative):
        self.graph, self.external, self.derivative = graph, external, derivative
        self.values = Values()
        self.at: dict[int, int] = {}
        self.read_states: set[str] = set()
        self.new = {index: name for name, index in graph.states.items()}
        arguments = [argument for _, argument, _ in derivative.weights]
        self.operands = tuple(dict.fromkeys(a for a in arguments if a not in external and graph.nodes[a].op != "state"))
        self.read_states |= {graph.nodes[a].name for a in arguments if graph.nodes[a].op == "state"}
        self.stored: dict[int, None] = dict.fromkeys(self.operands)
        self.readers = _counts(derivative)
        self._judged: dict[int, tuple[int, bool]] = {}  # by node how much was stored then, and the answer
        self._again: dict[int, int] = {}

    def lower(self) -> BackwardStep:
        derivative, nodes = self.derivative, self.graph.nodes
        for index in derivative.saved:
            if not self._derivable(index):
                self.stored[index] = None
        gradients = list(dict.fromkeys(gradient for _, _, gradient in derivative.weights))
        order = self._slot_order(gradients)
        slots = tuple(self._value(gradient) for gradient in order)
        weights = tuple((matrix, argument, order.index(gradient)) for matrix, argument, gradient in derivative.weights)
        states = {name: self._value(index) for name, index in derivative.states.items()}
        vectors, rows, elementwise = dict[int, int](), dict[int, int](), dict[int, int]()
        for index, gradient in derivative.boundary.items():
            if nodes[index].op == "const":
                continue
            if nodes[index].phase == "once":
                (rows if is_per_row(nodes, index) else vectors)[index] = self._value(gradient)
                continue
            own = frozenset(term for _, term in self._terms(gradient) if self._is_weighted(term, index))
            # an input's own products arrive at it as they are
            assert not any(negative for negative, term in self._terms(gradient) if term in own)
            total = self._without(gradient, own)
            if total is not None:
                elementwise[index] = total
        return BackwardStep(
            tuple(self.values.items),
            states,
            slots,
            weights,
            vectors,
            rows,
            elementwise,
            tuple(self.stored),
            frozenset(index for index in self.stored if nodes[index].width == "row"),
            frozenset(self.read_states),
            self.operands,
        )

    def _is_weighted(self, term: int, index: int) -> bool:
        """Whether a term of an input's gradient comes from a product with that input: done after the loop."""
        node = self.derivative.nodes[term]
        return node.op == "product_transposed" and (node.name, index, node.args[0]) in self.derivative.weights

    def _slot_order(self, gradients: list[int]) -> list[int]:
        """Gradients such that those with a common operand mostly stand side by side."""
        arguments = list(dict.fromkeys(argument for _, argument, _ in self.derivative.weights))

        def place(gradient: int) -> float:
            ranks = [arguments.index(a) for _, a, g in self.derivative.weights if g == gradient]
            return sum(ranks) / len(ranks)

        return sorted(gradients, key=place)

    def _derivable(self, index: int) -> bool:
        """Whether a forward value follows from what is in memory anyway by pointwise work."""
        known = self._judged.get(index)
        if known is None or known[0] < len(self.stored):  # more in memory, perhaps another answer
            known = self._judged[index] = len(self.stored), self._judge(index)
        return known[1]

    def _judge(self, index: int) -> bool:
        node = self.graph.nodes[index]
        if index in self.stored or index in self.new or index in self.external:
            return True
        if node.op in ("const", "state") or node.phase == "once":
            return True
        if node.op in ("product", "mean", "add") and not self._adds_known(index):
            return False
        return node.op != "product" and all(self._derivable(argument) for argument in node.args)

    def _adds_known(self, index: int) -> bool:
        node = self.graph.nodes[index]
        return node.op == "add" and all(self._derivable(argument) for argument in node.args)

    def _forward(self, index: int) -> int:
        """The value of a forward node, loaded or computed again."""
        if index not in self._again:
            self._again[index] = self._load_or_compute(index)
        return self._again[index]

    def _load_or_compute(self, index: int) -> int:
        node = self.graph.nodes[index]
        if node.op == "const":
            return self.values.add(Value("const", number=node.value))
        if node.op == "state":
            self.read_states.add(node.name)
            return self.values.add(Value("state", name=node.name))
        if index in self.external:
            return self.values.add(Value("input", node=index))
        if node.phase == "once":
            kind = "rows" if is_per_row(self.graph.nodes, index) else "vector"
            return self.values.add(Value(kind, node=index))
        if index in self.stored:
            return self.values.add(Value("stored", node=index))
        if index in self.new:
            self.read_states.add(self.new[index])
            return self.values.add(Value("new", name=self.new[index]))
        return self.values.add(Value(node.op, tuple(self._forward(a) for a in node.args), number=node.value))

    def _terms(self, index: int, negative: bool = False) -> Iterable[tuple[bool, int]]:
        """The terms of a sum, and whether each is subtracted."""
        node = self.derivative.nodes[index]
        if node.op in ("add", "sub", "neg"):
            yield from self._terms(node.args[0], negative != (node.op == "neg"))
            for argument in node.args[1:]:
                yield from self._terms(argument, negative != (node.op == "sub"))
        else:
            yield negative, index

    def _value(self, index: int) -> int:
        if index not in self.at:
            self.at[index] = self._compute(index)
        return self.at[index]

    def _compute(self, index: int) -> int:
        node = self.derivative.nodes[index]
        if node.op == "const":
            return self.values.add(Value("const", number=node.value))
        if node.op == "saved":
            return self._forward(int(node.value))
        if node.op == "cotangent":
            return self.values.add(Value("cotangent", name=node.name))
        if node.op == "product_transposed":
            return self.values.add(Value("products", parts=((node.name, self._value(node.args[0])),)))
        if node.op == "add":
            return self._sum(index)
        return self.values.add(Value(node.op, tuple(self._value(a) for a in node.args), number=node.value))

    def _sum(self, index: int) -> int:
        nodes = self.derivative.nodes
        products: list[int] = []
        pending = [index]
        while pending:
            term = pending.pop()
            if nodes[term].op == "add" and (term == index or self.readers[term] == 1):
                pending.extend(reversed(nodes[term].args))
            elif nodes[term].op == "product_transposed" and self.readers[term] == 1:
                products.append(term)
        if not products:
            left, right = nodes[index].args
            return self.values.add(Value("add", (self._value(left), self._value(right))))
        parts = tuple((nodes[i].name, self._value(nodes[i].args[0])) for i in products)
        total = self.values.add(Value("products", parts=parts))
        rest = self._without(index, frozenset(products))
        return total if rest is None else self.values.add(Value("add", (total, rest)))

    def _without(self, index: int, left_out: frozenset[int]) -> int | None:
        """The value of a sum without some of its terms, of which none is subtracted; None if no other is left.

        The others are added up as the graph has them. A norm's gradient v - mean(v) may be a small difference of large
        numbers: added one after the other to a third they would leave their rounding there.
        """
        if index in left_out:
            return None
        if left_out.isdisjoint(term for _, term in self._terms(index)):
            return self._value(index)
        node = self.derivative.nodes[index]  # a sum, or a difference whose second part stays whole
        left, right = (self._without(argument, left_out) for argument in node.args)
        if left is None and node.op == "sub":
            left = self.values.add(Value("const"))
        if left is None or right is None:
            return right if left is None else left
        return self.values.add(Value(node.op, (left, right)))


def _counts(derivative: Derivative) -> list[int]:
    """How often each node of a derivative is read, results included."""
    counts = [0] * len(derivative.nodes)
    for node in derivative.nodes:
        for argument in node.args:
            counts[argument] += 1
    results = [*derivative.states.values(), *derivative.boundary.values(), *(g for _, _, g in derivative.weights)]
    for index in results:
        counts[index] += 1
    return counts


@lru_cache(maxsize=256)
def backward_step(recurrence: Recurrence) -> BackwardStep:
    """The backward step of a recurrence; made once."""
    return lower_backward(recurrence.graph)
