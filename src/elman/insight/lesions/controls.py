"""Random cells that are like the lesioned ones, to see what a lesion of just any cell does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elman.insight.lesions.intervention import Intervention
from elman.insight.lesions.statistics import CellStatistics

#: A control is drawn from so many times as many cells as there are controls, those nearest in mean magnitude.
BREADTH = 3


def matched_controls(
    interventions: Sequence[Intervention], statistics: CellStatistics, count: int, generator: np.random.Generator
) -> list[tuple[Intervention, ...]]:
    """Sets of cells for the same interventions: of the same layer and name, similar in mean absolute value.

    Every lesioned unit has a list of the units nearest to it in mean absolute value, the lesioned ones left out; each
    control draws one from each list.

    Args:
        interventions: what is done to the cells under study.
        statistics: of their layers and names.
        count: sets wanted.
        generator: draws them.

    Returns:
        At most ``count`` different sets, fewer where the layers have too few units.
    """
    lesioned = {cell for each in interventions for cell in each.cells}
    sets: list[tuple[Intervention, ...]] = []
    seen: set[tuple[tuple[int, ...], ...]] = set()
    lists: dict[tuple[int, str, int], list[int]] = {}
    for each in interventions:
        magnitude = statistics.magnitude[each.layer, each.name].numpy()
        for unit in each.units:
            order = np.argsort(np.abs(magnitude - magnitude[unit]), kind="stable").tolist()
            free = [other for other in order if (each.layer, each.name, other) not in lesioned]
            lists[each.layer, each.name, unit] = free[: max(BREADTH * count, 1)]
    # a set may come up twice where there are few
    for _ in range(20 * count):
        if len(sets) == count:
            break
        drawn: list[tuple[int, ...]] = []
        taken: set[tuple[int, str, int]] = set()
        for each in interventions:
            units: list[int] = []
            for unit in each.units:
                free = [o for o in lists[each.layer, each.name, unit] if (each.layer, each.name, o) not in taken]
                if not free:
                    return sets
                units.append(free[int(generator.integers(len(free)))])
                taken.add((each.layer, each.name, units[-1]))
            drawn.append(tuple(units))
        if (key := tuple(tuple(sorted(units)) for units in drawn)) not in seen:
            seen.add(key)
            sets.append(tuple(each.on(units) for each, units in zip(interventions, drawn, strict=True)))
    return sets
