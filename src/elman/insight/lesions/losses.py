"""What every row of a lesioned model loses on one text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.errors import CancelledError, FailureError
from elman.generate.stepping import device_of, evaluating
from elman.insight.lesions.lesioned import Lesioned
from elman.models.likelihood import block_nats, block_steps
from elman.training.evaluate import staggered


def row_nats(
    model: Lesioned,
    ids: NDArray[np.int64],
    *,
    streams: int = 1,
    burn_in: int = 200,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> NDArray[np.float32]:
    """-log P of every token but the first, under every row of interventions, all rows in one batch.

    Args:
        model: with R rows.
        ids: [N] a text, N >= 2.
        streams: places at which the text is read at once; all but the first warm up on ``burn_in`` tokens.
        burn_in: these tokens.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Returns:
        [R, N - 1] nats of the tokens 1 to N - 1.

    Raises:
        FailureError: scores that are not finite numbers.
        CancelledError: ``cancel`` said so.
    """
    rows = len(model.rows)
    plan = staggered(len(ids) - 1, streams, burn_in)
    streams = len(plan.starts)
    nats = np.empty((rows, len(ids) - 1), dtype=np.float32)
    block = block_steps(model.vocabulary_size, rows * streams)
    with evaluating(model):
        state: Any = model.initial_state(rows * streams)
        for begin in range(0, plan.length, block):
            if cancel is not None and cancel():
                raise CancelledError("The lesion was cancelled.")
            offsets = np.arange(begin, min(begin + block, plan.length))[:, None]
            places = plan.starts[None, :] + offsets
            counted = (places < len(ids) - 1) & ((offsets >= plan.warm) | (plan.starts[None, :] == 0))
            reads = np.minimum(places, len(ids) - 2)
            targets = torch.from_numpy(ids[reads + 1]).repeat(1, rows)
            found, state = block_nats(model, torch.from_numpy(ids[reads]).to(device_of(state)), targets, state)
            per_row = found.reshape(len(offsets), rows, streams).permute(1, 0, 2).float().numpy()
            nats[:, places[counted]] = per_row[:, counted]
            if progress:
                progress(min(1.0, (begin + block) / plan.length))
    if not np.isfinite(nats).all():
        raise FailureError(
            "The lesioned model's scores are not finite numbers: the value that its cells were given is too extreme, "
            "or its weights are damaged."
        )
    return nats
