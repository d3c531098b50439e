"""One forward step as a program: which products run together, which pointwise work is one call, what is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from elman.compile.operations import Function, copy, pointwise
from elman.compile.program import ABSENT, Buffer, Instruction, Registers, Task, instruction, schedule
from elman.equations import Graph, Node, Stage


@dataclass(frozen=True, slots=True)
class Group:
    """Products of one stage with the same argument: one matrix product a step.

    Attributes:
        argument: node id of the vector.
        matrices: names, in the order in which they lie below one another.
        addends: for each a node from outside the time loop that is added to it; empty if there is none.
        results: for each the node that it is the value of: the product, or the sum with its addend.
        varies: the addends differ from step to step.
    """

    argument: int
    matrices: tuple[str, ...]
    addends: tuple[int, ...]
    results: tuple[int, ...]
    varies: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours in a group whose only use is the same pointwise function: one call.

    Attributes:
        group: its number.
        start: the first neighbour's place in the group.
        nodes: the function's node for each.
    """

    group: int
    start: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """The lowered forward step.

    Attributes:
        instructions: the program.
        buffers: its memory, without the states'.
        kept_states: states whose whole sequence backward needs.
        runs: pointwise functions on neighbours.
    """

    instructions: tuple[Instruction, ...]
    buffers: tuple[Buffer, ...]
    kept_states: frozenset[str]
    runs: tuple[Run, ...]


def group_products(graph: Graph, stages: Sequence[Stage]) -> tuple[Group, ...]:
    """Put the products of every stage side by side where they share the argument and the kind of addend."""
    nodes, user = graph.nodes, graph.sole_readers()
    groups: list[Group] = []
    for stage in stages:
        collected: dict[tuple[int, str], list[tuple[str, int, int]]] = {}  # (matrix, addend, result)
        for product in stage.products:
            result, addend, kind = product, -1, ""
            if (add := user.get(product)) is not None and nodes[add].op == "add":
                left, right = nodes[add].args
                other = left if right == product else right
                if nodes[other].phase != "step" and nodes[other].op != "const" and user.get(other) == add:
                    result, addend, kind = add, other, nodes[other].phase
            member = (nodes[product].name, addend, result)
            collected.setdefault((nodes[product].args[0], kind), []).append(member)
        for (argument, kind), members in collected.items():
            # neighbours with the same function can then run as one call
            functions = [nodes[user[result]].op if result in user else "" for _, _, result in members]
            order = sorted(range(len(members)), key=lambda i: (functions.index(functions[i]), i))
            groups.append(
                Group(
                    argument,
                    tuple(members[i][0] for i in order),
                    tuple(members[i][1] for i in order) if kind else (),
                    tuple(members[i][2] for i in order),
                    kind == "sequence",
                )
            )
    return tuple(groups)


def _find_runs(nodes: Sequence[Node], groups: Sequence[Group], user: dict[int, int]) -> tuple[Run, ...]:
    runs: list[Run] = []
    for number, group in enumerate(groups):
        start = 0
        while start < len(group.results):
            members: list[int] = []
            for result in group.results[start:]:
                function = user.get(result)
                if function is None or len(nodes[function].args) != 1 or nodes[function].op in ("mean", "product"):
                    break
                first = nodes[members[0]] if members else nodes[function]
                if (nodes[function].op, nodes[function].value) != (first.op, first.value):
                    break
                members.append(function)
            if len(members) > 1:
                runs.append(Run(number, start, tuple(members)))
            start += max(len(members), 1)
    return tuple(runs)


