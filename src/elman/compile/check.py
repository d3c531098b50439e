"""What a run is given, checked before anything is computed."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from elman.equations import Recurrence
from elman.errors import MisuseError


@lru_cache(maxsize=1024)
def _parameter_shapes(
    recurrence: Recurrence, width: int, hidden: int, widths: tuple[tuple[str, int], ...]
) -> dict[str, tuple[int, ...]]:
    return recurrence.parameters(width, hidden, **dict(widths))


def check_operands(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
) -> None:
    """Refuse what does not fit together; arguments as of :func:`elman.compile.engine.run`.

    Raises:
        MisuseError: a name is missing or unknown, or a shape, type or device does not fit.
    """
    if torch.compiler.is_compiling():
        _check_operands(recurrence, parameters, x, state, constants)
        return
    known: Hashable = None
    with contextlib.suppress(AttributeError, TypeError):  # what is no tensor; sizes that are symbols
        known = _signature(recurrence, parameters, x, state, constants)
        if known in _sound:
            return
    _check_operands(recurrence, parameters, x, state, constants)
    if len(_sound) >= _MOST:
        _sound.clear()
    _sound.add(known)


#: Signatures of what was found to fit together, and how many are remembered.
_sound: set[Hashable] = set()
_MOST = 1024


def _signature(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
) -> Hashable:
    """All that decides about what fits together."""
    tensors = (x, *parameters.values(), *state.values(), *constants.values())
    return (
        recurrence,
        torch.is_autocast_enabled(x.device.type) if torch.amp.is_autocast_available(x.device.type) else False,
        (*parameters, None, *state, None, *constants),
        tuple([(each.shape, each.dtype, each.device) for each in tensors]),
    )


def _check_operands(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
) -> None:
    if x.dim() != 3:
        raise MisuseError(f"x must be [T, B, input]; got {list(x.shape)}.")
    steps, batch, width = x.shape
    if steps == 0 or batch == 0:
        raise MisuseError(f"x is empty: {steps} time steps of {batch} rows; give at least one of each.")
    _check_names("state", recurrence.states, state)
    _check_names("constant input", recurrence.inputs, constants)
    _check_names("parameter", (*recurrence.matrices, *recurrence.vectors), parameters)

    like = state[recurrence.output]
    hidden = like.shape[-1]
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    _check_kind("input", "x", x, like, autocast)
    for name, tensor in state.items():
        _check_shape("state", name, tensor, (batch, hidden), x)
        _check_kind("state", name, tensor, like, False)
    widths = tuple((name, constants[name].shape[-1]) for name in recurrence.inputs)
    for name, own in widths:
        _check_shape("constant input", name, constants[name], (batch, own), x)
        _check_kind("constant input", name, constants[name], like, autocast)
    # sizes are symbols while torch.compile records, and no keys of a cache
    known = _parameter_shapes.__wrapped__ if torch.compiler.is_compiling() else _parameter_shapes
    shapes = known(recurrence, width, hidden, widths)
    for name, tensor in parameters.items():
        _check_shape("parameter", name, tensor, shapes[name], x)
        _check_kind("parameter", name, tensor, like, False)


def check_index(table: Tensor, index: Tensor) -> Tensor:
    """Refuse numbers that are no rows of a table.

    Args:
        table: [V, input].
        index: [T, B] whole numbers.

    Returns:
        The index as int64.

    Raises:
        MisuseError: shapes or types that do not fit, or a number outside the table.
    """
    if table.dim() != 2 or index.dim() != 2:
        raise MisuseError(f"A table is [V, input] and its index [T, B]; got {list(table.shape)}, {list(index.shape)}.")
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise MisuseError(f"The index of a table must be whole numbers; got {index.dtype}.")
    # a recorded program cannot look at numbers; what it runs then checks them itself
    if index.numel() and not torch.compiler.is_compiling():
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= len(table):
            raise MisuseError(f"The index has numbers from {low} to {high}; the table has rows 0 to {len(table) - 1}.")
    return index.long()


def check_lengths(lengths: Tensor, steps: int, batch: int) -> None:
    """Refuse lengths that are not one number from 1 to T for each row.

    Raises:
        MisuseError: their shape, or the first range that does not fit.
    """
    if lengths.dim() != 1 or len(lengths) != batch:
        raise MisuseError(f"lengths must be one number a row, [{batch}]; got {list(lengths.shape)}.")
    if torch.compiler.is_compiling():
        return  # a recorded program cannot look at numbers
    low, high = int(lengths.min()), int(lengths.max())
    if low < 1 or high > steps:
        raise MisuseError(f"lengths must lie between 1 and the {steps} time steps of x; they lie in {low} to {high}.")


def _check_names(kind: str, names: Sequence[str], given: Mapping[str, Tensor]) -> None:
    for name in names:
        if name not in given:
            raise MisuseError(f"The {kind} {name!r} is missing; this recurrence has: {', '.join(names)}.")
        if not isinstance(given[name], Tensor) or given[name].dim() == 0:
            raise MisuseError(f"The {kind} {name} must be a tensor with dimensions; got {given[name]!r:.60}.")
    if len(given) != len(names):
        unknown = next(name for name in given if name not in names)
        raise MisuseError(f"This recurrence has no {kind} {unknown!r}; it has: {', '.join(names) or 'none'}.")


def _check_shape(kind: str, name: str, tensor: Tensor, expected: tuple[int, ...], x: Tensor) -> None:
    if tensor.shape != expected:
        raise MisuseError(
            f"The {kind} {name} must be {list(expected)} for x of {list(x.shape)}; got {list(tensor.shape)}."
        )


def _check_kind(kind: str, name: str, tensor: Tensor, like: Tensor, autocast: bool) -> None:
    if not tensor.is_floating_point():
        raise MisuseError(f"The {kind} {name} must be of a floating type; got {tensor.dtype}.")
    if tensor.device != like.device:
        raise MisuseError(f"The {kind} {name} is on {tensor.device}, the state on {like.device}; move one of them.")
    if tensor.dtype != like.dtype and not autocast:
        raise MisuseError(f"The {kind} {name} is {tensor.dtype}, the state {like.dtype}; convert one of them.")
