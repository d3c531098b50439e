"""Whole models on the CPU, a training step and sampling, against torch.nn and a plain loop: a table for the pages.

    python benchmarks/cpu_models.py --cells LSTM GRU RNN mut1 --threads 2 --keep-memory

Two layers at H 128 B 50 T 50, H 256 B 64 T 128 and H 512 B 64 T 128. A training step is Elman's own loop's: embedding,
layers, softmax loss, backward, clipping, Adam. With --keep-memory the C library keeps freed memory, as `elman train`
makes it, for every contender. docs/benchmarks.md says how it is measured.
"""

from __future__ import annotations

import argparse
import sys

import torch

from elman.bench.contenders import contenders
from elman.bench.report import machine, markdown
from elman.bench.timing import measure
from elman.bench.work import LARGE, MIDDLE, SMALL, plan
from elman.training.machine import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["LSTM", "GRU", "RNN", "mut1"])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep-memory", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.keep_memory:
        keep_freed_memory()
    results = []
    for shape in (SMALL, MIDDLE, LARGE):
        chosen = {"cells": arguments.cells, "works": ["model", "sample"], "precisions": arguments.precision}
        for job in plan(shape=shape, **chosen):
            results.append(measure(job, contenders(job), repeats=arguments.repeats))
            print(job, *results[-1].errors, file=sys.stderr, flush=True)
    print(markdown(results, machine(keeps_memory=arguments.keep_memory)))


if __name__ == "__main__":
    main()
