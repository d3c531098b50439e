"""What stands for the content of tensors: names, types, shapes and bytes in a digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def add_tensors(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    """Feed tensors to a digest, in the order of their names, wherever they are and however they lie in memory.

    Args:
        digest: of :mod:`hashlib`.
        tensors: by name.
    """
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
