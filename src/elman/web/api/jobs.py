"""Jobs: how far they are, their results, their end."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.web.answers import answer, threaded
from elman.web.events import EventStream, job_events


def show(request: Request) -> Response:
    """The job as it stands."""
    return answer(request.app.state.jobs.get(request.path_params["job"]).snapshot())


async def events(request: Request) -> Response:
    """The job's progress as a stream of events."""
    state = request.app.state
    job = state.jobs.get(request.path_params["job"])
    return EventStream(job_events(job, state.limits.grace, state.limits.heartbeat))


def cancel(request: Request) -> Response:
    """Cancel the job; one that runs ends at the next place where it looks."""
    job = request.app.state.jobs.get(request.path_params["job"])
    job.cancel()
    return answer(job.snapshot())


ROUTES = [
    Route("/api/jobs/{job}", threaded(show)),
    Route("/api/jobs/{job}", threaded(cancel), methods=["DELETE"]),
    Route("/api/jobs/{job}/events", events),
]
