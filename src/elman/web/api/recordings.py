"""Recordings: making one, its text, its cells, what the model expected."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import MisuseError
from elman.insight.recording import Recording, recorded
from elman.runs import LoadedRun
from elman.training.compare import part_of_run, require_local
from elman.web.answers import FOREVER, answer, field, number_in, numbers, posted, threaded, whole_text
from elman.web.api.runs import run_of
from elman.web.jobs import Job
from elman.web.library import SEPARATOR, Library, Run

# characters of a run's own text that are recorded unless more are asked for
USUAL_LENGTH = 1_000_000
# positions whose expectations are told at once
MOST_TOP = 20_000
SOURCES = {"validation": "valid", "train": "train", "test": "test"}


def create(request: Request, body: dict[str, Any]) -> Response:
    """Record a text: the request's own, a part of the run's, or the file that the server was started with."""
    state = request.app.state
    library: Library = state.library
    run = run_of(request)
    text, source = field(body, "text", str, None), field(body, "source", str, None)
    limit = field(body, "limit", int, min(USUAL_LENGTH, state.limits.text))
    gates = field(body, "gates", (list, str), [])
    if not 1 <= limit <= state.limits.text:
        raise MisuseError(f"'limit' is {limit}; it must be from 1 to {state.limits.text:,} characters.")
    if isinstance(gates, list) and not all(isinstance(name, str) for name in gates):
        raise MisuseError("'gates' must be a list of names.")
    if text is not None and source is not None:
        raise MisuseError("'text' and 'source' both name a text; give one of them.")
    if text is not None and len(text) > state.limits.text:
        raise MisuseError(f"The text has {len(text):,} characters; up to {state.limits.text:,} can be recorded here.")
    source = source or ("own" if text is not None else "validation")
    if text is None:
        check_source(library, source)

    def work(job: Job) -> dict[str, Any]:
        job.progress(0.0, "opening the model")
        loaded = library.language_model(run)
        content = text_of(library, run, loaded, source, limit) if text is None else text[:limit]
        named = library.text[0] if source == "file" and library.text else source
        recording = recorded(
            run.path,
            content,
            gates=gates,
            loaded=loaded,
            progress=job.part(0.0, 1.0, f"recording {len(content):,} characters"),
            cancel=job.cancelled,
            extra={"source": named},
        )
        return told(run, recording)

    asked = json.dumps([run.id, text, source, limit, gates])
    key = hashlib.sha256(asked.encode()).hexdigest()
    job = state.jobs.submit("recording", work, keep=field(body, "keep", bool, False), key=key)
    return answer({"job": job.id}, 202)


def check_source(library: Library, source: str) -> None:
    """Refuse a source that there is not.

    Raises:
        MisuseError: naming those that there are.
    """
    known = [*SOURCES, *(["file"] if library.text else [])]
    if source not in known:
        raise MisuseError(f"'source' is {source[:40]!r}; it can be {', '.join(known)}.")


def text_of(library: Library, run: Run, loaded: LoadedRun, source: str, limit: int) -> str:
    """A text that the server knows of.

    Args:
        library: of the server.
        run: whose text it is.
        loaded: the same, opened.
        source: "validation", "train" or "test", or "file" for the text that the server was started with.
        limit: characters at most.

    Raises:
        MisuseError: there is no such part, or the run's text is gone or elsewhere.
        FailureError: it has changed since.
    """
    if source == "file":
        assert library.text is not None
        return library.text[1][:limit]
    # a run may be somebody else's: no address in it is fetched
    require_local(loaded)
    part, _ = part_of_run(loaded, run.path, SOURCES[source])
    # a token is at least one byte, a character at most four
    return loaded.vocabulary.decode(part.tokens[: 4 * limit])[:limit]


def told(run: Run, recording: Recording) -> dict[str, Any]:
    """A recording as the API shows it."""
    return recording.manifest | {
        "id": f"{run.id}{SEPARATOR}{recording.path.name}",
        "recording": f"{run.id}{SEPARATOR}{recording.path.name}",
        "run": run.id,
        "length": recording.length,
        "characters": len(recording.text),
        "cells": recording.cells,
        "groups": [group.to_json() for group in recording.groups],
        "vocabulary_size": len(recording.symbols),
    }


def opened(request: Request) -> tuple[Run, Recording]:
    """The recording that an address names, and its run."""
    return request.app.state.library.recording(request.path_params["rec"])


def opened_as(library: Library, id: str, run: Run) -> Recording:
    """A recording that a request names beside its run.

    Raises:
        MisuseError: it is of another run.
    """
    owner, recording = library.recording(id)
    if owner.id != run.id:
        raise MisuseError(f"The recording {id} is not one of {run.name}.")
    return recording


def show(request: Request) -> Response:
    """The manifest."""
    return answer(told(*opened(request)))


def text(request: Request) -> Response:
    """The whole text; a lone half of a surrogate pair is shown as U+FFFD, so that positions stay."""
    _, recording = opened(request)
    tag = f'"{recording.path.name}-text"'
    headers = {"etag": tag, "cache-control": FOREVER}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(whole_text(recording.text), headers=headers, media_type="text/plain; charset=utf-8")


def offsets(request: Request) -> Response:
    """int32 [N]: the first character of each token, counted in code points."""
    _, recording = opened(request)
    return numbers(request, recording.offsets.astype(np.int32), f"{recording.path.name}-offsets")


def ids(request: Request) -> Response:
    """int32 [N]: the tokens."""
    _, recording = opened(request)
    return numbers(request, recording.ids, f"{recording.path.name}-ids")


def nats(request: Request) -> Response:
    """float32 [N]: the surprise of each token; NaN where none was predicted."""
    _, recording = opened(request)
    return numbers(request, recording.nats, f"{recording.path.name}-nats")


def cell(request: Request) -> Response:
    """int8 [N]: a cell over the whole text."""
    _, recording = opened(request)
    index = request.path_params["cell"]
    return numbers(request, recording.cell(index), f"{recording.path.name}-{index}")


def top(request: Request) -> Response:
    """The five likeliest next tokens after each position of a span."""
    _, recording = opened(request)
    begin = number_in(request, "begin", 0, 0, recording.length)
    end = number_in(request, "end", min(recording.length, begin + MOST_TOP), begin, recording.length)
    if end - begin > MOST_TOP:
        raise MisuseError(f"The span has {end - begin:,} positions; up to {MOST_TOP:,} can be asked for at once.")
    likeliest = recording.top_ids[begin:end]
    logprobs = np.round(recording.top_logprobs[begin:end].astype(np.float64), 3)
    used = np.union1d(np.unique(likeliest), np.unique(recording.ids[begin:end]))
    return answer(
        {
            "begin": begin,
            "end": end,
            "ids": likeliest,
            "logprobs": logprobs,
            "symbols": {int(token): recording.symbols[token] for token in used.tolist() if token >= 0},
        },
        headers={"cache-control": FOREVER},
    )


ROUTES = [
    Route("/api/runs/{run}/recordings", posted(create), methods=["POST"]),
    Route("/api/recordings/{rec}", threaded(show)),
    Route("/api/recordings/{rec}/text", threaded(text)),
    Route("/api/recordings/{rec}/offsets", threaded(offsets)),
    Route("/api/recordings/{rec}/ids", threaded(ids)),
    Route("/api/recordings/{rec}/nats", threaded(nats)),
    Route("/api/recordings/{rec}/cells/{cell:int}", threaded(cell)),
    Route("/api/recordings/{rec}/top", threaded(top)),
]
