"""What a lesion costs where a label is on and where it is off, beside the lesion of other cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.stepping import check_sizes, opening
from elman.insight.lesions.bootstrap import Blocks, means, tokens_since_onset
from elman.insight.lesions.controls import matched_controls
from elman.insight.lesions.intervention import Intervention, check_interventions
from elman.insight.lesions.lesioned import Lesioned
from elman.insight.lesions.losses import row_nats
from elman.insight.lesions.result import Control, Curve, Dose, LesionEffect
from elman.insight.lesions.statistics import CellStatistics, cell_statistics, on_and_off
from elman.insight.recording import network_of
from elman.insight.recording.positions import tokens_of

#: A strength acts at every step, so that a cell which remembers by itself forgets at small ones already.
DOSES = (0.01, 0.03, 0.1, 0.3, 1.0)
#: Tokens before and after an onset that the curve shows.
BEFORE, AFTER = 20, 80
#: Places that a point of the curve is a mean over, at least.
PLACES = 10
#: Rows times streams: enough that a step of all of them costs little more than that of one.
BATCH = 96
BURN_IN = 200
#: Tokens of a text that streams spend on burn-in: 1 / this at most.
BURN_IN_SHARE = 8


def lesion_effect(
    model: Any,
    vocabulary: Vocabulary,
    text: str,
    labels: NDArray[np.integer],
    interventions: Sequence[Intervention],
    *,
    hypothesis: str = "",
    above: int = 0,
    streams: int | None = None,
    random_cells: int = 20,
    doses: Sequence[float] = DOSES,
    statistics: CellStatistics | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> LesionEffect:
    """Measure what a lesion costs where a label is on and where it is off.

    The plain model, the lesion, its other strengths and the controls are the rows of one batch, which reads the text
    once.

    Args:
        model: a recurrent language model.
        vocabulary: its vocabulary.
        text: the text.
        labels: [characters] whole numbers; negative where nothing is said, and the place is left out. A token has the
            label of its first character.
        interventions: what is done, all of it together.
        hypothesis: name of the label, for the record.
        above: the label is on where it is larger than this; 0 suits labels of 0 and 1.
        streams: places at which the text is read at once; default as many as fill the batch and the text allows.
        random_cells: matched controls at most (:func:`elman.insight.lesions.controls.matched_controls`).
        doses: further strengths.
        statistics: of the cells; default measured on this text and label.
        seed: of controls, bootstrap and "resample".
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Raises:
        MisuseError: a model without states, cells that it has not, labels of another length than the text, or a label
            that is never on or never off.
        FailureError: scores that are not numbers.
        CancelledError: ``cancel`` said so.
    """
    started = time.monotonic()
    network = network_of(model)
    check_sizes(network, vocabulary)
    chosen = tuple(interventions)
    if not chosen:
        raise MisuseError("Name at least one cell to be lesioned.")
    check_interventions(network, chosen)
    ids, on, off = _places(vocabulary, text, labels, above)
    told = progress or (lambda share: None)
    if statistics is None:
        keys = [(each.layer, each.name) for each in chosen]
        statistics = cell_statistics(
            network, vocabulary, text, cells=keys, labels=labels, above=above, seed=seed, cancel=cancel
        )
    told(0.05)
    generator = np.random.default_rng(seed)
    controls = matched_controls(chosen, statistics, random_cells, generator)
    strengths = [dose for dose in dict.fromkeys(doses) if any(each.strength != dose for each in chosen)]
    dosed = [tuple(each.at(strength) for each in chosen) for strength in strengths]
    rows = Lesioned(network, [(), chosen, *dosed, *controls], statistics=statistics, seed=seed)
    if streams is None:
        streams = max(1, min(BATCH // len(rows.rows), len(ids) // (BURN_IN_SHARE * BURN_IN)))
    nats = row_nats(
        rows,
        ids,
        streams=streams,
        burn_in=BURN_IN,
        progress=lambda share: told(0.05 + 0.9 * share),
        cancel=cancel,
    )
    plain_on, plain_off = means(nats[0], on, off)
    nats[1:] -= nats[0]
    blocks = Blocks(on, off, generator)
    cost_on, cost_off, difference = blocks.means(nats[1])
    first = 2 + len(dosed)
    found = [
        Control(tuple(cell for each in row for cell in each.cells), *means(cost, on, off))
        for row, cost in zip(controls, nats[first:], strict=True)
    ]
    at_least = sum(each.difference >= difference.value for each in found)
    effect = LesionEffect(
        interventions=chosen,
        hypothesis=hypothesis,
        tokens=int(np.count_nonzero(on | off)),
        on_tokens=int(np.count_nonzero(on)),
        plain_on=plain_on,
        plain_off=plain_off,
        on=cost_on,
        off=cost_off,
        difference=difference,
        controls=tuple(found),
        p=(1 + at_least) / (1 + len(found)) if found else float("nan"),
        usual=_usual(chosen, statistics),
        doses=_doses(chosen, strengths, nats[1:first], blocks) if doses else (),
        curve=_curve(nats[1], nats[first:], on, off, blocks),
        block=blocks.length,
        streams=streams,
        seed=seed,
        seconds=time.monotonic() - started,
    )
    told(1.0)
    return effect


def _places(
    vocabulary: Vocabulary, text: str, labels: NDArray[np.integer], above: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The ids that are read [N], and where the label is on and off once each but the last was read [N - 1]."""
    tokens = tokens_of(vocabulary, text)
    sides = on_and_off(text, labels, tokens.offsets, above)
    if len(tokens.ids) < 2:
        raise MisuseError("The effect of a lesion is seen on a text of at least two symbols that the model knows.")
    lead = [] if vocabulary.start is not None else opening(vocabulary)
    ids = np.concatenate([np.array(lead, dtype=np.int64), tokens.ids])
    predicted = ~np.isin(ids[1:], sorted(vocabulary.unpredicted))
    # of what is read before the text nothing is said
    on, off = (predicted & np.concatenate([np.zeros(len(lead), dtype=bool), side])[:-1] for side in sides)
    for which, there in (("on", on), ("off", off)):
        if not there.any():
            raise MisuseError(
                f"The label is never {which} in this text of {len(tokens.ids):,} symbols; "
                "choose a text, or another hypothesis, with both."
            )
    return ids, on, off


