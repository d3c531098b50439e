"""How a training's end is told."""

from __future__ import annotations

import json
import math
from typing import Any

import typer

from elman.runs import RunFolder
from elman.training.display import clock
from elman.training.journal import finite
from elman.training.progress import Outcome


def tell(outcome: Outcome, folder: RunFolder, *, quiet: bool, as_json: bool) -> None:
    """Print what a training reached and what can be done with it.

    Raises:
        typer.Exit: code 1 if it was interrupted.
    """
    progress = outcome.progress
    best = progress.best_nats
    if as_json:
        values: dict[str, Any] = {
            "run": str(folder.path),
            "reason": outcome.reason,
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "train_nats": progress.train_nats,
            "best_nats": best,
            "best_step": progress.best_step,
        }
        print(json.dumps(finite(values)))
    elif not quiet:
        figure = (
            f"; best validation {best:.4f} nats ({best / math.log(2):.4f} bits) at step {progress.best_step:,}"
            if best
            else ""
        )
        print(f"{outcome.reason}: {progress.step:,} steps in {clock(progress.seconds)}{figure}")
        if outcome.reason == "interrupted":
            print(f"Go on with:  elman resume {folder.path}")
        else:
            print(f"The run is in {folder.path}. Try:")
            print(f"  elman sample {folder.path} --length 500")
            print(f"  elman eval {folder.path}")
    if outcome.reason == "interrupted":
        raise typer.Exit(1)
