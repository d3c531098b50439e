"""The compiled backend for other machines than this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from cpu_cases import needs_backend

from elman.compile.cpu.backward_values import backward_step
from elman.compile.cpu.loops import write_loop
from elman.compile.cpu.rounds import Loop, backward_loop, forward_loop
from elman.compile.cpu.target import Target, host_target, initialise, named_target, unsupported
from elman.compile.cpu.toolchain import assembly, compile_object
from elman.compile.cpu.values import forward_step
from elman.equations import cell, zoo

LESSER = [
    name for name in ("avx2", "x86-64") if unsupported() is None and host_target().lanes > named_target(name).lanes
]


def loops(name: str, target: Target, exact: bool) -> list[Loop]:
    """The forward loop that keeps what the backward loop needs, and the backward loop."""
    recurrence = cell(name)
    backward = backward_step(recurrence)
    output = (recurrence.output,)
    return [
        forward_loop(forward_step(recurrence, False), backward, target, False, exact, output),
        backward_loop(backward, recurrence.states, output, target, False, exact),
    ]


def on_target(target: str, names: list[str]) -> None:
    code = (
        "from cpu_cases import *; from elman.equations import cell; import sys\n"
        f"assert host_target().name == {target!r}\n"
        "for name in sys.argv[1:]:\n"
        "    for hidden in (9, 16):\n"
        "        check(operands(cell(name), 4, 5, hidden))\n"
        "    check(operands(cell(name), 4, 5, 9, lengths=[4, 1, 2, 4, 3]))\n"
        "print('done')"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, "ELMAN_CPU": target, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "done"


@needs_backend
@pytest.mark.parametrize("target", LESSER)
def test_lesser_machines(target: str) -> None:
    on_target(target, ["gru"] if target == "avx2" else ["lstm"])


@pytest.mark.slow
@needs_backend
@pytest.mark.parametrize("target", LESSER)
def test_more_cells_on_lesser_machines(target: str) -> None:
    on_target(target, list(zoo()))


@pytest.mark.parametrize("name", ["lstm", *(pytest.param(n, marks=pytest.mark.slow) for n in zoo() if n != "lstm")])
@pytest.mark.parametrize("exact", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_arm_machines_get_vector_code(name: str, exact: bool) -> None:
    target = named_target("neon")
    for loop in loops(name, target, exact):
        source = write_loop(loop, target)
        image = compile_object(source, target)
        assert image[:4] == b"\x7fELF"
        assert int.from_bytes(image[18:20], "little") == 183  # EM_AARCH64
        # a product is a fused multiply-add of a vector with a number of another
        assert "fmla\tv" in assembly(source, target) or not any(one.groups for one in loop.rounds)


@pytest.mark.parametrize("target", ["avx512", "avx2", "x86-64"])
def test_products_are_fused_vectors(target: str) -> None:
    made = named_target(target)
    forward, _ = loops("lstm", made, True)
    text = assembly(write_loop(forward, made), made)
    expected = {"avx512": ("vfmadd", "%zmm"), "avx2": ("vfmadd", "%ymm"), "x86-64": ("mulps", "%xmm")}[target]
    assert any(all(part in line for part in expected) for line in text.splitlines())


@pytest.mark.parametrize("target", ["avx512", "avx2", "x86-64", "neon"])
def test_what_a_loop_calls_is_there_on_every_machine(target: str) -> None:
    initialise()
    made = named_target(target)
    allowed = {"sinf", "cosf", "memset", "memcpy", "memmove"}
    for loop in loops("layernorm-gru", made, False):
        module = llvm.parse_assembly(write_loop(loop, made), llvm.create_context())
        declared = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
        assert declared <= allowed
