"""What each name of a text is: a state, a matrix, a vector, an input or a value on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elman.equations.parse import FUNCTIONS, Program
from elman.equations.scan import Place, is_plain_name

#: Names that a constant input may not have, because layers and sizes are called with them.
RESERVED = ("x", "input", "hidden", "self", "state", "lengths", "return_states")


@dataclass(frozen=True, slots=True)
class Names:
    """The roles of the names.

    Attributes:
        inputs: the declared constant inputs.
        states: in the order of first assignment.
        output: the state that leaves the cell.
        matrices: parameters on the left of @, in the order of first use.
        vectors: the other parameters, in the order of first use.
        parameters: both, in the order of first use.
    """

    inputs: tuple[str, ...]
    states: tuple[str, ...]
    output: str
    matrices: tuple[str, ...]
    vectors: tuple[str, ...]
    parameters: tuple[str, ...]


def names_of(program: Program, inputs: Sequence[str], output: str | None) -> Names:
    """Find the role of every name.

    Args:
        program: the parsed text.
        inputs: names of the constant inputs.
        output: the state that leaves the cell; None for the last one assigned.

    Returns:
        The roles.

    Raises:
        EquationError: a name has two roles or none that is allowed, or there is no state, or output is none.
    """
    refuse = program.source.refuse
    _check_inputs(program, inputs)
    assigned: dict[str, Place] = {}
    for statement in program.statements:
        if statement.target == "x" or statement.target in inputs:
            refuse(
                f"{statement.target} is an input and cannot be assigned",
                statement.place,
                "a name that is no input's",
            )
        assigned.setdefault(statement.target, statement.place)

    past: set[str] = set()
    used: dict[str, tuple[str, Place]] = {}
    read: set[str] = set()
    so_far: set[str] = set()
    for statement in program.statements:
        for instruction in sorted(statement.code, key=lambda each: each.place):
            name, place = instruction.name, instruction.place
            if instruction.kind not in ("name", "product"):
                continue
            if instruction.kind == "product" and (name in assigned or name in inputs or name == "x"):
                what = f"assigned on line {assigned[name].line}" if name in assigned else "an input"
                refuse(
                    f"{name} is {what} and cannot stand on the left of @",
                    place,
                    "a matrix there, a name that is never assigned and no input",
                )
            read.add(name)
            if name in assigned:
                past |= {name} - so_far
            elif name != "x" and name not in inputs:
                role, first = used.setdefault(name, (instruction.kind, place))
                if role != instruction.kind:
                    ways = "a matrix (on the left of @) and as a vector"
                    refuse(
                        f"{name} is used both as {ways}, first on line {first.line}",
                        place,
                        "one use for a name: a matrix on the left of @ only, a vector anywhere else",
                    )
        so_far.add(statement.target)
    for name in inputs:
        if name not in read:
            refuse(f"the constant input {name} is never read", Place(1, 1), "inputs that an equation reads")
    states, leaving = _states(program, assigned, past, output)
    return Names(
        tuple(inputs),
        states,
        leaving,
        tuple(name for name, (role, _) in used.items() if role == "product"),
        tuple(name for name, (role, _) in used.items() if role == "name"),
        tuple(used),
    )


def _check_inputs(program: Program, inputs: Sequence[str]) -> None:
    allowed = f"plain names, each once, that are no function's and none of {', '.join(RESERVED)}"
    if isinstance(inputs, str):
        program.source.refuse("inputs is a text, not a sequence of names", Place(1, 1), 'inputs=("v",)')
    for name in inputs:
        good = isinstance(name, str) and is_plain_name(name)
        if not good or name in RESERVED or name in FUNCTIONS or list(inputs).count(name) > 1:
            program.source.refuse(f"{name!r} cannot name a constant input", Place(1, 1), allowed)


def _states(
    program: Program, assigned: dict[str, Place], past: set[str], output: str | None
) -> tuple[tuple[str, ...], str]:
    """The states and the one that leaves.

    What the last line assigns leaves the cell even if no line reads it (SRU's h): it is then a state whose
    previous value nobody asks for, unless output says that another one leaves.
    """
    last = program.statements[-1]
    if not past:
        program.source.refuse(
            "no name is a state, so nothing is remembered",
            last.place,
            "at least one name that is read before it has been assigned, as h in h = tanh(W @ x + U @ h)",
        )
    if output is None or output == last.target:
        past = past | {last.target}
        output = last.target
    states = tuple(name for name in assigned if name in past)
    if output not in states:
        program.source.refuse(
            f"the output {str(output)[:40]!r} is not a state",
            assigned.get(output, Place(1, 1)),
            f"one of {', '.join(states)}, or the name that the last line assigns",
        )
    return states, output
