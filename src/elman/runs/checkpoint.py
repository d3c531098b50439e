"""Checkpoints in ``resume/``: complete folders, each with tensors and a description, the newest ones kept.

A checkpoint is written under a temporary name and renamed when it is complete and on the disk, so a kill at any instant
leaves the last complete one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from elman.errors import FailureError
from elman.files import disk_failure, sync, write_whole
from elman.runs.folder import RunFolder
from elman.runs.tensors import read_tensors, write_tensors

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training.

    Attributes:
        step: optimiser steps taken.
        tensors: by name: weights, optimiser moments, random states, carried state.
        facts: everything else, as JSON values.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(folder: RunFolder, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Add a checkpoint and drop all but the newest two.

    Raises:
        FailureError: the disk refused; the earlier checkpoints are untouched.
    """
    final = folder.resume / f"step-{step:09d}"
    part = folder.resume / f".part-{os.getpid()}"
    try:
        folder.resume.mkdir(exist_ok=True)
        _discard_parts(folder.resume)
        part.mkdir()
        write_tensors(part / "tensors.safetensors", tensors)
        text = json.dumps(facts, sort_keys=True)
        write_whole(
            part / "facts.json",
            json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "facts": text}),
        )
        sync(part)
        if final.exists():
            # the same step with a new rate after a return: a rename cannot replace a folder that is not empty
            os.rename(final, folder.resume / f".part-old-{os.getpid()}")
        os.rename(part, final)
        sync(folder.resume)
        _discard_parts(folder.resume)
        for old in _complete(folder.resume)[:-KEPT]:
            shutil.rmtree(old)
    except OSError as error:
        raise disk_failure(final, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def latest_checkpoint(folder: RunFolder) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that is whole.

    Returns:
        The checkpoint, and a sentence for every newer one that is damaged and was passed over.

    Raises:
        FailureError: there is none, or none is whole.
    """
    damaged: list[str] = []
    for path in reversed(_complete(folder.resume)):
        try:
            return read_checkpoint(path), damaged
        except FailureError as error:
            damaged.append(str(error))
    if damaged:
        raise FailureError(f"No checkpoint of {folder.path} can be read. {damaged[0]}")
    raise FailureError(f"{folder.path} has no checkpoint to resume from; start it anew under another name with --out.")


def read_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint folder.

    Raises:
        FailureError: it is damaged.
    """
    try:
        stored = json.loads((path / "facts.json").read_bytes())
        text = stored["facts"]
        if hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
            raise FailureError(f"The checkpoint {path} is damaged: the checksum of facts.json does not match.")
        facts = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"The checkpoint {path} is damaged: facts.json cannot be read ({error}).") from error
    tensors, _ = read_tensors(path / "tensors.safetensors")
    return Checkpoint(int(path.name.removeprefix("step-")), tensors, facts)


def _complete(resume: Path) -> list[Path]:
    if not resume.is_dir():
        return []
    found = (entry for entry in resume.iterdir() if re.fullmatch(r"step-\d{9,}", entry.name))
    return sorted(found, key=lambda entry: int(entry.name.removeprefix("step-")))


def _discard_parts(resume: Path) -> None:
    for entry in resume.iterdir():
        if entry.name.startswith(".part-"):
            shutil.rmtree(entry)
