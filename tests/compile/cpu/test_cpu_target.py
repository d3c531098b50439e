"""Which machine is which, by the features that processors report."""

from __future__ import annotations

import platform

import llvmlite.binding as llvm
import pytest

from elman.compile.cpu import target
from elman.compile.cpu.target import host_target, named_target, unsupported
from elman.errors import MisuseError

AVX2 = dict.fromkeys(("avx2", "fma", "f16c", "bmi2"), True)
AVX512 = AVX2 | dict.fromkeys(("avx512f", "avx512bw", "avx512vl", "avx512dq"), True)


@pytest.mark.parametrize(
    ("has", "name"),
    [
        (AVX512, "avx512"),
        (AVX512 | {"avx512bw": False}, "avx2"),
        (AVX2, "avx2"),
        (AVX2 | {"fma": False}, "x86-64"),
        ({"sse2": True}, "x86-64"),
        ({}, "x86-64"),
    ],
)
def test_the_features_decide(has: dict[str, bool], name: str) -> None:
    assert target._choose("x86-64", "somecpu", has, None).name == name


def test_bfloat16_and_integer_products_are_where_the_processor_has_them() -> None:
    plain = target._choose("x86-64", "somecpu", AVX512, None)
    both = target._choose("x86-64", "somecpu", AVX512 | {"avx512bf16": True, "avx512vnni": True}, None)
    assert (plain.bf16, plain.vnni) == (False, False)
    assert (both.bf16, both.vnni) == (True, True)
    assert target._choose("x86-64", "somecpu", AVX2 | {"avx512bf16": True, "avxvnni": True}, None).bf16 is False


def test_a_lesser_target_has_no_more_than_its_name_says() -> None:
    asked = target._choose("x86-64", "somecpu", AVX512 | {"avx512bf16": True}, "avx2")
    assert asked == named_target("avx2")


def test_a_greater_target_is_refused() -> None:
    with pytest.raises(MisuseError, match="ELMAN_CPU is 'avx512', but this machine can run avx2 and x86-64"):
        target._choose("x86-64", "somecpu", AVX2, "avx512")
    with pytest.raises(MisuseError, match="can run neon"):
        target._choose("neon", "somecpu", {"neon": True}, "avx2")


def test_the_variable_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    least = "neon" if platform.machine() in {"aarch64", "arm64"} else "x86-64"
    monkeypatch.setenv("ELMAN_CPU", least)
    assert host_target().name == least
    monkeypatch.setenv("ELMAN_CPU", "abacus")
    with pytest.raises(MisuseError, match="abacus"):
        host_target()
    monkeypatch.delenv("ELMAN_CPU")
    assert host_target().cpu == llvm.get_host_cpu_name()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(MisuseError, match="no CPU target 'abacus'; there are avx512, avx2, x86-64, neon"):
        named_target("abacus")


@pytest.mark.parametrize(
    ("system", "machine", "largest"),
    [("linux", "riscv64", 2**63 - 1), ("darwin", "arm64", 2**63 - 1), ("linux", "x86_64", 2**31 - 1)],
)
def test_a_machine_without_a_compiler_is_told_why(system: str, machine: str, largest: int) -> None:
    reason = target._unsupported(system, machine, largest)
    assert reason is not None
    assert f"this is {system} on {machine} in {64 if largest > 2**32 else 32} bits" in reason


def test_forbidden_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(llvm, "check_jit_execution", refuse)
    target._unsupported.cache_clear()
    try:
        assert "forbids" in (target._unsupported("linux", "x86_64", 2**63 - 1) or "")
    finally:
        target._unsupported.cache_clear()


def test_this_machine_is_supported() -> None:
    assert unsupported() is None