def fuse_products_into_sums(
    nodes: Sequence[Node], candidates: Collection[int], user: dict[int, int]
) -> dict[int, tuple[int, int]]:
    """Sums that take in an elementwise product: sum node to (the other term, the product node).

    Args:
        nodes: of a graph.
        candidates: ids of sums and products that may be fused.
        user: the only reader of nodes that have only one.
    """
    fused: dict[int, tuple[int, int]] = {}
    for index in candidates:
        node = nodes[index]
        if node.op != "add" or node.args[0] == node.args[1]:
            continue
        for other, product in (node.args, node.args[::-1]):
            operands = nodes[product].args
            if (
                nodes[product].op == "mul"
                and product in candidates
                and user.get(product) == index
                and all(nodes[each].op != "const" for each in (other, *operands))
            ):
                fused[index] = (other, product)
                break
    return fused


def lower_forward(
    graph: Graph, groups: Sequence[Group], needed: Collection[int], states: Sequence[str], register: Registers
) -> Forward:
    """Write the program of a forward step.

    Args:
        graph: one time step.
        groups: its products.
        needed: nodes whose value backward reads.
        states: those whose new value depends on a state.
        register: where the numbers come from: ("f", node) a value, ("new", state) the memory of a state's new value,
            ("addend", group), ("down", group) the group's matrices transposed.
    """
    nodes, user = graph.nodes, graph.sole_readers()
    runs = _find_runs(nodes, groups, user)
    kept_states = {nodes[index].name for index in needed if nodes[index].op == "state"}
    covered = {result for group in groups for result in group.results} | {node for run in runs for node in run.nodes}
    plain = [
        index
        for index, node in enumerate(nodes)
        if node.phase == "step" and node.args and node.op != "product" and index not in covered
    ]
    fused = fuse_products_into_sums(
        nodes, [index for index in plain if index not in needed or nodes[index].op == "add"], user
    )
    inside = {product for _, product in fused.values()}
    plain = [index for index in plain if index not in inside]

    # where values live must be known before any instruction names them
    buffers: list[Buffer] = []
    places: dict[int, int] = {}
    for name in reversed(states):
        index = graph.states[name]
        if index in plain and nodes[index].width == "hidden":
            places[index] = register("new", name)
            register.alias(places[index], "f", index)
            if index in needed:
                kept_states.add(name)
    for index in plain:
        if index in needed and index not in places:
            places[index] = register("f", index)
            buffers.append(Buffer(places[index], 0 if nodes[index].width == "row" else 1, (), True))

    tasks: list[Task] = []
    for number, group in enumerate(groups):
        whole = register("group", number)
        slices = [(register("f", result), i, i + 1) for i, result in enumerate(group.results)]
        for j, run in enumerate(runs):
            if run.group == number:
                slices.append((register("before", j), run.start, run.start + len(run.nodes)))
        buffers.append(Buffer(whole, len(group.results), tuple(slices), any(r in needed for r in group.results)))
        operands = [register("f", group.argument), register("down", number)]
        if group.addends:
            operands.insert(0, register("addend", number))
        product: Function = torch.addmm if group.addends else torch.mm
        tasks.append(Task(instruction(product, operands, whole, whole), (whole, *(part[0] for part in slices))))
    for j, run in enumerate(runs):
        whole = register("run", j)
        slices = [(register("f", node), i, i + 1) for i, node in enumerate(run.nodes)]
        buffers.append(Buffer(whole, len(run.nodes), tuple(slices), any(node in needed for node in run.nodes)))
        call = instruction(pointwise(nodes[run.nodes[0]]), [register("before", j)], whole, whole)
        tasks.append(Task(call, (whole, *(part[0] for part in slices))))
    for index in plain:
        function, arguments = pointwise(nodes[index]), list(nodes[index].args)
        if index in fused:
            other, multiplied = fused[index]
            function, arguments = torch.addcmul, [other, *nodes[multiplied].args]
        own = register("f", index)
        call = instruction(function, [register("f", a) for a in arguments], places.get(index, ABSENT), own)
        tasks.append(Task(call, (own,)))
    for name in states:
        value, new = register("f", graph.states[name]), register("new", name)
        if value != new:
            tasks.append(Task(instruction(copy, [value], new, new), (new,)))
    return Forward(schedule(tasks), tuple(buffers), frozenset(kept_states), runs)
