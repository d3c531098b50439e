"""A table of recurrences on texts: test loss of each cell at one width, after the same number of passes.

    python benchmarks/recurrence_table.py war_and_peace.txt linux_1_0.txt --epochs 5 --out runs/table

Every row is a run of `elman train lm` in the folder of --out. Stopped at any moment and started again, the command goes
on where it was: finished rows are only read, a started one is resumed. The table is printed as Markdown and stored as
JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CELLS = ("rnn", "lstm", "gru", "gru-reset-after", "mut1", "mut2", "mut3")


def elman(*arguments: object) -> str:
    """Run the command line; a failure ends the program with its sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "elman", *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def row(text: str, cell: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One trained and measured run."""
    run = arguments.out / f"{Path(text).stem}-{cell}-{arguments.hidden}"
    result = run / "test.json"
    if result.exists():
        return json.loads(result.read_text())
    if (run / "config.json").exists():
        elman("resume", run, "--quiet", "--threads", arguments.threads)
    else:
        elman(
            "train", "lm", text, "--out", run, "--cell", cell, "--split", "80/10/10", "--dropout", 0, "--quiet",
            "--layers", arguments.layers, "--hidden", arguments.hidden, "--epochs", arguments.epochs,
            "--batch", arguments.batch, "--unroll", arguments.unroll, "--lr", arguments.lr, "--seed", arguments.seed,
            "--threads", arguments.threads,
        )  # fmt: skip
    measuring = ["--part", "test", "--streams", 16, "--threads", arguments.threads, "--no-ngrams", "--json"]
    values = json.loads(elman("eval", run, *measuring))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values |= {
        "text": Path(text).name,
        "cell": cell,
        "training_seconds": metrics[-1]["seconds"],
        "run": str(run),
    }
    result.write_text(json.dumps(values) + "\n")
    return values


def ngram_row(text: str, order: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """A Kneser-Ney model of the same training part, as the line to beat."""
    run = arguments.out / f"{Path(text).stem}-ngram-{order}"
    if not (run / "config.json").exists():
        elman("train", "ngram", text, "--out", run, "--order", order, "--split", "80/10/10", "--quiet")
    values = json.loads(elman("eval", run, "--part", "test", "--no-ngrams", "--json"))
    seconds = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    return values | {
        "text": Path(text).name,
        "cell": f"{order}-gram, Kneser-Ney",
        "training_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/table"))
    parser.add_argument("--cells", nargs="+", default=list(CELLS))
    parser.add_argument("--orders", nargs="*", type=int, default=[6, 8])
    for name, default in (("hidden", 128), ("layers", 1), ("batch", 100), ("unroll", 100), ("seed", 1), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--lr", type=float, default=4e-3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for text in arguments.texts:
        rows += [ngram_row(text, order, arguments) for order in arguments.orders]
        for cell in arguments.cells:
            rows.append(row(text, cell, arguments))
            print(f"{rows[-1]['text']} {cell}: {rows[-1]['nats']:.4f}", file=sys.stderr, flush=True)
    (arguments.out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    print("| text | model | test nats/character | bits | training |")
    print("|---|---|---|---|---|")
    for values in rows:
        minutes = f"{values['training_seconds'] / 60:.1f} min"
        print(f"| {values['text']} | {values['cell']} | {values['nats']:.4f} | {values['bits']:.4f} | {minutes} |")


if __name__ == "__main__":
    main()
