"""Values of a step that are held: `c` becomes `keep * c + put`, for later readers of the step and for the next step.

The rewriting is one of the text, not of the graph. There a value that two names share is one node, and a state that is
a copy of another could not be told from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from elman.equations.names import RESERVED
from elman.equations.parse import FUNCTIONS, Program, parse
from elman.equations.scan import is_plain_name
from elman.errors import MisuseError


def clamped(canonical: str, inputs: Collection[str], names: Mapping[str, tuple[str, str]]) -> str:
    """Add to a text the lines `name = keep * name + put`, each behind the last line that assigns the name.

    Args:
        canonical: the equations, a statement a line, without comments.
        inputs: their constant inputs.
        names: by the name that is assigned somewhere, the names of the two further constant inputs.

    Raises:
        MisuseError: a name that no line assigns, an input's name that is taken or not plain, or a recurrence that was
            rewritten and whose text is not all of it any more.
    """
    program = parse(canonical)
    last = {statement.target: index for index, statement in enumerate(program.statements)}
    read = _read(program)
    if unread := [name for name in inputs if name not in read]:
        raise MisuseError(
            f"The recurrence was given {', '.join(unread)} after its text was read. Clamp first, then add the mask."
        )
    taken = {*last, *read, *inputs, *RESERVED, *FUNCTIONS}
    for name, pair in names.items():
        if name not in last:
            raise MisuseError(f"No equation assigns {name!r}, so it cannot be held; assigned are: {', '.join(last)}.")
        for given in pair:
            if given in taken or not is_plain_name(given):
                raise MisuseError(
                    f"The clamp of {name} cannot read {given!r}: the name is taken or not plain. Give another name."
                )
            taken.add(given)
    lines = []
    for index, line in enumerate(canonical.split("\n")):
        lines.append(line)
        for name, (kept, put) in names.items():
            if last[name] == index:
                lines.append(f"{name} = {kept} * {name} + {put}")
    return "\n".join(lines)


def clamp_names(canonical: str, inputs: Collection[str], names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Free names for the two constant inputs of every name that is to be held: keep_c and put_c for c.

    Args:
        canonical, inputs: as of :func:`clamped`.
        names: that are to be held.
    """
    program = parse(canonical)
    taken = {statement.target for statement in program.statements} | _read(program) | {*inputs, *RESERVED, *FUNCTIONS}
    pairs = {}
    for name in names:
        pair = []
        for verb in ("keep", "put"):
            # a name has a greatest length, and the numbers are many enough for every text
            stem = f"{verb}_{name}"[:30]
            free = next(each for each in (stem, *(f"{stem}_{n}" for n in range(10_000))) if each not in taken)
            taken.add(free)
            pair.append(free)
        pairs[name] = (pair[0], pair[1])
    return pairs


def _read(program: Program) -> set[str]:
    """Every name that some line reads, matrices among them."""
    return {
        instruction.name
        for statement in program.statements
        for instruction in statement.code
        if instruction.kind in ("name", "product")
    }
