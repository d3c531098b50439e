"""Translations: what a translator writes for a sentence, how likely it finds it, and where it looked."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.data.parallel import encode_sentences
from elman.errors import MisuseError
from elman.generate.translating import from_runs, judge, translate
from elman.web.answers import answer, body_of, field, whole_text
from elman.web.api.playground import limited
from elman.web.api.runs import run_of

# a beam of this width over the longest sentence takes a second or two
WIDEST, LONGEST = 16, 1000


async def translations(request: Request) -> Response:
    """The likeliest translations of a sentence, with the attention's weights."""
    state = request.app.state
    body = await body_of(request, state.limits.body_seconds)
    async with state.slots.taken():
        return await run_in_threadpool(_translations, request, body)


def _translations(request: Request, body: dict[str, Any]) -> Response:
    text = " ".join(limited(field(body, "text", str), LONGEST, "sentence").split())
    width, best = field(body, "beam", int, 5), field(body, "n_best", int, 1)
    if not 1 <= best <= width <= WIDEST:
        raise MisuseError(f"'beam' is {width} and 'n_best' is {best}; n_best is at least 1 and beam at most {WIDEST}.")
    translators = from_runs([request.app.state.library.model(run_of(request), ("translate",))])
    if not text:
        return answer({"source": [], "translations": []})
    (found,) = translate(
        translators, [text], width=width, best=best, normalisation=field(body, "normalisation", float, 0.6)
    )
    source = text.lower() if translators.lower else text
    judged = judge(translators, [source] * len(found), [each.ids for each in found])
    (ids,) = encode_sentences(translators.source, [source])
    told = [
        {
            "text": whole_text(each.text),
            "symbols": [whole_text(translators.target.symbol(place)) for place in each.ids],
            "logprob": each.logprob,
            "logprob_a_token": each.per_token,
            "token_logprobs": list(each.token_logprobs),
            "stopped": each.stopped,
            "weights": own.weights,
        }
        for each, own in zip(found, judged, strict=True)
    ]
    symbols = [whole_text(translators.source.symbol(int(place))) for place in ids]
    return answer({"source": symbols, "translations": told})


ROUTES = [Route("/api/runs/{run}/translations", translations, methods=["POST"])]
