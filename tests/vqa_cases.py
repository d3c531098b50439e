"""Small made-up questions about pictures of one square."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
SIDE = 16


def write_questions(root: Path, train: int = 48, test: int = 18, seed: int = 0) -> Path:
    """Squares at random places in easy-VQA's layout; of each its colour and its side of the picture."""
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(seed)
    for part, count in (("train", train), ("test", test)):
        folder = root / part / "images"
        folder.mkdir(parents=True)
        rows = []
        for number in range(count):
            name = list(COLOURS)[number % 3]
            pixels = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
            top, left = generator.integers(0, SIDE - 6), generator.choice([0, 1, 9, 10])
            pixels[top : top + 6, left : left + 6] = COLOURS[name]
            image.fromarray(pixels).save(folder / f"{number}.png")
            rows += [
                ["what color is the square?", name, number],
                ["on which side is it?", "left" if left < 5 else "right", number],
            ]
        (root / part / "questions.json").write_text(json.dumps(rows))
    return root
