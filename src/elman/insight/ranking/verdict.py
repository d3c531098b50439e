"""From figures to a judgement, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elman.insight.ranking.findings import Baseline, CellScore, Verdict

LEVEL = 0.05
# held out, a cell that is called found reaches this area, and this share of the way from saying yes always to F1 = 1
AREA, SKILL = 0.8, 0.5
# of a graded hypothesis, this correlation
CORRELATION = 0.5
# within the current character
WITHIN = 0.6
# more than the untrained network's best
MARGIN = 0.05


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number, Holm 1979: the k-th smallest of m times m - k + 1, never falling.

    Args:
        p: by name.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, p[name] * (len(p) - place)))
        corrected[name] = largest
    return corrected


def skill(f1: float, constant: float) -> float:
    """F1 beyond that of saying yes everywhere, as a share of what is possible."""
    return (f1 - constant) / (1 - constant) if constant < 1 else 0.0


def judge(
    cells: Sequence[CellScore], kind: str, constant: float, p_holm: float, baseline: Baseline | None, shifts: int
) -> tuple[Verdict, str]:
    """Whether the best cell tells the hypothesis.

    Args:
        cells: best first; empty where the labels are too rare to look.
        kind: "binary" or "graded".
        constant: F1 of saying yes everywhere.
        p_holm: of the best cell, corrected for cells and hypotheses.
        baseline: of the untrained network.
        shifts: that the null has.

    Returns:
        The verdict, and the sentence.
    """
    if not cells:
        return "none", "Too rare in one of the halves to be looked for."
    best = cells[0]
    graded = kind == "graded"
    strength = (
        f"held-out rank correlation {best.spearman:.2f}"
        if graded
        else f"held-out F1 {best.f1:.2f} (saying yes everywhere: {constant:.2f}), AUC {best.auc:.2f}"
    )
    named = f"{best.described}: {strength}, corrected p {p_holm:.2g}"
    if p_holm > LEVEL:
        if best.p <= 1 / (1 + shifts):
            return "none", f"{shifts} shifts of the null are too few to tell it from chance. {named}."
        return "none", f"No cell is stronger than chance allows. The best is {named}."
    if best.p_confirm > LEVEL:
        return "none", f"What the first half shows, the second does not. {named}; there p {best.p_confirm:.2g}."
    doubts = _doubts(best, graded, constant, baseline)
    if doubts:
        return "weak", f"{named}, but {' and '.join(doubts)}."
    return "found", f"{named}."


def _doubts(best: CellScore, graded: bool, constant: float, baseline: Baseline | None) -> list[str]:
    doubts = []
    if graded:
        if abs(best.spearman) < CORRELATION:
            doubts.append("the correlation is low")
        if baseline is not None and abs(baseline.spearman) > abs(best.spearman) - MARGIN:
            doubts.append(f"an untrained network has {baseline.spearman:.2f}")
        return doubts
    gained = skill(best.f1, constant)
    if best.auc < AREA or gained < SKILL:
        doubts.append("it tells it only in part")
    if best.stratified_auc < WITHIN:
        doubts.append(f"among equal characters its AUC is {best.stratified_auc:.2f}")
    if baseline is not None and skill(baseline.f1, constant) > gained - MARGIN:
        doubts.append(f"an untrained network reaches F1 {baseline.f1:.2f}")
    return doubts
