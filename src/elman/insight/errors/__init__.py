"""Where a character model errs, what would have helped, and what it knows that n-grams do not.

Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", arXiv:1506.02078, sections 4.3
and 4.4, in their order of oracles as recalled; what each one is here stands in :mod:`elman.insight.errors.oracles`.
"""

from elman.insight.errors.analysis import ErrorAnalysis, analyse_errors
from elman.insight.errors.braces import BraceCurve, brace_curve
from elman.insight.errors.by_character import ByCharacter, CharacterRow, by_character
from elman.insight.errors.characters import characters_of
from elman.insight.errors.oracles import ORACLES, Evidence, Oracle
from elman.insight.errors.taxonomy import Category, ErrorTaxonomy, error_taxonomy

__all__ = [
    "ORACLES",
    "BraceCurve",
    "ByCharacter",
    "Category",
    "CharacterRow",
    "ErrorAnalysis",
    "ErrorTaxonomy",
    "Evidence",
    "Oracle",
    "analyse_errors",
    "brace_curve",
    "by_character",
    "characters_of",
    "error_taxonomy",
]
