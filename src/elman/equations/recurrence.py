"""A recurrence: its text and everything that is derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

from elman.equations.build import build, build_intermediates
from elman.equations.clamp import clamp_names, clamped
from elman.equations.cost import Cost, cost_of
from elman.equations.derivative import Derivative, differentiate
from elman.equations.graph import Graph
from elman.equations.head import head_of
from elman.equations.intermediates import Intermediates
from elman.equations.linear import linear_states
from elman.equations.mask import masked
from elman.equations.names import RESERVED, names_of
from elman.equations.parse import FUNCTIONS, parse
from elman.equations.scan import is_plain_name
from elman.equations.stages import Stage, stages_of
from elman.errors import MisuseError


@dataclass(frozen=True, init=False)
class Recurrence:
    """One time step of a recurrent network, from its equations.

    Two recurrences are equal when their equations (comments and spaces aside), outputs and inputs are.

    Args:
        text: the equations, a line each. Comments before the first one may say a title, a citation, and
            `# inputs: v, w` and `# output: c`, which hold where the arguments of these names are not given.
        output: the state that leaves the cell; None for what the text says, else the last one assigned.
        inputs: names of constant inputs, given once a sequence; empty for what the text says.
        name: a name to print.

    Attributes:
        equations: the text as it was given.
        name: the name that was given, else "".
        title, citation: the first two comments at the head, else "".
        inputs: the constant inputs, each with its own width.
        states: the states, in the order of first assignment.
        output: the state that leaves the cell.
        matrices: parameters on the left of @, in the order of first use.
        vectors: the other parameters, in the order of first use.
        gains: the vectors that multiply a normalised value and so start at one.
        square: inputs that are used elementwise: their width must equal the hidden one.
        graph: the graph of one step.

    Raises:
        EquationError: the text is no recurrence; the error says where and what is allowed.
    """

    canonical: str = field(repr=False)
    inputs: tuple[str, ...]
    output: str
    equations: str = field(compare=False)
    name: str = field(compare=False)
    title: str = field(compare=False, repr=False)
    citation: str = field(compare=False, repr=False)
    states: tuple[str, ...] = field(compare=False, repr=False)
    matrices: tuple[str, ...] = field(compare=False, repr=False)
    vectors: tuple[str, ...] = field(compare=False, repr=False)
    gains: frozenset[str] = field(compare=False, repr=False)
    square: frozenset[str] = field(compare=False, repr=False)
    graph: Graph = field(compare=False, repr=False)
    _widths: tuple[tuple[str, str], ...] = field(compare=False, repr=False)  # parameter, width of its rows or ""

    def __init__(self, text: str, output: str | None = None, inputs: Sequence[str] = (), name: str = ""):
        program = parse(text)
        head = head_of(text)
        names = names_of(program, inputs or head.inputs, head.output if output is None else output)
        built = build(program, names)
        live = {node.name for node in built.graph.nodes if node.op in ("vector", "product")}
        self._set(
            canonical=program.canonical,
            inputs=names.inputs,
            output=names.output,
            equations=text,
            name=name,
            title=head.title,
            citation=head.citation,
            states=names.states,
            matrices=tuple(matrix for matrix in names.matrices if matrix in live),
            vectors=tuple(vector for vector in names.vectors if vector in live),
            gains=built.gains & live,
            square=built.square,
            graph=built.graph,
            _widths=tuple((each, built.matrix_widths.get(each, "")) for each in names.parameters if each in live),
        )

    def _set(self, **values: object) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def _with(self, **values: object) -> Recurrence:
        """A copy in which some fields are others."""
        other = object.__new__(Recurrence)
        other._set(**{each.name: getattr(self, each.name) for each in fields(self)})
        other._set(**values)
        return other

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The rounds of products with states and the pointwise work after each."""
        return stages_of(self.graph.nodes)

    @cached_property
    def linear_states(self) -> tuple[str, ...]:
        """The states whose update is `a * s + b` with a and b free of every state."""
        return linear_states(self.graph)

    @cached_property
    def intermediates(self) -> Intermediates:
        """The names that the equations assign and that are no states, such as gates, and how each is computed.

        A name for a number is none, nor is one that reads a parameter which no state needs and which so does not exist.
        """
        program = parse(self.equations)
        written = {instruction.name for statement in program.statements for instruction in statement.code}
        found = build_intermediates(
            program, names_of(program, [name for name in self.inputs if name in written], self.output)
        )
        known = {*self.matrices, *self.vectors}
        lacking: set[int] = set()
        for index, node in enumerate(found.nodes):
            unknown = node.op in ("vector", "product") and node.name not in known
            if unknown or lacking.intersection(node.args):
                lacking.add(index)
        return found.only(name for name, index in found.names.items() if index not in lacking)

    @property
    def taken(self) -> frozenset[str]:
        """The names that a further input cannot have."""
        return frozenset({*self.states, *self.inputs, *self.matrices, *self.vectors, *RESERVED, *FUNCTIONS})

    @cached_property
    def derivative(self) -> Derivative:
        """The backward step."""
        return differentiate(self.graph)

    def parameters(self, /, input: int, hidden: int, **widths: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter.

        Args:
            input: the width of x.
            hidden: the width of every state.
            **widths: the width of each constant input that a matrix is applied to.

        Returns:
            By name, in the order of first use: matrices [hidden, width], vectors [hidden].

        Raises:
            MisuseError: a size is missing, not positive or of no input, or an input that is used elementwise
                is not as wide as the hidden state.
        """
        sizes = self.sizes(input, hidden, **widths)
        return {name: (sizes["hidden"], sizes[width]) if width else (sizes["hidden"],) for name, width in self._widths}

    def sizes(self, /, input: int, hidden: int, **widths: int) -> dict[str, int]:
        """The number of elements of each width, checked; arguments and errors as of :meth:`parameters`."""
        sizes = {"hidden": hidden, "input": input, **widths}
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise MisuseError(f"The width {name} is {size!r}; it must be a whole number of at least 1.")
        for name in widths:
            if name not in self.inputs:
                known = ", ".join(self.inputs) or "none"
                raise MisuseError(f"This recurrence has no constant input {name!r}; its constant inputs: {known}.")
        for name in ("x", *self.inputs):
            size = input if name == "x" else widths.get(name, hidden)
            if name in self.square and size != hidden:
                raise MisuseError(
                    f"This recurrence uses {name} elementwise, so its width must equal the hidden width: "
                    f"{size} is not {hidden}."
                )
            if name != "x" and name not in self.square and name not in widths:
                raise MisuseError(f"The width of the constant input {name} is missing: give {name}=...")
        return sizes

    def cost(self, /, input: int, hidden: int, **widths: int) -> Cost:
        """What a step costs; arguments and errors as of :meth:`parameters`."""
        shapes = self.parameters(input, hidden, **widths).values()
        numbers = sum(shape[0] * (shape[1] if len(shape) == 2 else 1) for shape in shapes)
        return cost_of(self.graph, self.derivative, self.sizes(input, hidden, **widths), numbers)

    def with_recurrent_mask(self, name: str = "mask") -> Recurrence:
        """The same recurrence with a mask on everything that a state sends into a product.

        Variational dropout (Gal and Ghahramani 2016, A theoretically grounded application of dropout in
        recurrent neural networks, arXiv:1512.05287): the mask is drawn once a sequence, used at every step.

        Args:
            name: of the mask, a further constant input of hidden width.

        Returns:
            A recurrence whose graph reads `W @ (mask * v)` where v depends on a state; the text is unchanged.

        Raises:
            MisuseError: the name is taken or cannot name an input.
        """
        if name in self.taken or not is_plain_name(name):
            raise MisuseError(f"The mask cannot be called {name!r}: the name is taken or not plain. Give another name.")
        return self._with(inputs=(*self.inputs, name), square=self.square | {name}, graph=masked(self.graph, name))

    def with_clamp(self, names: Mapping[str, tuple[str, str]] | Sequence[str]) -> Recurrence:
        """The same recurrence with some of its values held, wholly or in part.

        A value v becomes `keep * v + put` as soon as its last line has run: what stands behind that line and the next
        step read the held value. A unit with keep 1 and put 0 is left alone, one with keep 0 is at put always.

        Args:
            names: of states and other assigned values. Of a mapping, the values are the names of the two further
                constant inputs of hidden width; a sequence leaves these to :meth:`clamp_names`.

        Returns:
            A recurrence with one more line for every name and two more constant inputs, in the order of the names.

        Raises:
            MisuseError: no line assigns such a name, a name of an input is taken, or the recurrence has a mask already.
        """
        pairs = dict(names) if isinstance(names, Mapping) else self.clamp_names(names)
        text = clamped(self.canonical, self.inputs, pairs)
        further = [name for pair in pairs.values() for name in pair]
        held = Recurrence(text, self.output, (*self.inputs, *further), self.name)
        return held._with(title=self.title, citation=self.citation)

    def clamp_names(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Free names for the constant inputs of :meth:`with_clamp`, by the name that is to be held: (keep, put)."""
        return clamp_names(self.canonical, self.inputs, names)
