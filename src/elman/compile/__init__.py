"""From a recurrence's graph to something that runs: the engine chooses between the backends."""

from elman.compile.cpu.run import refusal as compiled_refusal
from elman.compile.engine import BACKENDS, CHOICES, Result, check_backend, choose, run
from elman.compile.torch_fused import frozen_weights

__all__ = ["BACKENDS", "CHOICES", "Result", "check_backend", "choose", "compiled_refusal", "frozen_weights", "run"]
