"""The sampling loop: draw, feed the symbol to the layers, read their output out, and again, without Python between."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile.cpu import draws, readout
from elman.compile.cpu.readout import Format
from elman.compile.cpu.sampler_ir import Slot, Status, sampler_source
from elman.compile.cpu.target import Target, host_target
from elman.compile.cpu.threads import parallel
from elman.compile.cpu.toolchain import load_code
from elman.errors import FailureError, MisuseError

#: What is wrong, in the words of :mod:`elman.generate.filters`.
FAILURES = {
    Status.NO_SYMBOL: "There is no symbol left to draw: every one has probability 0 or is ruled out.",
    Status.NOT_FINITE: "The model's scores are not finite numbers: its weights are damaged or its training diverged.",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One compiled layer, wired to what it reads: layer 0 to the tokens, the others to the layer below.

    Attributes:
        function: address of ``void layer(i64* ctx, i64 thread)``, which computes the steps ctx[0] to ctx[1] - 1.
        ctx: address of its array.
        outputs: addresses of its output [B, stride], float32, after a step of parity 0 and of parity 1.
    """

    function: int
    ctx: int
    outputs: tuple[int, int]


@dataclass(frozen=True, slots=True)
class StateBuffer:
    """What one state of a layer is kept in, beside the layer's output.

    Attributes:
        addresses: of the state's rows after a step of parity 0 and of parity 1.
        row_bytes: from row to row.
    """

    addresses: tuple[int, int]
    row_bytes: int


