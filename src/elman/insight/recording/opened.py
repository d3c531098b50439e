"""An opened recording: checked, mapped into memory, read-only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from elman.errors import FailureError, MisuseError
from elman.insight.recording.layout import (
    FORMAT,
    KINDS,
    LONGEST,
    MANIFEST,
    SYMBOLS,
    TEXT,
    TRANSFORMS,
    VALUES,
    Group,
    arrays,
)

# a manifest has a few hundred groups at most, a list of symbols as many as a vocabulary
_MANIFEST_BYTES = 2**24
_SYMBOLS_BYTES = 2**26
_MOST_CELLS = 2**24
# of whole numbers, and of seconds: what JSON carries exactly
_MOST = 2**53
# what stands before the numbers of an array file, of the kinds that a recording has
_HEADER = re.compile(
    rb"\{'descr': '([<|=][a-z]\d+)', 'fortran_order': (True|False), 'shape': \((\d+(?:, \d+)*),?\),? *\} *\n"
)
_HEADER_BYTES = 1000
# rows that are looked at together, so that checks of a long recording need little memory
_CHECKED = 2**20


@dataclass(frozen=True, eq=False)
class Recording:
    """Every recorded cell of a model over one text.

    A position t is the token t after it was read: states have seen the tokens 0 to t.

    Attributes:
        path: the folder.
        manifest: what manifest.json says.
        groups: which cells are what, in the order of their numbers.
        text: the whole text.
        ids: int32 [N] the token at each position.
        offsets: int64 [N] index of the first character of each token in the text; never falls. The token's piece is
            the text from there to the next token's offset.
        values: int8 [C, N], a row a cell; v / 127 is the value, or its tanh where the group says so.
        nats: float32 [N] surprise of each token given all before it; NaN where none is predicted.
        top_ids: int32 [N, 5] the likeliest tokens at t + 1, after reading t, the likeliest first; -1 where the
            vocabulary has fewer.
        top_logprobs: float16 [N, 5] their log-probabilities, natural; -inf where there is none.
        symbols: printable names of the vocabulary's tokens.
    """

    path: Path
    manifest: dict[str, Any]
    groups: tuple[Group, ...]
    text: str = field(repr=False)
    ids: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    values: NDArray[np.int8] = field(repr=False)
    nats: NDArray[np.float32] = field(repr=False)
    top_ids: NDArray[np.int32] = field(repr=False)
    top_logprobs: NDArray[np.float16] = field(repr=False)
    symbols: list[str] = field(repr=False)

    @property
    def cells(self) -> int:
        """Number of cells C."""
        return len(self.values)

    @property
    def length(self) -> int:
        """Number of tokens N."""
        return self.values.shape[1]

    def cell(self, index: int) -> NDArray[np.int8]:
        """All values of a cell, int8 [N].

        Raises:
            MisuseError: there is no such cell.
        """
        self._check(index)
        return self.values[index]

    def locate(self, index: int) -> tuple[Group, int]:
        """The group of a cell and the cell's unit within it.

        Raises:
            MisuseError: there is no such cell.
        """
        self._check(index)
        group = next(each for each in self.groups if index < each.first + each.count)
        return group, index - group.first

    def find(self, layer: int, name: str, unit: int) -> int:
        """The number of a cell.

        Args:
            layer: from 0.
            name: of a recorded state or gate.
            unit: from 0.

        Raises:
            MisuseError: nothing of this layer and name was recorded, or there is no such unit.
        """
        for group in self.groups:
            if (group.layer, group.name) == (layer, name):
                if not 0 <= unit < group.count:
                    raise MisuseError(f"Layer {layer} {name} has the units 0 to {group.count - 1}; {unit} is none.")
                return group.first + unit
        known = ", ".join(f"{group.layer}:{group.name}" for group in self.groups)
        raise MisuseError(f"{name} of layer {layer} was not recorded in {self.path}; recorded are {known}.")

    def describe(self, index: int) -> str:
        """A cell in words: ``layer 1 c[17]``."""
        group, unit = self.locate(index)
        return f"layer {group.layer} {group.name}[{unit}]"

    def _check(self, index: int) -> None:
        if not 0 <= index < self.cells:
            raise MisuseError(f"There is no cell {index}; this recording has the cells 0 to {self.cells - 1}.")


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Open a recording from anybody: everything in it is checked, its arrays are mapped, nothing is unpickled.

    Args:
        path: the folder.

    Raises:
        MisuseError: there is no such folder.
        FailureError: it is incomplete, damaged, of another format, or no recording.
    """
    folder = Path(path)
    if not os.path.isdir(folder):
        raise MisuseError(f"There is no recording {folder}.")
    manifest = read_manifest(folder)
    length, cells = manifest["length"], manifest["cells"]
    groups = tuple(Group(**group) for group in manifest["groups"])
    found = {name: _mapped(folder / name, kind, shape) for name, (kind, shape) in arrays(cells, length).items()}
    text = _text(folder / TEXT, manifest)
    symbols = _symbols(folder / SYMBOLS)
    _check_range(folder / "ids.npy", found["ids.npy"], 0, len(symbols) - 1)
    _check_range(folder / "offsets.npy", found["offsets.npy"], 0, len(text) - 1, rising=True)
    _check_range(folder / "top_ids.npy", found["top_ids.npy"], -1, len(symbols) - 1)
    return Recording(
        folder,
        manifest,
        groups,
        text,
        found["ids.npy"],
        found["offsets.npy"],
        found[VALUES],
        found["nats.npy"],
        found["top_ids.npy"],
        found["top_logprobs.npy"],
        symbols,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a recording, checked; the arrays are not looked at.

    Raises:
        FailureError: it is missing, damaged or of another format.
    """
    path = folder / MANIFEST
    manifest = _json(path, _MANIFEST_BYTES)
    if not isinstance(manifest, dict):
        _refuse(path, "it is not a JSON object")
    if manifest.get("format") != FORMAT:
        raise FailureError(f"{path} has format {manifest.get('format')!r}; this version reads format {FORMAT}.")
    whole = {"length": (1, LONGEST), "characters": (1, LONGEST), "cells": (1, _MOST_CELLS), "streams": (1, LONGEST)}
    for name, (least, most) in (whole | {"burn_in": (0, LONGEST), "clipped": (0, _MOST)}).items():
        if type(manifest.get(name)) is not int or not least <= manifest[name] <= most:
            _refuse(path, f"its {name} must be a whole number from {least} to {most:,}")
    for name in ("created", "seconds"):
        if type(manifest.get(name)) not in (int, float) or not 0 <= manifest[name] <= _MOST:
            _refuse(path, f"its {name} must be a number of seconds")
    if not all(_is_digest(manifest.get(name)) for name in ("model", "text")):
        _refuse(path, "its fingerprints of model and text must be SHA-256 digests")
    seed = manifest.get("seed")
    if type(manifest.get("untrained")) is not bool or not (seed is None or type(seed) is int):
        _refuse(path, "it does not say whether the network was trained, or from which seed it was not")
    groups = manifest.get("groups")
    if not isinstance(groups, list) or not groups:
        _refuse(path, "it names no groups of cells")
    first = 0
    for group in groups:
        _check_group(path, group, first)
        first += group["count"]
    if first != manifest["cells"]:
        _refuse(path, f"its groups have {first} cells, not {manifest['cells']}")
    if len({(group["layer"], group["name"]) for group in groups}) < len(groups):
        _refuse(path, "it names a group twice")
    return manifest


def _check_group(path: Path, group: Any, first: int) -> None:
    kinds = {"layer": int, "name": str, "kind": str, "transform": str, "first": int, "count": int}
    if not isinstance(group, dict) or group.keys() != kinds.keys():
        _refuse(path, f"a group must have {', '.join(kinds)}")
    if not all(type(group[name]) is kind for name, kind in kinds.items()):
        _refuse(path, "a group has an entry of a wrong type")
    good = (
        0 <= group["layer"] < 2**16
        and 1 <= len(group["name"]) <= 200
        and group["name"].isprintable()
        and group["kind"] in KINDS
        and group["transform"] in TRANSFORMS
        and group["first"] == first
        and 1 <= group["count"] <= _MOST_CELLS
    )
    if not good:
        _refuse(path, f"the group that begins at cell {first} is malformed")


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _refuse(path: Path, why: str) -> NoReturn:
    raise FailureError(f"{path} is damaged: {why}. Record the text again.")


def _descriptor(path: Path) -> int:
    """A descriptor of a plain file; a link in a folder from somebody else must not lead to a file of the user's."""
    try:
        # without O_NONBLOCK a pipe in the place of the file would wait for a writer
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror}. The recording is incomplete.") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        _refuse(path, "it is no plain file")
    return handle


