"""Reading weight files of others: safetensors, and the state_dicts that ``torch.save`` writes (.pth, .pt).

A state_dict file is a pickle, and a pickle is a program. Here nothing is unpickled: the pickle's instructions are
listed by the standard library's disassembler, and of these the few that a state_dict needs are followed. What they
build are dictionaries, tuples, numbers, texts and tensors; every other instruction or name is refused.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from elman.errors import FailureError

_ZIP, _LEGACY = b"PK\x03\x04", b"\x80\x02"
# a list of the tensors of the largest nets takes some hundred kilobytes
_MOST_PROGRAM_BYTES = 1 << 24
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# where a checkpoint keeps the weights among other things
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a weight file by name.

    Args:
        path: a safetensors file, or what ``torch.save`` made of a state_dict or of a dictionary that has one under
            ``state_dict``, ``model_state_dict``, ``model`` or ``net``. The prefix ``module.`` that training on several
            devices leaves on every name is taken off.

    Returns:
        Tensors on the CPU, of the stored types.

    Raises:
        FailureError: there is no such file, it is damaged, or it holds something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == _ZIP:
            state = _weights_among(_read_zip(path))
        elif head.startswith(_LEGACY):
            state = _weights_among(_read_legacy(path))
        else:
            with safe_open(path, framework="pt", device="cpu") as stored:
                state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except _RefusedError as error:
        raise FailureError(f"{path} is not a file of weights alone: {error}.") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError, zipfile.BadZipFile) as error:
        raise FailureError(
            f"{path} cannot be read: {error}. It is damaged, cut short, or neither safetensors nor a state_dict."
        ) from error
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


class _RefusedError(Exception):
    """The file holds, or asks for, something that a state_dict has no need of."""


@dataclass(frozen=True)
class _Name:
    """A module's attribute that the pickle names; it is never looked up."""

    module: str
    name: str


@dataclass
class _Storage:
    """A run of numbers that tensors are views of."""

    kind: torch.dtype
    count: int
    data: Tensor | None = None


@dataclass(frozen=True)
class _View:
    """A tensor, before its storage is read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """The numbers, which views of the same storage share."""
        if self.storage.data is None:
            raise _RefusedError("a tensor's numbers are not in it")
        count = math.prod([*self.shape])
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        numbers = (self.offset, *self.shape, *self.stride)
        if min(numbers) < 0 or (count and last >= self.storage.count):
            raise _RefusedError(f"a tensor of shape {self.shape} reaches beyond its {self.storage.count} numbers")
        # a stride of zero would make a huge tensor out of few numbers
        if count > self.storage.count:
            raise _RefusedError(f"a tensor of shape {self.shape} has more numbers than are stored")
        return torch.as_strided(self.storage.data, self.shape, self.stride, self.offset)


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        programs = [name for name in members if name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise _RefusedError("it is a zip archive, but none that torch.save writes")
        root = programs[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise _RefusedError("its numbers are in big-endian order")
        size = members[programs[0]].file_size
        if size > _MOST_PROGRAM_BYTES:
            raise _RefusedError(f"its list of tensors takes {size:,} bytes")
        storages: dict[str, _Storage] = {}
        content = _follow(io.BytesIO(archive.read(programs[0])), storages)
        _bound(storages, path)
        for key, storage in storages.items():
            member = members[f"{root}data/{key}"]
            # torch stores uncompressed, so that no more comes out than the file is long
            if member.compress_type != zipfile.ZIP_STORED:
                raise _RefusedError("its tensors are compressed")
            _fill(storage, archive.read(member))
        return content


def _read_legacy(path: Path) -> Any:
    """The format before torch 1.6: four pickles (magic, version, system, content), keys, then each storage's bytes."""
    # a mapped file gives what is there; an open one takes memory for whatever length a damaged file names
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        if _follow(file, {}) != _LEGACY_MAGIC:
            raise _RefusedError("it is a pickle, but none that torch.save writes")
        _follow(file, {})
        system = _follow(file, {})
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise _RefusedError("its numbers are in big-endian order")
        storages: dict[str, _Storage] = {}
        content = _follow(file, storages)
        _bound(storages, path)
        for key in _follow(file, {}):
            storage = storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count != storage.count:
                raise _RefusedError(f"a storage has {count} numbers instead of {storage.count}")
            _fill(storage, file.read(count * storage.kind.itemsize))
        return content


