"""IR becomes machine code that does what it says, here and, as text, on other machines."""

from __future__ import annotations

import ctypes
import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from elman.compile.cpu.target import host_target, named_target
from elman.compile.cpu.toolchain import Code, assembly, compile_object, load_code

NAMES = ("avx512", "avx2", "x86-64", "neon")
# Sixteen floats at once: y = a x + y, the constant a from the object's own read-only data.
AXPY = """
@a = private constant <16 x float> splat (float FACTOR)
define void @axpy(ptr %ctx, i64 %thread) {
  %x = load ptr, ptr %ctx
  %y.slot = getelementptr i64, ptr %ctx, i64 1
  %y = load ptr, ptr %y.slot
  %x.16 = load <16 x float>, ptr %x, align 4
  %y.16 = load <16 x float>, ptr %y, align 4
  %a.16 = load <16 x float>, ptr @a
  %sum = call contract <16 x float> @llvm.fmuladd(<16 x float> %a.16, <16 x float> %x.16, <16 x float> %y.16)
  store <16 x float> %sum, ptr %y, align 4
  ret void
}
"""
# sinf of the number at ctx[0], after clearing what follows it.
OUTSIDE = """
declare float @sinf(float)
define void @sine(ptr %ctx, i64 %thread) {
  %x = load ptr, ptr %ctx
  %value = load float, ptr %x
  %rest = getelementptr float, ptr %x, i64 1
  call void @llvm.memset.p0.i64(ptr %rest, i8 0, i64 40000, i1 false)
  %sine = call float @sinf(float %value)
  store float %sine, ptr %x
  ret void
}
"""
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path))


def axpy(factor: float) -> str:
    return AXPY.replace("FACTOR", str(float(factor)))


def run(code: Code, name: str, *arrays: np.ndarray) -> None:
    ctx = np.array([array.ctypes.data for array in arrays], np.int64)
    ENTRY(code.address(name))(ctx.ctypes.data, 0)


@pytest.mark.parametrize("name", NAMES[:3])
def test_code_computes(name: str) -> None:
    if host_target().name not in NAMES[: NAMES.index(name) + 1]:
        pytest.skip(f"this machine is no {name}")
    code = Code(compile_object(axpy(3), named_target(name)))
    x, y = np.arange(16, dtype=np.float32), np.ones(16, np.float32)
    run(code, "axpy", x, y)
    assert y.tolist() == [3.0 * i + 1 for i in range(16)]


def test_objects_with_the_same_names_do_not_meet() -> None:
    codes = [Code(compile_object(axpy(factor), host_target())) for factor in range(20)]
    for factor, code in enumerate(codes):
        x, y = np.ones(16, np.float32), np.zeros(16, np.float32)
        run(code, "axpy", x, y)
        assert y.tolist() == [factor] * 16


def test_functions_of_the_process_are_found() -> None:
    values = np.full(10_001, 0.5, np.float32)
    run(Code(compile_object(OUTSIDE, host_target())), "sine", values)
    assert values[0] == pytest.approx(math.sin(0.5), rel=1e-6)
    assert not values[1:].any()


def test_what_is_not_there_is_an_error() -> None:
    code = Code(compile_object(axpy(1), host_target()))
    with pytest.raises(RuntimeError, match="nowhere"):
        code.address("nowhere")
    lacking = "declare void @nowhere()\ndefine void @f() {\n  call void @nowhere()\n  ret void\n}"
    with pytest.raises(RuntimeError, match="f"):
        Code(compile_object(lacking, host_target())).address("f")


@pytest.mark.parametrize("source", ["define void @f( {}", "define i64 @f() {\n  ret void\n}"])
def test_malformed_ir_is_an_error(source: str) -> None:
    with pytest.raises(RuntimeError):
        compile_object(source, host_target())


@pytest.mark.parametrize(
    ("name", "instruction"),
    [("avx512", r"vfmadd\d+ps.*%zmm"), ("avx2", r"vfmadd\d+ps.*%ymm"), ("x86-64", r"mulps.*%xmm"), ("neon", r"fmla\s")],
)
def test_every_machine_gets_its_own_instructions(name: str, instruction: str) -> None:
    text = assembly(axpy(3), named_target(name))
    assert re.search(instruction, text), text
    wider = {"avx512": "nothing wider", "avx2": "%zmm", "x86-64": "%ymm", "neon": "%xmm"}[name]
    assert wider not in text


@pytest.mark.parametrize(("name", "machine"), [("avx2", 62), ("neon", 183)])
def test_objects_are_elf_of_their_machine(name: str, machine: int) -> None:
    image = compile_object(axpy(3), named_target(name))
    assert image[:4] == b"\x7fELF"
    assert int.from_bytes(image[18:20], "little") == machine


def test_a_key_is_compiled_once_by_many_threads() -> None:
    calls = []
    together = threading.Barrier(4)

    def source() -> str:
        calls.append(threading.get_ident())
        return axpy(5)

    def load(_: int) -> Code:
        together.wait()
        return load_code("many threads", source, host_target())

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(load, range(4)))
    assert len(calls) == 1
    assert all(code is codes[0] for code in codes)


def test_a_key_is_compiled_once_by_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts later finds the object on the disk; here, one that forgot what it had loaded."""
    calls = []

    def source() -> str:
        calls.append(1)
        return axpy(6)

    load_code("many processes", source, host_target())
    monkeypatch.setattr("elman.compile.cpu.toolchain._codes", {})
    x, y = np.ones(16, np.float32), np.zeros(16, np.float32)
    run(load_code("many processes", source, host_target()), "axpy", x, y)
    assert y.tolist() == [6] * 16
    assert len(calls) == 1


def test_a_failed_key_can_be_tried_again() -> None:
    with pytest.raises(RuntimeError):
        load_code("second try", lambda: "nonsense", host_target())
    assert load_code("second try", lambda: axpy(7), host_target()).address("axpy") > 0
