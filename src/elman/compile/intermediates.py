"""Gates and other values on the way, computed again from the states that a run has stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from elman.compile.hoist import linear
from elman.compile.operations import evaluate, number
from elman.equations import Recurrence
from elman.errors import MisuseError


def named_values(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    states_before: Mapping[str, Tensor],
    names: Sequence[str] | None = None,
    constants: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The values of the names that the equations assign on the way to the states, at every step at once.

    A step that is given the state before it waits for no other step: each product is one over all T * B rows. The
    values are those of the equations as they are written, whatever was done to the states between two steps.

    Args:
        recurrence: one time step.
        parameters: by name, matrices [hidden, width] and vectors [hidden].
        x: the input [T, B, input].
        states_before: by state name [T, B, hidden] its value before each step.
        names: which; default all of ``recurrence.intermediates``.
        constants: the constant inputs by name, each [B, width].

    Returns:
        By name [T, B, hidden], or [T, B, width of an input] for a name that stands for a function of that alone.

    Raises:
        MisuseError: a name that the equations do not assign, or that is a state.
    """
    known = recurrence.intermediates
    names = list(known.names if names is None else names)
    for name in names:
        if name not in known.names:
            raise MisuseError(
                f"The equations have no gate {name!r}; they assign {', '.join(known.names) or 'nothing but states'}."
            )
    chosen = known.only(names)
    values: dict[int, Tensor] = {}
    for index, node in enumerate(chosen.nodes):
        match node.op:
            case "input":
                values[index] = x if node.name == "x" else (constants or {})[node.name]
            case "state":
                values[index] = states_before[node.name]
            case "vector":
                values[index] = parameters[node.name]
            case "const":
                values[index] = number(node.value, x)
    # a value is let go of after its last reader, for each is as large as a state's whole sequence
    readers = {argument: index for index, node in enumerate(chosen.nodes) for argument in node.args}
    readers |= dict.fromkeys(chosen.names.values(), len(chosen.nodes))
    for index, node in enumerate(chosen.nodes):
        evaluate(chosen.nodes, (index,), values, parameters, linear)
        for argument in set(node.args):
            if readers[argument] == index:
                del values[argument]
    steps = next(iter(states_before.values())).shape[:-1]
    return {name: values[index].expand(*steps, values[index].shape[-1]) for name, index in chosen.names.items()}