def _usual(chosen: Sequence[Intervention], statistics: CellStatistics) -> tuple[tuple[float, float], ...]:
    if not statistics.on:
        return ()
    tables = [(statistics.on[each.layer, each.name], statistics.off[each.layer, each.name]) for each in chosen]
    return tuple(
        (float(on[unit]), float(off[unit]))
        for each, (on, off) in zip(chosen, tables, strict=True)
        for unit in each.units
    )


def _doses(
    chosen: Sequence[Intervention], strengths: Sequence[float], costs: NDArray[np.float32], blocks: Blocks
) -> tuple[Dose, ...]:
    """The response to every strength, the lesion's own among them where it is one number."""
    own = {each.strength for each in chosen}
    named = [(own.pop() if len(own) == 1 else None), *strengths]
    made = [
        Dose(strength, *blocks.means(cost)[:2])
        for strength, cost in zip(named, costs, strict=True)
        if strength is not None
    ]
    return tuple(sorted(made, key=lambda dose: dose.strength))


def _curve(
    cost: NDArray[np.float32],
    controls: NDArray[np.float32],
    on: NDArray[np.bool_],
    off: NDArray[np.bool_],
    blocks: Blocks,
) -> Curve:
    since = tokens_since_onset(on, off, BEFORE)
    lags, totals, numbers, beside = [], [], [], []
    ones = np.ones(len(cost))
    for lag in range(-BEFORE, AFTER + 1):
        here = since == lag
        if np.count_nonzero(here) >= PLACES:
            lags.append(lag)
            totals.append(blocks.sums(cost, here))
            numbers.append(blocks.sums(ones, here))
            beside.append(float(controls[:, here].mean(dtype=np.float64)) if len(controls) else 0.0)
    if not lags:
        return Curve([], [], [], [], [], [])
    total, number = np.stack(totals, axis=1), np.stack(numbers, axis=1)
    low, high = np.nanpercentile(blocks.resample(total, number), [2.5, 97.5], axis=0)
    return Curve(
        lags,
        [int(count) for count in number.sum(axis=0)],
        (total.sum(axis=0) / number.sum(axis=0)).tolist(),
        low.tolist(),
        high.tolist(),
        beside if len(controls) else [],
    )
