"""Every part of the work is done once, on the threads that torch uses, and other Python threads go on meanwhile."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from elman.compile.cpu import threads
from elman.compile.cpu.target import host_target
from elman.compile.cpu.toolchain import load_code

# count: ctx[thread] += 1.  meet: ctx[0] += 1 and wait, for a bounded time, until it is ctx[1]; ctx[2 + thread] tells
# whether it was.
SOURCE = """
define void @count(ptr %ctx, i64 %thread) {
  %slot = getelementptr i64, ptr %ctx, i64 %thread
  %old = atomicrmw add ptr %slot, i64 1 seq_cst
  ret void
}

define void @meet(ptr %ctx, i64 %thread) {
entry:
  %old = atomicrmw add ptr %ctx, i64 1 seq_cst
  %expected.slot = getelementptr i64, ptr %ctx, i64 1
  %expected = load i64, ptr %expected.slot
  br label %wait
wait:
  %turn = phi i64 [ 0, %entry ], [ %next, %again ]
  %here = load atomic i64, ptr %ctx seq_cst, align 8
  %all = icmp sge i64 %here, %expected
  br i1 %all, label %met, label %again
again:
  %next = add i64 %turn, 1
  %tired = icmp sgt i64 %next, 2000000000
  br i1 %tired, label %done, label %wait
met:
  %place = add i64 %thread, 2
  %result = getelementptr i64, ptr %ctx, i64 %place
  store i64 1, ptr %result
  br label %done
done:
  ret void
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path))


@pytest.fixture(params=["openmp", "python"])
def launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Threads of torch's OpenMP, and threads of Python as where torch has none."""
    monkeypatch.setattr(threads, "_launch", None)
    if request.param == "python":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif threads.runtime() is None:
        pytest.skip("this build of torch has no OpenMP")
    return request.param


@pytest.fixture
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def entry(name: str) -> int:
    return load_code("tests of threads", lambda: SOURCE, host_target()).address(name)


def slots(*values: int) -> np.ndarray:
    ctx = np.zeros(80, np.int64)
    ctx[: len(values)] = values
    return ctx


@pytest.mark.usefixtures("launcher", "torch_threads")
@pytest.mark.parametrize("of_torch", [1, 2, 4])
@pytest.mark.parametrize("number", [1, 2, 3, 64])
def test_every_thread_is_run_once(number: int, of_torch: int) -> None:
    torch.set_num_threads(of_torch)
    for _ in range(3):
        ctx = slots()
        threads.parallel(entry("count"), ctx.ctypes.data, number)
        assert ctx.tolist() == [1] * number + [0] * (80 - number)


@pytest.mark.usefixtures("launcher")
def test_threads_run_at_the_same_time() -> None:
    ctx = slots(0, 2)
    threads.parallel(entry("meet"), ctx.ctypes.data, 2)
    assert ctx[2:5].tolist() == [1, 1, 0]


@pytest.mark.usefixtures("launcher")
@pytest.mark.parametrize("number", [1, 2])
def test_python_goes_on_meanwhile(number: int) -> None:
    """The function waits for one more than its own threads: for the number that Python sets while it runs."""
    ctx = slots(0, number + 1)
    running = threading.Thread(target=threads.parallel, args=(entry("meet"), ctx.ctypes.data, number))
    running.start()
    while running.is_alive() and ctx[0] < number:
        pass
    ctx[0] = number + 1
    running.join()
    assert ctx[2 : 2 + number].tolist() == [1] * number


@pytest.mark.usefixtures("launcher")
def test_several_python_threads_may_call() -> None:
    function = entry("count")

    def call(_: int) -> list[int]:
        ctx = slots()
        for _ in range(50):
            threads.parallel(function, ctx.ctypes.data, 3)
        return ctx[:4].tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(8))) == [[50, 50, 50, 0]] * 8


@pytest.mark.usefixtures("torch_threads")
def test_the_pool_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    if threads.runtime() is None:
        pytest.skip("this build of torch has no OpenMP")
    monkeypatch.setattr(threads, "_launch", None)
    torch.set_num_threads(3)
    numbers = torch.ones(3_000_000)
    torch.exp(numbers, out=numbers)
    before = set(os.listdir("/proc/self/task"))
    ctx = slots()
    threads.parallel(entry("count"), ctx.ctypes.data, 2)
    torch.exp(numbers, out=numbers)
    assert set(os.listdir("/proc/self/task")) == before


def test_a_child_of_a_fork_does_not_wait_for_threads_that_it_lacks() -> None:
    function = entry("count")
    ctx = slots()
    threads.parallel(function, ctx.ctypes.data, 2)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ctx[:] = 0
            threads.parallel(function, ctx.ctypes.data, 1)
            threads.parallel(function, ctx.ctypes.data, 3)
            status = int(ctx[:4].tolist() != [2, 1, 1, 0])
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_team_that_is_too_small_does_all_the_work() -> None:
    program = f"""
import numpy as np, torch
from elman.compile.cpu import threads
from elman.compile.cpu.target import host_target
from elman.compile.cpu.toolchain import load_code
function = load_code("key", lambda: {SOURCE!r}, host_target()).address("count")
ctx = np.zeros(6, np.int64)
torch.set_num_threads(4)
threads.parallel(function, ctx.ctypes.data, 5)
print(ctx.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OMP_THREAD_LIMIT": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[1, 1, 1, 1, 1, 0]", done.stderr


def test_the_library_is_the_one_that_torch_loaded() -> None:
    found = threads.runtime()
    if found is None:
        pytest.skip("this build of torch has no OpenMP")
    with open("/proc/self/maps", encoding="utf-8") as maps:
        assert any(line.rstrip().endswith(found) for line in maps)
    assert hasattr(ctypes.CDLL(found), "GOMP_parallel")


@pytest.mark.usefixtures("torch_threads")
def test_no_more_threads_than_rows() -> None:
    torch.set_num_threads(3)
    assert [threads.threads_for(rows) for rows in (0, 1, 2, 3, 100)] == [1, 1, 2, 3, 3]
