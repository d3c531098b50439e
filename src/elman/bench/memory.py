"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


class _Kept:
    """A tensor that autograd holds; gone when autograd lets it go."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def kept_bytes(forward: Callable[[], object], operands: Sequence[Tensor]) -> int:
    """Memory that lives after a forward pass only because a backward pass may come.

    Counted are the distinct blocks of memory of all tensors that autograd has saved (torch's saved-tensor hooks see
    them, those of compiled kernels and of graphs inside of functions included) and of those that functions written in
    Python hold as attributes. A view counts with the whole block that it keeps alive.

    Args:
        forward: the pass; gives a tensor with a gradient function.
        operands: inputs and parameters, which are there anyway.

    Returns:
        Bytes.
    """
    held: list[weakref.ref[_Kept]] = []

    def pack(tensor: Tensor) -> _Kept:
        kept = _Kept(tensor)
        held.append(weakref.ref(kept))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        output = forward()
    saved = [kept.tensor for each in held if (kept := each()) is not None]
    if isinstance(output, Tensor):
        saved += _held_by_functions(output)
    there = {_block(tensor)[0] for tensor in operands}
    blocks = dict(_block(tensor) for tensor in saved if not tensor.is_mkldnn)
    opaque = sum(tensor.numel() * tensor.element_size() for tensor in saved if tensor.is_mkldnn)
    return opaque + sum(size for address, size in blocks.items() if address not in there)


def _block(tensor: Tensor) -> tuple[int, int]:
    """Address and bytes of a tensor's whole memory."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _held_by_functions(output: Tensor) -> Iterator[Tensor]:
    """Tensors in the attributes of the functions behind an output."""
    waiting: list[Any] = [output.grad_fn]
    seen = set()
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        yield from _tensors(getattr(function, "__dict__", {}))
        waiting += [each for each, _ in function.next_functions]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _tensors(getattr(value, entry.name))
