"""Made reviews: a few words decide the class, "not" turns them round, the rest is noise."""

from __future__ import annotations

import random
from pathlib import Path

GOOD, BAD = ("good", "moving", "funny", "brilliant", "warm"), ("bad", "dull", "silly", "tedious", "cold")
NOISE = ("the", "film", "is", "a", "story", "of", "two", "people", "and", "their", "house", "in", "which", "it")


def reviews(count: int, seed: int) -> list[tuple[str, str]]:
    """Labels "pos" and "neg" with their texts."""
    generator = random.Random(seed)
    made = []
    for _ in range(count):
        positive, turned = generator.random() < 0.5, generator.random() < 0.3
        word = generator.choice(GOOD if positive != turned else BAD)
        said = ["not", word] if turned else [word]
        noise = [generator.choice(NOISE) for _ in range(generator.randint(3, 9))]
        place = generator.randint(0, len(noise))
        made.append(("pos" if positive else "neg", " ".join(noise[:place] + said + noise[place:])))
    return made


def write_reviews(path: Path, made: list[tuple[str, str]]) -> str:
    """Write them as CSV, or label first for another ending."""
    if path.suffix == ".csv":
        lines = ["text,label", *(f"{text},{label}" for label, text in made)]
    else:
        lines = [f"{label} {text}" for label, text in made]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)
