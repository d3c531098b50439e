"""From a recurrence's graph to something that runs: the engine chooses between the backends."""

from elman.compile.cpu.run import refusal as compiled_refusal
from elman.compile.cpu.run import run_packed
from elman.compile.engine import BACKENDS, CHOICES, Result, check_backend, choose, run
from elman.compile.rows import repeat_last, take_rows
from elman.compile.torch_fused import frozen_weights

__all__ = [
    "BACKENDS",
    "CHOICES",
    "Result",
    "check_backend",
    "choose",
    "compiled_refusal",
    "frozen_weights",
    "repeat_last",
    "run",
    "run_packed",
    "take_rows",
]
