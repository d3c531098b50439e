"""Made newspaper sentences with names of persons, places and companies, in columns; the test part has names of its own.

A name alone does not say what it is: surnames make companies ("Torne & Lodar"), given names make places ("Saint Mila"),
and some words are both. What decides stands in the sentence, before the name or behind it.
"""

from __future__ import annotations

import random
from pathlib import Path

SYLLABLES = ("ka", "mi", "to", "ra", "ne", "lo", "vi", "su", "den", "bar", "tal", "mor", "ash", "ren", "gil", "os")
GIVEN_ENDS, SUR_ENDS, PLACE_ENDS = ("a", "o", "y", "e"), ("son", "ez", "ski", "man", "r"), ("ville", "burg", "ton", "r")


def words(generator: random.Random, count: int, ends: tuple[str, ...]) -> list[str]:
    """Different made names."""
    found: set[str] = set()
    while len(found) < count:
        stem = "".join(generator.choice(SYLLABLES) for _ in range(generator.randint(1, 3)))
        found.add(stem.capitalize() + generator.choice(ends))
    return sorted(found)


class Names:
    """Draws sentences.

    Args:
        seed: of the names and of the division in those of training and those that only the test has.
    """

    def __init__(self, seed: int = 0) -> None:
        generator = random.Random(seed)
        self.pools = []
        for ends in (GIVEN_ENDS, SUR_ENDS, PLACE_ENDS):
            names = words(generator, 240, ends)
            generator.shuffle(names)
            self.pools.append(names)

    def sentences(self, count: int, seed: int, unseen: float = 0.0) -> list[list[tuple[str, str]]]:
        """Sentences of words with labels in IOB2.

        Args:
            count: how many.
            seed: of this draw.
            unseen: share of the names that training never has.
        """
        generator = random.Random(seed)

        def name(pool: int) -> str:
            names = self.pools[pool]
            return generator.choice(names[120:] if generator.random() < unseen else names[:120])

        def entity(kind: str, text: str) -> list[tuple[str, str]]:
            parts = text.split()
            return [(part, f"{'I' if place else 'B'}-{kind}") for place, part in enumerate(parts)]

        def person() -> list[tuple[str, str]]:
            form = generator.choice(("{g} {s}", "{s}", "{g} {g2} {s}"))
            return entity("PER", form.format(g=name(0), g2=name(0), s=name(1)))

        def place() -> list[tuple[str, str]]:
            form = generator.choice(("{p}", "{p}", "New {p}", "Saint {g}", "{s} {p}"))
            return entity("LOC", form.format(p=name(2), g=name(0), s=name(1)))

        def company() -> list[tuple[str, str]]:
            form = generator.choice(("{s} & {s2}", "{s} {s2} Holdings", "Bank of {p}", "{s} {p} Lines"))
            return entity("ORG", form.format(s=name(1), s2=name(1), p=name(2)))

        made = []
        for _ in range(count):
            pattern = generator.choice(
                (
                    "yesterday {per} flew to {loc} .",
                    "shares of {org} rose after {per} left .",
                    "{per} , who was born in {loc} , joined {org} .",
                    "{org} will build a plant near {loc} .",
                    "the mayor of {loc} , {per} , resigned .",
                    "{loc} is larger than {loc} .",
                    "nobody in the village knew the answer .",
                    "{per} and {per} met in {loc} last week .",
                    "{org} sued {org} over the sale .",
                )
            )
            sentence: list[tuple[str, str]] = []
            for word in pattern.split():
                draw = {"{per}": person, "{loc}": place, "{org}": company}.get(word)
                sentence += [(word, "O")] if draw is None else draw()
            made.append(sentence)
        return made


def write_columns(path: Path, sentences: list[list[tuple[str, str]]]) -> str:
    """Write sentences as a word and a label a line."""
    text = "\n\n".join("\n".join(f"{word} {label}" for word, label in sentence) for sentence in sentences)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)
