"""Threads, device and what they are good at."""

from __future__ import annotations

import platform
import sys

import torch

from elman import __version__
from elman.equations import Recurrence
from elman.errors import MisuseError


def prepare(device: str, threads: int | None) -> tuple[str, int]:
    """Settle device and threads for this process.

    Args:
        device: "cpu", "cuda" or "auto" (a GPU if torch sees one).
        threads: CPU threads; None keeps torch's choice.

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
    if threads is not None:
        if threads < 1:
            raise MisuseError(f"--threads is {threads}; it takes a whole number from 1.")
        torch.set_num_threads(threads)
    return device, torch.get_num_threads()


def bf16_pays(device: str, backend: str, recurrence: Recurrence, hidden: int) -> bool:
    """Whether bfloat16 products are faster than float32 ones here.

    A rule and not a measurement, so that the same command makes the same choice every time: it needs instructions for
    bfloat16 and products large enough to outweigh the conversions.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    has_instructions = bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
    return has_instructions and hidden >= 128


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
    return " ".join(["elman", *sys.argv[1:]])
