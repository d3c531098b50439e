"""From statements and roles to the graph of one time step, with every width checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elman.equations.graph import Builder, Graph, keep
from elman.equations.intermediates import Intermediates
from elman.equations.names import Names
from elman.equations.parse import Instruction, Program
from elman.equations.scan import LARGEST, Place
from elman.equations.sums import reorder

NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Built:
    """A graph and what was learnt while building it.

    Attributes:
        graph: the graph of one step.
        square: inputs that are used elementwise, so that their width is the hidden one.
        matrix_widths: the width of the argument of each matrix that the graph uses.
        gains: vectors that are the gain of a norm.
    """

    graph: Graph
    square: frozenset[str]
    matrix_widths: Mapping[str, str]
    gains: frozenset[str]


def build(program: Program, names: Names) -> Built:
    """Build the graph of a recurrence.

    Args:
        program: the parsed text.
        names: the roles of its names.

    Returns:
        The graph, reordered and without what no state needs.

    Raises:
        EquationError: widths do not fit, a number stands where a vector must, or arithmetic on numbers fails.
    """
    # Whether an input has the hidden width is known only when every line was seen: hence twice.
    first = _Evaluator(program, names, None)
    first.run()
    evaluator = _Evaluator(program, names, frozenset(first.elementwise))
    states = evaluator.run()
    builder = evaluator.builder
    nodes, moved = keep(builder.nodes, states.values())
    graph = reorder(Graph(nodes, {name: moved[new] for name, new in states.items()}, names.output))
    used = {node.name for node in graph.nodes if node.op == "product"}
    return Built(
        graph,
        frozenset(evaluator.elementwise),
        {name: width for name, (width, _) in evaluator.matrix_widths.items() if name in used},
        frozenset(evaluator.gains),
    )


def build_intermediates(program: Program, names: Names) -> Intermediates:
    """The names that a text assigns and that are no states, a name for a mere number left out.

    Args:
        program: the parsed text, of which :func:`build` has made a graph.
        names: the roles of its names.

    Returns:
        Their nodes, none of which is shared out, reordered or dropped: what a name stands for is what was written.
    """
    first = _Evaluator(program, names, None)
    first.run()
    evaluator = _Evaluator(program, names, frozenset(first.elementwise))
    evaluator.run()
    nodes = tuple(evaluator.builder.nodes)
    found = {name: index for name, index in evaluator.values.items() if name not in names.states}
    return Intermediates(nodes, {name: index for name, index in found.items() if nodes[index].width})


@dataclass
class _Evaluator:
    """Runs the postfix programs on node ids."""

    program: Program
    names: Names
    square: frozenset[str] | None  # inputs of hidden width; None while they are being found
    builder: Builder = field(default_factory=Builder)
    elementwise: set[str] = field(default_factory=set)
    matrix_widths: dict[str, tuple[str, Place]] = field(default_factory=dict)
    gains: set[str] = field(default_factory=set)
    values: dict[str, int] = field(default_factory=dict)  # of the names that are assigned so far

    def run(self) -> dict[str, int]:
        for statement in self.program.statements:
            stack: list[int] = []
            for instruction in statement.code:
                self._step(instruction, stack)
            self.values[statement.target] = stack.pop()
        for name in self.names.states:
            self._check_state(name)
        return {name: self.values[name] for name in self.names.states}

    def _check_state(self, name: str) -> None:
        place = [s.place for s in self.program.statements if s.target == name][-1]
        if self.builder.nodes[self.values[name]].width == "":
            self.program.source.refuse(f"the state {name} is a number, not a vector", place, "a vector for a state")
        self._elementwise(self.values[name])

    def _step(self, instruction: Instruction, stack: list[int]) -> None:
        match instruction.kind:
            case "number":
                stack.append(self.builder.const(instruction.value))
            case "name":
                stack.append(self._name(instruction.name))
            case "product":
                stack.append(self._product(instruction, stack.pop()))
            case "call" if instruction.name == "norm":
                bias, gain, vector = stack.pop(), stack.pop(), stack.pop()
                stack.append(self._norm(instruction, vector, gain, bias))
            case _:
                op = instruction.name or instruction.kind
                count = 2 if op in ("add", "sub", "mul", "div", "maximum", "minimum") else 1
                args = tuple(stack[-count:])
                del stack[-count:]
                stack.append(self._apply(instruction, op, *args))

    def _name(self, name: str) -> int:
        if name in self.values:
            return self.values[name]
        if name in self.names.states:
            return self.builder.leaf("state", name=name)
        if name == "x" or name in self.names.inputs:
            own = "input" if name == "x" else name
            phase = "sequence" if name == "x" else "once"
            return self.builder.leaf(
                "input", name=name, width="hidden" if name in (self.square or ()) else own, phase=phase
            )
        return self.builder.leaf("vector", name=name, phase="once")

    def _product(self, instruction: Instruction, argument: int) -> int:
        name, place = instruction.name, instruction.place
        width = self.builder.nodes[argument].width
        if width == "":
            self.program.source.refuse(f"{name} @ is followed by a number", place, "a vector on the right of @")
        known, first = self.matrix_widths.setdefault(name, (width, place))
        if known != width and self.square is not None:
            self.program.source.refuse(
                f"{name} is applied to a vector of {_words(width)} width here "
                f"and of {_words(known)} width on line {first.line}",
                place,
                "arguments of one width for a matrix; another name for the second matrix",
            )
        return self.builder.product("product", name, argument)

    def _norm(self, instruction: Instruction, vector: int, gain: int, bias: int) -> int:
        """Layer normalisation (Ba et al. 2016): gain * (v - mean) / sqrt(variance + eps) + bias."""
        if self.builder.nodes[vector].width == "":
            self.program.source.refuse("norm of a number", instruction.place, "norm(v, gain, bias) of a vector v")
        if self.builder.nodes[gain].op == "vector":
            self.gains.add(self.builder.nodes[gain].name)
        for each in (vector, gain, bias):
            self._elementwise(each)
        apply = self.builder.apply
        centred = apply("sub", vector, apply("mean", vector))
        variance = apply("mean", apply("mul", centred, centred))
        deviation = apply("sqrt", apply("add", variance, self.builder.const(NORM_EPSILON)))
        return apply("add", apply("mul", apply("div", centred, deviation), gain), bias)

    def _apply(self, instruction: Instruction, op: str, *args: int) -> int:
        for argument in args:
            self._elementwise(argument)
        try:
            result = self.builder.apply(op, *args, value=instruction.value)
            in_range = abs(self.builder.nodes[result].value) <= LARGEST
        except (ArithmeticError, ValueError):
            in_range = False
        if not in_range:
            self.program.source.refuse(
                f"{op} of these numbers is no number of the language",
                instruction.place,
                f"numbers with a finite result of magnitude up to {LARGEST:g}",
            )
        return result

    def _elementwise(self, argument: int) -> None:
        node = self.builder.nodes[argument]
        if node.op == "input":
            self.elementwise.add(node.name)


def _words(width: str) -> str:
    return {"input": "the input's", "hidden": "the hidden"}.get(width, f"{width}'s")
