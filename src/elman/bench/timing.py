"""Contenders take turns on the clock, after their numbers have been compared."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from elman.bench.contenders import Contender, Outcome
from elman.bench.memory import kept_bytes
from elman.bench.work import Job
from elman.errors import MisuseError

FEWEST, MOST = 3, 9
# seconds of a job after which no further round begins, once there were FEWEST
PATIENCE = 1.5

# The largest norm of a difference as a share of the norm. A bfloat16 has three digits and a recurrence compounds their
# errors; what computes something else is off by about 1.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.25}
# losses of the first training steps: torch's layers have two biases where one would do, so that Adam moves them twice
LOSS_TOLERANCE = {"fp32": 0.01, "bf16": 0.02}


@dataclass
class Figures:
    """What one contender reached in one job.

    Attributes:
        seconds: of a unit of work, one a round.
        backend: what Elman ran on; "" for others.
        kept: bytes kept for the backward pass; None where that was not measured.
        error: why its time does not count; "" where it does.
    """

    seconds: list[float] = field(default_factory=list)
    backend: str = ""
    kept: int | None = None
    error: str = ""

    @property
    def median(self) -> float | None:
        """Seconds of a unit; None where nothing counts."""
        return statistics.median(self.seconds) if self.seconds and not self.error else None


@dataclass
class Result:
    """A job and what each contender reached, by its name."""

    job: Job
    figures: dict[str, Figures]

    def seconds(self, name: str) -> float | None:
        """The median of a contender; None where there is none."""
        return self.figures[name].median if name in self.figures else None

    @property
    def torch_best(self) -> str | None:
        """The name of torch's fastest contender."""
        return min(
            (name for name in self.figures if name.partition(" ")[0] == "torch" and self.seconds(name) is not None),
            key=lambda name: self.seconds(name) or 0.0,
            default=None,
        )

    @property
    def reference(self) -> float | None:
        """Seconds of Elman's reference engine, which may be what "elman" ran on."""
        if self.figures["elman"].backend.startswith("reference"):
            return self.seconds("elman")
        return self.seconds("reference")

    @property
    def errors(self) -> list[str]:
        """A sentence for every contender whose time does not count."""
        return [f"{self.job}: {name}: {each.error}." for name, each in self.figures.items() if each.error]


def measure(
    job: Job,
    contenders: Sequence[Contender],
    *,
    repeats: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Compare what contenders compute, then let them take turns on the clock.

    The last one, the plain loop, says what is right. In a round every contender works once; every second round runs
    backwards, so that nobody always follows the same neighbour. The comparison has warmed everyone up.

    Args:
        job: what they do.
        contenders: who does it.
        repeats: rounds; default 3 to 9, as many as begin within one and a half seconds.
        clock: gives seconds.

    Returns:
        Times and remarks; a contender that fails or computes something else has an error and no times.

    Raises:
        MisuseError: fewer than one round.
    """
    if repeats is not None and repeats < 1:
        raise MisuseError(f"--repeats is {repeats}; it takes a whole number from 1.")
    result = Result(job, {each.name: Figures() for each in contenders})
    sound = _compare(result, contenders)
    begin = clock()
    for number in range(repeats or MOST):
        if repeats is None and number >= FEWEST and clock() - begin > PATIENCE:
            break
        for contender in sound if number % 2 == 0 else reversed(sound):
            result.figures[contender.name].seconds.append(_seconds(contender, clock) / contender.units)
    return result


def _seconds(contender: Contender, clock: Callable[[], float]) -> float:
    """One call, undisturbed by Python's collector of cycles."""
    with contender.setting.applied():
        gc.collect(0)
        gc.disable()
        try:
            begin = clock()
            contender.call()
            return clock() - begin
        finally:
            gc.enable()


def _compare(result: Result, contenders: Sequence[Contender]) -> list[Contender]:
    """Warm everyone up, note what is wrong, and return those whose numbers are right."""
    tolerance = (LOSS_TOLERANCE if result.job.work == "model" else TOLERANCE)[result.job.precision]
    right: Outcome | None = None
    sound = []
    for contender in reversed(contenders):
        figures = result.figures[contender.name]
        try:
            with contender.setting.applied():
                # first of all, since a training step changes a model
                outcome = contender.outcome() if contender.outcome else None
                contender.call()
                if contender.forward:
                    figures.kept = kept_bytes(contender.forward, contender.operands)
            figures.backend = contender.backend()
        except (RuntimeError, MisuseError) as error:
            figures.error = f"it failed: {error}".strip().rstrip(".")
            continue
        if outcome is not None and right is None:
            right = outcome
        elif outcome is not None and right is not None:
            figures.error = difference(outcome, right, tolerance)
        if not figures.error:
            sound.append(contender)
    return sound[::-1]


def difference(outcome: Outcome, right: Outcome, tolerance: float) -> str:
    """What is wrong with numbers, as a sentence without its full stop; empty if nothing is."""
    if outcome.keys() != right.keys():
        return f"it computes something else: {', '.join(sorted(outcome.keys() ^ right.keys()))} on one side only"
    for name, expected in right.items():
        share = _apart(outcome[name], expected)
        # not a number is not within the tolerance either
        if not share <= tolerance:
            return f"it computes something else: {name} differs by {share:.2g} of its size, allowed is {tolerance:g}"
    return ""


def _apart(value: Tensor, expected: Tensor) -> float:
    """|value - expected| / |expected|, by their norms."""
    if value.shape != expected.shape:
        return float("inf")
    value, expected = value.double(), expected.double()
    return float((value - expected).norm() / expected.norm().clamp_min(1e-12))
