"""What the compiled loops compute, before any instruction: one step and its backward as lists of values.

A product's operand has to stand in memory for a whole row before the product can begin, and a mean needs the whole row
of its argument. So every value has a level: the number of such waits before it. All values of one level are computed
in one round over units and rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from elman.compile.cpu.vectors import CHEAP
from elman.equations import Graph, Node, Recurrence

LEAVES = frozenset({"const", "vector", "rows", "input", "state", "new", "stored", "cotangent", "gathered"})


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a step.

    Attributes:
        op: a pointwise operation of the graph; "products" (a sum of products that share an accumulator), "mean"; or
            a leaf: "const", "vector" (the same for every row), "rows" (the same at every step), "input" (x, or what
            torch computes of it beforehand), "state" (the previous step's), "gathered" (a row of products with x that
            are known beforehand); in a backward step also "new" (this step's state), "stored" (a value that the
            forward step kept) and "cotangent" (the gradient of a state's new value).
        args: positions of the values that it reads.
        name: of a state.
        number: a const, or the exponent of "power".
        node: id in the forward graph of what a leaf stands for.
        parts: of "products" the matrices and the positions of what they are applied to.
        level: the number of rounds that have to be over before it can be computed.
    """

    op: str
    args: tuple[int, ...] = ()
    name: str = ""
    number: float = 0.0
    node: int = -1
    parts: tuple[tuple[str, int], ...] = ()
    level: int = 0


@dataclass
class Values:
    """Grows a list of values in which equal ones are one."""

    items: list[Value] = field(default_factory=list)
    _known: dict[Value, int] = field(default_factory=dict)

    def add(self, value: Value) -> int:
        """The position of a value, whose level is set here."""
        waits = value.op in ("products", "mean")
        reads = [*value.args, *(operand for _, operand in value.parts)]
        level = max((self.items[read].level for read in reads), default=0) + waits
        value = replace(value, level=level)
        if value not in self._known:
            self._known[value] = len(self.items)
            self.items.append(value)
        return self._known[value]


@dataclass(frozen=True)
class Step:
    """A forward step.

    Attributes:
        graph: the recurrence's.
        values: arguments before their users.
        states: by name the position of the new value.
        at: by forward node id the position of its value.
        inputs: node ids of what is as wide as x and computed beforehand; x itself among them if it is read.
        vectors, rows: node ids of the leaves of these kinds.
        gathered: for each gathered leaf (its `node` counts them) the products (matrix, input's node id) in it.
    """

    graph: Graph
    values: tuple[Value, ...]
    states: dict[str, int]
    at: dict[int, int]
    inputs: tuple[int, ...]
    vectors: tuple[int, ...]
    rows: tuple[int, ...]
    gathered: tuple[tuple[tuple[str, int], ...], ...]


def is_per_row(nodes: Sequence[Node], index: int) -> bool:
    """Whether a node of the phase "once" depends on a constant input and so differs from row to row."""
    node = nodes[index]
    return node.op == "input" or any(is_per_row(nodes, argument) for argument in node.args)


def is_external(nodes: Sequence[Node], index: int, operands: frozenset[int]) -> bool:
    """Whether torch computes a node before the loop: what is as wide as x and x itself."""
    node = nodes[index]
    return node.phase == "sequence" and (node.op == "input" or (index in operands and node.width == "input"))


def external_nodes(graph: Graph) -> frozenset[int]:
    """Ids of the nodes that :func:`is_external` tells."""
    operands = frozenset(node.args[0] for node in graph.nodes if node.op == "product")
    return frozenset(i for i in range(len(graph.nodes)) if is_external(graph.nodes, i, operands))


