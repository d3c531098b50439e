"""Elman: recurrent networks from their equations.

import elman
elman.cell("gru")                             a recurrence from the zoo
elman.Recurrence("h = tanh(Wx @ x + Wh @ h + b)")   your own
elman.nn.Recurrent("mut1", 64, 64)            a torch module of it
elman.load("runs/input")                      a trained run: model, vocabulary, configuration
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elman.equations import EquationError, Recurrence, cell, zoo

if TYPE_CHECKING:
    from elman import nn as nn
    from elman.runs import load as load

__version__ = "0.1.0"
__all__ = ["EquationError", "Recurrence", "__version__", "cell", "load", "nn", "zoo"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; the language of recurrences and `elman --help` do without it
    if name == "nn":
        return importlib.import_module("elman.nn")
    if name == "load":
        return importlib.import_module("elman.runs").load
    raise AttributeError(f"module 'elman' has no attribute {name!r}")
