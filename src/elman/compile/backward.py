"""One backward step as a program, from the symbolic derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from elman.compile.forward import Group, Run, fuse_products_into_sums
from elman.compile.operations import Function, copy, pointwise, sigmoid_backward, tanh_backward
from elman.compile.program import ABSENT, Buffer, Instruction, Registers, Task, instruction, schedule
from elman.equations import Derivative, Node, sole_readers


@dataclass(frozen=True, slots=True)
class Backward:
    """The lowered backward step.

    Attributes:
        instructions: the program.
        buffers: its memory.
        numbers: (register, value) of the constants.
        carries: (state, register) of the gradients for the previous values.
        free: (node outside the loop, register of its gradient's buffer).
        groups: for each group of products how many of its members get a gradient.
    """

    instructions: tuple[Instruction, ...]
    buffers: tuple[Buffer, ...]
    numbers: tuple[tuple[int, float], ...]
    carries: tuple[tuple[str, int], ...]
    free: tuple[tuple[int, int], ...]
    groups: tuple[int, ...]


@dataclass(slots=True)
class _Call:
    """How a node of the derivative is computed: a function of nodes, or a sum with products."""

    function: Function
    operands: tuple[int, ...]


@dataclass(slots=True)
class _Sum:
    """Terms that are added, then groups' gradients times the groups' matrices, then single products."""

    terms: list[int]
    groups: list[int]
    singles: list[tuple[int, int]]  # (group, member)


@dataclass
class _Lowering:
    derivative: Derivative
    groups: Sequence[Group]
    runs: Sequence[Run]
    free: Sequence[int]
    register: Registers
    members: dict[tuple[int, int], int] = field(default_factory=dict)  # (group, member): gradient node
    targets: dict[int, list[int]] = field(default_factory=dict)  # node: registers that must receive its value
    kept: set[int] = field(default_factory=set)  # registers of memory that no later step overwrites
    buffers: list[Buffer] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.derivative.nodes

    def lower(self, states: Sequence[str]) -> Backward:
        self._find_members()
        calls = self._calls()
        fused = self._fuse_runs(calls)
        free = self._claim_free()
        numbers = self._place(calls, fused, states)
        carries = tuple((name, self.derivative.states[name]) for name in states if name in self.derivative.states)
        self._emit(calls, fused, [node for _, node in carries])
        return Backward(
            schedule(self.tasks),
            tuple(self.buffers),
            numbers,
            tuple((name, self.register("d", node)) for name, node in carries),
            tuple((outside, self.targets[node][0]) for outside, node in free),
            tuple(sum(k == number for k, _ in self.members) for number in range(len(self.groups))),
        )

    def _find_members(self) -> None:
        """Give the gradient of every product its place beside its group's other gradients."""
        for matrix, argument, gradient in self.derivative.weights:
            for k, group in enumerate(self.groups):
                if group.argument == argument and matrix in group.matrices:
                    self.members[k, group.matrices.index(matrix)] = gradient
        for k, group in enumerate(self.groups):
            slices = [(self.register("gradient", k, j), j, j + 1) for j in range(len(group.matrices))]
            for r, run in enumerate(self.runs):
                if run.group == k:
                    slices.append((self.register("run gradient", r), run.start, run.start + len(run.nodes)))
            whole = self.register("gradients", k)
            self.buffers.append(Buffer(whole, len(group.matrices), tuple(slices), True))
            self.kept.update(part[0] for part in slices)
        for (k, j), gradient in self.members.items():
            self.targets.setdefault(gradient, []).append(self.register("gradient", k, j))

    def _claim_free(self) -> list[tuple[int, int]]:
        """Memory for the gradients of what the loop reads from outside, where nothing holds them yet."""
        free = [
            (outside, self.derivative.boundary[outside]) for outside in self.free if outside in self.derivative.boundary
        ]
        for outside, node in free:
            held = self.targets.setdefault(node, [])
            lasting = [target for target in held if target in self.kept]
            if lasting:
                held.remove(lasting[0])
                held.insert(0, lasting[0])
                continue
            place = self.register("outside", outside)
            self.buffers.append(Buffer(place, 1, (), True))
            self.kept.add(place)
            held.insert(0, place)
        return free

    def _calls(self) -> dict[int, _Call | _Sum]:
        """How every node is computed, with activation derivatives and sums of products recognised."""
        nodes = self.nodes
        derivative = self.derivative
        user = sole_readers(nodes, [*derivative.states.values(), *derivative.boundary.values(), *self.members.values()])
        taken_in = {  # sums that are a term of the one sum that reads them
            index
            for index, node in enumerate(nodes)
            if node.op == "add" and index in user and nodes[user[index]].op == "add"
        }
        calls: dict[int, _Call | _Sum] = {}
        for index, node in enumerate(nodes):
            if node.args:
                calls[index] = self._activation(node) or _Call(_function_of(node), node.args)
        for index, node in enumerate(nodes):
            if node.op == "product_transposed" or (node.op == "add" and index not in taken_in):
                terms, pending = [], [index]
                while pending:
                    term = pending.pop()
                    if nodes[term].op == "add" and (term == index or term in taken_in):
                        pending.extend(reversed(nodes[term].args))
                    else:
                        terms.append(term)
                transposed = [t for t in terms if nodes[t].op == "product_transposed" and terms.count(t) == 1]
                if transposed:
                    calls[index] = self._sum([t for t in terms if t not in transposed], transposed)
        plain = [i for i, call in calls.items() if isinstance(call, _Call) and call.function in (torch.add, torch.mul)]
        for index, (other, product) in fuse_products_into_sums(nodes, plain, user).items():
            calls[index] = _Call(torch.addcmul, (other, *nodes[product].args))
        return calls

    def _activation(self, node: Node) -> _Call | None:
        """g * (s * (1 - s)) and g * (1 - t * t) are one call each."""
        nodes = self.nodes
        if node.op != "mul":
            return None
        for gradient, slope in (node.args, node.args[::-1]):
            factor = nodes[slope]
            if factor.op == "mul":
                for value, rest in (factor.args, factor.args[::-1]):
                    if self._is_one_minus(rest, value):
                        return _Call(sigmoid_backward, (gradient, value))
            elif factor.op == "sub" and self._is_one_minus(slope, factor.args[1]):
                square = nodes[factor.args[1]]
                if square.op == "mul" and square.args[0] == square.args[1]:
                    return _Call(tanh_backward, (gradient, square.args[0]))
        return None

    def _is_one_minus(self, index: int, value: int) -> bool:
        node = self.nodes[index]
        if node.op != "sub" or node.args[1] != value or self.nodes[value].width != "hidden":
            return False
        one = self.nodes[node.args[0]]
        return one.op == "const" and one.value == 1.0

    def _sum(self, terms: list[int], transposed: list[int]) -> _Sum:
        """Let the transposed products of a whole group be one product."""
        waiting = {(self.nodes[term].name, self.nodes[term].args[0]) for term in transposed}
        whole: list[int] = []
        for k, group in enumerate(self.groups):
            pairs = {(matrix, self.members.get((k, j), ABSENT)) for j, matrix in enumerate(group.matrices)}
            if pairs <= waiting:
                whole.append(k)
                waiting -= pairs
        singles = [key for key, gradient in self.members.items() if (self._matrix(key), gradient) in waiting]
        first = {(self._matrix(key), self.members[key]): key for key in reversed(singles)}
        return _Sum(terms, whole, list(first.values()))

    def _matrix(self, key: tuple[int, int]) -> str:
        return self.groups[key[0]].matrices[key[1]]

    def _fuse_runs(self, calls: dict[int, _Call | _Sum]) -> set[int]:
        """Let the activation derivatives of a run be one call; returns the nodes that this computes."""
        fused: set[int] = set()
        for r, run in enumerate(self.runs):
            keys = [(run.group, run.start + j) for j in range(len(run.nodes))]
            gradients = [self.members.get(key, ABSENT) for key in keys]
            found = [calls.get(gradient) for gradient in gradients]
            functions = {call.function if isinstance(call, _Call) else None for call in found}
            if not functions <= {sigmoid_backward} and not functions <= {tanh_backward}:
                continue
            arriving = [call.operands for call in found if isinstance(call, _Call)]
            values = [int(self.nodes[value].value) for _, value in arriving]
            if values != list(run.nodes) or fused & set(gradients) or len(set(gradients)) < len(gradients):
                continue
            whole = self.register("arriving", r)
            slices = [(self.register("arriving", r, j), j, j + 1) for j in range(len(run.nodes))]
            self.buffers.append(Buffer(whole, len(run.nodes), tuple(slices), False))
            for (gradient, _), part in zip(arriving, slices, strict=True):
                self.targets.setdefault(gradient, []).append(part[0])
            places = [self.register("gradient", *key) for key in keys]
            for gradient, place in zip(gradients, places, strict=True):
                self.targets[gradient].remove(place)
                self.targets[gradient].insert(0, place)
            out = self.register("run gradient", r)
            function = functions.pop()
            assert function is not None
            call = instruction(function, [whole, self.register("run", r)], out, out)
            self.tasks.append(Task(call, (out, *places), tuple(part[0] for part in slices)))
            fused.update(gradients)
        return fused

    def _place(
        self, calls: dict[int, _Call | _Sum], fused: set[int], states: Sequence[str]
    ) -> tuple[tuple[int, float], ...]:
        """Decide where every node's value is, before any instruction names it."""
        numbers: list[tuple[int, float]] = []
        carried = set(self.derivative.states.values())
        for index, node in enumerate(self.nodes):
            if node.op == "saved":
                self.register.alias(self.register("f", int(node.value)), "d", index)
            elif node.op == "cotangent":
                self.register.alias(self.register("cotangent", node.name), "d", index)
            elif node.op == "const":
                numbers.append((self.register("d", index), node.value))
            elif index in fused:
                self.register.alias(self.targets[index][0], "d", index)
            elif node.width == "hidden" and self.targets.get(index):
                # a later step would overwrite a carried value in memory that is not kept
                usable = [t for t in self.targets[index] if t in self.kept or index not in carried]
                if usable:
                    self.register.alias(usable[0], "d", index)
        return tuple(numbers)

    def _emit(self, calls: dict[int, _Call | _Sum], fused: set[int], carried: list[int]) -> None:
        pending = [*carried, *self.targets]
        seen: set[int] = set()
        while pending:
            index = pending.pop()
            if index in seen:
                continue
            seen.add(index)
            own = self.register("d", index)
            targets = self.targets.get(index, [])
            for target in targets:
                if target != own:
                    self.tasks.append(Task(instruction(copy, [own], target, target), (target,)))
            if index in fused or index not in calls:
                continue
            call, out = calls[index], own if own in targets else ABSENT
            if isinstance(call, _Call):
                pending.extend(call.operands)
                operands = [self.register("d", operand) for operand in call.operands]
                self.tasks.append(Task(instruction(call.function, operands, out, own), (own,)))
            else:
                pending.extend(call.terms)
                self._emit_sum(index, call, out, own)

    def _emit_sum(self, index: int, call: _Sum, out: int, own: int) -> None:
        steps: list[tuple[Function, list[int], tuple[int, ...]]] = []
        total = self.register("d", call.terms[0]) if call.terms else ABSENT
        for term in call.terms[1:]:
            steps.append((torch.add, [self.register("d", term)], ()))
        for k in call.groups:
            parts = tuple(self.register("gradient", k, j) for j in range(len(self.groups[k].matrices)))
            steps.append((torch.addmm, [self.register("gradients", k), self.register("up", k)], parts))
        for k, j in call.singles:
            steps.append((torch.addmm, [self.register("gradient", k, j), self.register("up", k, j)], ()))
        for number, (function, operands, also) in enumerate(steps):
            last = number == len(steps) - 1
            result = own if last else self.register("partial", index, number)
            if total == ABSENT:
                function = torch.mm
            else:
                operands = [total, *operands]
            self.tasks.append(Task(instruction(function, operands, out if last else ABSENT, result), (result,), also))
            total = result


def _function_of(node: Node) -> Function:
    """The function of a pointwise node; products are computed as part of sums."""
    return torch.mm if node.op == "product_transposed" else pointwise(node)


def lower_backward(
    derivative: Derivative,
    groups: Sequence[Group],
    runs: Sequence[Run],
    free: Sequence[int],
    states: Sequence[str],
    register: Registers,
) -> Backward:
    """Write the program of a backward step.

    Args:
        derivative: of the step.
        groups: the products as the forward program groups them.
        runs: the pointwise calls of the forward program that cover neighbours.
        free: nodes outside the loop whose gradients are wanted, other than addends of groups.
        states: those that the loop reads.
        register: the forward program's; new numbers are ("d", node) a value, ("cotangent", state),
            ("gradients", group), ("up", group) the group's matrices, ("up", group, member) one of them.
    """
    return _Lowering(derivative, groups, runs, free, register).lower(states)
