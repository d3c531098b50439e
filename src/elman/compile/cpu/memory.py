"""The memory of a pass: its buffers are pieces of a few tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.compile.cpu.calls import new

#: Pieces begin at multiples of so many bytes.
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a buffer [rows, width] stands.

    Attributes:
        tensor: the name of the tensor that it is a part of; its own name if that is all of it.
        start: bytes from the tensor's beginning.
        rows, width, dtype: of the buffer.
    """

    tensor: str
    start: int
    rows: int
    width: int
    dtype: torch.dtype = torch.float32

    @property
    def stride(self) -> int:
        """Bytes from row to row."""
        return self.width * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.rows * self.stride


class Memory:
    """Tensors and the pieces of them that are buffers.

    Args:
        tensors: by name; what is no piece's own holds several.
        pieces: by buffer's name.
    """

    def __init__(self, tensors: dict[str, Tensor], pieces: Mapping[str, Piece]):
        self.tensors, self.pieces = tensors, pieces

    def address(self, name: str) -> int:
        """Where a buffer begins."""
        piece = self.pieces[name]
        return self.tensors[piece.tensor].data_ptr() + piece.start

    def __contains__(self, name: str) -> bool:
        piece = self.pieces.get(name)
        return piece is not None and piece.tensor in self.tensors

    def get(self, name: str) -> Tensor | None:
        """As ``[]``; None if there is no such buffer."""
        if name not in self:
            return None
        return self[name]

    def __getitem__(self, name: str) -> Tensor:
        """A buffer as a tensor [rows, width]."""
        piece = self.pieces[name]
        tensor = self.tensors[piece.tensor]
        if piece.tensor == name:
            return tensor
        part = tensor.narrow(0, piece.start // 4, piece.nbytes // 4)
        return part.view(piece.dtype).view(piece.rows, piece.width)


class Layout:
    """Which pieces a pass needs; grown once, then used for every call of the same sizes.

    Attributes:
        pieces: by buffer's name.
        shapes: by name of a tensor its shape and type.
    """

    def __init__(self) -> None:
        self.pieces: dict[str, Piece] = {}
        self.shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}

    def own(self, name: str, rows: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        """A buffer that is a tensor of its own."""
        self.pieces[name] = Piece(name, 0, rows, width, dtype)
        self.shapes[name] = (rows, width), dtype

    def part(self, tensor: str, name: str, rows: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        """A buffer that stands in a tensor with others."""
        start = 4 * self.shapes.get(tensor, ((0,), dtype))[0][0]
        piece = self.pieces[name] = Piece(tensor, start, rows, width, dtype)
        end = -(-(start + piece.nbytes) // _ALIGNED) * _ALIGNED
        self.shapes[tensor] = (end // 4,), torch.float32

    def memory(self) -> Memory:
        """New tensors."""
        return Memory({name: new(shape, dtype) for name, (shape, dtype) in self.shapes.items()}, self.pieces)
