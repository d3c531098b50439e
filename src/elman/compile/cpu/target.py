"""The machines that code is compiled for, and which of them this machine is."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from elman.errors import MisuseError

_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq")
_AVX2 = ("avx2", "fma", "f16c", "bmi2")
_MACHINES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "neon", "arm64": "neon"}


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set and what a code generator must know of it.

    Attributes:
        name: ``"avx512"``, ``"avx2"``, ``"x86-64"`` or ``"neon"``.
        triple: LLVM's name of the architecture and system.
        cpu: LLVM's name of the processor.
        features: LLVM's list of what the processor has (+) and lacks (-).
        lanes: floats in one vector register.
        registers: vector registers.
        bf16: whether there is a dot product of bfloat16 numbers (AVX512-BF16).
        vnni: whether there is a dot product of 8-bit integers (AVX-VNNI, AVX512-VNNI).
    """

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    registers: int
    bf16: bool = False
    vnni: bool = False


_X86 = "x86_64-unknown-linux-gnu"
_TARGETS = {
    # Without -prefer-256-bit LLVM splits vectors of 16 floats for the processors that slow down on them.
    "avx512": Target("avx512", _X86, "x86-64-v4", "-prefer-256-bit", 16, 32),
    "avx2": Target("avx2", _X86, "x86-64", ",".join(f"+{name}" for name in _AVX2), 8, 16),
    "x86-64": Target("x86-64", _X86, "x86-64", "", 4, 16),
    "neon": Target("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 4, 32),
}


@cache
def initialise() -> None:
    """Make LLVM know all its targets; must come before code is generated, costs nothing the second time."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def named_target(name: str) -> Target:
    """The target with the least that its name promises, on whatever machine this is.

    Args:
        name: ``"avx512"``, ``"avx2"``, ``"x86-64"`` or ``"neon"``.

    Raises:
        MisuseError: there is no such target.
    """
    if name not in _TARGETS:
        raise MisuseError(f"There is no CPU target {name!r}; there are {', '.join(_TARGETS)}.")
    return _TARGETS[name]


def unsupported() -> str | None:
    """Why nothing can be compiled for this machine, or None if it can."""
    return _unsupported(sys.platform, platform.machine().lower(), sys.maxsize)


@cache
def _unsupported(system: str, machine: str, largest: int) -> str | None:
    if system != "linux" or machine not in _MACHINES or largest < 2**63 - 1:
        bits = largest.bit_length() + 1
        return (
            f"code is compiled only for Linux on x86-64 and aarch64 in 64 bits; this is {system} on "
            f"{machine or 'an unknown machine'} in {bits} bits"
        )
    try:
        llvm.check_jit_execution()
    except OSError as error:
        return f"this system forbids memory that is both written and run ({error.strerror})"
    return None


def host_target() -> Target:
    """The best target that this machine can run; the variable ``ELMAN_CPU`` asks for a lesser one.

    Raises:
        MisuseError: nothing can be compiled for this machine, or it is not what ``ELMAN_CPU`` names.
    """
    return _host_target(os.environ.get("ELMAN_CPU") or None)


@cache
def _host_target(asked: str | None) -> Target:
    if reason := unsupported():
        raise MisuseError(f"There is no compiled CPU backend here: {reason}.")
    initialise()
    family = _MACHINES[platform.machine().lower()]
    return _choose(family, llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features()), asked)


def _choose(family: str, cpu: str, has: dict[str, bool], asked: str | None) -> Target:
    """The target for a machine of a family with a processor and its features."""
    possible = ["neon"] if family == "neon" else ["x86-64"]
    if family == "x86-64" and all(has.get(name) for name in _AVX2):
        possible.insert(0, "avx2")
        if all(has.get(name) for name in _AVX512):
            possible.insert(0, "avx512")
    if asked is not None and asked not in possible:
        raise MisuseError(f"ELMAN_CPU is {asked!r}, but this machine can run {' and '.join(possible)}.")
    name = possible[0]
    if asked not in (None, name) or not has:
        return named_target(asked or name)
    least = named_target(name)
    features = ",".join(f"{'+' if there else '-'}{feature}" for feature, there in sorted(has.items()))
    if name == "avx512":
        features += ",-prefer-256-bit"
    return Target(
        name,
        least.triple,
        cpu,
        features,
        least.lanes,
        least.registers,
        bf16=name == "avx512" and has.get("avx512bf16", False),
        vnni=has.get("avx512vnni", False) if name == "avx512" else name == "avx2" and has.get("avxvnni", False),
    )
