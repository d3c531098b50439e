"""examples/cat_sat.py: the five probabilities are probabilities, rise, and multiply to the sentence's."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

CONDITIONS = [
    "P(cat | <S>)",
    "P(sat | <S>, cat)",
    "P(on | <S>, cat, sat)",
    "P(mat | <S>, cat, sat, on)",
    "P(<E> | <S>, cat, sat, on, mat)",
]


def test_the_start_token_is_never_predicted(load_example: Callable[[str], ModuleType]) -> None:
    example = load_example("cat_sat")
    vocabulary = example.vocabularies.build("words", [example.SENTENCE + "\n"])
    model = example.Model(vocabulary, torch.Generator().manual_seed(2))
    ids = torch.from_numpy(vocabulary.encode(example.SENTENCE + "\n").ids.astype("int64"))
    assert [vocabulary.symbol(int(id)) for id in ids] == ["<S>", "cat", "sat", "on", "mat", "<E>"]
    probabilities = model(ids).exp()
    assert probabilities[:, vocabulary.start].tolist() == [0.0] * 6
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))


def test_training_makes_the_sentence_likely(
    run_example: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_example("cat_sat")
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("after ")
    shown = []
    for part in (before, after):
        lines = re.findall(r"^  (P\(.*\)) +([0-9.e-]+)$", part, re.MULTILINE)
        assert [condition for condition, _ in lines] == [*CONDITIONS, "P(cat sat on mat)"]
        *five, whole = (float(value) for _, value in lines)
        assert math.prod(five) == pytest.approx(whole, rel=0.05)
        shown.append(five)
    assert all(0.05 < probability < 0.5 for probability in shown[0])
    assert all(probability > 0.95 for probability in shown[1])
    assert done.stdout.rstrip().endswith("the model writes: <S> cat sat on mat <E>")
