"""Memory is lent once at a time, comes back when the last view dies, and is bounded."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elman.compile.cpu import workspace
from elman.compile.cpu.workspace import Held, empty, held, release, rounded
from elman.errors import MisuseError

MB = 1 << 20


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool of the test's own with a limit of 64 MB."""
    monkeypatch.setenv("ELMAN_WORKSPACE_MB", "64")
    workspace.free_limit.cache_clear()
    monkeypatch.setattr(workspace, "_pool", workspace._Pool())
    yield
    workspace.free_limit.cache_clear()


def of_bytes(size: int) -> Tensor:
    return empty((size,), torch.uint8)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 100, 400), (1 << 20,), (700, 1000)])
def test_shape_type_and_alignment(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = empty(shape, dtype)
    assert (tensor.shape, tensor.dtype, tensor.device.type) == (torch.Size(shape), dtype, "cpu")
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0
    assert not tensor.requires_grad
    tensor.fill_(1)
    assert tensor.eq(1).all()


def test_the_device_is_the_cpu_whatever_the_default_is() -> None:
    with torch.device("meta"):
        assert empty((2, 2)).device.type == "cpu"
        assert empty((1000, 1000)).device.type == "cpu"


def test_a_shape_that_is_none_is_refused() -> None:
    with pytest.raises(RuntimeError, match="negative"):
        empty((-1000, -1000))


@given(st.integers(workspace.SMALL, 1 << 40))
def test_less_than_a_quarter_of_a_block_is_idle(size: int) -> None:
    block = rounded(size)
    assert size <= block < 1.25 * size + 1
    assert block % 4096 == 0
    assert rounded(block) == block


def test_memory_is_used_again() -> None:
    first = empty((1000, 1000))
    place = first.data_ptr()
    del first
    second = empty((990, 1001))
    assert second.data_ptr() == place
    third = empty((1000, 1000))
    assert third.data_ptr() != place


def test_living_tensors_share_nothing() -> None:
    tensors = [empty((100_000 + 1000 * i,)).fill_(i) for i in range(40)]
    del tensors[::3]
    tensors += [empty((100_000 + 1000 * i,)).fill_(100 + i) for i in range(40)]
    spans = sorted((tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in tensors)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert all(bool((tensor == tensor[0]).all()) for tensor in tensors)


def test_a_view_keeps_the_memory() -> None:
    tensor = empty((1000, 1000))
    view = tensor.t()[3]
    del tensor
    assert held() == Held(lent=4 * MB, free=0)
    del view
    assert held() == Held(lent=0, free=4 * MB)


def test_what_autograd_keeps_is_lent() -> None:
    weight = torch.ones(1000, 1000, requires_grad=True)
    loss = (weight * empty((1000, 1000)).fill_(2)).sum()
    assert held().lent == 4 * MB
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.eq(2).all()
    del loss
    assert held().lent == 0


def test_a_cycle_is_collected() -> None:
    class Node:
        pass

    node: Any = Node()
    node.itself, node.tensor = node, empty((1000, 1000))
    dead = weakref.ref(node)
    del node
    gc.collect()
    assert dead() is None
    assert held().lent == 0


def test_small_tensors_are_those_of_torch() -> None:
    small = of_bytes(workspace.SMALL - 1)
    assert held().lent == 0
    large = of_bytes(workspace.SMALL)
    assert held().lent == workspace.SMALL
    del small, large


def test_released_memory_is_gone() -> None:
    first, second = of_bytes(4 * MB), of_bytes(8 * MB)
    del first
    assert release() == 4 * MB
    assert held() == Held(lent=8 * MB, free=0)
    del second
    assert release() == 8 * MB
    assert release() == 0


def test_huge_blocks_return_to_the_system() -> None:
    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    tensor = of_bytes(60 * MB).fill_(1)
    assert resident() - before > 50 * MB
    del tensor
    assert resident() - before > 50 * MB
    release()
    assert resident() - before < 10 * MB


def test_what_was_free_the_longest_goes_beyond_the_limit() -> None:
    oldest, older, newest = of_bytes(16 * MB), of_bytes(32 * MB), of_bytes(28 * MB)
    place = older.data_ptr()
    del oldest
    del older
    assert held().free == 48 * MB
    del newest
    assert held().free == 60 * MB
    assert of_bytes(32 * MB).data_ptr() == place


def test_a_block_larger_than_the_limit_is_not_kept() -> None:
    tensor = of_bytes(80 * MB)
    assert held().lent == 80 * MB
    del tensor
    assert held() == Held(lent=0, free=0)


def test_the_limit_can_be_nothing_but_not_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_WORKSPACE_MB", "0")
    workspace.free_limit.cache_clear()
    empty((1000, 1000)).fill_(1)
    assert held() == Held(lent=0, free=0)
    monkeypatch.setenv("ELMAN_WORKSPACE_MB", "much")
    workspace.free_limit.cache_clear()
    with pytest.raises(MisuseError, match="ELMAN_WORKSPACE_MB is 'much'"):
        empty((1000, 1000))


def test_the_limit_is_a_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELMAN_WORKSPACE_MB")
    workspace.free_limit.cache_clear()
    assert 0 < workspace.free_limit() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def test_a_tensor_may_die_while_its_thread_has_the_lock() -> None:
    """As when the garbage collector runs inside the pool."""
    tensor = empty((1000, 1000))
    with workspace._pool.lock:
        del tensor
    assert held() == Held(lent=0, free=4 * MB)


def test_without_memory_what_is_free_is_given_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    free = empty((1000, 1000))
    del free
    make, failures = workspace._Block, [OSError(12, "Cannot allocate memory")]

    def sometimes(size: int) -> workspace._Block:
        if failures:
            raise failures.pop()
        return make(size)

    monkeypatch.setattr(workspace, "_Block", sometimes)
    tensor = of_bytes(8 * MB)
    assert held() == Held(lent=8 * MB, free=0)
    del tensor
    release()
    failures += [OSError(12, "Cannot allocate memory")] * 2
    last = of_bytes(8 * MB)  # torch's own
    assert last.numel() == 8 * MB
    assert held() == Held(lent=0, free=0)


def test_threads_do_not_get_the_same_memory() -> None:
    """Tensors are passed between threads, so that they die in another than the one that made them."""

    def work(seed: int) -> int:
        kept: list[Tensor] = []
        for i in range(300):
            number = seed * 1000 + i
            kept.append(empty((20_000 + 5_000 * (number % 7),)).fill_(number))
            inbox.append(kept[-1])
            if len(inbox) > 20:
                inbox.pop(0)
            if len(kept) > 5:
                if not kept[0].eq(kept[0][0].item()).all():
                    return i
                del kept[0]
        return -1

    inbox: list[Tensor] = []
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [-1] * 4
    assert held().lent == sum(rounded(tensor.nbytes) for tensor in inbox)
    inbox.clear()
    assert held().lent == 0
    assert held().free <= 64 * MB


def test_a_fork_while_the_lock_is_held() -> None:
    lent = empty((1000, 1000)).fill_(5)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with workspace._pool.lock:
            inside.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)  # torch's own operations wait for threads that a child lacks
            mine = empty((1000, 1000)).fill_(6)
            same = bool((lent == 5).all()) and held().lent == 8 * MB
            lent.fill_(7)
            del lent, mine
            status = int(not same or held() != Held(lent=0, free=8 * MB))
        finally:
            os._exit(status)
    leave.set()
    holder.join()
    ended, deadline = 0, time.monotonic() + 20
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert (ended, status) == (child, 0)
    assert lent.eq(5).all()


def test_copies_do_not_share_the_memory() -> None:
    tensor = empty((1000, 1000)).fill_(3)
    other = copy.deepcopy(tensor)
    tensor.fill_(4)
    assert other.eq(3).all()
    assert other.untyped_storage().nbytes() == 4_000_000


def test_shared_memory_gives_the_block_back() -> None:
    tensor = empty((1000, 1000)).fill_(3)
    tensor.share_memory_()
    assert tensor.is_shared()
    assert tensor.eq(3).all()
    assert held() == Held(lent=0, free=4 * MB)


def test_a_tensor_can_be_shrunk_and_set() -> None:
    tensor = empty((1000, 1000)).fill_(3)
    tensor.resize_(10, 10)
    assert tensor.eq(3).all()
    tensor.set_(torch.ones(2000, 2000))
    assert held().lent == 0


def test_a_function_may_return_it_and_its_caller_write_to_it() -> None:
    """torch refuses writing to a view that a Function made."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            return empty(x.shape).copy_(2 * x), empty(x.shape).copy_(x)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return 2 * gradients[0] + gradients[1]

    x = torch.ones(1000, 100, requires_grad=True)
    y, z = Double.apply(x)
    y.mul_(3)
    (y + z).sum().backward()
    assert x.grad is not None
    assert x.grad.eq(7).all()


def test_the_end_of_the_interpreter_is_quiet() -> None:
    program = """
import sys, types, torch
from elman.compile.cpu.workspace import empty
kept = empty((1000, 1000))
module = sys.modules["module"] = types.ModuleType("module")
module.tensor = empty((1000, 1000))
class Node: pass
node = Node()
node.itself, node.tensor = node, empty((1000, 1000), torch.bfloat16)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
