"""Cells written in Python, for what equations cannot say, and the module that unrolls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from elman.compile import repeat_last
from elman.errors import MisuseError
from elman.nn.ragged import Ragged

State = Any  # tensors [B, ...], or tuples, named tuples, lists and dicts of states
Context = Mapping[str, Any]

CELL_BACKEND = "reference (a Cell in Python)"


class Cell(nn.Module):
    """One time step in Python. Subclasses define both methods; parameters are those of any module.

    A state is a tensor whose first dimension is the batch, or tuples, named tuples, lists or dicts of states.
    """

    def initial_state(self, batch: int) -> State:
        """The state before the first step.

        Args:
            batch: number of rows B.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state(batch)")

    def step(self, x: Tensor, state: State, ctx: Context) -> tuple[Tensor, State]:
        """One time step.

        Args:
            x: the input [B, input].
            state: as the step before gave it.
            ctx: what the layer was given once a sequence, by name.

        Returns:
            The output [B, output], and a state built as the one that was given.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step(x, state, ctx)")


class Unroll(nn.Module):
    """Runs a cell over sequences.

    Args:
        cell: the step.
        reverse: a second cell that runs from the end to the beginning; outputs lie side by side and the state is the
            pair (forward, reverse).
        batch_first: x and y are [B, T, ...] instead of [T, B, ...].

    Raises:
        MisuseError: something that is no Cell.
    """

    def __init__(self, cell: Cell, reverse: Cell | None = None, *, batch_first: bool = False):
        super().__init__()
        for each in (cell, reverse):
            if each is not None and not isinstance(each, Cell):
                raise MisuseError(f"Unroll runs an elman.nn.Cell, not {type(each).__name__}.")
        self.cell, self.reverse, self.batch_first = cell, reverse, batch_first

    @property
    def backend_used(self) -> str:
        """A cell in Python runs step by step in eager torch."""
        return CELL_BACKEND

    def initial_state(self, batch: int) -> State:
        """The state before the first step."""
        if self.reverse is None:
            return self.cell.initial_state(batch)
        return self.cell.initial_state(batch), self.reverse.initial_state(batch)

    def forward(
        self, x: Tensor, state: State = None, *, lengths: Tensor | Sequence[int] | None = None, **inputs: Any
    ) -> tuple[Tensor, State]:
        """Run a batch of sequences.

        Args:
            x: [T, B, ...], or [B, T, ...] if batch_first.
            state: as an earlier call gave it; default the cell's initial one.
            lengths: [B] the rows' own lengths; what stands beyond them is not read, outputs are zero there and the
                state stays as it was at the row's own last step.
            **inputs: given to every step as its ``ctx``.

        Returns:
            y [T, B, output] laid out as x, and the state after every row's last step.

        Raises:
            MisuseError: shapes that do not fit.
        """
        if x.dim() < 2 or 0 in x.shape[:2]:
            raise MisuseError(f"x must be [T, B, ...] with at least one step and one row; got {list(x.shape)}.")
        if self.batch_first:
            x = x.transpose(0, 1)
        ragged = None if lengths is None else Ragged(lengths, x.shape[0], x.shape[1], x.device)
        if state is None:
            state = self.initial_state(x.shape[1])
        along = x if ragged is None else repeat_last(x, ragged.lengths)
        if self.reverse is None:
            y, state = _unroll(self.cell, along, state, inputs, ragged)
        else:
            turned = x.flip(0) if ragged is None else repeat_last(ragged.back(x), ragged.lengths)
            first, first_state = _unroll(self.cell, along, state[0], inputs, ragged)
            second, second_state = _unroll(self.reverse, turned, state[1], inputs, ragged)
            second = second.flip(0) if ragged is None else ragged.back(second)
            y, state = torch.cat((first, second), -1), (first_state, second_state)
        if ragged is not None:
            y = ragged.cut(y)
        return (y.transpose(0, 1) if self.batch_first else y), state


def _unroll(cell: Cell, x: Tensor, state: State, ctx: Context, ragged: Ragged | None) -> tuple[Tensor, State]:
    outputs = []
    for t, row in enumerate(x.unbind(0)):
        y, new = cell.step(row, state, ctx)
        if ragged is not None:
            new = map_state(_chooser(ragged.inside[t]), new, state)
        state = new
        outputs.append(y)
    return torch.stack(outputs), state


def _chooser(inside: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(inside.reshape(-1, *(1,) * (new.dim() - 1)), new, old)

    return choose


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Apply a function to the tensors at the same place of states that are built alike.

    Raises:
        MisuseError: the states are built differently, or of something else than tensors.
    """
    first = states[0]
    if any(not _alike(first, other) for other in states[1:]):
        raise MisuseError("A cell's step must return a state that is built as the one it was given.")
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, Mapping):
        return {key: map_state(function, *(each[key] for each in states)) for key in first}
    if isinstance(first, tuple | list):
        parts = [map_state(function, *each) for each in zip(*states, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return type(first)(parts)
    raise MisuseError(f"A state is made of tensors, tuples, lists and dicts; got {type(first).__name__}.")


def _alike(first: State, other: State) -> bool:
    """Whether two states are built alike, their parts aside."""
    if isinstance(first, Tensor):
        return isinstance(other, Tensor)
    if type(other) is not type(first):
        return False
    if isinstance(first, Mapping):
        return other.keys() == first.keys()
    return not isinstance(first, tuple | list) or len(other) == len(first)
