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
TENSORS, FACTS = "tensors.safetensors", "facts.json"


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

    A second one of the same step stands beside the first until it is complete, so there is no instant without either.

    Raises:
        FailureError: the disk refused; the earlier checkpoints are untouched.
    """
    places = [_place(path) for path in _complete(folder.resume)]
    again = max((number + 1 for taken, number in places if taken == step), default=0)
    final = folder.resume / (f"step-{step:09d}" + (f".{again}" if again else ""))
    part = folder.resume / f".part-{os.getpid()}"
    try:
        folder.resume.mkdir(exist_ok=True)
        _discard_parts(folder.resume)
        part.mkdir()
        write_tensors(part / TENSORS, tensors)
        text = json.dumps(facts, sort_keys=True)
        write_whole(part / FACTS, json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "facts": text}))
        sync(part)
        os.rename(part, final)
        sync(folder.resume)
        for old in _complete(folder.resume)[:-KEPT]:
            shutil.rmtree(old)
    except OSError as error:
        raise disk_failure(final, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def newest_tensors(folder: RunFolder) -> Path | None:
    """The tensor file of the newest checkpoint, whole or not; None where there is none."""
    found = _complete(folder.resume)
    return found[-1] / TENSORS if found else None


def newest_step(folder: RunFolder) -> int:
    """The step of the newest checkpoint; -1 where there is none."""
    found = _complete(folder.resume)
    return _place(found[-1])[0] if found else -1


def drop_newest(folder: RunFolder) -> bool:
    """Remove the newest checkpoint if there is an older one to fall back on; returns whether there was."""
    found = _complete(folder.resume)
    if len(found) > 1:
        shutil.rmtree(found[-1])
    return len(found) > 1


def latest_checkpoint(folder: RunFolder) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that is whole; damaged ones are put aside as ``damaged-...``.

    Returns:
        The checkpoint, and a sentence for every newer one that is damaged and was passed over.

    Raises:
        FailureError: there is none, or none is whole.
    """
    damaged: list[str] = []
    for path in reversed(_complete(folder.resume)):
        try:
            found = read_checkpoint(path)
        except FailureError as error:
            damaged.append(str(error))
            continue
        # put aside only now: where nothing is whole, nothing is touched
        for broken in _complete(folder.resume)[-len(damaged) :] if damaged else []:
            os.rename(broken, broken.with_name(f"damaged-{broken.name}-{os.getpid()}"))
        return found, damaged
    if damaged:
        raise FailureError(f"No checkpoint of {folder.path} can be read. {damaged[0]}")
    raise FailureError(f"{folder.path} has no checkpoint to resume from; start it anew under another name with --out.")


def read_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint folder.

    Raises:
        FailureError: it is damaged.
    """
    try:
        stored = json.loads((path / FACTS).read_bytes())
        text = stored["facts"]
        if hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
            raise FailureError(f"The checkpoint {path} is damaged: the checksum of facts.json does not match.")
        facts = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"The checkpoint {path} is damaged: facts.json cannot be read ({error}).") from error
    tensors, _ = read_tensors(path / TENSORS)
    return Checkpoint(_place(path)[0], tensors, facts)


def _complete(resume: Path) -> list[Path]:
    if not resume.is_dir():
        return []
    found = (entry for entry in resume.iterdir() if re.fullmatch(r"step-\d{9,}(\.\d+)?", entry.name))
    return sorted(found, key=_place)


def _place(path: Path) -> tuple[int, int]:
    """Step, and which one of that step."""
    step, _, again = path.name.removeprefix("step-").partition(".")
    return int(step), int(again or 0)


def _discard_parts(resume: Path) -> None:
    for entry in resume.iterdir():
        if entry.name.startswith(".part-"):
            shutil.rmtree(entry)
