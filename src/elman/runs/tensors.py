"""Tensors on disk: safetensors with a checksum over names, types, shapes and bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elman.errors import FailureError
from elman.files import write_whole
from elman.models.fingerprint import add_tensors

METADATA = "elman"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole, with the checksum of its tensors in its metadata."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # one entry, since safetensors writes several in an order that changes: equal contents shall be equal files
    header = {METADATA: json.dumps({**(metadata or {}), "sha256": _digest(tensors)}, sort_keys=True)}
    write_whole(path, lambda name: save_file(tensors, name, metadata=header))


def read_tensors(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file that :func:`write_tensors` wrote.

    Raises:
        FailureError: the file is missing, cut short, damaged, or was not written here.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            metadata = json.loads((stored.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FailureError(
            f"{path} cannot be read: {error}. It is damaged, cut short, or no safetensors file."
        ) from error
    if not isinstance(metadata, dict) or metadata.get("sha256") != _digest(tensors):
        raise FailureError(f"{path} is damaged: the checksum of its tensors does not match.")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, metadata


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header alone.

    Raises:
        FailureError: the file is missing, cut short or damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FailureError(
            f"{path} cannot be read: {error}. It is damaged, cut short, or no safetensors file."
        ) from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    add_tensors(digest, tensors)
    return digest.hexdigest()
