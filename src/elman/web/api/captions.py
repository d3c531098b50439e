"""Captions of an image that a browser sends: what is written, how likely it is, and where it was looked."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import torch
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.data.images import decode
from elman.errors import MisuseError
from elman.generate.captioning import Manner, tags_of, write
from elman.models.captioning.seeing import features_of_images
from elman.web.answers import answer, body_of, field, threaded, whole_text
from elman.web.api.runs import run_of

WIDEST = 16


def about(request: Request) -> Response:
    """The tags of a captioner, whether it has attention, and what share of an image's shorter side it reads."""
    loaded = request.app.state.library.model(run_of(request), ("caption",))
    encoder = loaded.model.encoder
    told = {"tags": sorted(tags_of(loaded.vocabulary)), "attention": loaded.model.looks}
    return answer(told | {"share": encoder.side / encoder.shorter})


async def captions(request: Request) -> Response:
    """The likeliest captions of an image, with the attention's weights."""
    state = request.app.state
    body = await body_of(request, state.limits.body_seconds)
    async with state.slots.taken():
        return await run_in_threadpool(_captions, request, body)


def _captions(request: Request, body: dict[str, Any]) -> Response:
    width, best = field(body, "beam", int, 3), field(body, "n_best", int, 1)
    if not 1 <= best <= width <= WIDEST:
        raise MisuseError(f"'beam' is {width} and 'n_best' is {best}; n_best is at least 1 and beam at most {WIDEST}.")
    loaded = request.app.state.library.model(run_of(request), ("caption",))
    manner = Manner(best, width, field(body, "normalisation", float, 0.7))
    try:
        content = base64.b64decode(field(body, "image", str), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MisuseError("'image' must be the file's bytes in base64.") from error
    features = features_of_images(loaded.model, [decode(content, "The image")])
    with torch.inference_mode():
        (written,) = write(loaded.model, loaded.vocabulary, features, field(body, "tag", str, ""), manner)
    told = [
        {
            "text": whole_text(each.text),
            "symbols": [whole_text(symbol) for symbol in each.symbols],
            "logprob": each.logprob,
            "token_logprobs": each.logprobs,
            "score": each.score,
            "weights": None if each.weights is None else each.weights.tolist(),
        }
        for each in written
    ]
    return answer({"captions": told})


ROUTES = [
    Route("/api/runs/{run}/captions", captions, methods=["POST"]),
    Route("/api/runs/{run}/captions", threaded(about)),
]
