"""What is known of a recurrence before any size is, made once: what is hoisted, and the programs of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from elman.compile.backward import Backward, lower_backward
from elman.compile.forward import Forward, Group, group_products, lower_forward
from elman.compile.hoist import Hoisted, hoist
from elman.compile.program import Registers
from elman.equations import Graph, Recurrence, differentiate


@dataclass(frozen=True, slots=True)
class Plan:
    """How the reference engine runs a recurrence.

    Attributes:
        graph: one time step.
        hoisted: what is computed before the time loop.
        inside: states whose new value depends on a state; computed in the loop.
        read: states whose previous value the loop reads; the others among them are known before the loop.
        groups: the loop's matrix products.
        free: nodes from outside the loop that it reads, other than addends of groups.
        matrices: names of those that the loop multiplies with.
        forward: the program of a step.
        backward: the program of a backward step.
        register: the numbers that the programs use, by what they hold.
        numbers: (register, value) of the constants.
        leaves: (register, state) of the previous values.
    """

    graph: Graph
    hoisted: Hoisted
    inside: tuple[str, ...]
    read: tuple[str, ...]
    groups: tuple[Group, ...]
    free: tuple[int, ...]
    matrices: tuple[str, ...]
    forward: Forward
    backward: Backward
    register: Registers
    numbers: tuple[tuple[int, float], ...]
    leaves: tuple[tuple[int, str], ...]


@lru_cache(maxsize=256)
def plan(recurrence: Recurrence) -> Plan:
    """The plan of a recurrence."""
    graph, nodes = recurrence.graph, recurrence.graph.nodes
    groups = group_products(graph, recurrence.stages)
    inside = tuple(name for name in recurrence.states if nodes[graph.states[name]].phase == "step")
    leaves = [(index, node.name) for index, node in enumerate(nodes) if node.op == "state"]
    read = tuple(name for name in recurrence.states if name in inside or name in {leaf for _, leaf in leaves})

    addends = {addend for group in groups for addend in group.addends}
    outside = {argument for node in nodes if node.phase == "step" for argument in node.args}
    outside |= {graph.states[name] for name in read}
    outside = {index for index in outside if nodes[index].phase != "step"}
    free = tuple(sorted(index for index in outside - addends if nodes[index].op != "const"))
    wanted = tuple(group.addends for group in groups if group.varies)

    register = Registers()
    numbers = [(register("f", index), nodes[index].value) for index in sorted(outside) if nodes[index].op == "const"]
    # what arrives at a state that the loop neither computes nor reads goes past it
    looped = {name: new for name, new in graph.states.items() if name in read}
    derivative = (
        recurrence.derivative if len(looped) == len(graph.states) else differentiate(replace(graph, states=looped))
    )
    needed = set(derivative.saved) | {argument for _, argument, _ in derivative.weights}
    forward = lower_forward(graph, groups, needed, read, register)
    backward = lower_backward(derivative, groups, forward.runs, free, read, register)
    for k, group in enumerate(groups):  # registers that the loop fills whether or not a program reads them
        for key in ("addend", "down", "up", "gradients"):
            register(key, k)
        for j in range(len(group.matrices)):
            register("up", k, j)
    for name in read:
        register("new", name)
        register("cotangent", name)
    return Plan(
        graph,
        hoist(graph, wanted),
        inside,
        read,
        groups,
        free,
        tuple(dict.fromkeys(name for group in groups for name in group.matrices)),
        forward,
        backward,
        register,
        (*numbers, *backward.numbers),
        tuple((register("f", index), name) for index, name in leaves),
    )
