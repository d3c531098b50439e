"""Server-sent events: a stream of named JSON values that ends with its work, or ends the work when the reader goes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from elman.errors import CancelledError, ElmanError
from elman.web.answers import dumps
from elman.web.jobs import Job, log

# between two reports of one job
REPORT_SECONDS = 0.05
# events of a text that is being sampled and that its reader has not taken yet
AHEAD = 512


def encode(event: str, data: Any) -> bytes:
    """One event on the wire; JSON in ASCII has no line ends that could end it early."""
    return f"event: {event}\ndata: {dumps(data)}\n\n".encode("ascii")


HEARTBEAT = b": still here\n\n"


class EventStream(Response):
    """A response of events, from an iterator that is closed as soon as the reader goes.

    Args:
        events: encoded; its ``finally`` blocks run in either case.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _send(self, send: Send) -> None:
        async with contextlib.aclosing(self.events) as events:  # type: ignore[type-var]
            async for chunk in events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def job_events(job: Job, grace: float, heartbeat: float) -> AsyncIterator[bytes]:
    """A job's progress until it ends; when the last reader goes, it is cancelled after a while.

    Args:
        job: to be watched.
        grace: seconds within which a reader may come back, as a page that is loaded anew does.
        heartbeat: seconds between two signs of life.

    Yields:
        "progress" {progress, message, state}, then "done" {result}, "failed" {error} or "cancelled" {}.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def changed() -> None:
        # the loop may have ended before the job
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    try:
        with job.watched(changed):
            while True:
                news.clear()
                shown = job.snapshot()
                if shown["state"] == "done":
                    yield await run_in_threadpool(encode, "done", {"result": shown["result"]})
                    return
                if shown["state"] == "failed":
                    yield encode("failed", {"error": shown["error"]})
                    return
                if shown["state"] == "cancelled":
                    yield encode("cancelled", {})
                    return
                yield encode("progress", {key: shown[key] for key in ("progress", "message", "state")})
                while not await _within(news, heartbeat):
                    yield HEARTBEAT
                await asyncio.sleep(REPORT_SECONDS)
    finally:
        loop.call_later(grace, job.cancel_if_unwatched)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


class Feed:
    """Events from a thread to a reader in the event loop, a bounded number ahead of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready = asyncio.Event()
        self._events: deque[bytes] = deque()
        self._room = threading.Condition()
        self._left = self._ended = False

    def cancelled(self) -> bool:
        """Whether the reader has gone."""
        return self._left

    def put(self, event: str, *data: Any) -> None:
        """Hand over an event for each of some values; waits while the reader is far behind.

        Raises:
            CancelledError: the reader has gone.
        """
        with self._room:
            self._room.wait_for(lambda: self._left or len(self._events) < AHEAD)
            if self._left:
                raise CancelledError("The reader has gone.")
            self._events.extend(encode(event, each) for each in data)
        self._wake()

    def end(self) -> None:
        """No event will follow."""
        with self._room:
            self._ended = True
        self._wake()

    def leave(self) -> None:
        """The reader goes."""
        with self._room:
            self._left = True
            self._room.notify_all()

    async def read(self, heartbeat: float) -> AsyncIterator[bytes]:
        """What was handed over, several events at once where they came fast."""
        while True:
            if not await _within(self._ready, heartbeat):
                yield HEARTBEAT
                continue
            self._ready.clear()
            with self._room:
                taken, ended = b"".join(self._events), self._ended
                self._events.clear()
                self._room.notify_all()
            if taken:
                yield taken
            if ended:
                return

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.set)


async def produced(produce: Callable[[Feed], None], heartbeat: float, feeds: set[Feed]) -> AsyncIterator[bytes]:
    """The events that a function puts into a feed, on a thread of its own.

    Args:
        produce: is given the feed; an error that a user is meant to read becomes the event "failed" {error}.
        heartbeat: seconds between two signs of life.
        feeds: the open ones of the server, among which this one is while it is read.
    """
    feed = Feed(asyncio.get_running_loop())

    def work() -> None:
        try:
            with contextlib.suppress(CancelledError):
                try:
                    produce(feed)
                except CancelledError:
                    raise
                except ElmanError as error:
                    feed.put("failed", {"error": str(error)})
                except Exception as error:
                    log.exception("a stream of events failed")
                    feed.put("failed", {"error": f"This failed unexpectedly ({type(error).__name__}): {error}"})
        finally:
            feed.end()

    feeds.add(feed)
    try:
        threading.Thread(target=work, name="elman-stream", daemon=True).start()
        async for chunk in feed.read(heartbeat):
            yield chunk
    finally:
        feeds.discard(feed)
        feed.leave()
