"""What a person sees while a model learns: a live panel on a terminal, plain lines elsewhere, JSON lines on request."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from elman.training.journal import finite
from elman.training.launch import leads

SAMPLE_SECONDS = 20.0
SAMPLE_LINES = 8


@dataclass(frozen=True)
class Report:
    """Where a training stands.

    Attributes:
        step, total: optimiser steps taken and planned.
        seconds: of training so far.
        eta: seconds left by the plan.
        epoch: passes over the training text.
        train_nats: loss since the last report, nats a token.
        valid_nats, best_nats: latest and best loss on the validation part, if there is one.
        valid_scores: what else the latest evaluation measured.
        lr: learning rate.
        rate: tokens a second since the last report.
        unit: what a token is.
    """

    step: int
    total: int
    seconds: float
    eta: float
    epoch: float
    train_nats: float
    valid_nats: float | None
    best_nats: float | None
    lr: float
    rate: float
    unit: str
    valid_scores: Mapping[str, float] = field(default_factory=dict)


class Display(Protocol):
    """Receives what happens, in order."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *error: object) -> None: ...
    def note(self, text: str) -> None:
        """A sentence worth keeping on the screen."""

    def warn(self, text: str) -> None:
        """A sentence that must not be missed."""

    def report(self, report: Report) -> None:
        """Where the training stands."""

    def evaluation(self, report: Report, best: bool) -> None:
        """A new validation loss."""

    def sample(self, step: int, text: str) -> None:
        """A text drawn from the present weights."""


class QuietDisplay:
    """Says nothing but the warnings, on standard error."""

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def report(self, report: Report) -> None:
        pass

    def evaluation(self, report: Report, best: bool) -> None:
        pass

    def sample(self, step: int, text: str) -> None:
        pass


class SilentDisplay(QuietDisplay):
    """Says nothing at all: one of several processes speaks for the others."""

    def warn(self, text: str) -> None:
        pass


class JsonDisplay(QuietDisplay):
    """One JSON object a line on standard output: evaluations as they come, the result last."""

    def evaluation(self, report: Report, best: bool) -> None:
        scores = {f"valid_{name}": value for name, value in report.valid_scores.items()}
        self._print({"step": report.step, "train_nats": report.train_nats, "valid_nats": report.valid_nats, **scores})

    @staticmethod
    def _print(values: Mapping[str, Any]) -> None:
        print(json.dumps(finite(values)), flush=True)


class PlainDisplay(QuietDisplay):
    """A line an evaluation and a line every few seconds, for logs and pipes.

    Args:
        stream: where to write; default standard output.
        every: seconds between progress lines.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 10.0) -> None:
        self.stream = stream or sys.stdout
        self.every = every
        self._printed = -math.inf
        self._sampled = -math.inf

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def report(self, report: Report) -> None:
        if report.seconds - self._printed >= self.every:
            self._printed = report.seconds
            self.note(self._line(report))

    def evaluation(self, report: Report, best: bool) -> None:
        self._printed = report.seconds
        self.note(self._line(report) + (" *" if best else ""))

    def sample(self, step: int, text: str) -> None:
        # all samples are in the run folder; a log only needs to show that the model gets on
        if time.monotonic() - self._sampled >= SAMPLE_SECONDS:
            self._sampled = time.monotonic()
            self.note(f"--- sample at step {step} ---\n{excerpt(text)}\n---")

    @staticmethod
    def _line(report: Report) -> str:
        share = report.step / max(1, report.total)
        return (
            f"step {report.step}/{report.total} ({share:.0%})  {loss_text(report)}  lr {report.lr:.2g}  "
            f"{report.rate:,.0f} {report.unit}s/s  epoch {report.epoch:.2f}  "
            f"{clock(report.seconds)} gone, {clock(report.eta)} to go"
        )


class LiveDisplay(QuietDisplay):
    """One panel that is drawn anew in place; notes and the latest sample stay readable.

    Args:
        title: of the panel, such as the run's folder.
        console: a terminal.
    """

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.console = console
        self._report: Report | None = None
        self._sample = Text("", style="dim")
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, style="yellow")

    def report(self, report: Report) -> None:
        self._report = report
        self._draw()

    def evaluation(self, report: Report, best: bool) -> None:
        self.report(report)

    def sample(self, step: int, text: str) -> None:
        self._sample = Text(excerpt(text), style="italic", overflow="ellipsis", no_wrap=True)
        self._draw()

    def _draw(self) -> None:
        report = self._report
        if report is None:
            return
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True, ratio=1)
        grid.add_row("loss", loss_text(report))
        speed = f"{report.rate:,.0f} {report.unit}s/s   lr {report.lr:.2g}   epoch {report.epoch:.2f}"
        grid.add_row("speed", speed)
        done = report.step / max(1, report.total)
        share = f"{done:.0%} of {report.total:,} steps   {clock(report.seconds)} gone, {clock(report.eta)} to go"
        grid.add_row("time", share)
        bar = ProgressBar(total=max(1, report.total), completed=report.step)
        self._live.update(Panel(Group(grid, bar, Text(), self._sample), title=Text(self.title), title_align="left"))


def excerpt(text: str) -> str:
    """The first lines of a sample, with control characters made visible."""
    lines = "".join(c if c.isprintable() or c == "\n" else " " for c in text).splitlines()
    return "\n".join(lines[:SAMPLE_LINES])


def loss_text(report: Report) -> str:
    """Training and validation loss in nats and bits, as one short text."""
    bits = report.train_nats / math.log(2)
    text = f"train {report.train_nats:.4f} nats ({bits:.3f} bits/{report.unit})"
    if report.valid_nats is not None:
        text += f"  valid {report.valid_nats:.4f} ({report.valid_nats / math.log(2):.3f})"
    if report.best_nats is not None:
        text += f"  best {report.best_nats:.4f}"
    return text + "".join(f"  {name} {score_text(value)}" for name, value in report.valid_scores.items())


def score_text(value: float) -> str:
    """A score with as many digits as say something: 0.8123, 34.1, 128."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def choose_display(title: str, *, quiet: bool, as_json: bool) -> Display:
    """The display that suits the flags and the terminal."""
    if not leads():
        return SilentDisplay()
    if as_json:
        return JsonDisplay()
    if quiet:
        return QuietDisplay()
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(title, console)
    return PlainDisplay()
