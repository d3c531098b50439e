"""Jobs: one at a time, few that wait, progress, cancellation, errors as sentences."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from web_cases import events_of, run_async

from elman.errors import CancelledError, FailureError, MisuseError
from elman.web.answers import BusyError, MissingError
from elman.web.events import EventStream, Feed, job_events, produced
from elman.web.jobs import KEPT, Job, Jobs
from elman.web.slots import Slots


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs(queue=3)
    yield jobs
    jobs.close(5)


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Blocker:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, job: Job) -> str:
        self.begun.set()
        while not self.go.wait(0.005):
            job.progress(0.5, "half")
        return "result"


def test_a_job_runs_and_ends(jobs: Jobs) -> None:
    work = Blocker()
    job = jobs.submit("test", work)
    assert work.begun.wait(5)
    wait_for(lambda: job.snapshot()["message"] == "half")
    assert jobs.get(job.id).snapshot() == {
        "id": job.id,
        "kind": "test",
        "state": "running",
        "progress": 0.5,
        "message": "half",
    }
    work.go.set()
    wait_for(lambda: job.finished)
    ended = job.snapshot()
    assert (ended["state"], ended["progress"], ended["result"]) == ("done", 1.0, "result")


def test_one_runs_at_a_time_in_order(jobs: Jobs) -> None:
    running, most, order = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> Callable[[Job], None]:
        def run(job: Job) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            order.append(number)
            with lock:
                running -= 1

        return run

    blocker = Blocker()
    first = jobs.submit("test", blocker)
    assert blocker.begun.wait(5)
    rest = [jobs.submit("test", work(number)) for number in range(3)]
    assert [job.state for job in rest] == ["queued"] * 3
    blocker.go.set()
    wait_for(lambda: all(job.finished for job in (first, *rest)))
    assert (most, order) == (1, [0, 1, 2])


def test_the_queue_is_short(jobs: Jobs) -> None:
    blocker = Blocker()
    jobs.submit("test", blocker)
    assert blocker.begun.wait(5)
    waiting = [jobs.submit("test", blocker) for _ in range(3)]
    with pytest.raises(BusyError, match="3 jobs are waiting already"):
        jobs.submit("test", blocker)
    waiting[1].cancel()
    assert waiting[1].state == "cancelled"
    jobs.submit("test", blocker)
    blocker.go.set()


def test_equal_jobs_are_one_while_it_lasts(jobs: Jobs) -> None:
    blocker = Blocker()
    first = jobs.submit("test", blocker, key="a")
    assert jobs.submit("test", blocker, key="a") is first
    assert jobs.submit("test", blocker, key="b") is not first
    assert not first.keep
    jobs.submit("test", blocker, key="a", keep=True)
    assert first.keep
    blocker.go.set()
    wait_for(lambda: first.finished)
    assert jobs.submit("test", blocker, key="a") is not first


@pytest.mark.parametrize("how", ["progress", "question"])
def test_a_running_job_is_cancelled_where_it_looks(jobs: Jobs, how: str) -> None:
    begun = threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while True:
            time.sleep(0.005)
            if how == "progress":
                job.progress(0.1)
            elif job.cancelled():
                raise CancelledError("It was cancelled.")

    job = jobs.submit("test", work)
    assert begun.wait(5)
    job.cancel()
    wait_for(lambda: job.finished)
    assert job.snapshot()["state"] == "cancelled"
    assert "error" not in job.snapshot()
    after = jobs.submit("test", lambda job: 1)
    wait_for(lambda: after.finished)
    assert after.state == "done"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MisuseError("The text is empty."), "The text is empty."),
        (FailureError("The disk is full."), "The disk is full."),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_a_failing_job_says_why(jobs: Jobs, error: Exception, sentence: str) -> None:
    def work(job: Job) -> None:
        raise error

    job = jobs.submit("test", work)
    wait_for(lambda: job.finished)
    assert job.state == "failed"
    assert sentence in job.snapshot()["error"]


def test_a_result_without_a_form_in_json_fails_and_the_thread_lives_on(jobs: Jobs) -> None:
    job = jobs.submit("test", lambda job: object())
    wait_for(lambda: job.finished)
    assert "no form in JSON" in job.snapshot()["error"]
    after = jobs.submit("test", lambda job: float("nan"))
    wait_for(lambda: after.finished)
    assert after.snapshot()["result"] is None


def test_ended_jobs_are_forgotten_in_time(jobs: Jobs) -> None:
    first = jobs.submit("test", lambda job: 1)
    for _ in range(KEPT + 5):
        job = jobs.submit("test", lambda job: 1)
        wait_for(lambda job=job: job.finished)
    jobs.submit("test", lambda job: 1)
    with pytest.raises(MissingError):
        jobs.get(first.id)


def test_closing_cancels_everything() -> None:
    jobs, blocker = Jobs(queue=3), Blocker()
    running = jobs.submit("test", blocker, keep=True)
    assert blocker.begun.wait(5)
    waiting = jobs.submit("test", blocker)
    jobs.close(5)
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
    with pytest.raises(BusyError):
        jobs.submit("test", blocker)


class Wire:
    """An ASGI connection whose reader goes when it is told to."""

    def __init__(self) -> None:
        self.sent = b""
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent += message.get("body", b"")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("keep", [False, True])
def test_a_job_is_cancelled_when_its_last_reader_goes(jobs: Jobs, keep: bool) -> None:
    async def scenario() -> None:
        blocker = Blocker()
        job = jobs.submit("test", blocker, keep=keep)
        wires = [Wire(), Wire()]
        tasks = [
            asyncio.create_task(EventStream(job_events(job, 0.1, 15))({}, wire.receive, wire.send)) for wire in wires
        ]
        await until(lambda: all(b"half" in wire.sent for wire in wires))
        wires[0].gone.set()
        await tasks[0]
        await asyncio.sleep(0.3)
        assert job.state == "running"
        wires[1].gone.set()
        await tasks[1]
        if keep:
            await asyncio.sleep(0.3)
            assert job.state == "running"
            blocker.go.set()
        await until(lambda: job.finished)
        assert job.state == ("done" if keep else "cancelled")

    run_async(scenario())


def test_a_reader_may_come_back_in_time(jobs: Jobs) -> None:
    async def scenario() -> None:
        blocker = Blocker()
        job = jobs.submit("test", blocker)
        first, second = Wire(), Wire()
        reading = asyncio.create_task(EventStream(job_events(job, 0.2, 15))({}, first.receive, first.send))
        await until(lambda: b"half" in first.sent)
        first.gone.set()
        await reading
        reading = asyncio.create_task(EventStream(job_events(job, 0.2, 15))({}, second.receive, second.send))
        await asyncio.sleep(0.4)
        assert job.state == "running"
        blocker.go.set()
        await reading
        assert events_of(second.sent.decode())[-1] == ("done", {"result": "result"})

    run_async(scenario())


def test_a_silent_stream_gives_signs_of_life(jobs: Jobs) -> None:
    async def scenario() -> None:
        go = threading.Event()
        job = jobs.submit("test", lambda job: go.wait(10))
        wire = Wire()
        reading = asyncio.create_task(EventStream(job_events(job, 1, 0.05))({}, wire.receive, wire.send))
        await until(lambda: wire.sent.count(b": still here\n\n") >= 3)
        go.set()
        await reading

    run_async(scenario())


def test_what_a_thread_tells_arrives_in_order_and_it_waits_for_a_slow_reader() -> None:
    async def scenario() -> None:
        told = 0

        def produce(feed: Feed) -> None:
            nonlocal told
            for number in range(3000):
                feed.put("token", {"number": number, "text": "a\nb\r\u2028\ud800"})
                told += 1

        feeds: set[Feed] = set()
        chunks = b""
        stream = produced(produce, 15, feeds)
        async for chunk in stream:
            if not chunks:
                await asyncio.sleep(0.2)
                assert told < 3000
                assert len(feeds) == 1
            chunks += chunk
        events = events_of(chunks.decode())
        assert [data["number"] for _, data in events] == list(range(3000))
        assert events[0][1]["text"] == "a\nb\r\u2028\ud800"
        assert not feeds

    run_async(scenario())


@pytest.mark.parametrize("leaver", ["reader", "server"])
def test_a_thread_ends_when_its_reader_goes_or_the_server_does(leaver: str) -> None:
    async def scenario() -> None:
        ended = threading.Event()

        def produce(feed: Feed) -> None:
            try:
                while True:
                    feed.put("token", {})
                    time.sleep(0.001)
            finally:
                ended.set()

        feeds: set[Feed] = set()
        wire = Wire()
        reading = asyncio.create_task(EventStream(produced(produce, 15, feeds))({}, wire.receive, wire.send))
        await until(lambda: b"token" in wire.sent)
        if leaver == "reader":
            wire.gone.set()
        else:
            next(iter(feeds)).leave()
        await asyncio.wait_for(reading, 5)
        assert await asyncio.to_thread(ended.wait, 5)
        assert b"failed" not in wire.sent

    run_async(scenario())


@pytest.mark.parametrize(
    ("error", "sentence"), [(MisuseError("No such cell."), "No such cell."), (KeyError("c"), "KeyError")]
)
def test_a_failing_thread_says_why(error: Exception, sentence: str) -> None:
    def produce(feed: Feed) -> None:
        feed.put("token", {})
        raise error

    async def scenario() -> bytes:
        return b"".join([chunk async for chunk in produced(produce, 15, set())])

    events = events_of(run_async(scenario()).decode())
    assert [kind for kind, _ in events] == ["token", "failed"]
    assert sentence in events[1][1]["error"]


def test_an_error_of_the_stream_itself_is_not_lost() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"event: a\ndata: 1\n\n"
        raise ZeroDivisionError

    wire = Wire()

    async def scenario() -> None:
        await EventStream(broken())({}, wire.receive, wire.send)

    with pytest.raises(ZeroDivisionError):
        run_async(scenario())


def test_slots_bound_what_runs_and_what_waits() -> None:
    async def scenario() -> None:
        slots = Slots(running=2, waiting=1)
        go, running = asyncio.Event(), 0

        async def work() -> None:
            nonlocal running
            async with slots.taken():
                running += 1
                await go.wait()
                running -= 1

        tasks = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert running == 2
        with pytest.raises(BusyError):
            await work()
        tasks[2].cancel()
        await asyncio.sleep(0.01)
        tasks[2] = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.gather(*tasks)
        await work()

    run_async(scenario())
