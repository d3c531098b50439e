"""What Elman's training loop costs beside the same model in a bare torch loop.

    python benchmarks/loop_overhead.py --threads 2

Both train a 2 x 128 LSTM, 50 streams of 50 characters, Adam, gradient norm clipped to 1, float32, dropout 0. The bare
loop is an embedding, ``nn.LSTM``, a linear layer and nothing else: no reports, no checkpoints. Elman's loop runs as
ever, with its reports, its journal and a checkpoint a round. The two take turns; the median over the rounds is printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from elman.data.vocabulary import build
from elman.models.language import LanguageModel
from elman.runs import RunFolder
from elman.training.display import QuietDisplay
from elman.training.loop import Trainer
from elman.training.schedules import Plan
from elman.training.settings import Settings
from elman.training.systems.language.task import LanguageTask

SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:!?-'\n&$3"


class Bare:
    """The plain program that everybody writes first."""

    def __init__(self, tokens: np.ndarray, arguments: argparse.Namespace) -> None:
        torch.manual_seed(1)
        self.batch, self.unroll = arguments.batch, arguments.unroll
        length = (len(tokens) - 1) // self.batch
        data = torch.from_numpy(tokens.astype(np.int64))
        self.inputs = data[: self.batch * length].view(self.batch, length).T.contiguous()
        self.targets = data[1 : self.batch * length + 1].view(self.batch, length).T.contiguous()
        self.embedding = nn.Embedding(len(SYMBOLS), arguments.hidden)
        self.lstm = nn.LSTM(arguments.hidden, arguments.hidden, arguments.layers)
        self.readout = nn.Linear(arguments.hidden, len(SYMBOLS))
        self.parameters = [*self.embedding.parameters(), *self.lstm.parameters(), *self.readout.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=2e-3, fused=True)
        self.state: tuple[torch.Tensor, torch.Tensor] | None = None
        self.position = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.position + self.unroll > len(self.inputs):
                self.position, self.state = 0, None
            part = slice(self.position, self.position + self.unroll)
            self.position += self.unroll
            self.optimiser.zero_grad(set_to_none=True)
            hidden, state = self.lstm(self.embedding(self.inputs[part]), self.state)
            loss = functional.cross_entropy(self.readout(hidden).flatten(0, 1), self.targets[part].flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            self.state = (state[0].detach(), state[1].detach())


class Elman:
    """The same model and data through the training loop."""

    def __init__(self, tokens: np.ndarray, arguments: argparse.Namespace, folder: Path) -> None:
        torch.manual_seed(1)
        settings = Settings(
            batch=arguments.batch,
            unroll=arguments.unroll,
            optimizer="Adam",
            lr=2e-3,
            schedule="constant",
            eval_every=10**9,
            sample_length=0,
        )
        vocabulary = build("characters", [SYMBOLS])
        model = LanguageModel("lstm", vocabulary.size, arguments.hidden, arguments.layers)
        task = LanguageTask(model, vocabulary, tokens, tokens[:0], settings)
        self.trainer = Trainer(task, settings, Plan(0), RunFolder.create(folder), QuietDisplay())

    def run(self, steps: int) -> None:
        self.trainer.plan = Plan(self.trainer.progress.step + steps)
        self.trainer.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("hidden", 128),
        ("layers", 2),
        ("batch", 50),
        ("unroll", 50),
        ("steps", 60),
        ("rounds", 7),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokens = np.random.default_rng(0).integers(0, len(SYMBOLS), 1_000_000).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "bare torch loop": Bare(tokens, arguments),
            "elman": Elman(tokens, arguments, Path(folder) / "run"),
        }
        times: dict[str, list[float]] = {name: [] for name in peers}
        for number in range(arguments.rounds + 1):
            for name, peer in peers.items():
                begin = time.perf_counter()
                peer.run(arguments.steps)
                # the first round warms allocators and kernels
                if number:
                    times[name].append((time.perf_counter() - begin) / arguments.steps)
    for name, values in times.items():
        low, middle, high = (1e3 * figure(values) for figure in (min, statistics.median, max))
        print(f"{name:16} {middle:7.2f} ms a step ({low:.2f} to {high:.2f})")
    ratios = [ours / bare for ours, bare in zip(times["elman"], times["bare torch loop"], strict=True)]
    print(f"ratio            {statistics.median(ratios):7.3f} (target <= 1.15)")


if __name__ == "__main__":
    main()
