"""Sums in the order of their phases: what does not depend on a state is added up outside the time loop."""

from __future__ import annotations

from elman.equations.graph import PHASES, Builder, Graph, keep

_SUMS = ("add", "sub", "neg")


def reorder(graph: Graph) -> Graph:
    """Flatten every sum and add its terms phase by phase.

    `Wx @ x + Wh @ h + b` becomes `(b + Wx @ x) + Wh @ h`: the bracket is known for all steps at once and the
    term of the step is the last operand. A sum that is read more than once stays whole: the graph cannot grow.

    Args:
        graph: any graph.

    Returns:
        A graph of the same values, up to rounding.
    """
    builder = Builder()
    moved: dict[int, int] = {}
    reader = graph.sole_readers()
    terms: dict[int, list[tuple[bool, int]]] = {}  # (negative, new id), of the sums that one other sum takes in

    def terms_of(argument: int, negative: bool) -> list[tuple[bool, int]]:
        if argument not in terms:
            return [(negative, moved[argument])]
        inner = terms.pop(argument)
        return [(not sign, term) for sign, term in inner] if negative else inner

    for index, node in enumerate(graph.nodes):
        if node.op not in _SUMS:
            if node.op == "product":
                moved[index] = builder.product("product", node.name, moved[node.args[0]])
            elif node.args:
                moved[index] = builder.apply(node.op, *(moved[a] for a in node.args), value=node.value)
            else:
                moved[index] = builder.leaf(
                    node.op, name=node.name, value=node.value, width=node.width, phase=node.phase
                )
            continue
        collected = terms_of(node.args[0], node.op == "neg")
        if len(node.args) == 2:
            collected.extend(terms_of(node.args[1], node.op == "sub"))
        if index in reader and graph.nodes[reader[index]].op in _SUMS:
            terms[index] = collected
        else:
            moved[index] = _add_up(builder, collected)
    nodes, kept = keep(builder.nodes, [moved[new] for new in graph.states.values()])
    return Graph(nodes, {name: kept[moved[new]] for name, new in graph.states.items()}, graph.output)


def _add_up(builder: Builder, terms: list[tuple[bool, int]]) -> int:
    """The sum of signed terms, numbers first, then phase by phase."""

    def rank(term: tuple[bool, int]) -> int:
        node = builder.nodes[term[1]]
        return -1 if node.op == "const" else PHASES.index(node.phase)

    groups = [[term for term in terms if rank(term) == phase] for phase in range(-1, len(PHASES))]
    total: tuple[bool, int] | None = None
    for group in groups:
        positive = [term for negative, term in group if not negative]
        negative = [term for negative, term in group if negative]
        part: tuple[bool, int] | None = None
        for sign, term in [*((False, t) for t in positive), *((True, t) for t in negative)]:
            part = (sign, term) if part is None else _combine(builder, part, (sign, term))
        if part is not None:
            total = part if total is None else _combine(builder, total, part)
    assert total is not None  # a sum has terms
    return builder.apply("neg", total[1]) if total[0] else total[1]


def _combine(builder: Builder, left: tuple[bool, int], right: tuple[bool, int]) -> tuple[bool, int]:
    """The signed sum of two signed terms, the right one as the last operand."""
    if left[0] == right[0]:
        return left[0], builder.apply("add", left[1], right[1])
    if right[0]:
        return False, builder.apply("sub", left[1], right[1])
    return False, builder.apply("add", builder.apply("neg", left[1]), right[1])
