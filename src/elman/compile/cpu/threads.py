"""One compiled function on several threads at once: those of torch, or threads of Python where torch has none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from elman.compile.cpu.target import host_target
from elman.compile.cpu.toolchain import load_code

# GOMP_parallel calls @each on every thread of a team. A team may be larger than the work (the surplus does nothing) or
# smaller (a thread then does the work of several).
_SOURCE = """
%task = type { ptr, i64, i64, i1 }
@parallel = internal global ptr null
@number = internal global ptr null
@count = internal global ptr null

define void @prepare(ptr %parallel, ptr %number, ptr %count) {
  store ptr %parallel, ptr @parallel
  store ptr %number, ptr @number
  store ptr %count, ptr @count
  ret void
}

define internal void @each(ptr %task) {
entry:
  %number.of = load ptr, ptr @number
  %count.of = load ptr, ptr @count
  %number.32 = call i32 %number.of()
  %count.32 = call i32 %count.of()
  %number = sext i32 %number.32 to i64
  %count = sext i32 %count.32 to i64
  %task.function = getelementptr %task, ptr %task, i32 0, i32 0
  %task.ctx = getelementptr %task, ptr %task, i32 0, i32 1
  %task.threads = getelementptr %task, ptr %task, i32 0, i32 2
  %function = load ptr, ptr %task.function
  %ctx = load i64, ptr %task.ctx
  %threads = load i64, ptr %task.threads
  %task.together = getelementptr %task, ptr %task, i32 0, i32 3
  %together = load i1, ptr %task.together
  %few = icmp slt i64 %count, %threads
  %alone = and i1 %few, %together
  br i1 %alone, label %one, label %test
one:
  %first = icmp eq i64 %number, 0
  br i1 %first, label %all, label %done
all:
  call void %function(i64 %ctx, i64 -1)
  ret void
test:
  %thread = phi i64 [ %number, %entry ], [ %next, %work ]
  %more = icmp slt i64 %thread, %threads
  br i1 %more, label %work, label %done
work:
  call void %function(i64 %ctx, i64 %thread)
  %next = add i64 %thread, %count
  br label %test
done:
  ret void
}

define void @launch(ptr %function, i64 %ctx, i64 %threads, i32 %team, i32 %together) {
entry:
  %alone = icmp eq i32 %team, 1
  br i1 %alone, label %call, label %spread
call:
  call void %function(i64 %ctx, i64 0)
  ret void
spread:
  %task = alloca %task
  %task.ctx = getelementptr %task, ptr %task, i32 0, i32 1
  %task.threads = getelementptr %task, ptr %task, i32 0, i32 2
  store ptr %function, ptr %task
  store i64 %ctx, ptr %task.ctx
  store i64 %threads, ptr %task.threads
  %task.together = getelementptr %task, ptr %task, i32 0, i32 3
  %waits = icmp ne i32 %together, 0
  store i1 %waits, ptr %task.together
  %parallel = load ptr, ptr @parallel
  call void %parallel(ptr @each, ptr %task, i32 %team, i32 0)
  ret void
}
"""

# ctypes lets other Python threads run meanwhile.
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_LAUNCH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32)
_PREPARE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_Launch = Callable[[int, int, int, int, int], object]


def parallel(function: int, ctx: int, threads: int, together: bool = False) -> None:
    """Call ``function(ctx, thread)`` for every thread, all at once, and wait for the last.

    Args:
        function: the address of machine code ``void f(i64* ctx, i64 thread)``.
        ctx: the address of its slots, which must live until this returns.
        threads: into how many parts the work is cut; every ``thread`` of 0 .. threads - 1 is run once.
        together: the parts wait for each other. Where there are not as many threads at once, the function is called
            once, with thread -1, and does all the work.
    """
    launch = _launch or _start()
    # The team is never smaller than torch's own: a change of size makes OpenMP end threads and begin new ones.
    launch(function, ctx, threads, 1 if threads == 1 else max(threads, torch.get_num_threads()), together)


def threads_for(rows: int) -> int:
    """How many threads share the work of so many rows: torch's number, at most one a row, at least one."""
    return max(1, min(torch.get_num_threads(), rows))


def runtime() -> str | None:
    """The file of the OpenMP library whose threads torch uses, or None where it has none or cannot share them."""
    found = _openmp()
    return None if found is None else _file_of(found[0])


_launch: _Launch | None = None
_forked = False


def _start() -> _Launch:
    global _launch
    functions = _openmp()
    if functions is None:
        _launch = _python_threads()
    else:
        code = load_code(f"threads 2 {_SOURCE}", lambda: _SOURCE, host_target())
        _PREPARE(code.address("prepare"))(*functions)
        _launch = _LAUNCH(code.address("launch"))
    return _launch


def _openmp() -> tuple[int, int, int] | None:
    """The addresses of GOMP_parallel, omp_get_thread_num and omp_get_num_threads as torch calls them.

    One pool of threads serves torch and what is compiled here; two would fight for the cores. LLVM's and Intel's OpenMP
    have the functions of GNU's too.
    """
    if _forked or not torch.backends.openmp.is_available():
        return None
    # The order in which the dynamic linker looked when it loaded torch: first what all libraries see (there a preloaded
    # OpenMP stands before torch's), then what torch brings along.
    for where in (None, torch._C.__file__):
        try:
            library = ctypes.CDLL(where)
            names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
            first, second, third = (ctypes.cast(library[name], ctypes.c_void_p).value or 0 for name in names)
        except (OSError, AttributeError):
            continue
        return first, second, third
    return None


def _python_threads() -> _Launch:
    # Never short of workers, since functions may wait for each other; they come into being only as they are needed.
    pool = ThreadPoolExecutor(max_workers=4096, thread_name_prefix="elman")

    def launch(function: int, ctx: int, threads: int, team: int, together: int) -> None:
        entry = _ENTRY(function)
        if together and threads > 1:  # the system may refuse a further thread when others already wait for it
            entry(ctx, -1)
            return
        others = [pool.submit(entry, ctx, thread) for thread in range(1, threads)]
        entry(ctx, 0)
        for other in others:
            other.result()

    return launch


def _file_of(address: int) -> str | None:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            begin, _, end = line.partition(" ")[0].partition("-")
            if int(begin, 16) <= address < int(end, 16):
                return line.split(maxsplit=5)[-1].strip()
    return None


def _after_fork() -> None:
    # OpenMP believes in threads that a child does not have, and would wait for them for ever.
    global _launch, _forked
    _launch, _forked = None, True


os.register_at_fork(after_in_child=_after_fork)
