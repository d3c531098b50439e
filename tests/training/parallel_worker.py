"""One process of a training on separate examples; run by test_parallel.py, alone or once for each place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from elman.training.display import Display
from elman.training.epoch_task import EpochTask, plan_steps
from elman.training.evaluate import Evaluation
from elman.training.settings import Settings
from elman.training.start import Prepared, Reports, resume, start

# 21 examples by 4: the last batch of an epoch has one, so the first of two processes has none of it
COUNT, BATCH, WIDTH, LABELS = 21, 4, 6, 3


class Labelled:
    """Sequences of unequal length with a label at each step, for a network with batch normalisation or without."""

    unit = "label"

    def __init__(self, normalised: bool) -> None:
        torch.manual_seed(3)
        self.normalised = normalised
        norm: nn.Module = nn.BatchNorm1d(8) if normalised else nn.Identity()
        self.model = nn.Sequential(nn.Linear(WIDTH, 8), norm, nn.Tanh(), nn.Linear(8, LABELS))
        # a parameter that no example uses must be left alone, whatever the optimiser does with zeros
        self.model.register_parameter("idle", nn.Parameter(torch.ones(2)))
        random = np.random.default_rng(5)
        self.lengths = random.integers(1, 9, COUNT)
        self.inputs = [torch.from_numpy(random.normal(size=(n, WIDTH)).astype(np.float32)) for n in self.lengths]
        self.labels = [torch.from_numpy(random.integers(0, LABELS, n)) for n in self.lengths]

    def __len__(self) -> int:
        return COUNT

    def describe(self) -> str:
        return "labels"

    def batch(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[tuple[Tensor, Tensor], int]:
        labels = torch.cat([self.labels[row] for row in rows])
        return (torch.cat([self.inputs[row] for row in rows]), labels), len(labels)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1], reduction="sum")

    def evaluate(self) -> Evaluation:
        inputs, labels = torch.cat(self.inputs), torch.cat(self.labels)
        nats = float(functional.cross_entropy(self.model(inputs), labels))
        right = float((self.model(inputs).argmax(1) == labels).float().mean())
        return Evaluation(nats, len(labels), 0.0, scores={"accuracy": right}, criterion=-right)

    def sample(self, seed: int, length: int) -> str:
        return f"seed {seed}"


def rebuild(config: Mapping[str, Any], settings: Settings, run: Path, sources: Sequence[str] | None) -> EpochTask:
    return EpochTask(Labelled(config["model"]["normalised"]), settings)


def train(out: Path, steps: int, *, normalised: bool = False, broken: int = -1, **changes: Any) -> None:
    """Train into a new run folder, or go on with one up to a number of steps.

    Args:
        out: the run folder.
        steps: the limit.
        normalised: with batch normalisation.
        broken: the process that fails while it prepares.
        changes: of the settings.
    """
    reports = Reports(quiet=True)
    if (out / "config.json").exists():
        resume(out, lambda system: rebuild, steps=steps, reports=reports)
        return

    def prepare(settings: Settings, display: Display, seconds_left: Callable[[], float | None]) -> Prepared:
        from elman.errors import MisuseError
        from elman.training.distributed import world

        if world()[0] == broken:
            raise MisuseError("labels.tsv does not exist.")
        task = EpochTask(Labelled(normalised), settings)
        planned = plan_steps(task, settings, seconds_left)
        return Prepared("classify", task, settings, planned, {"model": {"normalised": normalised}, "data": {}})

    if changes.get("optimizer") == "LBFGS":
        changes["optimizer_options"] = {"line_search_fn": "strong_wolfe", "max_iter": 4}
    settings = Settings(
        batch=BATCH, schedule="constant", eval_every=20, steps=steps, lr=0.01, weight_decay=0.1, sample_length=1
    )
    start(out, replace(settings, **changes), reports, prepare)


if __name__ == "__main__":
    given = {name: value for name, _, value in (word.partition("=") for word in sys.argv[3:])}
    numbers = {"accumulate": int, "normalised": int, "broken": int}
    try:
        train(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            **{
                name: value if name == "optimizer" else numbers.get(name, float)(value) for name, value in given.items()
            },
        )
    except Exception as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 3))
