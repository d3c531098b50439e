"""How many tokens late, or early, cells follow a label."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.measures import Array
from elman.insight.ranking.null import ranked
from elman.insight.ranking.targets import Target

# tokens in either direction
FARTHEST = 20
# tokens that are looked at
POINTS = 2**17


def lags(
    values: NDArray[np.int8], cells: NDArray[np.int64], ranks: Array, target: Target, part: tuple[int, int]
) -> NDArray[np.int64]:
    """The lag at which each cell agrees best with the label: k where value t goes with label t - k.

    Positive is late: the cell shows what was so k tokens ago. Agreement is the magnitude of the rank statistic of
    :mod:`elman.insight.ranking.null`.

    Args:
        values: [C, N].
        cells: [cells].
        ranks: [cells, 256] centred midranks of the levels.
        target: the labels.
        part: the tokens to look at.

    Returns:
        [cells], from -20 to 20; among equal ones the smallest in magnitude.
    """
    begin, end = part[0] + FARTHEST, part[1] - FARTHEST
    stride = max(1, (end - begin) // POINTS)
    rows = ranked(values, cells, ranks, slice(begin, end, stride))
    rows -= rows.mean(-1, keepdim=True)
    counts = target.counts(*part).astype(np.float64)
    grades = np.array([0.0, 1.0]) if target.binary else measures.midranks(counts)
    mean = float((counts * grades).sum() / max(1, counts.sum()))
    # what is undefined is as if it were average
    labels = np.append(grades - mean, 0.0)[target.codes].astype(np.float32)
    order = sorted(range(-FARTHEST, FARTHEST + 1), key=abs)
    shifted = np.stack([labels[begin - lag : end - lag : stride] for lag in order])
    shifted /= np.maximum(np.sqrt(np.square(shifted).sum(-1, keepdims=True)), 1e-12)
    agreement = (rows @ torch.from_numpy(shifted).T).abs().numpy()
    # a hair's breadth does not move the answer away from 0
    best = agreement.max(-1, keepdims=True)
    return np.array(order)[np.argmax(agreement >= best * (1 - 1e-4), axis=-1)]
