"""The readout y = W h + b for a few rows, its weights packed once into the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from llvmlite import ir
from torch import Tensor

from elman.compile.cpu.flow import integer, loop, offset
from elman.compile.cpu.target import Target
from elman.compile.cpu.vectors import F32, I32, I64, POINTER, Vectors
from elman.errors import MisuseError

Format = Literal["fp32", "bf16", "int8"]

# Rows of y are padded to this many numbers, a whole number of vectors on every target.
PADDING = 16
# Vectors side by side in a panel: as many outputs are computed by one pass over h.
_PANEL = 4
_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_BYTE = ir.IntType(8)


@dataclass(frozen=True, slots=True)
class Packed:
    """The weights of a readout in the order of :func:`define_readout`.

    Attributes:
        weights: bytes: panels [H][4 lanes], then what is left of the outputs as panels [H][lanes].
        scales: [padded], what each output is multiplied by; empty unless the format is int8.
        bias: [padded]; -inf beyond V, so that the padding has no probability.
        format: of a weight.
        hidden: H.
        size: V.
        panels: panels of 4 vectors.
        singles: panels of one vector.
    """

    weights: Tensor
    scales: Tensor
    bias: Tensor
    format: Format
    hidden: int
    size: int
    panels: int
    singles: int

    @property
    def padded(self) -> int:
        """Numbers in a row of y."""
        return self.bias.numel()


def pack(weight: Tensor, bias: Tensor, target: Target, format: Format = "fp32") -> Packed:
    """Put the weights of a readout into the order in which they are read.

    Args:
        weight: [V, H].
        bias: [V].
        target: the machine that will read them.
        format: "fp32"; "bf16", rounded to nearest; "int8", each output's weights divided by max |w| / 127 and
            rounded. Sums are in float32 throughout.

    Raises:
        MisuseError: an unknown format, or weights that are no matrix with as many rows as there are biases.
    """
    if format not in _BYTES:
        raise MisuseError(f"The format of the readout's weights is {format!r}; there are {', '.join(_BYTES)}.")
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.numel():
        raise MisuseError(
            f"The readout's weights are {list(weight.shape)} and its bias {list(bias.shape)}; "
            "they must be [V, H] and [V]."
        )
    size, hidden = weight.shape
    padded = -(-size // PADDING) * PADDING
    rows = torch.zeros(padded, hidden, dtype=torch.float32, device="cpu")
    rows[:size] = weight.detach()
    padded_bias = torch.full((padded,), -torch.inf, dtype=torch.float32, device="cpu")
    padded_bias[:size] = bias.detach()
    scales = torch.empty(0, dtype=torch.float32, device="cpu")
    if format == "bf16":
        rows = rows.to(torch.bfloat16)
    elif format == "int8":
        scales = rows.abs().amax(dim=1) / 127
        rows = (rows / torch.where(scales > 0, scales, 1.0)[:, None]).round().to(torch.int8)
    panels, singles = divmod(padded // target.lanes, _PANEL)
    width = _PANEL * target.lanes
    cut = panels * width
    wide = rows[:cut].view(panels, width, hidden).transpose(1, 2)
    if format == "bf16":
        # two vectors share a load: one in the lower, one in the upper halves of 32 bits
        wide = wide.reshape(panels, hidden, _PANEL // 2, 2, target.lanes).transpose(3, 4)
    narrow = rows[cut:].view(singles, target.lanes, hidden).transpose(1, 2)
    ordered = [part.contiguous().view(-1).view(torch.uint8) for part in (wide, narrow) if part.numel()]
    return Packed(torch.cat(ordered), scales, padded_bias, format, hidden, size, panels, singles)


def define_readout(module: ir.Module, target: Target, format: Format) -> ir.Function:
    """Add the readout to a module.

    Args:
        module: gets the function and those that it calls.
        target: the machine for which the weights are packed.
        format: of the weights.

    Returns:
        ``void readout(weights, scales, bias, i64 hidden, i64 panels, i64 singles, h, i64 h_bytes, y, i64 y_bytes,
        i64 rows)``: h and y are pointers to the first row, h_bytes and y_bytes the distance between rows. Nothing
        outside of h [rows, H] is read; of y [rows, padded] everything is written.
    """
    kinds = [POINTER, POINTER, POINTER, I64, I64, I64, POINTER, I64, POINTER, I64, I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "readout")
    function.linkage = "internal"
    weights, scales, bias, hidden, panels, singles, h, h_bytes, y, y_bytes, rows = function.args
    at_once = (4, 2, 1) if target.registers >= 32 else (2, 1)
    tiles = {(n, r): _define_tile(module, target, format, n, r) for n in (_PANEL, 1) for r in at_once}
    b = ir.IRBuilder(function.append_basic_block())

    def panels_of(vectors: int, count: ir.Value, done: ir.Value, weights: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Go through panels; returns the outputs done and where the weights go on."""
        width = vectors * target.lanes
        nbytes = b.mul(hidden, integer(width * _BYTES[format]))

        def panel(index: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            output, at = carried
            column = b.mul(output, integer(4))
            row: ir.Value = integer(0)
            for r in at_once:

                def tile(row: ir.Value, _: list[ir.Value], r: int = r) -> list[ir.Value]:
                    out = offset(b, offset(b, y, b.mul(row, y_bytes)), column)
                    scale, shift = offset(b, scales, column), offset(b, bias, column)
                    source = offset(b, h, b.mul(row, h_bytes))
                    b.call(tiles[vectors, r], [at, scale, shift, hidden, source, h_bytes, out, y_bytes])
                    return []

                row, _ = loop(b, row, b.sub(rows, integer(r - 1)), r, [], tile)
            return [b.add(output, integer(width)), offset(b, at, nbytes)]

        _, (done, weights) = loop(b, integer(0), count, 1, [done, weights], panel)
        return done, weights

    done, weights = panels_of(_PANEL, panels, integer(0), weights)
    panels_of(1, singles, done, weights)
    b.ret_void()
    return function


def _define_tile(module: ir.Module, target: Target, format: Format, vectors: int, rows: int) -> ir.Function:
    """y [rows, vectors * lanes] of one panel, all sums in registers."""
    kinds = [POINTER, POINTER, POINTER, I64, POINTER, I64, POINTER, I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), f"tile_{vectors}x{rows}")
    function.linkage = "internal"
    function.attributes.add("noinline")
    weights, scales, bias, hidden, h, h_bytes, y, y_bytes = function.args
    b = ir.IRBuilder(function.append_basic_block())
    v = Vectors(b, target.lanes)
    # a sum waits for itself: several, over every unroll-th k, keep the multipliers busy
    unroll = max(1, min(8, target.registers // 2 // (vectors * rows)))
    sources = [offset(b, h, b.mul(integer(row), h_bytes)) for row in range(rows)]
    line = vectors * target.lanes * _BYTES[format]

    def products(k: ir.Value, step: int, sums: list[ir.Value]) -> list[ir.Value]:
        at = b.add(k, integer(step))
        start = offset(b, weights, b.mul(at, integer(line)))
        columns = _columns(v, start, vectors, format)
        inputs = [v.spread(b.load(b.gep(row, [at], source_etype=F32), typ=F32, align=4)) for row in sources]
        terms = [(value, column) for value in inputs for column in columns]
        return [v.fma(value, column, total) for (value, column), total in zip(terms, sums, strict=True)]

    def several(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        tile = vectors * rows
        return [total for step in range(unroll) for total in products(k, step, sums[step * tile : (step + 1) * tile])]

    zeros = [v.number(0.0)] * (vectors * rows * unroll)
    k, sums = loop(b, integer(0), b.sub(hidden, integer(unroll - 1)), unroll, zeros, several)
    tile = vectors * rows
    _, sums[:tile] = loop(b, k, hidden, 1, sums[:tile], lambda k, first: products(k, 0, first))
    for row in range(rows):
        for index in range(vectors):
            place = integer(4 * index * target.lanes)
            total = _tree(b, sums[row * vectors + index :: tile])
            shift = v.load(offset(b, bias, place))
            value = v.fma(total, v.load(offset(b, scales, place)), shift) if format == "int8" else b.fadd(total, shift)
            v.store(value, offset(b, offset(b, y, b.mul(integer(row), y_bytes)), place))
    b.ret_void()
    return function


def _columns(v: Vectors, start: ir.Value, count: int, format: Format) -> list[ir.Value]:
    """Vectors of weights that stand side by side, as float32."""
    b = v.builder

    def load(index: int, kind: ir.Type) -> ir.Value:
        vector = ir.VectorType(kind, v.lanes)
        source = offset(b, start, integer(index * v.lanes * kind.width // 8))
        return b.load(source, typ=vector, align=1 if format == "int8" else 2)

    if format == "fp32":
        return [v.load(offset(b, start, integer(4 * index * v.lanes))) for index in range(count)]
    if format == "int8":
        return [b.sitofp(b.sext(load(index, _BYTE), v.integers), v.type) for index in range(count)]
    # bfloat16 is the upper half of a float32
    if count == 1:
        return [b.bitcast(b.shl(b.zext(load(0, ir.IntType(16)), v.integers), v.whole(16)), v.type)]
    pairs = [load(index, I32) for index in range(count // 2)]
    halves = [half for pair in pairs for half in (b.shl(pair, v.whole(16)), b.and_(pair, v.whole(-(1 << 16))))]
    return [b.bitcast(half, v.type) for half in halves]


def _tree(b: ir.IRBuilder, values: Sequence[ir.Value]) -> ir.Value:
    """The sum, added in pairs."""
    while len(values) > 1:
        pairs = [b.fadd(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = [*pairs, *values[len(values) & ~1 :]]
    return values[0]
