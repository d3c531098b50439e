"""Runs: the table of them, one of them, its model in the playground."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.equations import Recurrence
from elman.errors import ElmanError
from elman.runs import RunFolder, read_config
from elman.web.answers import answer, threaded
from elman.web.library import Library, Run, metrics_of

# a longer training is thinned out for the page's curve; every evaluation stays
REPORTS = 4000


def index(request: Request) -> Response:
    """All runs, those that cannot be read with the reason."""
    library: Library = request.app.state.library
    return answer([library.describe(run) for run in library.runs()])


def show(request: Request) -> Response:
    """One run with its configuration, its equations and the reports of its training."""
    library: Library = request.app.state.library
    run = library.run(request.path_params["run"])
    config = read_config(RunFolder(run.path).config)
    described = library.describe(run)
    described |= {
        "config": {key: value for key, value in config.items() if key not in ("vocabulary", "checksum")},
        "command": str(config.get("command", "")),
        "data": config.get("data"),
        "metrics": thinned(metrics_of(run)),
        "text": None if library.text is None else library.text[0],
        "recordings": library.recordings(run),
        **_cells(config),
    }
    return answer(described)


def thinned(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most so many reports as a curve can show, and every evaluation."""
    stride = -(-len(metrics) // REPORTS)
    return [line for place, line in enumerate(metrics) if place % stride == 0 or "valid_nats" in line]


def _cells(config: dict[str, Any]) -> dict[str, Any]:
    """The equations of a network, its states and gates; nothing of these for other models."""
    nothing: dict[str, Any] = {"equations": None, "states": [], "gates": []}
    if config["system"] != "language":
        return nothing
    try:
        stored = config["model"]["recurrence"]
        recurrence = Recurrence(stored["equations"], output=stored["output"], name=stored["name"])
    except ElmanError as error:
        return nothing | {"error": f"The equations cannot be read. {error}"}
    except (KeyError, TypeError, AttributeError) as error:
        return nothing | {"error": f"The configuration does not describe a recurrence ({error!r})."}
    return {
        "equations": recurrence.equations,
        "title": recurrence.title,
        "citation": recurrence.citation,
        "states": list(recurrence.states),
        "gates": list(recurrence.intermediates.names),
    }


def run_of(request: Request) -> Run:
    """The run that an address names."""
    return request.app.state.library.run(request.path_params["run"])


ROUTES = [
    Route("/api/runs", threaded(index)),
    Route("/api/runs/{run}", threaded(show)),
]
