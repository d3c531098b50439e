"""``elman curves`` on journals whose numbers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Elman = Callable[..., Any]


def run(folder: Path, name: str, accuracies: list[float]) -> Path:
    path = folder / name
    path.mkdir()
    (path / "config.json").write_text("{}")
    lines = []
    for n, value in enumerate(accuracies, 1):
        lines.append({"step": n, "tokens": 100 * n, "seconds": n / 2, "epoch": n / 4, "train_nats": 2.0})
        lines.append({**lines[-1], "valid_nats": 1 - value, "valid_accuracy": value})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [run(tmp_path, "plain", [0.3, 0.5, 0.4]), run(tmp_path, "_normed", [0.4, 0.6, 0.7])]


def test_best_and_last_of_each(elman: Elman, runs: list[Path]) -> None:
    done = elman("curves", *runs, "--key", "valid_accuracy", "--key", "valid_nats", "--over", "step", "--json")
    found = {(one["label"], one["key"]): one for one in json.loads(done.stdout)}
    assert len(found) == 4
    assert found["plain", "valid_accuracy"]["best"] == [2, 0.5]
    assert found["plain", "valid_accuracy"]["last"] == [3, 0.4]
    # a loss is best where it is lowest
    assert found["plain", "valid_nats"]["best"] == [2, 0.5]
    assert found["_normed", "valid_nats"]["best"] == pytest.approx([3, 0.3])
    assert found["_normed", "valid_accuracy"]["points"] == [[1, 0.4], [2, 0.6], [3, 0.7]]


def test_they_are_printed_and_drawn(elman: Elman, runs: list[Path], tmp_path: Path) -> None:
    done = elman("curves", *runs, "--label", "without", "--figure", tmp_path / "c.svg", "--title", "two")
    assert "without" in done.stdout
    assert "_normed" in done.stdout
    assert (tmp_path / "c.svg").stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--key", "valid_bleu"), "has no 'valid_bleu'; it measured epoch, seconds, step, tokens"),
        (("--over", "days"), "--over is 'days'"),
        (("--label", "a", "--label", "b", "--label", "c"), "3 labels are more than the 2 runs"),
        (("--figure", "c.txt"), "--figure is c.txt"),
    ],
)
def test_mistakes_are_sentences(elman: Elman, runs: list[Path], options: tuple[str, ...], words: str) -> None:
    done = elman("curves", *runs, *options)
    assert done.returncode == 2
    assert words in done.stderr
