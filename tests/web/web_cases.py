"""What the tests of the inspector share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

BASE = "http://127.0.0.1:8765"


@dataclass(frozen=True)
class Ended:
    """The events of a job, to its end."""

    events: list[tuple[str, dict[str, Any]]]

    @property
    def kind(self) -> str:
        return self.events[-1][0]

    @property
    def result(self) -> Any:
        assert self.kind == "done", self.events[-1]
        return self.events[-1][1]["result"]


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream that has ended."""
    events = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            assert [line.partition(": ")[0] for line in lines] == ["event", "data"]
            events.append((lines[0].partition(": ")[2], json.loads(lines[1].partition(": ")[2])))
    return events


def run_async(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: a browser that other tests drive keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, scenario).result()
