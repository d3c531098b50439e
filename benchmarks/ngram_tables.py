"""n-gram figures on real texts: nats a character, time and peak memory, beside the figures to compare with.

    python benchmarks/ngram_tables.py --shakespeare tinyshakespeare.txt --war-and-peace war_and_peace.txt

Tiny Shakespeare is split 90/10 (train, validation), the others 80/10/10 (train, validation, test); the last
part is scored, and nothing of the middle one is used. Each row runs in a process of its own, so that its peak
memory is its own; about 250 MB of it are Python, NumPy and torch. Counting has no randomness, so there is no
seed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elman.models.ngram import train_ngram


@dataclass(frozen=True)
class Row:
    """One model to train: its text, its order, and the figure to compare with, if there is one."""

    text: str
    order: int
    target: float | None = None
    estimator: str = "kneser-ney"
    min_counts: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Figures:
    """What was measured for a row: nats a character, share of impossible ones, time, n-grams and memory."""

    nats: float
    impossible: float
    train_seconds: float
    score_seconds: float
    millions: float
    table_megabytes: float
    peak_megabytes: float


SPLITS = {"shakespeare": (0.9, 0.9), "war-and-peace": (0.8, 0.9), "linux": (0.8, 0.9)}

COLUMNS = [
    "text",
    "order",
    "estimator",
    "target",
    "reached",
    "train s",
    "score s",
    "million n-grams",
    "tables MB",
    "peak MB",
]

ROWS = [
    Row("shakespeare", 2, 2.4835),
    Row("shakespeare", 3, 2.0381),
    Row("shakespeare", 4, 1.7190),
    Row("shakespeare", 5, 1.5611),
    Row("shakespeare", 6, 1.5226),
    Row("shakespeare", 7, 1.5165),
    Row("shakespeare", 8, 1.5192),
    Row("shakespeare", 10),
    Row("shakespeare", 10, estimator="maximum-likelihood"),
    Row("war-and-peace", 2, 2.4388),
    Row("war-and-peace", 4, 1.5689),
    Row("war-and-peace", 6, 1.2895),
    Row("war-and-peace", 8, 1.2649),
    Row("war-and-peace", 20),
    Row("linux", 2),
    Row("linux", 4),
    Row("linux", 6),
    Row("linux", 8),
    Row("linux", 10),
    Row("linux", 20),
    Row("linux", 20, min_counts=(1, 1, 1, 1, 1, 1, 2)),
    Row("linux", 20, estimator="maximum-likelihood"),
]


def measure(row: Row, path: Path) -> Figures:
    """Train the model of a row and score the held-out end of its text."""
    characters = np.frombuffer(path.read_bytes().decode("utf-8").encode("utf-32-le"), np.uint32)
    symbols = np.unique(characters)
    tokens = np.searchsorted(symbols, characters).astype(np.uint16)
    end, start = (int(len(tokens) * share) for share in SPLITS[row.text])
    began = time.perf_counter()
    model = train_ngram(tokens[:end], len(symbols), row.order, row.estimator, min_counts=row.min_counts)
    trained = time.perf_counter()
    found = model.evaluate(tokens[start:])
    scored = time.perf_counter()
    return Figures(
        nats=found.nats,
        impossible=found.impossible / found.tokens,
        train_seconds=trained - began,
        score_seconds=scored - trained,
        millions=sum(entry.kept for entry in model.report) / 1e6,
        table_megabytes=model.memory() / 2**20,
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    )


def line(row: Row, figures: Figures) -> str:
    """A row of the table in Markdown."""
    estimator = "ML" if row.estimator == "maximum-likelihood" else "KN"
    if len(row.min_counts) > 1:
        estimator += f", {len(row.min_counts)}-grams and longer from {row.min_counts[-1]} occurrences"
    nats = f"{figures.nats:.4f}"
    if figures.impossible:
        nats += f" ({figures.impossible:.1%} impossible)"
    cells = [
        row.text,
        str(row.order),
        estimator,
        f"{row.target:.4f}" if row.target else "",
        nats,
        f"{figures.train_seconds:.1f}",
        f"{figures.score_seconds:.2f}",
        f"{figures.millions:.2f}",
        f"{figures.table_megabytes:.0f}",
        f"{figures.peak_megabytes:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure every row whose text was given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in SPLITS:
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    paths = {name: path for name in SPLITS if (path := getattr(parser.parse_args(), name.replace("-", "_")))}
    if not paths:
        parser.error("give at least one text")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        for row in ROWS:
            if row.text in paths:
                print(line(row, processes.submit(measure, row, paths[row.text]).result()), flush=True)


if __name__ == "__main__":
    main()
