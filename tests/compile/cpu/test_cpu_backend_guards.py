"""The loops with every piece of their memory right beside memory that nobody may touch.

Each tensor that a loop is given is moved to pages whose neighbours are inaccessible, so that it ends (or begins) at
such a neighbour. A step beyond it kills the process: the cases run in processes of their own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cpu_cases import Given, assert_close, everything, needs_backend, operands, random_recurrence

from elman.compile import engine
from elman.compile.cpu import programs
from elman.compile.cpu import run as compiled
from elman.compile.cpu.stepper import Stepper
from elman.compile.cpu.target import host_target
from elman.equations import Recurrence, cell

pytestmark = needs_backend

PAGE = mmap.PAGESIZE


class Guarded:
    """A copy of bytes between two inaccessible pages, at the end or at the beginning of what lies between."""

    def __init__(self, address: int, size: int, at_end: bool):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.original, self.size, self.free = address, size, libc.munmap
        self.inside = max(1, -(-size // PAGE)) * PAGE
        self.whole = libc.mmap(None, self.inside + 2 * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert libc.mprotect(self.whole + PAGE, self.inside, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        self.address = self.whole + PAGE + (self.inside - size if at_end else 0)
        ctypes.memmove(self.address, address, size)

    def give_back(self) -> None:
        """Copy what is there now to where it came from, and free the pages."""
        ctypes.memmove(self.original, self.address, self.size)
        self.free(self.whole, self.inside + 2 * PAGE)


def guard(monkeypatch: pytest.MonkeyPatch, at_end: bool, seen: set[str]) -> None:
    """Move all memory of every loop for the time of its call; ``seen`` gets the names of what was moved."""
    original = programs.Context.run

    def run(self: Any) -> None:
        moved: list[Guarded] = []
        before = self.array.copy()
        names = {slot: name for name, slot in self.program.slots.items()}
        for slot, size in self.pieces:
            address = int(self.array[slot])
            assert address > PAGE
            moved.append(Guarded(address, size, at_end))
            self.array[slot] = moved[-1].address
            seen.add(names.get(slot, ""))
        whole = Guarded(self.array.ctypes.data, self.array.nbytes, at_end)
        array, self.array = (
            self.array,
            np.ctypeslib.as_array((ctypes.c_int64 * len(self.array)).from_address(whole.address)),
        )
        try:
            original(self)
        finally:
            self.array = array
            for each in (whole, *moved):
                each.give_back()
            self.array[:] = before

    monkeypatch.setattr(programs.Context, "run", run)
    # what is repeated does without contexts
    monkeypatch.setattr(compiled, "repeated", lambda key, operands, constants, compute: compute())


TEXTS = {
    "x by element": ("h = tanh(x * h + U @ (x * h) + W @ tanh(x))", ()),
    "constants": ("h = tanh(v * h + U @ h + W @ x + x) * p", ("v",)),
    "norms": ("h = tanh(norm(U @ h + x, g, b) + norm(x, k, 0) + W @ x)", ()),
}
SMALL = ["lstm", "gru", "mut1", "x by element"]
LARGE = [*SMALL, "layernorm-lstm", "mlstm", "rnn-image", "sru", "constants", "norms", *map(str, range(2000, 2010))]


def given_for(name: str, steps: int, batch: int, hidden: int, width: int, lengths: list[int] | None) -> Given:
    if name in TEXTS:
        recurrence = Recurrence(TEXTS[name][0], inputs=TEXTS[name][1])
    else:
        recurrence = random_recurrence(int(name)) if name.isdecimal() else cell(name)
    return operands(recurrence, steps, batch, hidden, width, lengths=lengths)


def main(names: list[str], large: bool) -> None:
    """All cases of some recurrences; says before each what it is, so that the last line is the culprit's."""
    sizes: list[tuple[int, int, int, int, list[int] | None]] = [(2, 3, 17, 1, None), (3, 5, 20, 19, [3, 1, 2, 3, 1])]
    if large:
        sizes += [
            (2, 9, 32, 31, None),
            (1, 1, 1, 1, None),
            (2, 13, 200, 33, [2, 1, 2] * 4 + [1]),
            (4, 2, 31, 16, None),
            (9, 1, 64, 5, None),
        ]
    halves = (False, True) if host_target().bf16 else (False,)
    for name in names:
        for half in halves:
            for size in sizes:
                given = given_for(name, *size)
                expected = everything(given, "cpu", half)
                for at_end in (True, False):
                    print(name, size, "half" if half else "single", "end" if at_end else "begin", flush=True)
                    seen: set[str] = set()
                    with pytest.MonkeyPatch.context() as patch:
                        guard(patch, at_end, seen)
                        found = everything(given, "cpu", half)
                    assert {"counts", "cur"} < seen
                    assert any(what.startswith(("state:", "half:")) for what in seen)
                    packed = any(what.endswith((".weights", "gathered")) for what in seen)
                    assert packed or not given.recurrence.matrices
                    assert_close(found, expected, 1e-6)
    share_units(names)
    if large:
        look_up(names)
    print("done")


