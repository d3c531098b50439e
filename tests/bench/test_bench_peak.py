"""The machine's multiply-adds."""

from __future__ import annotations

import pytest

from elman.bench.peak import peak_gflops, source

pytest.importorskip("llvmlite")


def test_the_peak_is_no_less_than_a_product_reaches() -> None:
    import time

    import torch

    from elman.compile.cpu.target import host_target

    if host_target().name == "x86-64":
        pytest.skip("this machine has no fused multiply-add")
    threads = torch.get_num_threads()
    a = torch.randn(512, 512)
    times = []
    try:
        torch.set_num_threads(1)
        for _ in range(5):
            begin = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - begin)
        reached = 2 * 512**3 / min(times) / 1e9
        peak = peak_gflops("fp32", 1)
    finally:
        torch.set_num_threads(threads)
    assert peak is not None
    # clocks change between the two, so a little room
    assert peak > 0.8 * reached


def test_a_machine_without_the_dot_product_has_no_bf16_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CPU", "x86-64")
    from elman.compile.cpu import target

    if target.host_target().name != "x86-64":
        pytest.skip("this machine cannot be asked for less")
    assert peak_gflops("bf16", 1) is None


@pytest.mark.parametrize(
    ("name", "bf16", "instruction", "count"),
    [
        ("avx512", False, "vfmadd", 12),
        ("avx2", False, "vfmadd", 12),
        ("neon", False, "fmla", 12),
        ("x86-64", False, "mulps", 12),
    ],
)
def test_the_loop_is_made_of_multiply_adds(name: str, bf16: bool, instruction: str, count: int) -> None:
    from elman.compile.cpu.target import named_target
    from elman.compile.cpu.toolchain import assembly

    target = named_target(name)
    text = assembly(source(target.lanes, bf16=bf16, fused=name != "x86-64"), target)
    body = [line.split()[0] for line in text.splitlines() if line.startswith("\t") and line.split()]
    assert sum(each.startswith(instruction) for each in body) % count == 0
    assert any(each.startswith(instruction) for each in body)
    assert "call" not in text
