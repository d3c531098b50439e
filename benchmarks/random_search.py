"""Random search beside a grid of the same flags, from the JSON of two finished searches, as a picture and a table.

    elman search lm input.txt --sampler grid ... --json > grid.json
    elman search lm input.txt --sampler random ... --json > random.json
    python benchmarks/random_search.py random.json grid.json --picture search.png

What is asked is Bergstra & Bengio's question (2012, figures 2 to 4): how good is the best of k trials? A search is one
draw of its order, so the trials of each are drawn again in many orders, without replacement; the line is the median
over them, the band from the 10th to the 90th percentile. Trials that failed count as trials and never are the best.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

ORDERS = 20_000
COLOURS = {"random": "tab:blue", "grid": "tab:orange"}


def values_of(search: dict[str, Any]) -> np.ndarray:
    """[N] the result of each trial; infinite where it failed."""
    results = [trial["value"] if trial["state"] == "complete" else None for trial in search["trials"]]
    return np.array([np.inf if value is None else value for value in results])


def best_so_far(values: np.ndarray, seed: int) -> np.ndarray:
    """[ORDERS, N] the best of the first k trials, in many orders."""
    random = np.random.default_rng(seed)
    orders = np.stack([random.permutation(values) for _ in range(ORDERS)])
    return np.minimum.accumulate(orders, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("random", type=Path)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--flag", default="lr", help="the one on the left of the picture")
    parser.add_argument("--near", type=float, default=0.05, help="nats above the best that are still good")
    arguments = parser.parse_args()
    searches = {"random": json.loads(arguments.random.read_text()), "grid": json.loads(arguments.grid.read_text())}
    results = {name: values_of(search) for name, search in searches.items()}
    best = min(float(values.min()) for values in results.values())
    budget = min(len(values) for values in results.values())
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, search in searches.items():
        values, curves = results[name], best_so_far(results[name], 1)
        places = [trial["point"][arguments.flag] for trial in search["trials"]]
        left.scatter(places, values, s=18, alpha=0.7, color=COLOURS[name], label=name)
        low, middle, high = np.percentile(curves, (10, 50, 90), axis=0)
        steps = np.arange(1, len(values) + 1)
        right.plot(steps, middle, color=COLOURS[name], label=name)
        right.fill_between(steps, low, high, color=COLOURS[name], alpha=0.2)
        good, failed = np.mean(values <= best + arguments.near), int(np.isinf(values).sum())
        seen = len({round(float(np.log(place)), 9) for place in places})
        print(f"{name}: {len(values)} trials, {failed} failed, {seen} values of {arguments.flag}")
        print(
            f"  best {values.min():.4f}, median {np.median(values):.4f}; {good:.0%} at most {best + arguments.near:.4f}"
        )
        for count in (budget // 3, budget):
            ends = f"{low[count - 1]:.4f} to {high[count - 1]:.4f}"
            print(f"  best of {count}: median {middle[count - 1]:.4f}, 10th to 90th percentile {ends}")
    both = [best_so_far(values, seed)[:, budget - 1] for seed, values in enumerate(results.values(), start=2)]
    ahead, level = np.mean(both[0] < both[1]), np.mean(both[0] == both[1])
    print(f"best of {budget}: random is better than the grid in {ahead:.0%} of draws, equal in {level:.0%}")
    finite = np.concatenate([values[np.isfinite(values)] for values in results.values()])
    top = float(np.percentile(finite, 90))
    left.set(xscale="log", xlabel=arguments.flag, ylabel="validation loss, nats", ylim=(best - 0.05, top))
    right.set(
        xlabel="trials", ylabel="best so far, nats", ylim=(best - 0.02, float(np.median(finite))), xlim=(1, budget)
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    main()