def _bound(storages: dict[str, _Storage], path: Path) -> None:
    """Refuse numbers that the file is too short to hold before memory is taken for them."""
    if sum(storage.count * storage.kind.itemsize for storage in storages.values()) > path.stat().st_size:
        raise ValueError("it is shorter than its list of tensors says")


def _fill(storage: _Storage, data: bytes) -> None:
    if len(data) != storage.count * storage.kind.itemsize:
        raise ValueError("a storage is shorter or longer than its tensors say")
    # frombuffer refuses an empty buffer
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    storage.data = raw.view(storage.kind)


def _weights_among(content: Any) -> dict[str, Tensor]:
    """The tensors of a state_dict, or of the one that a checkpoint holds."""
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
        if all(isinstance(name, str) and isinstance(view, _View) for name, view in content.items()):
            return {name: view.tensor() for name, view in content.items()}
    raise _RefusedError("it holds something else than tensors by name; save the model's state_dict")


_MARK = object()


@dataclass
class _Machine:
    """The stack of values on which a pickle's instructions work."""

    storages: dict[str, _Storage]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("an instruction lacks its mark")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("an instruction lacks its values")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _RefusedError("it sets items of something that is no dictionary")
        # other keys, such as tuples in tuples, can take unbounded time to hash
        if not all(isinstance(key, str | int) for key in values[::2]):
            raise _RefusedError("it has a dictionary with keys that are neither texts nor numbers")
        target.update(zip(values[::2], values[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _RefusedError("it appends to something that is no list")
        target.extend(values)

    def call(self) -> None:
        what, arguments = self.pop(2)
        match what, arguments:
            case _Name("collections", "OrderedDict"), ():
                self.stack.append({})
            case _Name("torch._utils", "_rebuild_tensor_v2"), (_Storage() as storage, int(offset), shape, stride, *_):
                self.stack.append(_View(storage, offset, tuple(map(int, shape)), tuple(map(int, stride))))
            case _Name("torch._utils", "_rebuild_parameter"), (_View() as view, *_):
                self.stack.append(view)
            case _:
                name = f"{what.module}.{what.name}" if isinstance(what, _Name) else type(what).__name__
                raise _RefusedError(f"it asks to call {name}, which no state_dict needs")

    def stored(self) -> None:
        """A tensor's storage: ("storage", type, key, device, count, ...)."""
        match self.stack.pop():
            case "storage", _Name("torch", name), str(key), str(), int(count), *_ if name in _STORAGES and count >= 0:
                self.stack.append(self.storages.setdefault(key, _Storage(_STORAGES[name], count)))
            case _:
                raise _RefusedError("it has data of a kind that is none of torch's plain numbers")

    def attributes(self) -> None:
        # a state_dict carries its version numbers as an attribute, which the tensors do not need
        value, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, dict) or not isinstance(value, dict):
            raise _RefusedError("it sets attributes of an object")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_IGNORED = {"PROTO", "FRAME"}
_MAKERS: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _follow(stream: io.BytesIO | mmap.mmap, storages: dict[str, _Storage]) -> Any:
    """Follow one pickle's instructions up to its end, where the stream is left."""
    machine = _Machine(storages)
    stack, memo = machine.stack, machine.memo
    for instruction, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        match instruction.name:
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _MAKERS:
                stack.append(_MAKERS[name]())
            case name if name in _TUPLES:
                stack.append(tuple(machine.pop(_TUPLES[name])))
            case name if name in _IGNORED:
                pass
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(machine.pop_to_mark()))
            case "BINPUT" | "LONG_BINPUT":
                memo[int(str(argument))] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(str(argument))])
            case "GLOBAL":
                stack.append(_Name(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_Name(*map(str, machine.pop(2))))
            case "REDUCE":
                machine.call()
            case "BINPERSID":
                machine.stored()
            case "SETITEM":
                machine.set_items(machine.pop(2))
            case "SETITEMS":
                machine.set_items(machine.pop_to_mark())
            case "APPEND":
                machine.append(machine.pop(1))
            case "APPENDS":
                machine.append(machine.pop_to_mark())
            case "BUILD":
                machine.attributes()
            case "STOP":
                return stack.pop()
            case other:
                raise _RefusedError(f"it has the instruction {other}, which no state_dict needs")
    raise ValueError("the list of tensors has no end")
