"""Writing a recording: into a temporary folder, which takes its name when it is whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.data.symbols import printable
from elman.errors import MisuseError
from elman.files import disk_failure, sync
from elman.insight.recording.layout import FORMAT, LONGEST, MANIFEST, SYMBOLS, TEXT, TOP, VALUES, Group, arrays
from elman.insight.recording.opened import Recording, open_recording

_MARK = ".part"


class Draft:
    """A recording that is being written; use it as a context, which removes what was not finished.

    Args:
        folder: what the recording will be called; nothing may be there yet.
        groups: its cells.
        text: the whole text.
        length: tokens N.

    Attributes:
        arrays: by file name, mapped into memory, to be filled.

    Raises:
        MisuseError: there is something of that name, or the text is too long.
        FailureError: the disk has no room, or the folder cannot be made.
    """

    def __init__(self, folder: Path, groups: Sequence[Group], text: str, length: int) -> None:
        check_text(text, length)
        if os.path.lexists(folder):
            raise _taken(folder)
        self._folder, self._groups, self._text = folder, tuple(groups), text
        self._cells, self._length = sum(group.count for group in groups), length
        self._started = time.time(), time.monotonic()
        self.arrays: dict[str, NDArray[Any]] = {}
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._part = folder.parent / f".{folder.name}.{secrets.token_hex(8)}{_MARK}"
            self._part.mkdir()
            # held until the end, so that others can tell a draft at work from one whose process was killed
            self._lock = os.open(self._part, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise disk_failure(folder, error) from error

    def __enter__(self) -> Draft:
        try:
            for name, (kind, shape) in arrays(self._cells, self._length).items():
                self.arrays[name] = _reserved(self._part / name, kind, shape)
        except OSError as error:
            self._discard()
            raise disk_failure(self._folder, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def _discard(self) -> None:
        self.arrays.clear()
        shutil.rmtree(self._part, ignore_errors=True)
        os.close(self._lock)

    def finish(self, symbols: Sequence[str], facts: Mapping[str, Any]) -> Recording:
        """Write text, symbols and manifest, give the folder its name, and open it.

        Args:
            symbols: printable names of the vocabulary's tokens.
            facts: further entries of the manifest; "model" is needed.

        Raises:
            FailureError: the disk is full.
        """
        content = self._text.encode("utf-8", "surrogatepass")
        manifest = {
            "format": FORMAT,
            "text": hashlib.sha256(content).hexdigest(),
            "length": self._length,
            "characters": len(self._text),
            "cells": self._cells,
            "groups": [group.to_json() for group in self._groups],
            "created": self._started[0],
            "seconds": time.monotonic() - self._started[1],
            "streams": 1,
            "burn_in": 0,
            "clipped": 0,
            "untrained": False,
            "seed": None,
            **facts,
        }
        try:
            for array in self.arrays.values():
                array.flush()  # type: ignore[attr-defined]
            self.arrays.clear()
            (self._part / TEXT).write_bytes(content)
            (self._part / SYMBOLS).write_text(json.dumps(list(symbols)), encoding="utf-8")
            (self._part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            for name in (TEXT, SYMBOLS, MANIFEST):
                sync(self._part / name)
            sync(self._part)
            os.rename(self._part, self._folder)
            sync(self._folder.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise _taken(self._folder) from error
            raise disk_failure(self._folder, error) from error
        return open_recording(self._folder)


def _taken(folder: Path) -> MisuseError:
    return MisuseError(f"{folder} is there already. Name another folder for the recording.")


def check_text(text: str, length: int) -> None:
    """Refuse a text that cannot be recorded.

    Raises:
        MisuseError: it has no token, or is too long.
    """
    if not length:
        raise MisuseError("There is nothing to record: the text has no symbol that the vocabulary knows.")
    if max(length, len(text)) > LONGEST:
        raise MisuseError(f"The text has {len(text):,} characters; up to {LONGEST:,} can be recorded at once.")


def remove_abandoned(parent: Path) -> None:
    """Remove the drafts in a folder whose processes were killed."""
    for part in parent.glob(f".*{_MARK}"):
        with contextlib.suppress(OSError):
            handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part, ignore_errors=True)
            finally:
                os.close(handle)


def write_recording(
    folder: Path,
    values: NDArray[np.int8],
    text: str,
    *,
    groups: Sequence[Group] | None = None,
    ids: ArrayLike | None = None,
    offsets: ArrayLike | None = None,
    nats: ArrayLike | None = None,
    top_ids: ArrayLike | None = None,
    top_logprobs: ArrayLike | None = None,
    symbols: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Recording:
    """Make a recording of values that are known already.

    Args:
        folder: what it will be called; nothing may be there yet.
        values: int8 [C, N].
        text: the text.
        groups: default one, the state h of layer 0.
        ids: [N] default the text's characters by their place among the sorted different ones.
        offsets: [N] default one token a character.
        nats: [N] default not predicted.
        top_ids: [N, 5] default none.
        top_logprobs: [N, 5] default none.
        symbols: default the text's different characters.
        facts: further entries of the manifest.

    Raises:
        MisuseError: shapes that do not fit, or there is something of that name.
        FailureError: the disk is full.
    """
    if values.ndim != 2 or values.dtype != np.int8:
        raise MisuseError(f"Values must be int8 [cells, tokens]; got {values.dtype} {list(values.shape)}.")
    cells, length = values.shape
    letters = sorted(set(text))
    if ids is None:
        places = {letter: place for place, letter in enumerate(letters)}
        ids = [places[letter] for letter in text]
    contents: dict[str, ArrayLike] = {
        VALUES: values,
        "ids.npy": ids,
        "offsets.npy": np.arange(length) if offsets is None else offsets,
        "nats.npy": np.full(length, np.nan) if nats is None else nats,
        "top_ids.npy": np.full((length, TOP), -1) if top_ids is None else top_ids,
        "top_logprobs.npy": np.full((length, TOP), -np.inf) if top_logprobs is None else top_logprobs,
    }
    with Draft(folder, groups or [Group(0, "h", "state", "identity", 0, cells)], text, length) as draft:
        for name, content in contents.items():
            if np.shape(content) != draft.arrays[name].shape:
                expected, got = list(draft.arrays[name].shape), list(np.shape(content))
                raise MisuseError(f"{name.removesuffix('.npy')} must be {expected} for these values; got {got}.")
            draft.arrays[name][...] = content
        return draft.finish(
            symbols or list(map(printable, letters)), {"model": hashlib.sha256(b"").hexdigest(), **(facts or {})}
        )


def _reserved(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A new array file, mapped for writing, its room on the disk taken: a full disk must not kill the process later."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        )
        start = file.tell()
        os.posix_fallocate(file.fileno(), 0, start + kind.itemsize * math.prod(shape))
    return np.memmap(path, dtype=kind, mode="r+", offset=start, shape=shape)