def _bytes(path: Path, most: int) -> bytes:
    with open(_descriptor(path), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        _refuse(path, f"it is larger than {most:,} bytes")
    return content


def _json(path: Path, most: int) -> Any:
    try:
        return json.loads(_bytes(path, most).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FailureError(f"{path} cannot be read as JSON: it is damaged or cut short.") from error


def _text(path: Path, manifest: dict[str, Any]) -> str:
    content = _bytes(path, 4 * manifest["characters"])
    if hashlib.sha256(content).hexdigest() != manifest["text"]:
        _refuse(path, "it is not the text that the manifest names")
    try:
        text = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        _refuse(path, "it is not UTF-8")
    if len(text) != manifest["characters"]:
        _refuse(path, f"it has {len(text)} characters, not {manifest['characters']}")
    return text


def _symbols(path: Path) -> list[str]:
    symbols = _json(path, _SYMBOLS_BYTES)
    if not isinstance(symbols, list) or not symbols or not all(type(symbol) is str for symbol in symbols):
        _refuse(path, "it must be a list of texts")
    return symbols


def _mapped(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array file mapped into memory, which has to be of this type and shape."""
    with open(_descriptor(path), "rb") as file:
        # numpy's own reader parses the header as Python; one that is compared with a pattern can do nothing
        start = file.read(8)
        width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start, 0)
        length = int.from_bytes(file.read(width), "little")
        header = _HEADER.fullmatch(file.read(length)) if length <= _HEADER_BYTES else None
        if header is None:
            _refuse(path, "it is no array file")
        expected = (np.lib.format.dtype_to_descr(kind), "False", ", ".join(map(str, shape)))
        found = tuple(part.decode() for part in header.groups())
        if found != expected:
            _refuse(path, f"it holds {found[0]:.20} ({found[2]:.60}), not {expected[0]} ({expected[2]})")
        end = file.tell() + kind.itemsize * math.prod(shape)
        size = os.fstat(file.fileno()).st_size
        if size != end:
            _refuse(path, f"it has {size:,} bytes, not {end:,}")
        try:
            return np.memmap(file, dtype=kind, mode="r", offset=file.tell(), shape=shape)
        except (OSError, ValueError, OverflowError) as error:
            raise FailureError(f"{path} cannot be mapped into memory: {error}.") from error


def _check_range(path: Path, values: NDArray[Any], low: int, high: int, rising: bool = False) -> None:
    for begin in range(0, len(values), _CHECKED):
        # the element before the part too, for the order across their border
        part = values[max(0, begin - 1) : begin + _CHECKED]
        if int(part.min()) < low or int(part.max()) > high:
            _refuse(path, f"it holds numbers outside {low} to {high}")
        if rising and bool((part[1:] < part[:-1]).any()):
            _refuse(path, "its numbers fall")
