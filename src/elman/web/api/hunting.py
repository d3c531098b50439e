"""What cells know: hypotheses and their labels, one cell in figures, the hunt over all cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import MisuseError
from elman.insight.hypotheses import UNDEFINED, builtin, suggest
from elman.insight.ranking import TOP, hunt_cached, match
from elman.insight.recording import Recording, recorded
from elman.web.answers import answer, field, numbers, plain, posted, threaded
from elman.web.api.recordings import opened
from elman.web.jobs import Job
from elman.web.labels import Labels
from elman.web.library import Run
from elman.web.summary import by_label, summarise

MOST_HYPOTHESES, MOST_SHIFTS, MOST_TOP = 200, 10_000, 100


def hypotheses(request: Request) -> Response:
    """All hypotheses, with how often each is on in this text, and which suit it."""
    _, recording = opened(request)
    labels: Labels = request.app.state.labels
    suggested = _suggested(labels, recording)
    positives = labels.once(("positives", recording.path), lambda: _positives(recording))
    own = labels.own()
    known = {**builtin(), **{name: each for name, (_, each) in own.items()}}
    return answer(
        [
            {
                "name": name,
                "title": each.title,
                "kind": each.kind,
                "language": each.language,
                "description": each.description,
                "positives": positives.get(name),
                "suggested": name in suggested,
                "regex": own[name][0] if name in own else None,
            }
            for name, each in known.items()
        ]
    )


def _suggested(labels: Labels, recording: Recording) -> list[str]:
    return labels.once(("suggested", recording.path), lambda: suggest(recording.text))


def _positives(recording: Recording) -> dict[str, int]:
    """At how many tokens each built-in hypothesis is on; labels are made and dropped one by one."""
    return {
        name: int(np.count_nonzero(each.label(recording.text)[recording.offsets] > 0))
        for name, each in builtin().items()
    }


def labels(request: Request) -> Response:
    """The label of every token: uint8 [N], 255 where undefined, or of a graded one int32 [N], -1 where undefined."""
    _, recording = opened(request)
    known: Labels = request.app.state.labels
    hypothesis = known.hypothesis(request.path_params["name"], request.query_params.get("regex"))
    values = known.of(recording, hypothesis)
    if hypothesis.kind == "binary":
        values = np.where(values == UNDEFINED, 255, values).astype(np.uint8)
    return numbers(request, values, f"{recording.path.name}-{known.digest(hypothesis)}")


def summary(request: Request) -> Response:
    """A cell in figures; with ``?hypothesis=NAME`` (and ``&regex=PATTERN``) beside a label."""
    _, recording = opened(request)
    cell = request.path_params["cell"]
    told: dict[str, Any] = summarise(recording, cell)
    if (name := request.query_params.get("hypothesis")) is not None:
        known: Labels = request.app.state.labels
        hypothesis = known.hypothesis(name, request.query_params.get("regex"))
        told["label"] = by_label(recording.cell(cell), known.target(recording, hypothesis))
    return answer(told)


def start_hunt(request: Request, body: dict[str, Any]) -> Response:
    """Rank all cells against hypotheses; default those that suit the text, beside the untrained network."""
    state = request.app.state
    run, recording = opened(request)
    known: Labels = state.labels
    names = field(body, "hypotheses", list, None)
    patterns = field(body, "regexes", dict, {})
    given = [*(names or []), *patterns, *patterns.values()]
    if len(given) > MOST_HYPOTHESES or not all(isinstance(each, str) for each in given):
        raise MisuseError(f"'hypotheses' must be a list of up to {MOST_HYPOTHESES} names, 'regexes' name patterns.")
    own = [known.hypothesis(name, pattern) for name, pattern in patterns.items()]
    chosen = (
        None if names is None else [known.hypothesis(name) for name in dict.fromkeys(names) if name not in patterns]
    )
    shifts, top = field(body, "shifts", int, None), field(body, "top", int, TOP)
    if (shifts is not None and not 20 <= shifts <= MOST_SHIFTS) or not 1 <= top <= MOST_TOP:
        raise MisuseError(f"'shifts' must be from 20 to {MOST_SHIFTS}, 'top' from 1 to {MOST_TOP}.")
    seed, cells = field(body, "seed", int, 0), field(body, "cells", list, None)
    if not 0 <= seed < 2**32 or (cells is not None and not all(type(cell) is int for cell in cells)):
        raise MisuseError("'seed' must be a number from 0, 'cells' a list of numbers of cells.")
    beside = field(body, "baseline", bool, True) and not recording.manifest.get("untrained")
    probe = field(body, "probe", bool, False)

    def work(job: Job) -> dict[str, Any]:
        baseline = (
            untrained_recording(run, recording, job.part(0.0, 0.4, "the untrained network"), job) if beside else None
        )
        report = job.part(0.4 if beside else 0.0, 1.0, "hunting")
        suited = [builtin()[name] for name in _suggested(known, recording)] if chosen is None else chosen
        found = hunt_cached(
            recording,
            [*suited, *own],
            shifts=shifts,
            seed=seed,
            cells=cells,
            top=top,
            baseline=baseline,
            probe=probe,
            progress=report,
            cancel=job.cancelled,
        )
        return found.to_json() | {"recording": request.path_params["rec"]}

    key = hashlib.sha256(json.dumps([request.path_params["rec"], body]).encode()).hexdigest()
    job = state.jobs.submit("hunt", work, keep=field(body, "keep", bool, False), key=key)
    return answer({"job": job.id}, 202)


def untrained_recording(run: Run, recording: Recording, progress: Callable[[float], None], job: Job) -> Recording:
    """The same quantities of the same text, read by the same network before it learnt anything."""
    states, gates = (
        list(dict.fromkeys(group.name for group in recording.groups if group.kind == kind))
        for kind in ("state", "gate")
    )
    return recorded(
        run.path,
        recording.text,
        states=states,
        gates=gates,
        untrained_seed=0,
        progress=progress,
        cancel=job.cancelled,
        extra={"source": recording.manifest.get("source")},
    )


def matching(request: Request, body: dict[str, Any]) -> Response:
    """The cells whose values within a span differ most from those outside."""
    _, recording = opened(request)
    begin, end, count = field(body, "begin", int), field(body, "end", int), field(body, "count", int, 20)
    if not 1 <= count <= MOST_TOP:
        raise MisuseError(f"'count' is {count}; it must be from 1 to {MOST_TOP}.")
    found = match(recording, begin, end, count=count)
    return answer([plain(each) | {"describe": each.described} for each in found])


ROUTES = [
    Route("/api/recordings/{rec}/hypotheses", threaded(hypotheses)),
    Route("/api/recordings/{rec}/labels/{name}", threaded(labels)),
    Route("/api/recordings/{rec}/cells/{cell:int}/summary", threaded(summary)),
    Route("/api/recordings/{rec}/hunt", posted(start_hunt), methods=["POST"]),
    Route("/api/recordings/{rec}/match", posted(matching), methods=["POST"]),
]
