"""Weights kept on the way of a training, in ``snapshots/``: what the model was after chosen steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from elman.errors import FailureError
from elman.files import disk_failure
from elman.runs.folder import RunFolder
from elman.runs.model import check_shapes
from elman.runs.tensors import read_tensors, write_tensors


def save_snapshot(folder: RunFolder, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Keep the weights after a step as ``snapshots/step-NNNNNNN.safetensors``.

    Args:
        folder: the run.
        step: optimiser steps taken.
        tensors: the model's state_dict.

    Raises:
        FailureError: the disk refused, or ``snapshots`` is a link, which a folder from somebody else may hold.
    """
    if folder.snapshots.is_symlink():
        raise FailureError(f"{folder.snapshots} is a link, which is not followed. Remove it and resume.")
    path = folder.snapshots / f"step-{step:07d}.safetensors"
    try:
        folder.snapshots.mkdir(exist_ok=True)
        # a step that is trained again after a kill replaces its file; a link in its place would be followed
        path.unlink(missing_ok=True)
    except OSError as error:
        raise disk_failure(path, error) from error
    write_tensors(path, tensors, {"step": str(step)})


def list_snapshots(folder: RunFolder) -> dict[int, Path]:
    """The kept weights of a run: by step, earliest first; empty where the run kept none."""
    try:
        names = [entry.name for entry in folder.snapshots.iterdir()]
    except OSError:
        return {}
    found = {
        int(match[1]): match[0] for name in names if (match := re.fullmatch(r"step-(\d{7,18})\.safetensors", name))
    }
    return {step: folder.snapshots / found[step] for step in sorted(found)}


def keep_snapshots(folder: RunFolder, steps: Collection[int]) -> None:
    """Remove the snapshots of other steps: a training that goes back to a checkpoint takes its later steps anew.

    Raises:
        FailureError: the disk refused.
    """
    for step, path in list_snapshots(folder).items():
        if step not in steps:
            try:
                path.unlink()
            except OSError as error:
                raise disk_failure(path, error) from error


def load_snapshot(path: Path, model: nn.Module) -> None:
    """Put the weights of a snapshot into a model, after comparing all shapes.

    Raises:
        FailureError: the file is damaged, or it is of another model.
    """
    check_shapes(path, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    tensors, _ = read_tensors(path)
    model.load_state_dict(tensors)
