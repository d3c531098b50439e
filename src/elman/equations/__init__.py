"""Recurrences from their equations: text in, graph out. Neither torch nor numpy is needed here."""

from elman.equations.cost import Cost, Work
from elman.equations.derivative import Derivative, differentiate
from elman.equations.errors import EquationError
from elman.equations.graph import OPS, Graph, Node, Op, sole_readers
from elman.equations.library import cell, recurrence_of, zoo
from elman.equations.recurrence import Recurrence
from elman.equations.stages import Stage, stages_of

__all__ = [
    "OPS",
    "Cost",
    "Derivative",
    "EquationError",
    "Graph",
    "Node",
    "Op",
    "Recurrence",
    "Stage",
    "Work",
    "cell",
    "differentiate",
    "recurrence_of",
    "sole_readers",
    "stages_of",
    "zoo",
]
