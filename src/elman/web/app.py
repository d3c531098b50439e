"""The ASGI application of the inspector: addresses, state, and what guards them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import ElmanError
from elman.web import api
from elman.web.answers import on_error, on_http_error, threaded
from elman.web.jobs import Jobs
from elman.web.labels import Labels
from elman.web.library import Library
from elman.web.limits import Limits
from elman.web.security import Access, Guard
from elman.web.slots import Slots

STATIC = Path(__file__).parent / "static"
# said here and not asked of the system, whose table may call a script plain text
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


def create_app(
    root: Path,
    runs: Sequence[Path] | None = None,
    token: str | None = None,
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    text: tuple[str, str] | None = None,
) -> Starlette:
    """The inspector as an ASGI application.

    Args:
        root: a run folder, or a folder of them.
        runs: run folders; None looks for them in ``root``.
        token: what every request must carry; needed where ``host`` is not the loopback interface.
        limits: bounds; default :class:`elman.web.limits.Limits`.
        host: the address that the server listens on.
        text: name and content of a text that runs may be recorded over, beside the parts of their own.

    Raises:
        ValueError: another host than the loopback interface, without a token.
    """
    limits = limits or Limits()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        _close(app)

    app = Starlette(
        routes=[
            Route("/", threaded(_page)),
            Route("/static/{name:path}", threaded(_static)),
            *api.routes(),
        ],
        middleware=[Middleware(Guard, access=Access(host, token), limits=limits)],
        exception_handlers={ElmanError: on_error, HTTPException: on_http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.limits = limits
    app.state.library = Library(root, runs, text)
    app.state.labels = Labels()
    app.state.jobs = Jobs(limits.queue)
    app.state.slots = Slots(limits.streams, limits.queue)
    app.state.feeds = set()
    app.state.close = lambda: _close(app)
    return app


def _close(app: Starlette) -> None:
    """End every stream and cancel every job; nothing is waited for."""
    for feed in tuple(app.state.feeds):
        feed.leave()
    app.state.jobs.close()


def _page(request: Request) -> Response:
    return _file(request, "index.html")


def _static(request: Request) -> Response:
    return _file(request, request.path_params["name"])


def _file(request: Request, name: str) -> Response:
    """A file of the page; its name is looked up among those that there are, and never made into a path."""
    known = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.suffix in TYPES}
    if name not in known:
        raise HTTPException(404)
    content = known[name].read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=TYPES[known[name].suffix])