def lower_step(graph: Graph, gather: bool) -> Step:
    """The values of a forward step.

    Args:
        graph: one time step.
        gather: products with inputs come as rows of a table.
    """
    nodes, readers = graph.nodes, graph.sole_readers()
    external = external_nodes(graph)
    values, at = Values(), dict[int, int]()
    inputs, vectors, rows = [list[int]() for _ in range(3)]
    gathered: list[tuple[tuple[str, int], ...]] = []

    def leaf_input(index: int) -> int:
        if index not in inputs:
            inputs.append(index)
        return values.add(Value("input", node=index))

    def terms(index: int, root: int) -> Iterable[int]:
        if nodes[index].op == "add" and nodes[index].phase != "once" and (index == root or index in readers):
            for argument in nodes[index].args:
                yield from terms(argument, root)
        else:
            yield index

    def sum_of(index: int) -> int:
        """A sum with the products among its terms in one accumulator; or a single product."""
        inside = [index] if nodes[index].op == "product" else list(terms(index, index))
        products = [
            i for i in inside if nodes[i].op == "product" and nodes[i].phase != "once" and (i == index or i in readers)
        ]
        beforehand = [i for i in products if gather and nodes[i].args[0] in external]
        total: int | None = None
        parts = tuple(
            (nodes[i].name, leaf_input(a) if (a := nodes[i].args[0]) in external else value_of(a))
            for i in products
            if i not in beforehand
        )
        if parts:
            total = values.add(Value("products", parts=parts))
        addends = [value_of(i) for i in inside if i not in products]
        if beforehand:
            key = tuple((nodes[i].name, nodes[i].args[0]) for i in beforehand)
            if key not in gathered:
                gathered.append(key)
            for _, argument in key:
                if argument not in inputs:
                    inputs.append(argument)
            addends.insert(0, values.add(Value("gathered", node=gathered.index(key))))
        for addend in addends:
            total = addend if total is None else values.add(Value("add", (total, addend)))
        assert total is not None
        return total

    def value_of(index: int) -> int:
        if index not in at:
            at[index] = compute(index)
        return at[index]

    def compute(index: int) -> int:
        node = nodes[index]
        if node.op == "const":
            return values.add(Value("const", number=node.value))
        if node.op == "state":
            return values.add(Value("state", name=node.name))
        if index in external:
            return leaf_input(index)
        if node.phase == "once":
            kind, known = ("rows", rows) if is_per_row(nodes, index) else ("vector", vectors)
            if index not in known:
                known.append(index)
            return values.add(Value(kind, node=index))
        if node.op in ("product", "add"):
            return sum_of(index)
        return values.add(Value(node.op, tuple(value_of(a) for a in node.args), number=node.value))

    states = {name: value_of(index) for name, index in graph.states.items()}
    return Step(graph, tuple(values.items), states, at, tuple(inputs), tuple(vectors), tuple(rows), tuple(gathered))


def keeps(values: Sequence[Value], roots: Sequence[tuple[int, int]], memory: frozenset[int]) -> tuple[int, ...]:
    """Values that one round must leave in memory for a later one.

    A later round computes cheap things again from what it can load; the rest is kept.

    Args:
        values: of a step.
        roots: (value, round in which it is wanted).
        memory: values that stand in memory in full precision anyway.

    Returns:
        Positions, in ascending order.
    """
    kept: set[int] = set()
    seen: set[tuple[int, int]] = set()

    def need(index: int, at: int) -> None:
        if (index, at) in seen:
            return
        seen.add((index, at))
        value = values[index]
        if value.op in LEAVES or value.op == "mean":
            return
        if value.level < at and value.level and index not in memory and value.op not in CHEAP:
            kept.add(index)
            need(index, value.level)
        elif index not in memory or value.level == at:
            for argument in value.args:
                need(argument, at)

    pending = list(roots)
    for value in values:
        if value.op == "mean":
            pending.append((value.args[0], values[value.args[0]].level))
        for _, operand in value.parts:
            pending.append((operand, values[operand].level))
    for index, at in pending:
        need(index, at)
    return tuple(sorted(kept))


@lru_cache(maxsize=256)
def forward_step(recurrence: Recurrence, gather: bool) -> Step:
    """The forward step of a recurrence; made once."""
    return lower_step(recurrence.graph, gather)
