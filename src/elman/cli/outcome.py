"""How a training's end is told."""

from __future__ import annotations

import json
import math
from typing import Any

import typer

from elman.runs import RunFolder
from elman.training.display import clock, score_text
from elman.training.journal import finite
from elman.training.launch import leads
from elman.training.progress import Outcome

# by system what to try on a finished run
NEXT = {
    "language": ("elman sample {run} --length 500", "elman eval {run}"),
    "classify": ('elman predict {run} --text "..." --explain', "elman eval {run}"),
    "tag": ('elman predict {run} --text "..."', "elman eval {run}"),
    "image": ("elman eval {run}", "elman predict {run} IMAGE..."),
    "caption": ("elman caption {run} IMAGE", "elman eval {run} --part test"),
    "translate": ("elman translate {run}", "elman eval {run} --option beam=5"),
    "video": ("elman eval {run}", "elman watch {run} CLIP"),
    "vqa": ('elman answer {run} IMAGE "QUESTION"', "elman eval {run}"),
}


def tell(outcome: Outcome, folder: RunFolder, system: str = "language", *, quiet: bool, as_json: bool) -> None:
    """Print what a training reached and what can be done with it.

    Args:
        outcome: of the training.
        folder: the run.
        system: its name in config.json.
        quiet, as_json: print nothing, or a JSON line.

    Raises:
        typer.Exit: code 1 if it was interrupted.
    """
    if not leads():
        quiet, as_json = True, False
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
            **{f"best_{name}": value for name, value in progress.best_scores.items()},
        }
        print(json.dumps(finite(values)))
    elif not quiet:
        scores = "".join(f", {name} {score_text(value)}" for name, value in progress.best_scores.items())
        figure = (
            f"; best validation {best:.4f} nats ({best / math.log(2):.4f} bits){scores} at step {progress.best_step:,}"
            if best is not None
            else ""
        )
        print(f"{outcome.reason}: {progress.step:,} steps in {clock(progress.seconds)}{figure}")
        if outcome.reason == "interrupted":
            print(f"Go on with:  elman resume {folder.path}")
        else:
            print(f"The run is in {folder.path}. Try:")
            for line in NEXT[system]:
                print(f"  {line.format(run=folder.path)}")
    if outcome.reason == "interrupted":
        raise typer.Exit(1)
