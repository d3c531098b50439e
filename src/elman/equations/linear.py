"""Which states are linear recurrences."""

from __future__ import annotations

from elman.equations.graph import Graph


def linear_states(graph: Graph) -> tuple[str, ...]:
    """The states whose update is `a * s + b` with a and b free of every state.

    Such a state may run as a parallel scan over time. The form is looked for elementwise, through sums,
    differences, signs, products and quotients. An LSTM's c has not got it: its gates read h, which comes from
    c. Neither has a state that does not read itself, nor `W @ s`, which mixes the units.

    Args:
        graph: one step.

    Returns:
        The names, in the order of the states.
    """
    return tuple(name for name in graph.states if _is_linear(graph, name))


def _is_linear(graph: Graph, name: str) -> bool:
    free, linear, other = 0, 1, 2
    degree: list[int] = []
    for node in graph.nodes:
        args = [degree[a] for a in node.args]
        if node.phase != "step":
            degree.append(free)
        elif node.op == "state":
            degree.append(linear if node.name == name else other)
        elif node.op in ("add", "sub", "neg"):
            degree.append(max(args))
        elif node.op == "mul":
            degree.append(min(sum(args), other))
        elif node.op == "div" and args[1] == free:
            degree.append(args[0])
        else:
            degree.append(other)
    return degree[graph.states[name]] == linear
