"""A model as a whole: its gates, its gradient through time, its errors, what it resembles as it learns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import MisuseError
from elman.insight.agreement import run_agreement
from elman.insight.errors import analyse_errors
from elman.insight.gates import gate_saturation
from elman.insight.gradients import gradient_flow
from elman.runs import LoadedRun
from elman.training.compare import part_of_run, require_local
from elman.web.answers import answer, field, posted
from elman.web.api.recordings import SOURCES, check_source, text_of
from elman.web.api.runs import run_of
from elman.web.jobs import Job
from elman.web.library import Library, Run

# tokens that are read unless other numbers are asked for; of the n-gram models of an analysis of errors, what they are
# trained on, which grows with the order
USUAL = {"gates": 100_000, "gradients": 1_000_000, "errors": 100_000, "agreement": 100_000}
TRAINED_ON = 2_000_000

Analysis = Callable[[Job, LoadedRun, Run, NDArray[np.integer], Callable[[], NDArray[np.integer]]], Any]


def analysis(kind: str, analyse: Callable[[dict[str, Any]], Analysis]) -> Route:
    """An address at which a job can be begun, whose result is kept while the model stays what it is.

    Args:
        kind: its last part.
        analyse: reads the request's own settings and gives what does the work.
    """

    def start(request: Request, body: dict[str, Any]) -> Response:
        state = request.app.state
        library: Library = state.library
        run = run_of(request)
        source = field(body, "source", str, "validation")
        check_source(library, source)
        limit = field(body, "limit", int, min(USUAL[kind], state.limits.text))
        if not 1 <= limit <= state.limits.text:
            raise MisuseError(f"'limit' is {limit}; it must be from 1 to {state.limits.text:,} tokens.")
        doing = analyse(body)

        def work(job: Job) -> Any:
            job.progress(0.0, "opening the model and its text")
            loaded = library.model(run)
            tokens, training = _tokens(library, run, loaded, source, limit)
            made = library.results.get(
                (run.path, library.written(run), kind, asked),
                lambda: doing(job, loaded, run, tokens, training).to_json(),
            )
            return {"run": run.id, "source": source, **made}

        asked = json.dumps({key: value for key, value in body.items() if key != "keep"}, sort_keys=True)
        key = hashlib.sha256(f"{kind} {run.id} {asked}".encode()).hexdigest()
        job = state.jobs.submit(kind, work, keep=field(body, "keep", bool, False), key=key)
        return answer({"job": job.id}, 202)

    return Route(f"/api/runs/{{run}}/{kind}", posted(start), methods=["POST"])


def _tokens(
    library: Library, run: Run, loaded: LoadedRun, source: str, limit: int
) -> tuple[NDArray[np.integer], Callable[[], NDArray[np.integer]]]:
    """The tokens to be read, and a function that gives those that the model was trained on."""
    if source == "file":
        text = text_of(library, run, loaded, source, limit)
        return loaded.vocabulary.encode(text).ids[:limit], lambda: _training(run, loaded)
    require_local(loaded)
    part, train = part_of_run(loaded, run.path, SOURCES[source])
    return part.tokens[:limit], lambda: train


def _training(run: Run, loaded: LoadedRun) -> NDArray[np.integer]:
    require_local(loaded)
    return part_of_run(loaded, run.path, "train")[1]


def _bounded(body: dict[str, Any], name: str, usual: int, low: int, high: int) -> int:
    value = field(body, name, int, usual)
    if not low <= value <= high:
        raise MisuseError(f"{name!r} is {value}; it must be from {low:,} to {high:,}.")
    return value


def gates(body: dict[str, Any]) -> Analysis:
    """How often every gate is saturated."""
    return lambda job, loaded, run, tokens, training: gate_saturation(
        loaded.model, tokens, progress=job.part(0.05, 1.0, "reading"), cancel=job.cancelled
    )


def gradients(body: dict[str, Any]) -> Analysis:
    """How the gradient flows back; "lags" and "positions" may be given."""
    lags, positions = _bounded(body, "lags", 200, 1, 2000), _bounded(body, "positions", 64, 1, 512)
    seed = _bounded(body, "seed", 0, 0, 2**32 - 1)
    return lambda job, loaded, run, tokens, training: gradient_flow(
        loaded.model,
        tokens,
        lags=lags,
        positions=positions,
        seed=seed,
        progress=job.part(0.05, 1.0, "going back through time"),
        cancel=job.cancelled,
    )


def errors(body: dict[str, Any]) -> Analysis:
    """Errors by cause; "order" of the long n-gram model and "train_limit" may be given."""
    order = _bounded(body, "order", 20, 2, 20)
    most = _bounded(body, "train_limit", TRAINED_ON, 1000, 2**28)
    return lambda job, loaded, run, tokens, training: analyse_errors(
        loaded.model,
        loaded.vocabulary,
        tokens,
        training()[-most:],
        order=order,
        progress=job.progress,
        cancel=job.cancelled,
    )


def agreement(body: dict[str, Any]) -> Analysis:
    """Which n-gram model the network resembled at every step that was kept; "train_limit" may be given."""
    most = _bounded(body, "train_limit", TRAINED_ON, 1000, 2**28)
    return lambda job, loaded, run, tokens, training: run_agreement(
        loaded, run.path, training()[-most:], tokens, progress=job.progress, cancel=job.cancelled
    )


ROUTES = [
    analysis("gates", gates),
    analysis("gradients", gradients),
    analysis("errors", errors),
    analysis("agreement", agreement),
]
