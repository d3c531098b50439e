"""Long work beside the server: one job at a time on a thread of its own, a short queue, progress, cancellation."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

from elman.errors import CancelledError, ElmanError
from elman.web.answers import BusyError, MissingError, plain

log = logging.getLogger("elman.web")

State = Literal["queued", "running", "done", "failed", "cancelled"]
Work = Callable[["Job"], Any]

# of jobs that have ended, so that a page that was asleep can still ask how it went
KEPT = 64


class Job:
    """One piece of work and how far it is.

    Args:
        kind: what it does, in a word.
        keep: it goes on although nobody watches.
        key: of equal jobs only one runs.
    """

    def __init__(self, kind: str, keep: bool, key: str | None) -> None:
        self.id = secrets.token_urlsafe(9)
        self.kind, self.keep, self.key = kind, keep, key
        self._lock = threading.Lock()
        self._state: State = "queued"
        self._progress, self._message = 0.0, ""
        self._result: Any = None
        self._error: str | None = None
        self._cancel = threading.Event()
        self._watchers: set[Callable[[], None]] = set()

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._state in ("done", "failed", "cancelled")

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def cancelled(self) -> bool:
        """Whether the work should stop; for functions that take such a question."""
        return self._cancel.is_set()

    def progress(self, share: float, message: str | None = None) -> None:
        """Say how far the work is.

        Args:
            share: that is done, 0 to 1.
            message: what is being done; None leaves the last one.

        Raises:
            CancelledError: nobody wants the result any more.
        """
        if self._cancel.is_set():
            raise CancelledError("The job was cancelled.")
        with self._lock:
            self._progress = min(1.0, max(0.0, float(share)))
            self._message = self._message if message is None else message
        self._tell()

    def part(self, begin: float, end: float, message: str) -> Callable[[float], None]:
        """A progress function for one of several parts of the work: its 0 is ``begin`` of the whole, its 1 ``end``."""
        self.progress(begin, message)
        return lambda share: self.progress(begin + (end - begin) * share)

    def snapshot(self) -> dict[str, Any]:
        """The job as the API shows it."""
        with self._lock:
            shown: dict[str, Any] = {
                "id": self.id,
                "kind": self.kind,
                "state": self._state,
                "progress": self._progress,
                "message": self._message,
            }
            if self._state == "done":
                shown["result"] = self._result
            if self._error is not None:
                shown["error"] = self._error
            return shown

    def cancel(self) -> None:
        """Ask the work to stop; a job that has not begun ends at once."""
        self._cancel.set()
        with self._lock:
            if self._state == "queued":
                self._state = "cancelled"
        self._tell()

    @contextlib.contextmanager
    def watched(self, changed: Callable[[], None]) -> Iterator[None]:
        """Within it ``changed`` is called, from any thread, whenever there is something new."""
        with self._lock:
            self._watchers.add(changed)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.discard(changed)

    def cancel_if_unwatched(self) -> None:
        """Cancel a job whose last watcher has gone, unless it was to go on without."""
        if not self.keep and not self._watchers and not self.finished:
            self.cancel()

    def run(self, work: Work) -> None:
        """Do the work in this thread; how it ended is seen in the job, nothing is raised."""
        with self._lock:
            if self._state != "queued":
                return
            self._state = "running"
        self._tell()
        try:
            # put into its JSON form here, where it holds nobody up
            result = plain(work(self))
        except CancelledError:
            self._end("cancelled")
        except ElmanError as error:
            self._end("failed", error=str(error))
        except Exception as error:
            log.exception("the job %s failed", self.kind)
            short = "There is not enough memory for this." if isinstance(error, MemoryError) else f"{error}"
            self._end("failed", error=f"This failed unexpectedly ({type(error).__name__}): {short}")
        else:
            self._end("cancelled" if result is None and self.cancelled() else "done", result=result)

    def _end(self, state: State, result: Any = None, error: str | None = None) -> None:
        with self._lock:
            self._state, self._result = state, result
            self._error = error if state == "failed" else None
            if state == "done":
                self._progress = 1.0
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for changed in watchers:
            changed()


class Jobs:
    """All jobs of a server, and the thread that does them one after the other.

    Args:
        queue: jobs that may wait.
    """

    def __init__(self, queue: int) -> None:
        self.queue = queue
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[tuple[Job, Work]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, kind: str, work: Work, *, keep: bool = False, key: str | None = None) -> Job:
        """Put a job at the end of the queue.

        Args:
            kind: what it does, in a word.
            work: is called with the job, on the thread of the jobs; its result must have a form in JSON.
            keep: go on although nobody watches.
            key: names what the job does, all arguments included: while one of the same key waits or runs, that one
                is given back.

        Returns:
            The job.

        Raises:
            BusyError: the queue is full, or the server is closing.
        """
        with self._changed:
            if self._closed:
                raise BusyError("The server is closing.")
            for job in self._jobs.values():
                if key is not None and job.key == key and not job.finished and not job.cancelled():
                    job.keep = job.keep or keep
                    return job
            self._waiting = deque(each for each in self._waiting if not each[0].finished)
            if len(self._waiting) >= self.queue:
                raise BusyError(f"{self.queue} jobs are waiting already; try again when one has ended.")
            job = Job(kind, keep, key)
            self._jobs[job.id] = job
            ended = [each for each, known in self._jobs.items() if known.finished]
            for each in ended[: max(0, len(ended) - KEPT)]:
                del self._jobs[each]
            self._waiting.append((job, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="elman-jobs", daemon=True)
                self._thread.start()
            self._changed.notify()
            return job

    def get(self, id: str) -> Job:
        """The job of this id.

        Raises:
            MissingError: there is none, or it ended long ago.
        """
        with self._changed:
            if id not in self._jobs:
                raise MissingError("There is no such job; it may have ended long ago.")
            return self._jobs[id]

    def close(self, seconds: float = 0.0) -> None:
        """Cancel everything and take nothing new; wait so long for what runs."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancel()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job, work = self._waiting.popleft()
            job.run(work)
