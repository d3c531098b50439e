"""The playground: a model writes, and is watched while it does; a model reads what is being typed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elman.errors import MisuseError
from elman.generate import Sample, generate
from elman.generate.sampling import SEEDS
from elman.generate.stepping import evaluating
from elman.insight.lesions import CellStatistics, Intervention, cell_statistics, lesioned, within
from elman.insight.lesions.intervention import check_interventions
from elman.runs import LoadedRun
from elman.web.answers import answer, body_of, field, whole_text
from elman.web.api.recordings import opened_as, text_of
from elman.web.api.runs import run_of
from elman.web.events import EventStream, Feed, produced
from elman.web.library import Library, Run
from elman.web.playground import Cell, Observer, cells_of, trace

# characters from which the usual values of cells are learnt, where a lesion needs them
USUAL_VALUES = 50_000
# symbols that are looked at in one call of the model: a call for each would take longer than the writing
TOGETHER = 16

Span = tuple[int, int | None] | None


async def states(request: Request) -> Response:
    """What a text does to chosen cells, symbol by symbol."""
    state = request.app.state
    body = await body_of(request, state.limits.body_seconds)
    async with state.slots.taken():
        return await run_in_threadpool(_states, request, body)


def _states(request: Request, body: dict[str, Any]) -> Response:
    text = limited(field(body, "text", str), request.app.state.limits.prompt, "text")
    loaded = request.app.state.library.language_model(run_of(request))
    cells = cells_of(field(body, "cells", list, []), loaded.model)
    traced = trace(loaded.model, loaded.vocabulary, text, cells)
    return answer(traced | {"pieces": [whole_text(piece) for piece in traced["pieces"]]})


async def sample(request: Request) -> Response:
    """A text, symbol by symbol, as a stream of events; closing the connection ends it."""
    state = request.app.state
    body = await body_of(request, state.limits.body_seconds)
    # whatever is wrong with the request is said before the stream begins
    async with state.slots.taken():
        writing = await run_in_threadpool(_prepared, request, body)

    async def events() -> AsyncIterator[bytes]:
        async with state.slots.taken():
            async for chunk in produced(writing.run, state.limits.heartbeat, state.feeds):
                yield chunk

    return EventStream(events())


def _prepared(request: Request, body: dict[str, Any]) -> Writing:
    """What writes the text, once the request is known to be sound."""
    state = request.app.state
    length = field(body, "length", int, 500)
    if not 0 <= length <= state.limits.length:
        raise MisuseError(f"'length' is {length}; it must be from 0 to {state.limits.length:,} symbols.")
    seed = field(body, "seed", int, None)
    asked: dict[str, Any] = {
        "prompt": limited(field(body, "prompt", str, ""), state.limits.prompt, "prompt"),
        "length": length,
        "temperature": field(body, "temperature", float, 1.0),
        "top_k": field(body, "top_k", int, None),
        "top_p": field(body, "top_p", float, None),
        "seed": secrets.randbelow(SEEDS) if seed is None else seed,
    }
    run = run_of(request)
    loaded = state.library.model(run)
    # values that no text can be drawn with are refused now
    generate(loaded.model, loaded.vocabulary, **(asked | {"length": 0}))
    wanted, given = field(body, "cells", list, []), field(body, "interventions", list, [])
    cells, interventions, statistics = [], [], None
    if wanted or given:
        network = state.library.language_model(run).model
        cells = cells_of(wanted, network)
        if gates := sorted({name for _, name, _ in cells} - set(network.recurrence.states)):
            raise MisuseError(f"{', '.join(gates)}: while a text is written, only the states can be shown.")
        interventions = [intervention_of(each) for each in given]
        check_interventions(network, interventions)
        statistics = _usual_values(request, body, run, loaded, interventions)
    beside = field(body, "beside", bool, False)
    return Writing(loaded, asked, cells, interventions, statistics, span_of(body), beside or not interventions)


def _usual_values(
    request: Request, body: dict[str, Any], run: Run, loaded: LoadedRun, interventions: Sequence[Intervention]
) -> CellStatistics | None:
    """What the lesioned cells usually are, where a mode asks for it: over a recording, else over the run's text."""
    if all(each.mode in ("zero", "set") for each in interventions):
        return None
    library: Library = request.app.state.library
    id = field(body, "recording", str, None)
    keys = sorted({(each.layer, each.name) for each in interventions})
    label = None
    if any(each.mode in ("off", "on") for each in interventions):
        label = request.app.state.labels.hypothesis(field(body, "hypothesis", str), field(body, "regex", str, None))

    def measured() -> CellStatistics:
        if id is None:
            text = text_of(library, run, loaded, "validation", USUAL_VALUES)
        else:
            text = opened_as(library, id, run).text[:USUAL_VALUES]
        labels = None if label is None else label.label(text)
        return cell_statistics(loaded.model, loaded.vocabulary, text, cells=keys, labels=labels)

    of = None if label is None else request.app.state.labels.digest(label)
    return library.results.get((run.path, library.written(run), "statistics", id, tuple(keys), of), measured)


