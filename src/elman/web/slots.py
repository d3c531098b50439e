"""A bounded number of small computations at a time, and a bounded number that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from elman.web.answers import BusyError


class Slots:
    """Places for computations that are too short for a job and too long for any number of them.

    Args:
        running: at the same time.
        waiting: for one of these to end.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(running)
        self._waiting, self._most = 0, waiting

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Within it one place is taken.

        Raises:
            BusyError: too many wait already.
        """
        if self._free.locked() and self._waiting >= self._most:
            raise BusyError(f"{self._waiting} requests are waiting already; try again in a moment.")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
