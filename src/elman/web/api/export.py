"""Cells of a recording as files to keep."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from elman.errors import MisuseError
from elman.insight.recording import Recording
from elman.web.answers import number_in, threaded
from elman.web.api.recordings import opened
from elman.web.export import csv_rows, page
from elman.web.labels import Labels
from elman.web.playground import MOST_CELLS

# of a page, which a browser has to hold
MOST_TOKENS, MOST_PAGE_CELLS = 200_000, 16


def csv(request: Request) -> Response:
    """``?cells=3,17&begin=0&end=1000&hypothesis=NAME``: a table of tokens."""
    run, recording = opened(request)
    cells = _cells(request, recording, MOST_CELLS)
    begin, end = _span(request, recording)
    label = _label(request, recording)
    rows = csv_rows(recording, cells, begin, end, label.get("label"))
    return StreamingResponse(rows, headers=_file(f"{run.name}-cells.csv"), media_type="text/csv; charset=utf-8")


def html(request: Request) -> Response:
    """``?cells=3,17&begin=0&end=1000&hypothesis=NAME``: a page that needs nothing but a browser."""
    run, recording = opened(request)
    cells = _cells(request, recording, MOST_PAGE_CELLS)
    begin, end = _span(request, recording)
    if end - begin > MOST_TOKENS:
        raise MisuseError(f"The span has {end - begin:,} tokens; a page takes up to {MOST_TOKENS:,}.")
    title = f"{run.name}: {', '.join(map(recording.describe, cells))}"
    content = page(recording, cells, begin, end, title=title, **_label(request, recording))
    # it is for the disk: opened here, it would have the origin of this server
    headers = _file(f"{run.name}-cells.html") | {"content-security-policy": "sandbox; default-src 'none'"}
    return Response(content, headers=headers, media_type="text/html; charset=utf-8")


def _cells(request: Request, recording: Recording, most: int) -> list[int]:
    asked = request.query_params.get("cells", "")
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", asked) or asked.count(",") >= most:
        raise MisuseError(f"'cells' must be 1 to {most} numbers of cells with commas between them.")
    cells = list(dict.fromkeys(map(int, asked.split(","))))
    for cell in cells:
        recording.cell(cell)  # says so where there is none
    return cells


def _span(request: Request, recording: Recording) -> tuple[int, int]:
    begin = number_in(request, "begin", 0, 0, recording.length - 1)
    return begin, number_in(request, "end", recording.length, begin + 1, recording.length)


def _label(request: Request, recording: Recording) -> dict[str, Any]:
    known: Labels = request.app.state.labels
    if not (name := request.query_params.get("hypothesis")):
        return {}
    hypothesis = known.hypothesis(name, request.query_params.get("regex"))
    return {"hypothesis": hypothesis, "label": known.of(recording, hypothesis)}


def _file(name: str) -> dict[str, str]:
    """That the browser saves the answer, under a name that is one on every system."""
    return {"content-disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9._-]+", "-", name)}"'}


ROUTES = [
    Route("/api/recordings/{rec}/export.csv", threaded(csv)),
    Route("/api/recordings/{rec}/export.html", threaded(html)),
]
