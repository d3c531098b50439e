"""What a training step of one compiled layer consists of: its calls of machine code, and what is left beside them.

    python benchmarks/cpu_parts.py --cell LSTM --hidden 128 --batch 50 --steps 50 --threads 2

The calls of a step are listed in their order: packing, the forward loop and its copies, then packing, the backward
loop, the gradients of the matrices (one product for each operand), the gradient of the input, and sums. Each has the
median of its times. The rest is Python, autograd and torch. torch.nn's layer takes turns with Elman's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

import elman.nn
from elman.compile.cpu import calls
from elman.training.machine import keep_freed_memory


@contextmanager
def watched() -> Iterator[list[float]]:
    """Within it the seconds of every call are put into the list."""
    seconds: list[float] = []
    plain = calls.parallel

    def timed(function: int, context: int, threads: int, together: bool = False) -> None:
        begun = time.perf_counter()
        plain(function, context, threads, together)
        seconds.append(time.perf_counter() - begun)

    calls.parallel = timed  # type: ignore[assignment]
    try:
        yield seconds
    finally:
        calls.parallel = plain


def step(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    layer.zero_grad(set_to_none=True)
    x.grad = None
    begun = time.perf_counter()
    layer(x)[0].backward(gradient)
    return time.perf_counter() - begun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", default="LSTM", choices=["LSTM", "GRU", "RNN"])
    for name, value in (("hidden", 128), ("batch", 50), ("steps", 50), ("threads", 2), ("repeats", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    sizes = (arguments.steps, arguments.batch, arguments.hidden)
    x, gradient = torch.randn(sizes, requires_grad=True), torch.randn(sizes)
    layers = [getattr(room, arguments.cell)(arguments.hidden, arguments.hidden) for room in (elman.nn, nn)]
    whole: list[list[float]] = [[], []]
    parts: list[list[float]] = []
    for turn in range(10 + arguments.repeats):
        for layer, times in zip(layers, whole, strict=True):
            with watched() as seconds:
                taken = step(layer, x, gradient)
            if turn >= 10:  # the first ones compile, and are recorded
                times.append(taken)
                if seconds:
                    parts.append(list(seconds))
    medians = [1e3 * statistics.median(column) for column in zip(*parts, strict=True)]
    own, others = (1e3 * statistics.median(times) for times in whole)
    print(f"{arguments.cell}, H {sizes[2]} B {sizes[1]} T {sizes[0]}, fp32, {arguments.threads} threads: milliseconds")
    for number, median in enumerate(medians, 1):
        print(f"call {number:>2}   {median:7.3f}")
    print(f"rest      {own - sum(medians):7.3f}\nin all    {own:7.3f}\ntorch     {others:7.3f}   {others / own:.2f}x")


if __name__ == "__main__":
    main()
