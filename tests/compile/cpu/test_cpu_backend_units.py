"""Threads that share the units of the same rows and wait for each other between rounds."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cpu_cases import Given, assert_close, check, everything, needs_backend, needs_bf16, operands, random_recurrence
from llvmlite import ir

from elman.compile import engine
from elman.compile.cpu import calls, programs
from elman.compile.cpu import shares as sharing
from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.meeting import define_meeting
from elman.compile.cpu.rounds import Loop, forward_loop
from elman.compile.cpu.shares import LATE, crowded, shares
from elman.compile.cpu.target import host_target, named_target
from elman.compile.cpu.threads import runtime
from elman.compile.cpu.toolchain import assembly, load_code
from elman.compile.cpu.values import forward_step
from elman.compile.cpu.vectors import I64, POINTER
from elman.equations import cell

pytestmark = needs_backend

HALVES = [False, pytest.param(True, marks=needs_bf16)]

Force = Callable[[int, int], None]


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch) -> Iterator[Force]:
    """Sets torch's threads, and how many of them share the units of the same rows wherever that can be."""
    before = torch.get_num_threads()
    monkeypatch.setattr(calls, "_known", type(calls._known)())

    def choose(threads: int, ways: int) -> None:
        torch.set_num_threads(threads)
        calls._known.clear()

        def forced(program: programs.Program, batch: int, units: int, threads: int, apart: bool) -> tuple[int, int]:
            if not program.loop.divisible or threads < ways:
                return max(1, min(threads, batch)), 1
            return max(1, min(threads // ways, batch)), ways

        monkeypatch.setattr(programs, "_shares", forced)

    yield choose
    torch.set_num_threads(before)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["lstm", "gru", "mut1", "rnn", "sru", "mlstm"])
def test_units_shared_by_two_and_by_three(name: str, half: bool, force: Force) -> None:
    for threads, ways, hidden, batch in ((2, 2, 64, 1), (3, 3, 100, 3), (2, 2, 17, 2), (3, 3, 200, 2), (3, 3, 31, 7)):
        force(threads, ways)
        # a gradient of few terms may hang on one rounding
        check(operands(cell(name), 5, batch, hidden), half, floor=0.1 if half else 1e-4)


@pytest.mark.parametrize("half", HALVES)
def test_rows_and_units_shared_at_once(half: bool, force: Force) -> None:
    lengths = [4, 1, 3, 4, 2]
    for threads, ways in ((4, 2), (6, 3), (5, 2)):
        force(threads, ways)
        check(operands(cell("gru"), 4, 5, 100), half, floor=5e-2 if half else None)
        check(operands(cell("lstm"), 4, 5, 65, lengths=lengths), half, floor=5e-2 if half else None)


@pytest.mark.parametrize("seed", range(3000, 3012))
def test_random_equations(seed: int, force: Force) -> None:
    force(3, 3)
    check(operands(random_recurrence(seed, smooth=True), 4, 2, 70), floor=1e-4)


def test_tokens(force: Force) -> None:
    index = torch.arange(24).view(6, 4) % 7
    given = operands(cell("lstm"), 1, 4, 48, 17)
    table = operands(cell("lstm"), 1, 7, 48, 17).x

    def found() -> dict[str, torch.Tensor]:
        result = engine.run(
            given.recurrence, given.parameters, table[0], given.state, given.constants, backend="cpu", index=index
        )
        total = result.outputs["h"].square().sum() + result.final["c"].sum()
        gradients = torch.autograd.grad(total, [table, *given.parameters.values()])
        return {str(i): each for i, each in enumerate([result.outputs["h"].detach(), *gradients])}

    force(1, 1)
    expected = found()
    force(3, 3)
    assert_close(found(), expected)


def test_one_row_gives_the_bits_of_one_thread(force: Force) -> None:
    # every unit of a row is computed in the same order, whoever computes it
    given = operands(cell("gru"), 9, 1, 128)
    force(1, 1)
    expected = everything(given, "cpu")
    force(2, 2)
    assert_close(everything(given, "cpu"), expected, 0.0)


def test_repeated_calls(force: Force) -> None:
    given = operands(cell("lstm"), 9, 3, 64)
    force(1, 1)
    expected = everything(given, "cpu")
    force(2, 2)
    for _ in range(5):
        assert_close(everything(given, "cpu"), expected)
    assert sum(isinstance(each, calls.Series) for each in calls._known.values()) == 2


def test_more_threads_than_processors_come_to_an_end(force: Force) -> None:
    given = operands(cell("rnn"), 500, 1, 256)
    force(1, 1)
    expected = everything(given, "cpu")
    force(4 * (os.cpu_count() or 1), 4)
    begin = time.monotonic()
    assert_close(everything(given, "cpu"), expected, 1e-4)
    # two meetings a step: without giving way each would take a time slice
    assert time.monotonic() - begin < 30


def test_several_python_threads(force: Force) -> None:
    given = operands(cell("lstm"), 20, 1, 64)
    force(1, 1)
    expected = everything(given, "cpu")
    force(2, 2)

    def once(_: int) -> dict[str, torch.Tensor]:
        own = Given(
            given.recurrence,
            {name: each.detach().clone().requires_grad_() for name, each in given.parameters.items()},
            given.x.detach().clone().requires_grad_(),
            {name: each.detach().clone().requires_grad_() for name, each in given.state.items()},
            {},
        )
        return everything(own, "cpu")

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(once, range(12)):
            assert_close(found, expected)


def test_a_child_of_a_fork(force: Force) -> None:
    given = operands(cell("lstm"), 9, 1, 64)
    force(2, 2)
    expected = everything(given, "cpu")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # the gradients would need threads of torch's
            with torch.no_grad():
                found = engine.run(given.recurrence, given.parameters, given.x, given.state, {}, backend="cpu")
            status = int(not torch.equal(found.outputs["h"], expected["y h"]))
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(runtime() is None, reason="this build of torch has no OpenMP")
def test_a_team_that_is_too_small() -> None:
    # OpenMP gives fewer threads than are asked for: nobody may wait for one that never comes
    program = """
import torch
from cpu_cases import assert_close, everything, operands
from elman.compile.cpu import programs
from elman.equations import cell
given = operands(cell("gru"), 9, 2, 64)
torch.set_num_threads(1)
expected = everything(given, "cpu")
torch.set_num_threads(4)
programs._shares = lambda program, batch, units, threads, apart: (2, 2)
assert_close(everything(given, "cpu"), expected)
print("done")
"""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    for limit in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, "OMP_THREAD_LIMIT": limit},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.strip() == "done", (limit, done.stderr[-1500:])


