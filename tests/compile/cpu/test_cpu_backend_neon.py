"""The compiled backend for AArch64, run by an emulator of that machine.

Python does all that it does on such a machine, except that each call of machine code becomes a process of the
emulator: it gets a copy of the memory that the call's slots point into, and what it changed there is copied back.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cpu_cases import errors, everything, needs_backend, operands

from elman.compile.cpu import copies, products, programs, run
from elman.compile.cpu.target import Target, named_target
from elman.compile.cpu.toolchain import compile_object
from elman.equations import cell

COMPILER = shutil.which("aarch64-linux-gnu-gcc")
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
pytestmark = [
    pytest.mark.slow,
    needs_backend,
    pytest.mark.skipif(
        COMPILER is None or EMULATOR is None, reason="there is no aarch64-linux-gnu-gcc or no qemu-aarch64"
    ),
]

NEON = named_target("neon")
#: Where the copies stand in the emulated process.
BASE = 0x2000000000
#: Bytes that a call may touch from an address in its slots on; more than any tensor here has.
REACH = 1 << 18

HARNESS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

void ENTRY(int64_t *slots, int64_t thread);

int main(int count, char **arguments) {
    int file = open(arguments[1], O_RDWR);
    struct stat about;
    if (count != 3 || file < 0 || fstat(file, &about)) return 2;
    void *memory = mmap((void *)BASE, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
    if (memory != (void *)BASE) return 3;
    for (int64_t thread = 0; thread < atoll(arguments[2]); thread++) ENTRY(memory, thread);
    return 0;
}
"""


class Foreign:
    """Machine code for AArch64; the addresses that it gives are numbers of programs for the emulator."""

    def __init__(self, machine: Machine, source: str):
        self._machine, self._source = machine, source
        self._addresses: dict[str, int] = {}

    def address(self, name: str) -> int:
        if name not in self._addresses:
            self._addresses[name] = self._machine.link(self._source, name)
        return self._addresses[name]


class Machine:
    """The emulated machine: its programs, and which entry points it ran."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs: list[tuple[str, Path]] = []
        self.codes: dict[str, Foreign] = {}
        self.ran: list[str] = []
        (folder / "harness.c").write_text(HARNESS)

    def load(self, key: str, source: Callable[[], str], target: Target) -> Foreign:
        assert target == NEON
        if key not in self.codes:
            self.codes[key] = Foreign(self, source())
        return self.codes[key]

    def link(self, source: str, entry: str) -> int:
        binary = self.folder / f"program{len(self.programs)}"
        image = binary.with_suffix(".o")
        image.write_bytes(compile_object(source, NEON))
        options = ["-static", "-O1", f"-DENTRY={entry}", f"-DBASE={BASE:#x}"]
        command = [str(COMPILER), *options, str(self.folder / "harness.c"), str(image), "-lm", "-o", str(binary)]
        subprocess.run(command, check=True, timeout=60)
        self.programs.append((entry, binary))
        return len(self.programs) - 1

    def call(self, number: int, slots: np.ndarray, threads: int, together: bool = False) -> None:
        """Run a program on a copy of what the slots point to, and take over what it changed."""
        assert not together, "the harness runs one thread after the other"
        entry, binary = self.programs[number]
        spans = reached(slots)
        places, size = [], -(-slots.nbytes // 64) * 64
        for first, last in spans:
            places.append(size + first % 64)
            size = -(-(places[-1] + last - first) // 64) * 64 + 64
        moved = slots.copy()
        for (first, last), place in zip(spans, places, strict=True):
            inside = (slots >= first) & (slots < last)
            moved[inside] = slots[inside] - first + place + BASE
        memory = np.zeros(size, dtype=np.uint8)
        memory[: slots.nbytes] = moved.view(np.uint8)
        for (first, last), place in zip(spans, places, strict=True):
            memory[place : place + last - first] = at(first, last - first)
        path = self.folder / "memory"
        memory.tofile(path)
        done = subprocess.run([str(EMULATOR), str(binary), str(path), str(threads)], check=False, timeout=60)
        assert done.returncode == 0, (entry, done.returncode)
        after = np.fromfile(path, dtype=np.uint8)
        for (first, last), place in zip(spans, places, strict=True):
            here = slice(place, place + last - first)
            changed = after[here] != memory[here]
            at(first, last - first)[changed] = after[here][changed]
        self.ran.append(entry)


def at(address: int, size: int) -> np.ndarray:
    """The bytes of this process from an address on."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def reached(slots: np.ndarray) -> list[tuple[int, int]]:
    """The pieces of this process's memory, begin and end, that start at addresses in slots; none overlap."""
    mapped: list[list[int]] = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, mode = line.split()[:2]
        first, last = (int(part, 16) for part in place.split("-"))
        if mode.startswith("rw"):
            if mapped and mapped[-1][1] == first:
                mapped[-1][1] = last
            else:
                mapped.append([first, last])
    spans: list[tuple[int, int]] = []
    for address in sorted({int(slot) for slot in slots}):
        end = next((last for first, last in mapped if first <= address < last), None)
        if end is None:
            continue
        last = min(address + REACH, end)
        if spans and address <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((address, last))
    return spans


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """All that the compiled backend does is done for, and on, the emulated machine."""
    made = Machine(tmp_path)
    for module in (programs, products, copies):
        monkeypatch.setattr(module, "load_code", made.load)
        monkeypatch.setattr(module, "call", made.call, raising=False)
    monkeypatch.setattr(run, "repeated", lambda key, operands, constants, compute: compute())
    for module in (run, products):
        monkeypatch.setattr(module, "host_target", lambda: NEON)
    caches = (programs.forward_program, programs.backward_program, products._address, copies._address)
    for cache in caches:
        cache.cache_clear()
    yield made
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(("hidden", "lengths"), [(13, [4, 1, 2, 4, 3]), (32, None)])
@pytest.mark.parametrize("name", ["lstm", "gru", "mut1", "layernorm-lstm"])
def test_passes_on_aarch64(machine: Machine, name: str, hidden: int, lengths: list[int] | None) -> None:
    given = operands(cell(name), 4, 5, hidden, lengths=lengths)
    found = everything(given, "cpu")
    assert machine.ran.count("run") == 2
    wrong = errors(found, everything(given.to(torch.float64), "reference"))
    assert max(wrong.values()) <= 1e-5, wrong
