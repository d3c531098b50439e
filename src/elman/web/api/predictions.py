"""Predictions: the classes of texts and the words that mattered, or the labels of the words of sentences."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.data.conll import words_of
from elman.errors import MisuseError
from elman.insight.predictions import classify_texts, label_words
from elman.metrics.entities import OUTSIDE, split_label
from elman.runs import LoadedRun
from elman.training.systems.tag.run import Decoder
from elman.web.answers import answer, body_of, field, whole_text
from elman.web.api.playground import limited
from elman.web.api.runs import run_of
from elman.web.library import Run

SYSTEMS = ("classify", "tag")
# texts of one request; a gradient through each of its tokens takes a few milliseconds
MOST = 100


async def predictions(request: Request) -> Response:
    """What a classifier or a tagger says of each line of a text."""
    state = request.app.state
    body = await body_of(request, state.limits.body_seconds)
    async with state.slots.taken():
        return await run_in_threadpool(_predictions, request, body)


def _predictions(request: Request, body: dict[str, Any]) -> Response:
    run = run_of(request)
    given = whole_text(limited(field(body, "text", str), request.app.state.limits.prompt, "text"))
    lines = [line for line in given.replace("\r\n", "\n").split("\n") if line.strip()]
    if len(lines) > MOST:
        raise MisuseError(f"There are {len(lines):,} lines; up to {MOST} texts are taken at once.")
    loaded = request.app.state.library.model(run, SYSTEMS)
    told = _classes(loaded, run, lines) if loaded.config["system"] == "classify" else _labels(loaded, run, lines)
    return answer(told)


def _classes(loaded: LoadedRun, run: Run, texts: list[str]) -> dict[str, Any]:
    found = classify_texts(loaded, run.path, texts, explained=True) if texts else []
    return {"attention": loaded.model.pooling == "attention", "texts": [each.entries() for each in found]}


def _labels(loaded: LoadedRun, run: Run, texts: list[str]) -> dict[str, Any]:
    decoder = Decoder.of(loaded.config, run.path)
    kinds = [tag if decoder.scheme is None else split_label(tag)[1] for tag in decoder.tags if tag != OUTSIDE]
    sentences = [words for text in texts if (words := words_of(text))]
    found = label_words(loaded, decoder, sentences) if sentences else []
    return {
        "scheme": decoder.scheme,
        "kinds": list(dict.fromkeys(kinds)),
        "spelled": decoder.characters is not None,
        "sentences": [each.entries() for each in found],
    }


ROUTES = [Route("/api/runs/{run}/predictions", predictions, methods=["POST"])]
