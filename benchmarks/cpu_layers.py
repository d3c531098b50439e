"""One layer on the CPU, training and inference, against torch.nn and a plain loop: a table for the documentation.

    python benchmarks/cpu_layers.py --cells LSTM GRU RNN mut1 --threads 2

Each cell runs at H 128 B 50 T 50, H 256 B 64 T 128, H 512 B 64 T 128, with 4 rows, and with ragged rows. `elman bench`
measures the same with other defaults; docs/benchmarks.md says how.
"""

from __future__ import annotations

import argparse
import sys

import torch

from elman.bench.contenders import contenders
from elman.bench.report import machine, markdown
from elman.bench.timing import measure
from elman.bench.work import FEW_ROWS, LARGE, MIDDLE, RAGGED, SMALL, plan

SHAPES = (SMALL, MIDDLE, LARGE, FEW_ROWS, RAGGED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["LSTM", "GRU", "RNN", "gru", "mut1", "mut2", "mut3"])
    parser.add_argument("--work", nargs="+", default=["train", "infer"])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = []
    for shape in SHAPES:
        chosen = {"cells": arguments.cells, "works": arguments.work, "precisions": arguments.precision}
        for job in plan(shape=shape, **chosen):
            results.append(measure(job, contenders(job), repeats=arguments.repeats))
            print(job, *results[-1].errors, file=sys.stderr, flush=True)
    print(markdown(results, machine(keeps_memory=False)))


if __name__ == "__main__":
    main()
