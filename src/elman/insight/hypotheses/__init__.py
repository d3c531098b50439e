"""Hypotheses: what a cell might know, as a label for every character of a text."""

from elman.insight.hypotheses.catalogue import builtin
from elman.insight.hypotheses.hypothesis import UNDEFINED, Hypothesis
from elman.insight.hypotheses.own import from_function, regex
from elman.insight.hypotheses.suggest import language_of, suggest

__all__ = ["UNDEFINED", "Hypothesis", "builtin", "from_function", "language_of", "regex", "suggest"]