def waiting_code() -> int:
    def source() -> str:
        module = ir.Module("waiting")
        meet = define_meeting(module, host_target())
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64, POINTER]), "wait")
        b = ir.IRBuilder(function.append_basic_block())
        b.call(meet, list(function.args))
        b.ret_void()
        return str(module)

    return load_code("test of meetings", source, host_target()).address("wait")


def test_who_waits_long_leaves_the_processor_to_others() -> None:
    wait = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)(waiting_code())
    counter, late, spent = np.zeros(16, np.int64), np.zeros(8, np.int64), list[float]()

    def first() -> None:
        begin = time.thread_time()
        wait(counter.ctypes.data, 2, late.ctypes.data)
        spent.append(time.thread_time() - begin)

    waiting = threading.Thread(target=first)
    waiting.start()
    time.sleep(0.5)
    assert counter[0] == 1
    assert waiting.is_alive()
    assert late[0] == 1
    wait(counter.ctypes.data, 2, late.ctypes.data)
    waiting.join(10)
    assert late[0] == 1
    assert counter[0] == 2
    assert spent[0] < 0.25


@pytest.mark.parametrize(("target", "rest"), [("avx2", "pause"), ("neon", "yield")])
def test_waiting_is_known_to_the_processor(target: str, rest: str) -> None:
    module = ir.Module("waiting")
    meet = define_meeting(module, named_target(target))
    meet.linkage = ""
    text = assembly(str(module), named_target(target))
    assert rest in text
    assert "sched_yield" in text


def loop_of(name: str) -> Loop:
    recurrence = cell(name)
    step, back = forward_step(recurrence, False), backward_step(recurrence)
    return forward_loop(step, back, named_target("avx512"), half=False, exact=True)


def test_the_choice() -> None:
    lstm = loop_of("lstm")
    # enough rows: no waiting
    assert shares(lstm, 64, 16, 16, 2) == (2, 1)
    assert shares(lstm, 1, 16, 16, 1) == (1, 1)
    # one row of large weights: nothing else to share; of small ones: waiting costs more than it saves
    assert shares(lstm, 1, 32, 16, 2) == (1, 2)
    assert shares(lstm, 1, 2, 16, 2) == (1, 1)
    # sums over all units of a row are one thread's
    assert shares(loop_of("layernorm-lstm"), 1, 64, 16, 4) == (1, 1)
    for threads in range(1, 20):
        for batch in (1, 2, 3, 5, 8, 40):
            for units in (1, 3, 8, 32):
                rows, ways = shares(lstm, batch, units, 16, threads)
                assert 1 <= rows <= batch
                assert 1 <= rows * ways <= threads


def test_where_threads_come_late_nobody_waits_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = torch.get_num_threads(), [1000.0]
    monkeypatch.setattr(sharing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sharing, "_crowd", sharing._Crowd())
    sharing._crowd.seen = int(LATE[0])
    try:
        torch.set_num_threads(2)
        assert not crowded(1)
        LATE[0] += 1
        assert crowded(1)
        assert not crowded(64)
        now[0] += 0.9
        assert crowded(1)
        now[0] += 0.2
        assert not crowded(1)
        torch.set_num_threads(1)
        LATE[0] += 1
        assert not crowded(1)
    finally:
        torch.set_num_threads(before)
    assert shares(loop_of("lstm"), 1, 32, 16, 2, apart=True) == (1, 1)
    assert shares(loop_of("lstm"), 3, 32, 16, 2, apart=True) == (2, 1)
