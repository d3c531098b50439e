"""How fast texts are drawn with weights in float32, bfloat16 and 8 bits, and what that costs in nats.

    python benchmarks/cpu_precisions.py
    python benchmarks/cpu_precisions.py --run runs/input --text input.txt --symbols 30000

The first draws from models of random weights, one text, on one thread; the precisions take turns. The second scores the
end of a text with a trained run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from elman.compile.cpu.sampler import Sampler
from elman.compile.cpu.stepper import Stepper
from elman.compile.cpu.target import host_target
from elman.models.language import LanguageModel
from elman.runs.model import load

CASES = (("lstm", 128), ("lstm", 256), ("lstm", 512), ("gru-reset-after", 512))


def precisions() -> tuple[str, ...]:
    return ("fp32", "bf16", "int8") if host_target().bf16 else ("fp32", "int8")


def sampler(model: LanguageModel, precision: str) -> tuple[Sampler, Stepper]:
    names = (*model.recurrence.matrices, *model.recurrence.vectors)
    parameters = [{name: model.recurrent.parameter(name, layer) for name in names} for layer in range(model.layers)]
    stepper = Stepper(model.recurrence, parameters, model.embedding.weight, model.hidden, 1, precision)
    found = Sampler(
        stepper.layers,
        model.embedding.weight if model.tied else model.readout_weight,
        model.readout_bias,
        stepper.tokens,
        stepper.stride,
        states=stepper.states,
        format=precision,
    )
    zero = torch.zeros(model.layers, 1, model.hidden)
    stepper.put(dict.fromkeys(model.recurrence.states, zero), found.parity)
    found.scores[:] = 0.0
    return found, stepper


def speed(symbols: int, repeats: int) -> None:
    uniforms = np.random.default_rng(0).random((symbols, 1))
    for cell, hidden in CASES:
        torch.manual_seed(0)
        model = LanguageModel(cell, 65, hidden, 2).eval()
        made = {precision: sampler(model, precision) for precision in precisions()}
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(repeats):
            for precision, (one, _) in made.items():
                begin = time.perf_counter()
                one.run(uniforms)
                times[precision].append((time.perf_counter() - begin) / symbols * 1e6)
        for precision, own in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["fp32"], own, strict=True))
            print(f"2 x {hidden} {cell:16} {precision}: least {min(own):6.1f} us a symbol, {ratio:.2f}x fp32")


def quality(run: Path, text: Path, symbols: int) -> None:
    loaded = load(run)
    ids = np.asarray(loaded.vocabulary.encode(text.read_text(encoding="utf-8")[-2 * symbols :]).ids)[:symbols]
    for precision in precisions():
        # the stepper owns the memory that the sampler reads
        found, stepper = sampler(loaded.model.eval(), precision)
        logprobs, _ = found.score(ids.astype(np.int64)[:, None])
        del stepper
        print(f"{run.name} {precision}: {-logprobs[1:].mean():.4f} nats a symbol")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--symbols", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.run is not None and arguments.text is not None:
        quality(arguments.run, arguments.text, arguments.symbols)
    else:
        speed(arguments.symbols, arguments.repeats)


if __name__ == "__main__":
    main()
