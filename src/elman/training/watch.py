"""Somebody who runs trainings in this process and looks on: a search that ends what does not pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from elman.runs import RunFolder
from elman.training.progress import Outcome


@dataclass(frozen=True)
class Watch:
    """What is called while a training runs.

    Attributes:
        evaluated: after each evaluation, with the share of the plan that is done and the best criterion so far (None
            without a validation part); True ends the training there, as it would end at the end of its plan.
        ended: with how it ended, and the run.
        command: the command line that makes the same run, for its record.
    """

    evaluated: Callable[[float, float | None], bool]
    ended: Callable[[Outcome, RunFolder], None]
    command: str


_present: ContextVar[Watch | None] = ContextVar("watch", default=None)


def present() -> Watch | None:
    """Who looks on, if anybody does."""
    return _present.get()


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Look on at every training that is started or resumed within the block."""
    token = _present.set(watch)
    try:
        yield
    finally:
        _present.reset(token)
