"""How long Elman and plain torch take until the same language model reaches the same validation loss.

    python benchmarks/cpu_time_to_loss.py ../shared/data/text/tinyshakespeare.txt --target 1.535

Both train the same layers (LSTM by default) from the same weights on the same batches with the same Adam, rate schedule
and clipping, in bfloat16 under autocast or in float32. torch has its best settings here: the fused Adam and memory that
the C library keeps. They take turns, a round of steps each; only training counts as time. The last tenth of the text is
the validation part, read whole in 32 streams after every round, outside of the time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from elman.bench.counterpart import counterpart
from elman.bench.models import PlainModel, detached
from elman.data.batches import Streams
from elman.data.vocabulary import build
from elman.models.language import LanguageModel
from elman.training.machine import prepare

STREAMS, BLOCK = 32, 256


class Learner:
    """A model on its way: the loop that everybody writes, with its own clock."""

    def __init__(self, name: str, model: nn.Module, tokens: np.ndarray, arguments: argparse.Namespace) -> None:
        self.name, self.model, self.arguments = name, model, arguments
        self.streams = Streams(tokens, arguments.batch, arguments.unroll)
        self.parameters = list(model.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=arguments.rate, fused=True)
        self.state: Any = None
        self.done, self.seconds = 0, 0.0
        self.reached: float | None = None

    def run(self, steps: int) -> None:
        """Train; a cosine from the first rate to a hundredth of it."""
        begin = time.perf_counter()
        for _ in range(steps):
            share = 0.5 + 0.5 * math.cos(math.pi * self.done / self.arguments.steps)
            self.optimiser.param_groups[0]["lr"] = self.arguments.rate * (0.01 + 0.99 * share)
            inputs, targets, fresh = self.streams.next()
            self.optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.arguments.precision == "bf16"):
                scores, state = self.model(inputs, None if fresh else self.state)
            loss = functional.cross_entropy(scores.float().flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            self.state = detached(state)
            self.done += 1
        self.seconds += time.perf_counter() - begin

    @torch.no_grad()
    def nats(self, tokens: np.ndarray) -> float:
        """The mean loss a symbol over a text in float32."""
        length = (len(tokens) - 1) // STREAMS
        data = torch.from_numpy(tokens[: STREAMS * length + 1].astype(np.int64))
        inputs, targets = (data[i : STREAMS * length + i].view(STREAMS, length).T for i in (0, 1))
        total, state = 0.0, None
        for at in range(0, length, BLOCK):
            part = slice(at, at + BLOCK)
            scores, state = self.model(inputs[part], state)
            total += float(functional.cross_entropy(scores.flatten(0, 1), targets[part].flatten(), reduction="sum"))
        return total / (STREAMS * length)


def main() -> None:
    """Read the text, train both, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--target", type=float, default=1.535, help="nats a character on the validation part")
    parser.add_argument("--cell", default="lstm", choices=("lstm", "gru-reset-after", "rnn"))
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--unroll", type=int, default=100)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--steps", type=int, default=1500, help="of the schedule; both stop there")
    parser.add_argument("--round", type=int, default=50, help="steps a turn")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare("cpu", arguments.threads)
    text = arguments.text.read_text(encoding="utf-8")
    vocabulary = build("characters", [text])
    tokens = vocabulary.encode(text).ids
    cut = len(tokens) * 9 // 10
    torch.manual_seed(1)
    model = LanguageModel(arguments.cell, vocabulary.size, arguments.hidden, 2)
    layers = counterpart(model.recurrent)
    assert layers is not None  # each of the choices has one
    plain = PlainModel(model, layers)
    learners = [Learner("elman", model, tokens[:cut], arguments), Learner("torch", plain, tokens[:cut], arguments)]
    for done in range(arguments.round, arguments.steps + 1, arguments.round):
        for learner in learners if done // arguments.round % 2 else reversed(learners):
            learner.run(arguments.round)
            nats = learner.nats(tokens[cut:])
            if learner.reached is None and nats <= arguments.target:
                learner.reached = learner.seconds
            print(f"{learner.name} step {done}: {learner.seconds:.1f} s, {nats:.4f} nats", file=sys.stderr, flush=True)
        if all(learner.reached is not None for learner in learners):
            break
    result: dict[str, Any] = {
        learner.name: {"seconds_a_step": learner.seconds / learner.done, "seconds_to_target": learner.reached}
        for learner in learners
    }
    result |= {"target": arguments.target, "threads": torch.get_num_threads(), "torch": torch.__version__}
    result |= {"backend": model.backend_used, "precision": arguments.precision}
    times = [learner.reached for learner in learners]
    result["share_of_torch"] = None if None in times else times[0] / times[1]  # type: ignore[operator]
    print(json.dumps(result) if arguments.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
