"""Ranking: which cells of a recording tell which hypotheses, and how sure that is."""

from elman.insight.ranking.findings import Baseline, CellScore, Finding, Hunt, Probe
from elman.insight.ranking.hunting import SHIFTS, TOP, hunt
from elman.insight.ranking.matching import Match, match
from elman.insight.ranking.store import hunt_cached, stored_hunt

__all__ = [
    "SHIFTS",
    "TOP",
    "Baseline",
    "CellScore",
    "Finding",
    "Hunt",
    "Match",
    "Probe",
    "hunt",
    "hunt_cached",
    "match",
    "stored_hunt",
]
