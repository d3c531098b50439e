"""examples/hello.py: the numbers that it shows are those of the equations, and it learns to say hello."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from types import ModuleType

import torch


def test_the_network_is_the_slides(load_example: Callable[[str], ModuleType]) -> None:
    """Hidden states and scores from the two equations, step by step."""
    example = load_example("hello")
    model = example.Model(torch.Generator().manual_seed(2))
    x = example.one_hot("hell")
    assert x.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    hidden, scores = model(x)
    h = torch.zeros(3)
    for t in range(4):
        h = torch.tanh(model.recurrence.parameter("Whh") @ h + model.recurrence.parameter("Wxh") @ x[t])
        torch.testing.assert_close(hidden[t], h)
        torch.testing.assert_close(scores[t], model.readout.weight @ h)


def test_it_learns_to_say_hello(run_example: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_example("hello")
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("\n\n")
    assert "fed h, it says: hello" not in before
    assert after.rstrip().endswith("fed h, it says: hello")
    for picture in (before, after):
        assert re.search(r"target +e +l +l +o\n", picture)
        assert re.search(r"input +h +e +l +l\n", picture)
        assert re.search(r"input layer +1 +0 +0 +0\n", picture)
    # The picture has numbers: 4 rows of scores, 3 of hidden values, 4 of inputs, each four columns wide.
    rows = [line.split()[-4:] for line in after.splitlines() if re.search(r"-?\d(\.\d+)?\s*$", line)]
    assert len(rows) == 11
    scores = torch.tensor([[float(value) for value in row] for row in rows[:4]])
    assert scores.argmax(0).tolist() == ["helo".index(character) for character in "ello"]
