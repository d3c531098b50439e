"""From a recurrence's graph to something that runs: the engine chooses between the backends."""

from elman.compile.engine import BACKENDS, CHOICES, Result, check_backend, choose, run

__all__ = ["BACKENDS", "CHOICES", "Result", "check_backend", "choose", "run"]
