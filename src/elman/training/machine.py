"""Threads, device and what they are good at."""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import sys

import torch

from elman import __version__
from elman.compile.cpu.target import host_target, unsupported
from elman.compile.torch_fused import recognise
from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.training.launch import launched, neighbours
from elman.training.settings import Settings


def prepare(device: str, threads: int | None) -> tuple[str, int]:
    """Settle device and threads for this process.

    Args:
        device: "cpu", "cuda" or "auto" (a GPU if torch sees one).
        threads: CPU threads; None keeps torch's choice, or shares the cores among the processes of this machine.

    Returns:
        The device and the number of threads.

    Raises:
        MisuseError: a device that is not there, or an impossible number of threads.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise MisuseError(f"--device is {device!r}; it takes cpu, cuda or auto.")
    if device == "cuda" and not torch.cuda.is_available():
        reason = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no GPU"
        raise MisuseError(f"--device cuda: {reason}. Use --device cpu, or install a CUDA build of torch.")
    if threads is None and launched() > 1:
        # torchrun leaves each process one thread, however many cores there are
        threads = max(1, len(os.sched_getaffinity(0)) // neighbours()[1])
    if threads is not None:
        if threads < 1:
            raise MisuseError(f"--threads is {threads}; it takes a whole number from 1.")
        torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    return device, torch.get_num_threads()


def keep_freed_memory() -> None:
    """Let the C library keep what torch frees, for the next tensor.

    torch's CPU allocator keeps nothing, and glibc gives every large block back to the system at once, so that each
    training step touches fresh pages. Keeping them makes a step of a 2 x 256 LSTM a quarter faster. The whole process
    then holds its largest footprint until it ends. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and platform.libc_ver()[0] == "glibc":
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
            mallopt(parameter, value)


# mallopt's names for its parameters, from malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def usual_precision(settings: Settings, recurrence: Recurrence, hidden: int) -> str:
    """The precision of a training whose user left it open: "bf16" where it pays, "fp32" else; see :func:`bf16_pays`."""
    return "bf16" if bf16_pays(settings.device, settings.backend, recurrence, hidden) else "fp32"


def bf16_pays(device: str, backend: str, recurrence: Recurrence, hidden: int) -> bool:
    """Whether bfloat16 products are faster than float32 ones here.

    A rule and not a measurement, so that the same command makes the same choice every time. A GPU needs only support
    them. On a CPU they pay with instructions for bfloat16 and products large enough to outweigh the conversions: for
    every recurrence in the compiled backend, in torch for its LSTM kernel alone.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    if backend in ("auto", "cpu") and unsupported() is None:
        return host_target().bf16 and hidden >= 128
    fused = recognise(recurrence) if backend in ("auto", "torch") else None
    has_instructions = bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
    return fused is not None and fused.kernel == "lstm" and has_instructions and hidden >= 128


def products(recurrence: Recurrence) -> int:
    """Matrices of one layer, a measure of its size: 8 for the LSTM, 2 for the plain RNN."""
    return max(1, len(recurrence.matrices))


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {
        "elman": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def command() -> str:
    """The command line of this process, for the run's record."""
    return shlex.join(["elman", *sys.argv[1:]])
