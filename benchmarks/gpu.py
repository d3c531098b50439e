"""Training and sampling speed on a CUDA device: the table that `make gpu-check` prints.

    python benchmarks/gpu.py --cells lstm gru-reset-after mut1 --hidden 512

Stock cells run on cuDNN, others on the eager reference. A training step is embedding, two layers, softmax loss,
backward, clipping and AdamW; each figure is the median of several steps after warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
import torch

from elman.data.vocabulary import build
from elman.generate import generate
from elman.models.language import LanguageModel
from elman.training.optimisers import build_optimiser
from elman.training.settings import Settings
from elman.training.systems.language.task import LanguageTask

SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:!?-'\n&$3"


def step_seconds(cell: str, precision: str, arguments: argparse.Namespace) -> tuple[float, str]:
    """Median seconds of a training step, and what the recurrence ran on."""
    torch.manual_seed(1)
    settings = Settings(batch=arguments.batch, unroll=arguments.unroll, device="cuda", precision=precision)
    tokens = np.random.default_rng(0).integers(0, len(SYMBOLS), 2_000_000).astype(np.uint8)
    model = LanguageModel(cell, len(SYMBOLS), arguments.hidden, 2).to("cuda")
    task = LanguageTask(model, build("characters", [SYMBOLS]), tokens, tokens[:0], settings)
    optimiser = build_optimiser(model, "AdamW", 1e-3)
    times = []
    for number in range(3 + arguments.steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        task.advance()
        task.gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        torch.cuda.synchronize()
        if number >= 3:
            times.append(time.perf_counter() - begin)
    return statistics.median(times), model.backend_used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["rnn", "lstm", "gru-reset-after", "gru", "mut1"])
    for name, default in (("hidden", 512), ("batch", 64), ("unroll", 128), ("steps", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("No CUDA device is visible to torch, so there is nothing to measure.")
    shape = f"2 x {arguments.hidden}, B {arguments.batch}, T {arguments.unroll}"
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {shape}")
    print("| cell | fp32 step | bf16 step | bf16 characters/s | ran on |")
    print("|---|---|---|---|---|")
    for cell in arguments.cells:
        fp32, ran_on = step_seconds(cell, "fp32", arguments)
        bf16, _ = step_seconds(cell, "bf16", arguments)
        rate = arguments.batch * arguments.unroll / bf16
        print(
            f"| {cell} | {1e3 * fp32:.1f} ms | {1e3 * bf16:.1f} ms | {rate:,.0f} | {ran_on.split(':')[0]} |",
            flush=True,
        )
    model = LanguageModel("lstm", len(SYMBOLS), arguments.hidden, 2).to("cuda").eval()
    begin = time.perf_counter()
    generate(model, build("characters", [SYMBOLS]), length=200, seed=1)
    microseconds = 1e6 * (time.perf_counter() - begin) / 200
    print(f"\nsampling, LSTM 2 x {arguments.hidden}, one text: {microseconds:.0f} us a character")


if __name__ == "__main__":
    main()
