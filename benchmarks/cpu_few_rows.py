"""What threads gain by sharing the units of a few rows instead of the rows.

    python benchmarks/cpu_few_rows.py --threads 2

Trains one layer forward and backward, in turns with rows shared only and with the compiler's own choice, and prints the
ratio of the loops over time alone, taken by the shortest of many calls, and the median ratio of whole training steps.
Whoever measures on a machine that does other things measures these: a thread that waits for another needs it to run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import OrderedDict, defaultdict
from typing import Any

import torch

import elman
from elman.compile.cpu import calls, programs

CASES = ("lstm:128:1", "lstm:128:2", "lstm:128:3", "lstm:256:1", "lstm:256:3", "gru:256:1", "gru:256:3", "rnn:128:2")


class Case:
    """One layer; ``step(how)`` trains once and notes how long the loops and the whole took."""

    def __init__(self, cell: str, hidden: int, batch: int, steps: int) -> None:
        torch.manual_seed(1)
        self.layer = elman.nn.Recurrent(cell, hidden, hidden)
        self.x = torch.randn(steps, batch, hidden, requires_grad=True)
        self.gradient = torch.randn(steps, batch, hidden)
        self.known: dict[str, Any] = defaultdict(OrderedDict)
        self.loops: dict[str, list[float]] = defaultdict(list)
        self.whole: dict[str, list[float]] = defaultdict(list)

    def step(self, how: str) -> None:
        calls._known = self.known[how]
        spent = 0.0
        loops = {program.address for program in _programs}

        def timed(function: int, ctx: int, threads: int, together: bool = False) -> None:
            nonlocal spent
            begin = time.perf_counter()
            _parallel(function, ctx, threads, together)
            spent += (time.perf_counter() - begin) * (function in loops)

        calls.parallel = timed
        programs._shares = _rows if how == "rows" else _choice
        self.layer.zero_grad(set_to_none=True)
        self.x.grad = None
        begin = time.perf_counter()
        self.layer(self.x)[0].backward(self.gradient)
        self.whole[how].append(time.perf_counter() - begin)
        self.loops[how].append(spent)


_parallel, _choice, _make = calls.parallel, programs._shares, programs._program
_programs: list[programs.Program] = []


def _rows(program: programs.Program, batch: int, units: int, threads: int, apart: bool) -> tuple[int, int]:
    return max(1, min(threads, batch)), 1


def _noted(*arguments: Any) -> programs.Program:
    _programs.append(_make(*arguments))
    return _programs[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, help="CELL:HIDDEN:BATCH")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    programs._program = _noted
    for text in arguments.cases:
        cell, hidden, batch = text.split(":")
        case = Case(cell, int(hidden), int(batch), arguments.steps)
        for number in range(arguments.repeats):
            for how in ("rows", "choice") if number % 2 else ("choice", "rows"):
                case.step(how)
        rows, choice = (min(case.loops[how][5:]) * 1e6 for how in ("rows", "choice"))
        ratio = statistics.median(a / b for a, b in zip(case.whole["rows"][5:], case.whole["choice"][5:], strict=True))
        print(f"{text:14} loops {rows:7.0f} us, {choice:7.0f} us: {rows / choice:.2f}x; a whole step {ratio:.2f}x")


if __name__ == "__main__":
    main()