@dataclass(frozen=True)
class Writing:
    """A text that is going to be written, or two beside each other from one seed.

    Attributes:
        loaded: the run.
        asked: for :func:`elman.generate.generate`.
        cells: whose values are told.
        interventions: of the lesioned text; none for no such text.
        statistics: for them.
        span: (first, end) of the drawn symbols while which they hold; None for always.
        plain: whether the unlesioned text is written.
    """

    loaded: LoadedRun
    asked: dict[str, Any]
    cells: list[Cell]
    interventions: list[Intervention]
    statistics: CellStatistics | None
    span: Span
    plain: bool

    def run(self, feed: Feed) -> None:
        """Write, and tell every symbol."""
        feed.put("begin", {"seed": self.asked["seed"]})
        wanted = [*(["plain"] if self.plain else []), *(["lesioned"] if self.interventions else [])]
        with ThreadPoolExecutor(len(wanted)) as pool:
            texts = list(pool.map(lambda which: self._write(which, feed), wanted))
        told: dict[str, Any] = {which: _told(text) for which, text in zip(wanted, texts, strict=True)}
        if len(texts) == 2:
            pairs = enumerate(zip(texts[0].ids, texts[1].ids, strict=False))
            told["parted"] = next((place for place, (one, other) in pairs if one != other), None)
        feed.put("done", {"seed": self.asked["seed"], **told[wanted[0]], **told})

    def _write(self, which: str, feed: Feed) -> Sample:
        vocabulary = self.loaded.vocabulary
        # one that writes and one that is looked into: a lesioned model keeps what it reads
        writer, looked_into = self._model(which), self._model(which)
        span = self.span if which == "lesioned" else None
        switch = None if span is None else within(looked_into, span)
        with evaluating(looked_into):
            observer = Observer(looked_into, vocabulary, self.asked["prompt"], self.cells)
            waiting: list[tuple[int, str]] = []

            def tell() -> None:
                ids, texts = [token for token, _ in waiting], [text for _, text in waiting]
                waiting.clear()
                # what holds for a while is switched between two symbols
                seen: list[dict[str, Any]] = []
                for part in [[each] for each in ids] if switch else [ids] if ids else []:
                    if switch:
                        switch(0, part[0], "")
                    seen += observer.feed(part)
                named = [{"which": which, "text": whole_text(text)} for text in texts]
                feed.put("token", *(one | each for one, each in zip(named, seen, strict=True)))

            def drawn(_row: int, token: int, text: str) -> None:
                waiting.append((token, text))
                if len(waiting) == TOGETHER:
                    tell()

            callback = drawn if span is None else within(writer, span, drawn)
            sample = generate(writer, vocabulary, on_token=callback, **self.asked)[0]
            tell()
            return sample

    def _model(self, which: str) -> Any:
        if which == "plain":
            return self.loaded.model
        return lesioned(self.loaded.model, self.interventions, self.statistics, seed=self.asked["seed"])


def _told(text: Sample) -> dict[str, Any]:
    return {"text": whole_text(text.text), "logprob": text.logprob, "stopped": text.stopped, "tokens": len(text.ids)}


def intervention_of(value: Any) -> Intervention:
    """An intervention as a request gives it.

    Raises:
        MisuseError: it is malformed.
    """
    if not isinstance(value, Mapping):
        raise MisuseError('An intervention is an object such as {"layer": 0, "name": "c", "unit": 17, "mode": "zero"}.')
    units = field(value, "units", list, None)
    if units is None:
        units = [field(value, "unit", int)]
    return Intervention(
        field(value, "layer", int),
        field(value, "name", str),
        tuple(units),
        field(value, "mode", str, "zero"),
        field(value, "value", float, None),
        field(value, "scale", str, "own"),
        field(value, "strength", float, 1.0),
    )


def span_of(body: Mapping[str, Any]) -> Span:
    """The "span" of a request, [first, end] numbers of drawn symbols, end null for the last; None where there is none.

    Raises:
        MisuseError: it is malformed.
    """
    given = field(body, "span", list, None)
    if given is None:
        return None
    if len(given) != 2 or type(given[0]) is not int or not (given[1] is None or type(given[1]) is int):
        raise MisuseError("'span' must be [first, end], numbers of drawn symbols; end may be null.")
    first, end = given
    if first < 0 or (end is not None and end < first):
        raise MisuseError(f"The span {first} to {end} is none: it begins at 0 or later and does not end before that.")
    return first, end


def limited(text: str, most: int, name: str) -> str:
    """A text that is not too long.

    Raises:
        MisuseError: it is.
    """
    if len(text) > most:
        raise MisuseError(f"The {name} has {len(text):,} characters; up to {most:,} are taken here.")
    return text


ROUTES = [
    Route("/api/runs/{run}/states", states, methods=["POST"]),
    Route("/api/runs/{run}/sample", sample, methods=["POST"]),
]
