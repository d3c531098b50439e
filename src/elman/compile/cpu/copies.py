"""Copies between the orders in which torch, the loops and the products keep numbers: many jobs, one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from elman.compile.cpu.calls import call
from elman.compile.cpu.copies_ir import JOB, KINDS, copies_source
from elman.compile.cpu.target import Target
from elman.compile.cpu.threads import threads_for
from elman.compile.cpu.toolchain import load_code

#: Floats that a further thread is worth.
_SHARE = 1 << 15


class Jobs:
    """A list of copies in float32 that do not depend on each other. Addresses must be valid until :meth:`run` ends.

    Args:
        target: this machine.
    """

    def __init__(self, target: Target):
        self.target = target
        self._jobs: list[int] = []
        self._tables: list[int] = []
        self._open: list[tuple[int, int]] = []
        self._kept: list[Tensor] = []
        self._floats = 0

    def rows(self, result: int, matrices: Sequence[Tensor], spread: int, chunks: int) -> None:
        """Matrices [hidden, K] as a forward loop reads them, [chunk][k][matrix][spread][lane], filled with zeros.

        Args:
            result: where to.
            matrices: of one shape.
            spread: vectors of units for each matrix.
            chunks: of so many vectors.
        """
        hidden, depth = matrices[0].shape
        self._add("rows", result, self._sources(matrices), len(matrices), spread, hidden, depth, chunks)

    def columns(
        self, result: int, matrices: Sequence[Tensor], run: int, spread: int, chunks: int, narrow: bool = False
    ) -> None:
        """Matrices [rows, columns] as [chunk][vector of rows][matrix of a run][lane][run][spread][lane of columns].

        Args:
            result: where to.
            matrices: of one shape, run by run.
            run: how many stand one after another, where a backward loop has their slots side by side.
            spread: vectors of columns for each run.
            chunks: of so many vectors.
            narrow: the last chunk ends with its last vector, as :func:`elman.compile.cpu.products.times` has it.
        """
        rows, columns = matrices[0].shape
        sources = self._sources(matrices)
        self._add("columns", result, sources, run, len(matrices) // run, spread, rows, columns, chunks, int(narrow))

    def copy(self, result: int, result_stride: int, source: Tensor, wide: int) -> None:
        """A matrix [rows, width] row by row.

        Args:
            result: where to.
            result_stride: floats from row to row.
            source: what.
            wide: floats of a row that are written; zero beyond the source's width.
        """
        source = self._plain(source)
        self._kept.append(source)
        rows, width = source.shape
        self._add("copy", result, result_stride, source.data_ptr(), source.stride(0), rows, width, wide)

    def move(self, result: int, result_stride: int, source: int, source_stride: int, rows: int, width: int) -> None:
        """The same from an address to an address; strides in floats."""
        self._add("copy", result, result_stride, source, source_stride, rows, width, width)

    def zeros(self, result: int, rows: int, wide: int) -> None:
        """Zeros in rows that stand one after another."""
        self._add("copy", result, wide, 0, 0, rows, 0, wide)

    def unpack(self, source: Tensor, results: Sequence[Tensor]) -> None:
        """Matrices out of a product of slots' gradients with an operand.

        result[slot][unit * lanes + lane, k] = source[unit, k, slot * lanes + lane]

        Args:
            source: [vectors of units, K, slots * lanes], contiguous float32; lives as long as this.
            results: by slot a matrix [hidden, K], contiguous float32; hidden may not fill the last vector.
        """
        units, depth, _ = source.shape
        self._kept.append(source)
        self._floats += source.numel()
        self._open.append((len(self._jobs) + 2, len(self._tables)))
        self._tables += (each.data_ptr() for each in results)
        self._add("unpack", source.data_ptr(), 0, units, depth, len(results), len(results[0]))

    def sum(self, result: int, source: int, parts: int, stride: int, width: int) -> None:
        """The sum over parts, each so many floats behind the one before."""
        self._add("sum", result, source, parts, stride, width)

    def run(self) -> None:
        """Do all of them, on as many threads as they are worth."""
        if not self._jobs:
            return
        behind = 2 + len(self._jobs)
        for place, entry in self._open:
            self._jobs[place] = behind + entry
        threads = threads_for(self._floats // _SHARE)
        array = np.array([threads, len(self._jobs) // JOB, *self._jobs, *self._tables], dtype=np.int64)
        call(_address(self.target), array, threads)

    def _add(self, kind: str, *fields: int) -> None:
        self._jobs.append(KINDS[kind])
        self._jobs += fields
        self._jobs += (0,) * (JOB - 1 - len(fields))

    def _sources(self, matrices: Sequence[Tensor]) -> int:
        self._open.append((len(self._jobs) + 2, len(self._tables)))
        for matrix in matrices:
            matrix = self._plain(matrix)
            self._tables += (matrix.data_ptr(), matrix.stride(0))
            self._floats += matrix.numel()
        return 0

    def _plain(self, tensor: Tensor) -> Tensor:
        """The tensor itself if its rows are floats side by side, else a copy that lives as long as this."""
        if tensor.dtype == torch.float32 and (tensor.stride(1) == 1 or tensor.shape[1] == 1) and not tensor.is_neg():
            return tensor
        tensor = tensor.float().resolve_neg().contiguous()
        self._kept.append(tensor)
        return tensor


@cache
def _address(target: Target) -> int:
    return load_code("copies", lambda: copies_source(target), target).address("copies")
