"""How many fused multiply-adds this machine can do: the measure that no program can beat.

A small compiled loop keeps independent accumulators in registers and touches no memory, on all threads at once.
"""

from __future__ import annotations

import math
import time

import numpy as np

from elman.errors import MisuseError

# a few milliseconds a run: short enough that some run is undisturbed even on a busy machine
TRIES, ROUNDS = 40, 2**20
SERIES, _REST = 3, 0.05

# accumulators: more than the latency times the units of a core, fewer than the registers
_ACCUMULATORS = 12


def peak_gflops(precision: str, threads: int) -> float | None:
    """The best of several short runs, in GFLOP/s.

    Args:
        precision: "fp32", or "bf16" for the dot products of bfloat16 pairs.
        threads: how many run at once.

    Returns:
        Over all threads; None where the machine has no such instruction or nothing can be compiled for it.
    """
    try:
        from elman.compile.cpu.target import host_target
        from elman.compile.cpu.threads import parallel
        from elman.compile.cpu.toolchain import load_code

        target = host_target()
    except (ImportError, MisuseError):
        return None
    bf16 = precision == "bf16"
    if bf16 and not target.bf16:
        return None
    fused = target.name != "x86-64"
    key = f"peak 1 {precision} {target.lanes} {fused}"
    code = load_code(key, lambda: source(target.lanes, bf16=bf16, fused=fused), target)
    function = code.address("peak")
    # slots: rounds, address of the threads' own lines of floats
    lines = np.full((threads, 64), 1e-3, dtype=np.float32)
    ctx = np.array([ROUNDS, lines.ctypes.data], dtype=np.int64)
    operations = ROUNDS * 2 * _ACCUMULATORS * target.lanes * (2 if bf16 else 1) * threads

    def seconds() -> float:
        begin = time.perf_counter()
        parallel(function, ctx.ctypes.data, threads)
        return time.perf_counter() - begin

    least = math.inf
    for _ in range(SERIES):
        least = min(least, *(seconds() for _ in range(TRIES)))
        # a scheduler may have left two threads on one core, which it notices while they rest
        time.sleep(_REST)
    return operations / least / 1e9


def source(lanes: int, *, bf16: bool, fused: bool) -> str:
    """LLVM IR of ``void peak(i64* ctx, i64 thread)``: rounds of one multiply-add on every accumulator.

    Args:
        lanes: floats of a vector.
        bf16: dot products of bfloat16 pairs instead of float32.
        fused: the machine multiplies and adds in one instruction.
    """
    vector = f"<{lanes} x float>"
    factor = f"<{2 * lanes} x bfloat>" if bf16 else vector
    numbers = range(_ACCUMULATORS)
    if bf16:
        dot = f"@llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
        declared = f"declare {vector} {dot}({vector}, {factor}, {factor})"
        steps = [f"%n{i} = call {vector} {dot}({vector} %a{i}, {factor} %x, {factor} %y)" for i in numbers]
    elif fused:
        declared = f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})"
        call = f"call {vector} @llvm.fma.v{lanes}f32"
        steps = [f"%n{i} = {call}({vector} %x, {vector} %y, {vector} %a{i})" for i in numbers]
    else:
        declared = ""
        steps = [f"%p{i} = fmul {vector} %x, %a{i}\n  %n{i} = fadd {vector} %p{i}, %y" for i in numbers]
    starts = [f"%s{i} = insertelement {vector} %first, float {float(i)}, i64 0" for i in numbers]
    phis = [f"%a{i} = phi {vector} [ %s{i}, %entry ], [ %n{i}, %loop ]" for i in numbers]
    sums = [f"%t{i} = fadd {vector} %{f't{i - 1}' if i else 'first'}, %n{i}" for i in numbers]
    lines = {name: "\n  ".join(part) for name, part in (("s", starts), ("p", phis), ("n", steps), ("t", sums))}
    return f"""
{declared}
define void @peak(ptr %ctx, i64 %thread) {{
entry:
  %rounds = load i64, ptr %ctx
  %slot = getelementptr i64, ptr %ctx, i64 1
  %all = load ptr, ptr %slot
  %offset = mul i64 %thread, 256
  %line = getelementptr i8, ptr %all, i64 %offset
  %first = load {vector}, ptr %line, align 4
  %x = load {factor}, ptr %line, align 4
  %second = getelementptr i8, ptr %line, i64 128
  %y = load {factor}, ptr %second, align 4
  {lines["s"]}
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k.next, %loop ]
  {lines["p"]}
  {lines["n"]}
  %k.next = add nuw nsw i64 %k, 1
  %more = icmp ult i64 %k.next, %rounds
  br i1 %more, label %loop, label %done
done:
  {lines["t"]}
  store {vector} %t{_ACCUMULATORS - 1}, ptr %line, align 4
  ret void
}}
"""