def share_units(names: list[str]) -> None:
    """The same with two threads at the units of the same rows."""
    for name in names:
        given = given_for(name, 3, 2, 100, 19, None)
        expected = everything(given, "cpu")
        for at_end in (True, False):
            print(name, "units", "end" if at_end else "begin", flush=True)
            seen: set[str] = set()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(programs, "_shares", lambda program, *_: (1, 2) if program.loop.divisible else (1, 1))
                guard(patch, at_end, seen)
                found = everything(given, "cpu")
            assert ("meeting" in seen) == has_no_mean(given)
            assert_close(found, expected)


def draw_in_eight_bits(name: str) -> None:
    """The layers of the sampling loop with weights in 8 bits."""
    recurrence, hidden = cell(name), 21
    shapes = recurrence.parameters(hidden, hidden)
    generator = torch.Generator().manual_seed(0)
    parameters = [{k: torch.randn(s, generator=generator) * 0.2 for k, s in shapes.items()} for _ in range(2)]
    for rows in (1, 3):
        found = []
        for at_end in (None, True, False):
            print(name, "8 bits", rows, at_end, flush=True)
            stepper = Stepper(recurrence, parameters, torch.randn(5, hidden, generator=generator), hidden, rows, "int8")
            seen: set[str] = set()
            with pytest.MonkeyPatch.context() as patch:
                if at_end is not None:
                    guard(patch, at_end, seen)
                for context in (each for each in stepper._alive if isinstance(each, programs.Context)):
                    context.numbers({"t0": 0, "t1": 1})
                    context.run()
            assert at_end is None or any(what.endswith(".bytes") for what in seen)
            found.append(stepper.state(1)["h"].isfinite().all())
        assert all(found)
    print("done")


def has_no_mean(given: Given) -> bool:
    return not any(node.op == "mean" for node in given.recurrence.graph.nodes)


def look_up(names: list[str]) -> None:
    """The same where x is a table."""
    index = torch.arange(30).view(6, 5) % 7
    for name in names:
        given = given_for(name, 1, 5, 17, 7, None)
        table = given_for(name, 1, 7, 17, 7, None).x
        leaves = [table, *given.parameters.values()]
        for half in (False, True) if host_target().bf16 else (False,):
            for at_end in (True, False):
                print(name, "table", "half" if half else "single", "end" if at_end else "begin", flush=True)
                with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16, half):
                    guard(patch, at_end, set())
                    result = engine.run(
                        given.recurrence, given.parameters, table[0], given.state, given.constants,
                        backend="cpu", index=index,
                    )  # fmt: skip
                    total = sum(tensor.float().sum() for tensor in (*result.outputs.values(), *result.final.values()))
                    torch.autograd.grad(total, leaves, allow_unused=True)


def in_a_process(what: str) -> None:
    code = f"import test_cpu_backend_guards as g; {what}"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, "PYTHONPATH": path, "MALLOC_PERTURB_": "255"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:]
    assert done.returncode == 0, f"exit code {done.returncode} in {last}\n{done.stderr[-1500:]}"
    assert last == ["done"]


@pytest.mark.parametrize("name", ["lstm", "mut1"])
def test_nothing_beyond_its_memory_is_touched(name: str) -> None:
    in_a_process(f"g.main([{name!r}], False)")


def test_nothing_beyond_the_memory_of_eight_bits_is_touched() -> None:
    in_a_process("g.draw_in_eight_bits('gru')")


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_nothing_beyond_any_memory_is_touched(name: str) -> None:
    in_a_process(f"g.main([{name!r}], True)")


def test_the_guard_bites() -> None:
    code = (
        "import ctypes, numpy as np, test_cpu_backend_guards as g; a = np.zeros(100, np.uint8); "
        "m = g.Guarded(a.ctypes.data, 100, {}); print(ctypes.string_at(m.address + {}, 1))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    for at_end, place, alive in ((True, 99, True), (True, 100, False), (False, 0, True), (False, -1, False)):
        done = subprocess.run(
            [sys.executable, "-c", code.format(at_end, place)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) is alive
