"""torch.nn's RNN, GRU and LSTM with Elman's backends: same arguments, same state_dict, same numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.compile import Result, check_backend, compiled_refusal, run, run_packed, take_rows
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.nn.dropout import dropout as drop_units
from elman.nn.ragged import Ragged, packed_reversal
from elman.nn.stack import Stacked, run_stack

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


_CELLS = {
    mode: zoo_cell(name)
    for mode, name in (("RNN_TANH", "rnn"), ("RNN_RELU", "rnn-relu"), ("GRU", "gru-reset-after"), ("LSTM", "lstm"))
}


class _DropIn(nn.RNNBase):
    """What the three have in common; the class beside it in the bases is torch's own."""

    _states: tuple[str, ...] = ("h",)
    _backend = "auto"
    _backend_used = ""

    @property
    def backend(self) -> str:
        """The backend that was asked for."""
        return self._backend

    @property
    def backend_used(self) -> str:
        """What the last call ran on, and why not something faster; empty before the first call."""
        return self._backend_used

    def _parameters_of(self, gates: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _set_backend(self, backend: str) -> None:
        check_backend(backend)
        if self.proj_size and backend not in ("auto", "torch"):
            raise NotImplementedError(
                f"proj_size runs on torch's own kernel only: use backend='auto' or 'torch', not {backend!r}."
            )
        self._backend = backend

    def _weights(self, layer: int, direction: int) -> dict[str, tuple[Tensor, ...]]:
        """Each of torch's stacked tensors of one layer and direction, cut into gates; absent biases are zeros."""
        suffix = f"_l{layer}{'_reverse' if direction else ''}"
        like = getattr(self, f"weight_ih{suffix}")
        zero = like.new_zeros(len(like))
        return {kind: getattr(self, kind + suffix, zero).split(self.hidden_size) for kind in _KINDS}

    def _run(self, x: Tensor, state: dict[str, Tensor], ragged: Ragged | None) -> Stacked:
        """Our engine on torch's weights; x [T, B, input], states [layers * directions, B, hidden]."""
        recurrence = _CELLS[self.mode]
        directions = 2 if self.bidirectional else 1
        lengths = None if ragged is None else ragged.lengths

        def part(layer: int, direction: int, x: Tensor) -> Result:
            own = {name: tensor[layer * directions + direction] for name, tensor in state.items()}
            parameters = self._parameters_of(self._weights(layer, direction))
            return run(recurrence, parameters, x, own, backend=self._backend, lengths=lengths)

        dropout = self.dropout if self.training else 0.0
        return run_stack(part, x, "h", self.num_layers, directions, ragged=ragged, dropout=dropout)

    def _ours(self, input: Tensor | PackedSequence, state: dict[str, Tensor] | None) -> tuple[Any, dict[str, Tensor]]:
        if isinstance(input, PackedSequence) and self._runs_packed(input):
            return self._packed(input, state)
        packed: PackedSequence | None = None
        ragged: Ragged | None = None
        single = False
        if isinstance(input, PackedSequence):
            packed = input
            x, lengths = pad_packed_sequence(packed)
            ragged = Ragged(lengths, x.shape[0], x.shape[1], x.device)
        else:
            single = input.dim() == 2
            if input.dim() not in (2, 3):
                raise MisuseError(f"The input must be 2-D or 3-D; got {list(input.shape)}.")
            x = input.unsqueeze(1) if single else (input.transpose(0, 1) if self.batch_first else input)
        if x.shape[-1] != self.input_size:
            raise MisuseError(f"The input must be {self.input_size} wide; got {x.shape[-1]}.")
        count = self.num_layers * (2 if self.bidirectional else 1)
        shape = [count, x.shape[1], self.hidden_size]
        if state is None:
            like = next(self.parameters())
            state = {name: like.new_zeros(shape) for name in self._states}
        elif single:
            state = {name: tensor.unsqueeze(1) for name, tensor in state.items()}
        check_states(state, shape)
        stacked = self._run(x, state, ragged)
        self._backend_used = stacked.backend
        y: Any = stacked.y
        final = stacked.final
        if packed is not None:
            assert ragged is not None
            lengths = ragged.lengths.cpu()
            if packed.sorted_indices is not None:
                y, lengths = y.index_select(1, packed.sorted_indices), lengths[packed.sorted_indices.cpu()]
            data = pack_padded_sequence(y, lengths).data
            y = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        elif single:
            y, final = y.squeeze(1), {name: tensor.squeeze(1) for name, tensor in final.items()}
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, final

    def _runs_packed(self, packed: PackedSequence) -> bool:
        """Whether the compiled backend takes packed rows as they are; no recorded program can."""
        if self._backend not in ("auto", "cpu") or torch.compiler.is_compiling():
            return False
        return self._not_compiled(packed) is None

    def _packed(
        self, packed: PackedSequence, state: dict[str, Tensor] | None
    ) -> tuple[PackedSequence, dict[str, Tensor]]:
        """The compiled backend takes packed rows as they are."""
        data, counts = packed.data, packed.batch_sizes
        directions = 2 if self.bidirectional else 1
        shape = [self.num_layers * directions, int(counts[0]), self.hidden_size]
        if state is None:
            state = {name: next(self.parameters()).new_zeros(shape) for name in self._states}
        check_states(state, shape)
        if packed.sorted_indices is not None:
            state = {name: tensor.index_select(1, packed.sorted_indices) for name, tensor in state.items()}
        turned = packed_reversal(counts) if self.bidirectional else None
        recurrence, finals = _CELLS[self.mode], []
        for layer in range(self.num_layers):
            if layer and self.training:
                data = drop_units(data, self.dropout)
            outputs = []
            for direction in range(directions):
                number = layer * directions + direction
                own = {name: tensor[number] for name, tensor in state.items()}
                x = data if turned is None or not direction else take_rows(data, turned)
                y, final = run_packed(recurrence, self._parameters_of(self._weights(layer, direction)), x, counts, own)
                outputs.append(y if turned is None or not direction else take_rows(y, turned))
                finals.append(final)
            data = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        self._backend_used = "cpu (compiled for this machine)"
        last = {name: torch.stack([final[name] for final in finals]) for name in state}
        if packed.unsorted_indices is not None:
            last = {name: tensor.index_select(1, packed.unsorted_indices) for name, tensor in last.items()}
        return PackedSequence(data, counts, packed.sorted_indices, packed.unsorted_indices), last

    def _is_torch(self, input: Any) -> bool:
        """Whether torch.nn's own forward is to run; notes it, and why."""
        if self._backend not in ("auto", "torch"):
            return False
        reason = self._not_compiled(input) if self._backend == "auto" else "forced"
        if reason is None:
            return False
        self._backend_used = f"torch (torch.nn's own kernel): {reason}"
        return True

    def _not_compiled(self, input: Any) -> str | None:
        """Why the compiled backend had better not run this, or None."""
        if self.proj_size:
            return "proj_size runs on it only"
        data = input.data if isinstance(input, PackedSequence) else input
        if not isinstance(data, Tensor) or data.dim() < 2:
            return "the input is for torch to judge"
        return compiled_refusal(data, next(self.parameters()))

    def extra_repr(self) -> str:
        """torch's, and the backend if one is forced."""
        return super().extra_repr() + (f", backend={self._backend!r}" if self._backend != "auto" else "")


def check_states(state: dict[str, Tensor], shape: list[int]) -> None:
    """Refuse initial states of another shape.

    Raises:
        MisuseError: with both shapes.
    """
    for name, tensor in state.items():
        if list(tensor.shape) != shape:
            raise MisuseError(f"The initial {name} must be {shape}; got {list(tensor.shape)}.")


class RNN(_DropIn, nn.RNN):
    """:class:`torch.nn.RNN` (tanh or relu) with one argument more.

    torch.jit.script does not take it; torch.compile does.

    Args:
        *args: torch's.
        backend: "auto", "torch" (torch's own kernel), "reference" (eager torch; differentiable any number of times),
            "cpu" or "gpu".
        **kwargs: torch's.
    """

    def __init__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_backend(backend)

    def _parameters_of(self, gates: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        (wx,), (wh,), (bx,), (bh,) = (gates[kind] for kind in _KINDS)
        return {"Wx": wx, "Wh": wh, "b": bx + bh}

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """As :meth:`torch.nn.RNN.forward`."""
        if self._is_torch(input):
            return super().forward(input, hx)
        y, final = self._ours(input, None if hx is None else {"h": hx})
        return y, final["h"]


class GRU(_DropIn, nn.GRU):
    """:class:`torch.nn.GRU` with one argument more.

    torch.jit.script does not take it; torch.compile does.

    Args:
        *args: torch's.
        backend: as for :class:`RNN`.
        **kwargs: torch's.
    """

    def __init__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_backend(backend)

    def _parameters_of(self, gates: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        names = {"weight_ih": "Wi", "weight_hh": "Wh", "bias_ih": "bi", "bias_hh": "bh"}
        return {
            name + gate: tensor for kind, name in names.items() for gate, tensor in zip("rzn", gates[kind], strict=True)
        }

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """As :meth:`torch.nn.GRU.forward`."""
        if self._is_torch(input):
            return super().forward(input, hx)
        y, final = self._ours(input, None if hx is None else {"h": hx})
        return y, final["h"]


class LSTM(_DropIn, nn.LSTM):
    """:class:`torch.nn.LSTM` with one argument more.

    torch.jit.script does not take it; torch.compile does.

    Args:
        *args: torch's.
        backend: as for :class:`RNN`; ``proj_size`` runs with "auto" and "torch" only.
        **kwargs: torch's.

    Raises:
        NotImplementedError: ``proj_size`` with another backend.
    """

    _states = ("h", "c")

    def __init__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_backend(backend)

    def _parameters_of(self, gates: dict[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        biases = [a + b for a, b in zip(gates["bias_ih"], gates["bias_hh"], strict=True)]
        table: dict[str, Tensor] = {}
        for number, gate in enumerate("ifgo"):
            table |= {
                f"W{gate}": gates["weight_ih"][number],
                f"U{gate}": gates["weight_hh"][number],
                f"b{gate}": biases[number],
            }
        return table

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """As :meth:`torch.nn.LSTM.forward`."""
        if self._is_torch(input):
            return super().forward(input, hx)
        y, final = self._ours(input, None if hx is None else {"h": hx[0], "c": hx[1]})
        return y, (final["h"], final["c"])
