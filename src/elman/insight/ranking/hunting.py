"""The hunt: every cell of a recording against every hypothesis."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError
from elman.insight.hypotheses import Hypothesis
from elman.insight.ranking import verdict
from elman.insight.ranking.details import best_cells, describe_cells
from elman.insight.ranking.findings import NAN, Baseline, CellScore, Finding, Hunt, Probe
from elman.insight.ranking.measures import constant_f1
from elman.insight.ranking.null import null
from elman.insight.ranking.probe import sparse_probes
from elman.insight.ranking.scan import Cancel, Parts, Progress, scan, stop_if, workers
from elman.insight.ranking.targets import Target, target
from elman.insight.recording import Recording

SHIFTS = 1000
TOP = 10
# of a text, and of the rarer label in either half
SHORTEST, RAREST = 2000, 25


def hunt(
    recording: Recording,
    hypotheses: Sequence[Hypothesis],
    *,
    shifts: int | None = None,
    seed: int = 0,
    cells: Sequence[int] | None = None,
    top: int = TOP,
    baseline: Recording | None = None,
    probe: bool = False,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Hunt:
    """Rank cells against hypotheses, honestly.

    The cell, its sign and its threshold are chosen on the first half of the text, and judged on the second. The chance
    that any cell looks as good is measured by circular shifts of the labels, the strongest of all cells counting
    (:mod:`elman.insight.ranking.null`), and corrected for the number of hypotheses by Holm's method.

    Args:
        recording: cells over a text.
        hypotheses: what they may know, names all different.
        shifts: of the null; default 1,000, or 50 for each hypothesis if that is more, so that Holm's correction leaves
            something to show. Fewer where a short text has no more.
        seed: of the shifts, the bootstrap and the probes' samples.
        cells: numbers of the cells to rank; default all.
        top: cells that are described for each hypothesis.
        baseline: the same text read by an untrained network.
        probe: fit linear probes too.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Returns:
        A finding for each hypothesis.

    Raises:
        MisuseError: no hypotheses, two of one name, cells that are not there, a text that is too short, or a baseline
            of another text.
        CancelledError: ``cancel`` said so.
    """
    started = time.monotonic()
    _check(recording, hypotheses, baseline, shifts, top)
    chosen = _cells(recording, cells)
    count = shifts or max(SHIFTS, 50 * len(hypotheses))
    share = _shares(progress, ["scan", "null", "details", *["baseline"] * (baseline is not None), *["probe"] * probe])
    parts = Parts.halves(recording.length)
    targets = [target(each, recording.text, recording.offsets) for each in hypotheses]
    looked = [each for each in targets if _common_enough(each, parts)]
    scanned = scan(recording.values, chosen, looked, parts, share("scan"), cancel)
    nulls = null(
        recording.values,
        chosen,
        scanned.ranks,
        looked,
        parts.choose,
        count,
        np.random.default_rng([seed, 1]),
        share("null"),
        cancel,
    )
    drawn = {each.hypothesis.name: len(found.strongest) for each, found in zip(looked, nulls, strict=True)}
    report = share("details")

    def describe(number: int) -> tuple[CellScore, ...]:
        stop_if(cancel)
        each = looked[number]
        places = best_cells(scanned, number, each.binary, top)
        p = nulls[number].p()[places]
        return describe_cells(recording, chosen, places, scanned, number, each, p, parts, count, (seed, 2, number))

    described: dict[str, tuple[CellScore, ...]] = {}
    with workers() as pool:
        for number, cells_found in enumerate(pool.map(describe, range(len(looked)))):
            described[looked[number].hypothesis.name] = cells_found
            report((number + 1) / len(looked))
    untrained = {} if baseline is None else _baselines(baseline, looked, parts, share("baseline"), cancel)
    probes = _probes(recording, chosen, looked, parts, seed, share("probe"), cancel) if probe else {}
    holm = verdict.holm({name: found[0].p for name, found in described.items()})
    findings = {
        each.hypothesis.name: _finding(
            each,
            parts,
            described.get(each.hypothesis.name, ()),
            holm.get(each.hypothesis.name, 1.0),
            untrained.get(each.hypothesis.name),
            probes.get(each.hypothesis.name),
            drawn.get(each.hypothesis.name, count),
        )
        for each in targets
    }
    return Hunt(
        findings,
        recording.manifest["model"],
        recording.manifest["text"],
        recording.length,
        len(chosen),
        count,
        seed,
        None if baseline is None else baseline.manifest["seed"],
        round(time.monotonic() - started, 3),
    )


def _check(
    recording: Recording, hypotheses: Sequence[Hypothesis], baseline: Recording | None, shifts: int | None, top: int
) -> None:
    names = [each.name for each in hypotheses]
    if not names:
        raise MisuseError("There are no hypotheses to hunt for.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MisuseError(f"Two hypotheses are called {twice[0]!r}; give one of them another name.")
    if recording.length < SHORTEST:
        raise MisuseError(
            f"A hunt needs a text of at least {SHORTEST:,} tokens, and better one of a million; this has "
            f"{recording.length:,}."
        )
    if baseline is not None and (baseline.manifest["text"], baseline.length) != (
        recording.manifest["text"],
        recording.length,
    ):
        raise MisuseError("The baseline is a recording of another text; record the same text with both networks.")
    if (shifts is not None and shifts < 20) or top < 1:
        raise MisuseError("A hunt needs at least 20 shifts for its null, and at least one cell to describe.")


def _cells(recording: Recording, cells: Sequence[int] | None) -> NDArray[np.int64]:
    if cells is None:
        return np.arange(recording.cells)
    chosen = np.unique(np.asarray(cells, dtype=np.int64))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= recording.cells:
        raise MisuseError(f"The cells to rank must be numbers from 0 to {recording.cells - 1}.")
    return chosen


def _shares(progress: Progress, stages: Sequence[str]) -> Callable[[str], Callable[[float], None]]:
    """A stage's own progress as the hunt's; stages count alike."""

    def of(stage: str) -> Callable[[float], None]:
        begun = stages.index(stage)

        def report(share: float) -> None:
            if progress is not None:
                progress((begun + share) / len(stages))

        return report

    return of


def _common_enough(each: Target, parts: Parts) -> bool:
    """Whether both halves have enough of the rarer label, or of other grades than the commonest."""
    for part in (parts.choose, parts.confirm):
        counts = each.counts(*part)
        if (counts.min() if each.binary else counts.sum() - counts.max()) < RAREST:
            return False
    return True


def _baselines(
    baseline: Recording, targets: Sequence[Target], parts: Parts, progress: Progress, cancel: Cancel
) -> dict[str, Baseline]:
    cells = np.arange(baseline.cells)
    scanned = scan(baseline.values, cells, targets, parts, progress, cancel)
    made = {}
    for number, each in enumerate(targets):
        place = int(best_cells(scanned, number, each.binary, 1)[0])
        figures = (scanned.auc, scanned.f1, scanned.spearman)
        auc, f1, spearman = (float(figure[number, place]) for figure in figures)
        made[each.hypothesis.name] = (
            Baseline(place, auc, f1, NAN) if each.binary else Baseline(place, NAN, NAN, spearman)
        )
    return made


def _probes(
    recording: Recording,
    cells: NDArray[np.int64],
    targets: Sequence[Target],
    parts: Parts,
    seed: int,
    progress: Progress,
    cancel: Cancel,
) -> dict[str, Probe | None]:
    generator = np.random.default_rng([seed, 3])
    made = sparse_probes(recording.values, cells, targets, parts, generator, progress, cancel)
    return {each.hypothesis.name: probe for each, probe in zip(targets, made, strict=True)}


def _finding(
    each: Target,
    parts: Parts,
    cells: tuple[CellScore, ...],
    p_holm: float,
    baseline: Baseline | None,
    probe: Probe | None,
    shifts: int,
) -> Finding:
    begin, end = parts.choose[0], parts.confirm[1]
    counts, held_out = each.counts(begin, end), each.counts(*parts.confirm)
    labelled = int(counts.sum())
    positives = int(counts[each.lowest > each.lowest[0]].sum())
    constant = constant_f1(float(held_out[1] / max(1, held_out.sum()))) if each.binary else NAN
    judgement, sentence = verdict.judge(cells, each.hypothesis.kind, constant, p_holm, baseline, shifts)
    return Finding(
        each.hypothesis.name,
        each.hypothesis.title,
        each.hypothesis.kind,
        each.hypothesis.description,
        labelled,
        positives,
        positives / max(1, labelled),
        parts.choose,
        parts.confirm,
        constant,
        cells,
        p_holm,
        baseline,
        probe,
        judgement,
        sentence,
    )
