"""A mask on what the states send into products."""

from __future__ import annotations

from elman.equations.graph import Builder, Graph, keep


def masked(graph: Graph, name: str) -> Graph:
    """Multiply the argument of every product that depends on a state by a constant input.

    Args:
        graph: one step.
        name: of the mask, of hidden width.

    Returns:
        The graph with `mask * argument` in these products.
    """
    builder = Builder()
    moved: list[int] = []
    for node in graph.nodes:
        args = [moved[argument] for argument in node.args]
        if node.op == "product" and node.phase == "step":
            mask = builder.leaf("input", name=name, phase="once")
            moved.append(builder.product("product", node.name, builder.apply("mul", mask, args[0])))
        elif node.op == "product":
            moved.append(builder.product("product", node.name, args[0]))
        elif args:
            moved.append(builder.apply(node.op, *args, value=node.value))
        else:
            moved.append(builder.leaf(node.op, name=node.name, value=node.value, width=node.width, phase=node.phase))
    nodes, kept = keep(builder.nodes, [moved[new] for new in graph.states.values()])
    return Graph(nodes, {state: kept[moved[new]] for state, new in graph.states.items()}, graph.output)
