"""How much one inspector takes on at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        body: bytes of a request.
        text: characters of a text that is recorded.
        prompt: characters of a prompt, and of a text in the playground.
        length: symbols of one sampled text.
        queue: jobs that wait for the one that runs.
        streams: texts that are sampled at the same time.
        body_seconds: within which a request's body must have arrived.
        grace: seconds after which a job that nobody watches any more is cancelled.
        heartbeat: seconds between two signs of life on an event stream that has nothing to tell.
    """

    body: int = 8 * 2**20
    text: int = 4_000_000
    prompt: int = 10_000
    length: int = 20_000
    queue: int = 8
    streams: int = 2
    body_seconds: float = 30.0
    grace: float = 5.0
    heartbeat: float = 15.0
