"""Matrix products in float32 that stand outside the time loop, on torch's number of threads.

Every element is summed up in the same order however many threads there are.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from elman.compile.cpu import products_ir
from elman.compile.cpu.calls import call, new
from elman.compile.cpu.products_copies import CHUNK, PACK, tile_shape
from elman.compile.cpu.target import Target, host_target
from elman.compile.cpu.toolchain import load_code
from elman.errors import MisuseError

#: Floats that a thread copies before it multiplies them, at most: half of a second cache of 1 MiB.
_COPIED = 1 << 17
_ENTRIES = {
    "outer": (products_ir.outer_source, products_ir.OUTER),
    "pack": (products_ir.times_source, PACK),
    "times": (products_ir.times_source, products_ir.TIMES),
}


def outer(
    gradients: Tensor, operand: Tensor, start: int = 0, width: int | None = None, target: Target | None = None
) -> Tensor:
    """The gradient of weights: outer products, summed over rows.

    result[b, k, w] = sum over row of gradients[b, row, start + w] operand[row, k]

    Args:
        gradients: [blocks, rows, W], contiguous.
        operand: [rows, K]; each row contiguous.
        start: the first of the W columns that are wanted.
        width: how many are wanted, a multiple of the target's lanes; all from ``start`` on if not given.
        target: what to compile for; this machine if not given.

    Returns:
        [blocks, K, width], in memory of the workspace.

    Raises:
        MisuseError: the shapes or strides do not fit.
    """
    target = target or host_target()
    blocks, rows, panel = _checked(gradients, 3, "gradients").shape
    depth = _checked(operand, 2, "operand").shape[1]
    width = _width(start, width, panel)
    if not gradients.is_contiguous() or width % target.lanes or operand.shape[0] != rows:
        raise MisuseError(
            f"gradients {list(gradients.shape)} must be contiguous, the width {width} a multiple of {target.lanes}, "
            f"and operand {list(operand.shape)} must have {rows} rows."
        )
    result = new((blocks, depth, width), torch.float32)
    if not rows or not result.numel():
        return result.zero_()
    tall, vectors = tile_shape(target)
    count, chunk = blocks * width // target.lanes, _even(rows, CHUNK)
    down, across = _grid((count, vectors), (depth, tall))
    span = _even(_parts(_parts(depth, tall), across), _COPIED // (chunk * tall))
    scratch = new((down * across, span * chunk * tall), torch.float32)
    _run(
        "outer",
        target,
        gradients=gradients.data_ptr(),
        operand=operand.data_ptr(),
        result=result.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_size=scratch.shape[1],
        down=down,
        across=across,
        rows=rows,
        depth=depth,
        operand_stride=operand.stride(0),
        panel=panel,
        start=start,
        width=width,
        count=count,
        chunk=chunk,
        span=span,
    )
    return result


def pack_times(matrix: Tensor, target: Target | None = None) -> Tensor:
    """The right factor of :func:`times`, in the order in which it is read.

    Args:
        matrix: [K, N], with any strides.
        target: what :func:`times` is compiled for; this machine if not given.

    Returns:
        [K * N rounded up to the target's lanes]: panels of as many columns as a tile has, each panel [K, columns].

    Raises:
        MisuseError: it is not a matrix of float32.
    """
    target = target or host_target()
    depth, columns = _checked(matrix, 2, "the matrix", rows=False).shape
    packed = new((depth * _parts(columns, target.lanes) * target.lanes,), torch.float32)
    if not packed.numel():
        return packed
    down, across = _grid((columns, tile_shape(target)[1] * target.lanes), (depth, 1))
    _run(
        "pack",
        target,
        matrix=matrix.data_ptr(),
        packed=packed.data_ptr(),
        down=down,
        across=across,
        depth=depth,
        columns=columns,
        row_stride=matrix.stride(0),
        column_stride=matrix.stride(1),
    )
    return packed


def times(
    a: Tensor,
    packed: Tensor,
    n: int,
    start: int = 0,
    width: int | None = None,
    add: Tensor | None = None,
    target: Target | None = None,
) -> Tensor:
    """The product of a matrix, whole or in blocks of columns, with packed weights.

    result[row, n] = sum over b, w of a[b, row, start + w] matrix[b * width + w, n]

    Args:
        a: [blocks, rows, W], or [rows, W] for one block; each row contiguous.
        packed: of :func:`pack_times`, of a matrix [blocks * width, n].
        n: columns of that matrix.
        start: the first of the W columns of every block that take part.
        width: how many take part; all from ``start`` on if not given.
        add: [rows, n], contiguous; the product is added to it.
        target: what to compile for, as in :func:`pack_times`.

    Returns:
        [rows, n]: ``add`` if it is given, else memory of the workspace.

    Raises:
        MisuseError: the shapes or strides do not fit.
    """
    target = target or host_target()
    if a.dim() == 2:
        a = a.unsqueeze(0)
    blocks, rows, panel = _checked(a, 3, "a").shape
    width = _width(start, width, panel)
    depth = blocks * width
    if packed.numel() != depth * _parts(n, target.lanes) * target.lanes or not packed.is_contiguous():
        raise MisuseError(f"The packed weights are not those of a matrix [{depth}, {n}] for {target.name}.")
    if add is not None and (add.shape != (rows, n) or add.dtype != torch.float32 or not add.is_contiguous()):
        raise MisuseError(f"What the product is added to must be a contiguous float32 matrix [{rows}, {n}].")
    result = new((rows, n), torch.float32) if add is None else add
    if not depth or not result.numel():
        return result if add is not None else result.zero_()
    tall, vectors = tile_shape(target)
    down, across = _grid((rows, tall), (n, vectors * target.lanes))
    span = _even(_parts(_parts(rows, tall), down), _COPIED // (CHUNK * tall))
    scratch = new((down * across, span * CHUNK * tall), torch.float32)
    _run(
        "times",
        target,
        matrix=a.data_ptr(),
        weights=packed.data_ptr(),
        result=result.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_size=scratch.shape[1],
        down=down,
        across=across,
        rows=rows,
        depth=depth,
        columns=n,
        row_stride=a.stride(1),
        block_stride=a.stride(0),
        start=start,
        width=width,
        chunk=_even(depth, CHUNK),
        span=span,
        add=int(add is not None),
    )
    return result


def _run(entry: str, target: Target, **slots: int) -> None:
    context = np.array([slots[slot] for slot in _ENTRIES[entry][1]], dtype=np.int64)
    call(_address(entry, target), context, slots["down"] * slots["across"])


@cache
def _address(entry: str, target: Target) -> int:
    source = _ENTRIES[entry][0]
    code = load_code(f"{source.__name__} {CHUNK}", lambda: source(target), target)
    return code.address(entry)


def _checked(tensor: Tensor, dimensions: int, name: str, rows: bool = True) -> Tensor:
    if tensor.dim() != dimensions or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise MisuseError(f"{name} must be a float32 tensor of {dimensions} dimensions on the CPU.")
    if rows and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise MisuseError(f"The rows of {name} must be contiguous; its strides are {tensor.stride()}.")
    return tensor


def _width(start: int, width: int | None, panel: int) -> int:
    width = panel - start if width is None else width
    if not 0 <= start <= start + width <= panel:
        raise MisuseError(f"Columns {start} to {start + width} are not within the {panel} of a block.")
    return width


def _grid(down: tuple[int, int], across: tuple[int, int]) -> tuple[int, int]:
    """The grid of threads over two sizes, each in units that stay whole, in which the busiest has least to do."""
    most = _parts(*down) * _parts(*across)
    threads = max(1, min(torch.get_num_threads(), most))
    grids = [(first, threads // first) for first in range(threads, 0, -1) if threads % first == 0]

    def load(size: int, unit: int, threads: int) -> int:
        return min(size, unit * _parts(_parts(size, unit), threads))

    return min(grids, key=lambda grid: load(*down, grid[0]) * load(*across, grid[1]))


def _parts(size: int, unit: int) -> int:
    return -(-size // unit)


def _even(size: int, limit: int) -> int:
    """The size of the fewest equal parts that are within a limit."""
    return _parts(size, _parts(size, limit))
