"""Any recurrence as a torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from elman.compile import Result, check_backend, run
from elman.equations import Recurrence, recurrence_of
from elman.errors import MisuseError
from elman.nn.cell import Cell
from elman.nn.dropout import dropout as drop_units
from elman.nn.initialise import Start
from elman.nn.initialise import initialise as fill
from elman.nn.ragged import Ragged
from elman.nn.stack import run_stack

State = dict[str, Tensor]


class ParameterTable(nn.Module):
    """Parameters by names that equations chose, which may be names of nn.Module's own methods.

    A call gives the table, so that torch.nn.utils.prune and its like, which renew a tensor before a call, are obeyed.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self._names = tuple(tensors)
        for name, tensor in tensors.items():
            self._parameters[name] = nn.Parameter(tensor)

    def forward(self) -> dict[str, Tensor]:
        """All parameters by name, or what pruning and parametrisations make of them."""
        table: dict[str, Tensor] = {}
        for name in self._names:
            own = self._parameters.get(name)
            table[name] = getattr(self, name) if own is None else own
        return table


class Recurrent(nn.Module):
    """Layers of a recurrence that is given as its equations.

    Args:
        cell: a name of the zoo, a :class:`elman.Recurrence`, equations as text, or the path of an .eq file.
        input_size: width of x.
        hidden_size: width of every state.
        num_layers: number of layers.
        bidirectional: a second set of layers runs from the end to the beginning; outputs lie side by side.
        dropout: rate between layers while training.
        batch_first: x and y are [B, T, ...] instead of [T, B, ...]; states are [layers * directions, B, hidden] always.
        backend: "auto", "reference", "torch", "cpu" or "gpu".
        recurrent_dropout: rate on what states send into matrix products while training; one mask a call for each layer
            and direction, the same at every step (Gal and Ghahramani 2016, arXiv:1512.05287). A sequence that is fed
            in several calls has a mask for each call.
        learn_initial_state: the state before the first step is a parameter instead of zero.
        widths: the width of each constant input; those used elementwise are as wide as the hidden state.
        initialise: by parameter name a tensor or a function that fills one, instead of
            :func:`elman.nn.initialise.initialise`'s rule.
        generator: source of randomness for the start; default torch's global one.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        MisuseError: there is no such cell or file; sizes that do not fit, such as elementwise use of an x that is not
            as wide as the hidden state.
        EquationError: a text that is no recurrence.
    """

    def __init__(
        self,
        cell: str | Recurrence,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        backend: str = "auto",
        recurrent_dropout: float = 0.0,
        learn_initial_state: bool = False,
        widths: Mapping[str, int] | None = None,
        initialise: Mapping[str, Start] | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_backend(backend)
        _check_counts(num_layers=num_layers, input_size=input_size, hidden_size=hidden_size)
        for name, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not isinstance(rate, Real) or not 0.0 <= rate < 1.0:
                raise MisuseError(f"{name} is {rate!r}; it must be a number of at least 0 and less than 1.")
        self.recurrence = as_recurrence(cell)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.batch_first, self.backend = bidirectional, batch_first, backend
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.widths = dict(widths or {})
        self._masked = self._with_mask() if recurrent_dropout else None
        self.layers = nn.ModuleDict()
        for layer in range(num_layers):
            shapes = self._shapes(layer)
            for direction in range(self.directions):
                tensors = {name: torch.empty(shape, device=device, dtype=dtype) for name, shape in shapes.items()}
                fill(self.recurrence, tensors, initialise, generator)
                self.layers[_key(layer, bool(direction))] = ParameterTable(tensors)
        self.initial: ParameterTable | None = None
        if learn_initial_state:
            shape = (num_layers * self.directions, hidden_size)
            self.initial = ParameterTable(
                {name: torch.zeros(shape, device=device, dtype=dtype) for name in self.recurrence.states}
            )
        self._backend_used = ""

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        width = self.input_size if layer == 0 else self.directions * self.hidden_size
        for name in self.recurrence.inputs:
            if name not in self.recurrence.square and name not in self.widths:
                raise MisuseError(f"The width of the constant input {name} is missing: give widths={{{name!r}: ...}}.")
        if "x" in self.recurrence.square and width != self.hidden_size:
            where = (
                f"input_size is {width}"
                if layer == 0
                else f"the layers above the first of a bidirectional stack are fed 2 * hidden_size = {width}"
            )
            raise MisuseError(
                f"These equations use x elementwise, so x must be as wide as hidden_size = {self.hidden_size}, "
                f"but {where}."
            )
        return self.recurrence.parameters(width, self.hidden_size, **self.widths)

    def _with_mask(self) -> tuple[Recurrence, str]:
        """The recurrence with a mask on what states send into products, and the mask's name."""
        name = "mask"
        while name in self.recurrence.taken:
            name += "_"
        return self.recurrence.with_recurrent_mask(name), name

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def backend_used(self) -> str:
        """What the last call ran on, and why not something faster; empty before the first call."""
        return self._backend_used

    def parameter(self, name: str, layer: int = 0, reverse: bool = False) -> Tensor:
        """One parameter of one layer and direction.

        Args:
            name: as the equations have it.
            layer: from 0, the lowest.
            reverse: of the direction that runs from the end.

        Returns:
            The parameter itself: a matrix [hidden, width] (``W @ x`` is ``x W^T`` over a batch) or a vector [hidden].

        Raises:
            MisuseError: there is no such layer, direction or name.
        """
        key = _key(layer, reverse)
        if key not in self.layers:
            raise MisuseError(
                f"There is no layer {layer}{' in reverse' if reverse else ''}; this module has {self.num_layers} "
                f"{'bidirectional' if self.bidirectional else 'forward'} layers, counted from 0."
            )
        table = self._table(layer, reverse)
        if name not in table:
            raise MisuseError(f"There is no parameter {name!r}; there are: {', '.join(table)}.")
        return table[name]

    def _table(self, layer: int, reverse: bool) -> dict[str, Tensor]:
        table = self.layers[_key(layer, reverse)]
        return table()

    def initial_state(self, batch: int, x: Tensor | None = None) -> State:
        """The state before the first step.

        Args:
            batch: number of rows B.
            x: has the state's type and device where the equations have no parameter; default torch's defaults.

        Returns:
            By state name [layers * directions, B, hidden].
        """
        shape = (self.num_layers * self.directions, batch, self.hidden_size)
        if self.initial is not None:
            return {name: tensor.unsqueeze(1).expand(shape) for name, tensor in self.initial().items()}
        like = next(self.parameters(), torch.empty(0) if x is None else x)
        return {name: like.new_zeros(shape) for name in self.recurrence.states}

    def forward(
        self,
        x: Tensor,
        state: Mapping[str, Tensor] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        return_states: bool = False,
        table: Tensor | None = None,
        **inputs: Tensor,
    ) -> tuple[Tensor, State] | tuple[Tensor, State, State]:
        """Run a batch of sequences.

        Args:
            x: [T, B, input] ([B, T, input] if batch_first), or one sequence [T, input].
            state: by state name [layers * directions, B, hidden] (one sequence: without B), as an earlier call gave it;
                default :meth:`initial_state`.
            lengths: [B] the rows' own lengths, in any order; what stands beyond them is not read, outputs are zero
                there, and the reverse direction begins at every row's own end.
            return_states: also give every state at every step.
            table: [V, input]; x is then ids [T, B] ([B, T], [T]) of its rows, as of an embedding. The same as
                ``layer(table[x])``, but the compiled backend multiplies each row of the table once, not each id.
            **inputs: the constant inputs [B, width] (one sequence: [width]).

        Returns:
            y [T, B, directions * hidden] laid out as x, and the state after every row's last step. With return_states
            also, by state name, [layers * directions, T, B, hidden] ([.., B, T, ..] if batch_first), in the order of x
            for both directions.

        Raises:
            MisuseError: shapes, types or names that do not fit; the backend that was forced cannot run this.
        """
        _check_input(x, self.batch_first, self.input_size, table)
        self._check_constants(inputs)
        single = x.dim() == (2 if table is None else 1)
        if single:
            time_major = x.unsqueeze(1)
            inputs = {name: tensor.unsqueeze(0) for name, tensor in inputs.items()}
        else:
            time_major = x.transpose(0, 1) if self.batch_first else x
        steps, batch = time_major.shape[:2]
        initial = self.initial_state(batch, x) if state is None else self._check_state(state, batch, single)
        ragged = None if lengths is None else Ragged(lengths, steps, batch, time_major.device)

        def part(layer: int, direction: int, x: Tensor) -> Result:
            recurrence, constants = self._masked_inputs(inputs, x)
            looked_up = table if layer == 0 else None
            return run(
                recurrence,
                self._table(layer, bool(direction)),
                x if looked_up is None else looked_up,
                {name: tensor[layer * self.directions + direction] for name, tensor in initial.items()},
                constants,
                backend=self.backend,
                every_state=return_states,
                lengths=None if ragged is None else ragged.lengths,
                index=None if looked_up is None else x,
            )

        stacked = run_stack(
            part,
            time_major,
            self.recurrence.output,
            self.num_layers,
            self.directions,
            ragged=ragged,
            dropout=self.dropout if self.training else 0.0,
            every_state=return_states,
        )
        self._backend_used = stacked.backend
        y, final, sequences = stacked.y, stacked.final, stacked.sequences
        if single:
            y, final = y.squeeze(1), {name: tensor.squeeze(1) for name, tensor in final.items()}
            sequences = {name: tensor.squeeze(2) for name, tensor in sequences.items()}
        elif self.batch_first:
            y = y.transpose(0, 1)
            sequences = {name: tensor.transpose(1, 2) for name, tensor in sequences.items()}
        return (y, final, sequences) if return_states else (y, final)

    def _masked_inputs(self, inputs: dict[str, Tensor], x: Tensor) -> tuple[Recurrence, dict[str, Tensor]]:
        if self._masked is None or not self.training:
            return self.recurrence, inputs
        recurrence, name = self._masked
        like = next(self.parameters(), x)
        ones = torch.ones(x.shape[1], self.hidden_size, device=x.device, dtype=like.dtype)
        return recurrence, inputs | {name: drop_units(ones, self.recurrent_dropout)}

    def _check_constants(self, inputs: Mapping[str, Tensor]) -> None:
        for name, tensor in inputs.items():
            if name not in self.recurrence.inputs:
                known = ", ".join(self.recurrence.inputs) or "none"
                raise MisuseError(f"This recurrence has no constant input {name!r}; it has: {known}.")
            if not isinstance(tensor, Tensor):
                raise MisuseError(f"The constant input {name} must be a tensor, not {type(tensor).__name__}.")

    def _check_state(self, state: Mapping[str, Tensor], batch: int, single: bool) -> State:
        """The state with a batch dimension; a single sequence's has none."""
        if not isinstance(state, Mapping):
            raise MisuseError(
                f"state must be a dict by state name ({', '.join(self.recurrence.states)}), not {type(state).__name__}."
            )
        layers = self.num_layers * self.directions
        expected = [layers, self.hidden_size] if single else [layers, batch, self.hidden_size]
        if set(state) != set(self.recurrence.states):
            raise MisuseError(
                f"state must have {', '.join(self.recurrence.states)}; got {', '.join(map(str, state)) or 'nothing'}."
            )
        for name, tensor in state.items():
            if not isinstance(tensor, Tensor) or list(tensor.shape) != expected:
                got = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise MisuseError(f"The state {name} must be a tensor {expected}; got {got}.")
        return {name: tensor.unsqueeze(1) if single else tensor for name, tensor in state.items()}

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        title = self.recurrence.name or self.recurrence.output
        parts = [repr(title), str(self.input_size), str(self.hidden_size)]
        defaults = {"num_layers": 1, "bidirectional": False, "dropout": 0.0, "batch_first": False, "backend": "auto"}
        for name, default in {**defaults, "recurrent_dropout": 0.0}.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        if self.initial is not None:
            parts.append("learn_initial_state=True")
        return ", ".join(parts)


def as_recurrence(cell: str | Recurrence) -> Recurrence:
    """A recurrence from a recurrence or what :func:`elman.equations.recurrence_of` takes.

    Raises:
        MisuseError: it is none of these, or there is no such cell or file.
        EquationError: the text is no recurrence.
    """
    if isinstance(cell, Recurrence):
        return cell
    if isinstance(cell, Cell):
        raise MisuseError("A Cell in Python brings its own sizes: wrap it as elman.nn.Unroll(cell).")
    if not isinstance(cell, str):
        raise MisuseError(f"cell must be a name, equations, a file or a Recurrence, not {type(cell).__name__}.")
    return recurrence_of(cell)


def _key(layer: int, reverse: bool) -> str:
    return f"{layer}_reverse" if reverse else str(layer)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise MisuseError(f"{name} is {count!r}; it must be a whole number of at least 1.")


def _check_input(x: Tensor, batch_first: bool, width: int, table: Tensor | None) -> None:
    last = f", {width}]" if table is None else "]"
    layout = f"[B, T{last}" if batch_first else f"[T, B{last}"
    if not isinstance(x, Tensor):
        raise MisuseError(f"x must be a tensor {layout}, not {type(x).__name__}.")
    dimensions = 3 if table is None else 2
    if x.dim() not in (dimensions - 1, dimensions):
        raise MisuseError(f"x must be {layout}, or [T{last} for one sequence; got {list(x.shape)}.")
    if table is not None:
        if not isinstance(table, Tensor) or table.dim() != 2 or table.shape[1] != width:
            got = list(table.shape) if isinstance(table, Tensor) else type(table).__name__
            raise MisuseError(f"table must be a tensor [V, {width}]; got {got}.")
    elif x.shape[-1] != width:
        raise MisuseError(f"x must be {width} wide; got {list(x.shape)}.")
