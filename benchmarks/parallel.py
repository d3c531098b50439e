"""Two processes of one thread each beside one process of one thread and one of two, on the same training.

    python benchmarks/parallel.py input.txt --hidden 256 --layers 2

All train the same language model with the same batch. They take turns; what is compared is the time of a step between
the first quarter of a run and its end, read from its journal, so that starting and compiling do not count. The median
over the rounds is printed with the lowest and the highest, and the ratio of each round's times.

On a busy machine two processes get twice the share of one, which flatters them. There ``--processor`` says more: the
processor time of a step in all processes together, from the difference between a run and one of a quarter of its steps.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from elman.training.journal import read_metrics

# by name: processes, threads of each
KINDS = {
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 processes, 1 thread each": (2, 1),
}


def trained(arguments: argparse.Namespace, processes: int, threads: int, steps: int) -> list[dict[str, Any]]:
    """The journal of a training, a line a record."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*(command if processes > 1 else []), "-m", "elman", "train", "lm", arguments.text, "--quiet"]
        flags = {
            "out": run,
            "split": 100,
            "layers": arguments.layers,
            "hidden": arguments.hidden,
            "batch": arguments.batch,
            "unroll": arguments.unroll,
            "steps": steps,
            "eval-every": steps,
            "checkpoint-every": 2 * steps,
            "sample-length": 0,
            "threads": threads,
            "precision": arguments.precision,
            "dropout": 0,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, *command, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
        return [line for line in read_metrics(run / "metrics.jsonl") if "lr" in line]


def milliseconds(arguments: argparse.Namespace, processes: int, threads: int) -> float:
    """Of one optimiser step."""
    if arguments.processor:
        long = processor_seconds(arguments, processes, threads, arguments.steps)
        short = processor_seconds(arguments, processes, threads, arguments.steps // 4)
        return 1e3 * (long - short) / (arguments.steps - arguments.steps // 4)
    lines = trained(arguments, processes, threads, arguments.steps)
    first, last = lines[len(lines) // 4], lines[-1]
    return 1e3 * (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def processor_seconds(arguments: argparse.Namespace, processes: int, threads: int, steps: int) -> float:
    """That all processes of a training took together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    trained(arguments, processes, threads, steps)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--unroll", type=int, default=100)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="compare processor time and not time on the clock")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(arguments.rounds):
        for name, kind in KINDS.items():
            times[name].append(milliseconds(arguments, *kind))
    base = times["1 process, 1 thread"]
    shape = (
        f"{arguments.layers} x {arguments.hidden} lstm, {arguments.batch} x {arguments.unroll}, {arguments.precision}"
    )
    what = "processor time" if arguments.processor else "time"
    print(f"{shape}; {what} of a step; load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores")
    for name, values in times.items():
        ratios = [value / one for one, value in zip(base, values, strict=True)]
        print(
            f"{name:28} {statistics.median(values):8.1f} ms ({min(values):.1f} to {max(values):.1f}), "
            f"{statistics.median(ratios):.2f} of one thread ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
