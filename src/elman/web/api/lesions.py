"""What a cell is for: its lesion measured over a recording's text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import MisuseError
from elman.insight.lesions import cell_of, interventions_on, lesion_effect
from elman.insight.lesions.intervention import check_interventions
from elman.insight.recording import Recording, fingerprint
from elman.runs import LoadedRun
from elman.web.answers import answer, field, posted
from elman.web.api.recordings import opened
from elman.web.jobs import Job
from elman.web.library import Library, Run
from elman.web.playground import MOST_CELLS, written

# tokens that are read where no span is asked for, and at most
USUAL_LENGTH, LONGEST = 50_000, 500_000
MOST_CONTROLS = 100


def lesion(request: Request, body: dict[str, Any]) -> Response:
    """Measure what a lesion costs where a label is on and off."""
    state = request.app.state
    run, recording = opened(request)
    given = field(body, "cells", list)
    if len(given) > MOST_CELLS:
        raise MisuseError(f"{len(given)} cells are too many at once; name up to {MOST_CELLS}.")
    interventions = interventions_on(
        [cell_of(written(each)) for each in given],
        field(body, "mode", str, "zero"),
        field(body, "value", float, None),
        field(body, "scale", str, "own"),
        field(body, "strength", float, 1.0),
    )
    begin = field(body, "begin", int, 0)
    end = field(body, "end", int, min(recording.length, begin + USUAL_LENGTH))
    if not 0 <= begin < end <= recording.length or end - begin > LONGEST:
        raise MisuseError(
            f"The tokens {begin} to {end} are no span that can be measured: it must lie within 0 to "
            f"{recording.length}, and have up to {LONGEST:,}."
        )
    controls = field(body, "controls", int, 20)
    if not 0 <= controls <= MOST_CONTROLS:
        raise MisuseError(f"'controls' is {controls}; it must be from 0 to {MOST_CONTROLS}.")
    above, seed = field(body, "above", int, 0), field(body, "seed", int, 0)
    if not 0 <= seed < 2**32:
        raise MisuseError(f"'seed' is {seed}; it must be from 0 to {2**32 - 1}.")
    hypothesis = state.labels.hypothesis(field(body, "hypothesis", str), field(body, "regex", str, None))
    loaded = same_model(state.library, run, recording)
    check_interventions(loaded.model, interventions)

    def work(job: Job) -> dict[str, Any]:
        job.progress(0.0, "lesioning")
        first = int(recording.offsets[begin])
        last = len(recording.text) if end == recording.length else int(recording.offsets[end])
        effect = lesion_effect(
            loaded.model,
            loaded.vocabulary,
            recording.text[first:last],
            hypothesis.label(recording.text)[first:last],
            interventions,
            hypothesis=hypothesis.name,
            above=above,
            random_cells=controls,
            seed=seed,
            progress=job.progress,
            cancel=job.cancelled,
        )
        return effect.to_json() | {"begin": begin, "end": end}

    key = hashlib.sha256(json.dumps([request.path_params["rec"], body]).encode()).hexdigest()
    job = state.jobs.submit("lesion", work, keep=field(body, "keep", bool, False), key=key)
    return answer({"job": job.id}, 202)


def same_model(library: Library, run: Run, recording: Recording) -> LoadedRun:
    """The run's model, if it is the one that was recorded.

    Raises:
        MisuseError: the run was trained on since, or it is a recording of the untrained network.
    """
    if recording.manifest.get("untrained"):
        raise MisuseError("This recording is of the untrained network; lesions are made in the trained one.")
    loaded = library.language_model(run)
    if fingerprint(loaded.model, loaded.vocabulary) != recording.manifest["model"]:
        raise MisuseError(f"{run.name} was trained on since this recording was made; record the text again.")
    return loaded


ROUTES = [Route("/api/recordings/{rec}/lesion", posted(lesion), methods=["POST"])]
