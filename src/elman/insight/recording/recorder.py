"""Recording: a model reads a text, and every cell's value is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.vocabulary import Vocabulary
from elman.generate.stepping import evaluating, opening
from elman.insight.recording.opened import Recording
from elman.insight.recording.plan import check_room, network_of, wanted
from elman.insight.recording.reading import Reader, transforms
from elman.insight.recording.writing import Draft
from elman.models.fingerprint import add_tensors
from elman.models.language import LanguageModel
from elman.training.evaluate import staggered

LIMIT_BYTES = 2**33

# as many streams as fill the processor; more would only spend more of the text on burn-in
STREAMS = 32
# of what streams read, burn-in is at most about one part in so many
BURN_IN_SHARE = 8


def record(
    model: Any,
    vocabulary: Vocabulary,
    text: str,
    folder: Path,
    *,
    gates: Sequence[str] | str = (),
    states: Sequence[str] | None = None,
    streams: int | None = None,
    burn_in: int = 1000,
    limit_bytes: int = LIMIT_BYTES,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Recording:
    """Let a model read a text and keep the value of every cell at every position.

    The first token is read, and predicted, as :func:`elman.insight.surprisal.surprisal` does it. A long text is read at
    several places at once, each after ``burn_in`` tokens that are not kept. A cell that remembers longer than that
    begins with another value than one pass would give it; the manifest's "unsettled" is the share of such cells, as
    measured where one stream ends and the next begins.

    Args:
        model: a recurrent language model.
        vocabulary: its vocabulary; symbols that its policy skips are not read.
        text: the text.
        folder: what the recording will be called; nothing may be there yet. It appears when it is whole.
        gates: names that the equations assign and that are no states; "all" for every one of them.
        states: which states; default all.
        streams: places at which the text is read at once; 1 reads it in one pass. Default as the text's length allows.
        burn_in: tokens that warm up every stream but the first.
        limit_bytes: refuse a recording that would be larger.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.
        extra: further entries of the manifest.

    Returns:
        The recording, opened.

    Raises:
        MisuseError: a model without states, a state or gate that it has not, nothing to record, a recording that is
            too large, or a folder that is there already.
        FailureError: too little room on the disk, or states that are not numbers.
        CancelledError: ``cancel`` said so; nothing is left behind.
    """
    plan = wanted(model, vocabulary, text, gates=gates, states=states)
    network = network_of(model)
    check_room(plan, folder, limit_bytes)
    lead = [] if vocabulary.start is not None else opening(vocabulary)
    ids = np.concatenate([np.array(lead, dtype=np.int64), plan.tokens.ids])
    # the state after the last token is kept too
    if streams is None:
        streams = min(STREAMS, len(ids) // max(1, BURN_IN_SHARE * burn_in))
    places = staggered(len(ids), max(1, streams), max(0, burn_in))
    symbols = [vocabulary.symbol(token) for token in range(vocabulary.size)]
    with evaluating(network):
        groups = transforms(network, plan.groups, ids)
        with Draft(folder, groups, text, len(plan.tokens.ids)) as draft:
            reader = Reader(network, groups, ids, len(lead), places, draft.arrays)
            reader.run(progress, cancel)
            draft.arrays["nats.npy"][np.isin(plan.tokens.ids, sorted(vocabulary.unpredicted))] = np.nan
            draft.arrays["ids.npy"][:] = plan.tokens.ids
            draft.arrays["offsets.npy"][:] = plan.tokens.offsets
            facts = {
                "model": fingerprint(network, vocabulary),
                "system": "language",
                "streams": len(places.starts),
                "burn_in": places.warm,
                "clipped": reader.clipped,
                "unsettled": reader.unsettled,
                "opening": lead,
                "backend": network.backend_used,
            }
            return draft.finish(symbols, {**facts, **(extra or {})})


def fingerprint(model: LanguageModel, vocabulary: Vocabulary) -> str:
    """SHA-256 of a model's configuration, weights and vocabulary."""
    described = [model.configuration(), vocabulary.to_json()]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    add_tensors(digest, model.state_dict())
    return digest.hexdigest()
