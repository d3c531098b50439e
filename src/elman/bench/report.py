"""What was measured as a table and as JSON."""

from __future__ import annotations

import datetime
import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from elman.bench.peak import peak_gflops
from elman.bench.timing import Figures, Result
from elman.bench.work import PRECISIONS, WORKS
from elman.training.machine import versions


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        cpu: the processor's name.
        threads: torch's and Elman's.
        peak: by precision the measured GFLOP/s of multiply-adds in registers; None where that cannot be measured.
        keeps_memory: whether the C library keeps freed memory, as `elman train` makes it.
        date: when, in UTC.
        versions: of Elman, torch, Python and the platform.
    """

    cpu: str
    threads: int
    peak: dict[str, float | None]
    keeps_memory: bool
    date: str
    versions: dict[str, str]

    def __str__(self) -> str:
        peaks = ", ".join(f"{value:,.0f} {name}" for name, value in self.peak.items() if value) or "not measured"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.cpu}, {threads}, torch {self.versions['torch']}; peak GFLOP/s: {peaks}"


def machine(*, keeps_memory: bool) -> Machine:
    """Describe this machine, and measure its peak."""
    threads = torch.get_num_threads()
    return Machine(
        cpu=_cpu(),
        threads=threads,
        peak={precision: peak_gflops(precision, threads) for precision in PRECISIONS},
        keeps_memory=keeps_memory,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unknown CPU"


# ---------------------------------------------------------------- figures


def gflops(result: Result, seconds: float | None) -> float | None:
    """GFLOP/s of a unit that takes so long."""
    return result.job.flops / seconds / 1e9 if seconds else None


def share_of_peak(result: Result, rate: float | None, machine: Machine) -> float | None:
    """A rate as a share of the peak of the job's precision, of float32 where the machine has no other."""
    peak = machine.peak.get(result.job.precision) or machine.peak.get("fp32")
    return rate / peak if rate and peak else None


def ratios(result: Result, lstm: Result | None = None) -> dict[str, float | None]:
    """How many times longer others take than Elman; None where there is nothing to compare.

    Args:
        result: of a job.
        lstm: of Elman's LSTM at the same work, size and precision.

    Returns:
        By "torch" (as it comes), "torch_best", "eager", "reference"; and "lstm_per_flop", Elman's time for equal
        FLOPs as a multiple of what its LSTM takes.
    """
    ours = result.seconds("elman")
    best = result.torch_best
    others = {
        "torch": result.seconds("torch"),
        "torch_best": result.seconds(best) if best else None,
        "eager": result.seconds("eager"),
        "reference": result.reference,
    }
    found = {name: seconds / ours if seconds and ours else None for name, seconds in others.items()}
    rate = gflops(result, ours)
    standard = gflops(lstm, lstm.seconds("elman")) if lstm else None
    return {**found, "lstm_per_flop": standard / rate if standard and rate else None}


def lstm_beside(result: Result, results: Iterable[Result]) -> Result | None:
    """The result of the LSTM at the same work, size and precision."""
    group = _group(result)
    return next((each for each in results if each.job.cell in ("LSTM", "lstm") and _group(each) == group), None)


def _group(result: Result) -> tuple[object, ...]:
    job = result.job
    return job.work, job.shape, job.precision


def groups(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Results that belong together: a heading, and the results at this work, size and precision."""
    found = []
    for _, members in itertools.groupby(results, _group):
        own = list(members)
        job = own[0].job
        found.append((f"{job.work}, {job.shape}, {job.precision}: {WORKS[job.work]}", own))
    return found


# ---------------------------------------------------------------- JSON


def to_json(results: Sequence[Result], machine: Machine, *, interrupted: bool) -> dict[str, Any]:
    """Everything that was measured, as JSON values; docs/benchmarks.md says what each means."""
    return {
        "machine": asdict(machine),
        "interrupted": interrupted,
        "results": [_result(each, results, machine) for each in results],
    }


def _result(result: Result, results: Sequence[Result], machine: Machine) -> dict[str, Any]:
    job = result.job
    return {
        "cell": job.cell,
        "work": job.work,
        "precision": job.precision,
        "shape": {**asdict(job.shape), "layers": job.layers, "tokens": job.shape.tokens},
        "flops": job.flops,
        "ratios": ratios(result, lstm_beside(result, results)),
        "torch_best": result.torch_best,
        "contenders": {name: _figures(result, each, machine) for name, each in result.figures.items()},
    }


def _figures(result: Result, figures: Figures, machine: Machine) -> dict[str, Any]:
    times = [1e3 * each for each in figures.seconds]
    rate = gflops(result, figures.median)
    quarters = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else None
    return {
        "milliseconds": statistics.median(times) if times else None,
        "least": min(times, default=None),
        "most": max(times, default=None),
        "spread": quarters[2] - quarters[0] if quarters else None,
        "repeats": len(times),
        "gflops": rate,
        "share_of_peak": share_of_peak(result, rate, machine),
        "kept_bytes": figures.kept,
        "backend": figures.backend,
        "error": figures.error,
    }


# ---------------------------------------------------------------- tables


def tables(results: Sequence[Result], machine: Machine) -> list[tuple[str, Table]]:
    """Headings and tables by work, size and precision, a line a cell; "2.00x" says that Elman is twice as fast."""
    made = []
    for heading, members in groups(results):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        lines = [_line(each, results, machine) for each in members]
        # a column that says nothing is left out
        names = [name for name in lines[0] if any(line[name] for line in lines)]
        for name in names:
            table.add_column(name, justify="left" if name in ("cell", "ran on") else "right", no_wrap=True)
        for line in lines:
            table.add_row(*(line[name] for name in names))
        made.append((heading, table))
    return made


def markdown(results: Sequence[Result], machine: Machine) -> str:
    """The machine and one table of everything, for a page of documentation."""
    lines = [{"work": groups([each])[0][0].partition(":")[0], **_line(each, results, machine)} for each in results]
    names = ["cell", "work", *(name for name in lines[0] if name not in ("cell", "work"))] if lines else []
    rows = [names, ["---"] * len(names), *([line[name] for name in names] for line in lines)]
    return "\n".join([str(machine), "", *("| " + " | ".join(row) + " |" for row in rows)])


def _line(result: Result, results: Sequence[Result], machine: Machine) -> dict[str, str]:
    """What stands in each column."""
    ours = result.figures["elman"]
    by_name = ratios(result, lstm_beside(result, results))
    rate = gflops(result, ours.median)
    share = share_of_peak(result, rate, machine)
    kept = [each.kept for name in ("elman", "torch") if (each := result.figures.get(name)) and each.kept is not None]
    return {
        "cell": result.job.cell,
        "Elman": duration(ours.median) or "wrong",
        "torch": _times(by_name["torch"]),
        "best": _times(by_name["torch_best"]),
        "eager": _times(by_name["eager"]),
        "ran on": ours.backend.partition(" ")[0],
        "GFLOP/s": f"{rate:,.1f}" if rate else "",
        "peak": f"{100 * share:.0f} %" if share else "",
        "LSTM": _times(by_name["lstm_per_flop"]),
        "kept MB": " / ".join(f"{count / 1e6:.1f}" for count in kept),
    }


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}x" if ratio else ""


def duration(seconds: float | None) -> str:
    """Seconds for people: 132 us, 4.21 ms, 1.35 s."""
    if seconds is None:
        return ""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale or unit == "us":
            return f"{seconds / scale:.3g} {unit}"
    raise AssertionError("the last unit takes everything")