class Sampler:
    """Draws block after block of symbols, or scores given ones, in B rows at once.

    A step of parity p computes the layers with ctx[0] = p and ctx[1] = p + 1; then p becomes 1 - p. Before the first
    block the caller puts the state into the layers' buffers as a step of parity 1 - ``parity`` would have left it, and
    the scores of the first symbol into ``scores``.

    Args:
        layers: from the lowest; what they point to must live as long as this object.
        weight: of the readout [V, H].
        bias: of the readout [V].
        tokens: int64 [B]; layer 0 reads the symbols of a step here.
        stride: floats from row to row of every layer's output, at least H.
        temperature, top_k, top_p, min_p, banned: as :class:`elman.generate.filters.Filters` takes them, checked there.
        follows: symbols that are fed, without being drawn, after a symbol.
        states: the states that are not a layer's output; only needed where something follows a symbol.
        format: how the readout's weights are stored; see :func:`elman.compile.cpu.readout.pack`.
        target: default this machine.

    Attributes:
        scores: float32 [B, V], of the next symbol.
        parity: of the next step.

    Raises:
        MisuseError: sizes that do not belong together.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weight: Tensor,
        bias: Tensor,
        tokens: NDArray[np.int64],
        stride: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        banned: Collection[int] = (),
        follows: Mapping[int, int] | None = None,
        states: Sequence[StateBuffer] = (),
        format: Format = "fp32",
        target: Target | None = None,
    ) -> None:
        target = host_target() if target is None else target
        packed = readout.pack(weight, bias, target, format)
        if not layers or stride < packed.hidden or tokens.dtype != np.int64 or tokens.ndim != 1:
            raise MisuseError(
                f"The sampling loop needs a layer, tokens [B] of int64 and an output at least {packed.hidden} wide; "
                f"it got {len(layers)} layers, tokens {tokens.dtype} {list(tokens.shape)} and a stride of {stride}."
            )
        self._rows, self._size = len(tokens), packed.size
        self._code = load_code(f"sampler {format}", lambda: sampler_source(target, format), target)
        self._sample = self._code.address("sample")
        request = draws.request(
            packed.size, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, banned=banned
        )
        logits = torch.full((self._rows, packed.padded), -torch.inf, dtype=torch.float32, device="cpu")
        self.scores: NDArray[np.float32] = logits.numpy()[:, : packed.size]
        maxima = np.empty(self._rows)
        table = np.array([(layer.function, layer.ctx, *layer.outputs) for layer in layers], np.int64)
        kept = [*states, *(StateBuffer(layer.outputs, 4 * stride) for layer in layers)]
        buffers = np.array([(*state.addresses, state.row_bytes) for state in kept], np.int64)
        following = np.full(packed.size, -1, np.int64)
        for symbol, follower in (follows or {}).items():
            following[symbol] = follower
        self._slots = np.zeros(len(Slot), np.int64)
        for which, value in {
            Slot.ROWS: self._rows,
            Slot.LAYERS: table.ctypes.data,
            Slot.DEPTH: len(layers),
            Slot.TOKENS: tokens.ctypes.data,
            Slot.STATES: buffers.ctypes.data,
            Slot.STATE_COUNT: len(buffers),
            Slot.FOLLOWS: following.ctypes.data if follows else 0,
            Slot.REQUEST: request.slots.ctypes.data,
            Slot.LOGITS: logits.data_ptr(),
            Slot.LOGIT_BYTES: 4 * packed.padded,
            Slot.MAXIMA: maxima.ctypes.data,
            Slot.WEIGHTS: packed.weights.data_ptr(),
            Slot.SCALES: packed.scales.data_ptr(),
            Slot.BIAS: packed.bias.data_ptr(),
            Slot.HIDDEN: packed.hidden,
            Slot.PANELS: packed.panels,
            Slot.SINGLES: packed.singles,
            Slot.OUTPUT_BYTES: 4 * stride,
        }.items():
            self._slots[which] = value
        self._alive = packed, request, logits, maxima, table, buffers, following, tokens

    @property
    def parity(self) -> int:
        return int(self._slots[Slot.PARITY])

    @parity.setter
    def parity(self, value: int) -> None:
        self._slots[Slot.PARITY] = value

    def run(self, uniforms: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], Status]:
        """Draw and feed a block of symbols.

        Args:
            uniforms: [n, B], each in [0, 1).

        Returns:
            The symbols [m, B], their log-probabilities before the filters [m, B] in nats, and how it ended: m is n,
            or less where the draw of step m failed (``FAILURES`` says how).
        """
        uniforms = np.ascontiguousarray(uniforms, np.float64)
        return self._block(uniforms, Slot.UNIFORMS)

    def score(self, symbols: NDArray[np.int64]) -> tuple[NDArray[np.float64], Status]:
        """Feed given symbols.

        Args:
            symbols: [n, B].

        Returns:
            Their log-probabilities [m, B] in nats, and how it ended, as :meth:`run`.

        Raises:
            MisuseError: a symbol outside of the vocabulary.
        """
        symbols = np.ascontiguousarray(symbols, np.int64)
        if symbols.size and not 0 <= symbols.min() <= symbols.max() < self._size:
            raise MisuseError(f"A symbol lies outside the vocabulary, whose ids are 0 to {self._size - 1}.")
        _, logprobs, status = self._block(symbols, Slot.GIVEN)
        return logprobs, status

    def _block(
        self, source: NDArray[np.float64] | NDArray[np.int64], slot: Slot
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], Status]:
        if source.ndim != 2 or source.shape[1] != self._rows:
            raise MisuseError(f"A block of steps is {list(source.shape)}; it must be [n, {self._rows}].")
        ids, logprobs = np.empty(source.shape, np.int64), np.empty(source.shape)
        slots = self._slots
        slots[[Slot.UNIFORMS, Slot.GIVEN]] = 0
        slots[slot] = source.ctypes.data
        slots[Slot.STEPS] = len(source)
        slots[[Slot.IDS, Slot.LOGPROBS]] = ids.ctypes.data, logprobs.ctypes.data
        parallel(self._sample, slots.ctypes.data, 1)
        done = slots[Slot.DONE]
        return ids[:done], logprobs[:done], Status(slots[Slot.STATUS])


def check(status: Status) -> None:
    """Raise what the reference raises.

    Raises:
        FailureError: the status is not DONE.
    """
    if status != Status.DONE:
        raise FailureError(FAILURES[status])
