"""Small classifiers of made reviews and taggers of made names, in run folders."""

from __future__ import annotations

from pathlib import Path

from training.systems.made_names import Names, write_columns
from training.systems.made_reviews import reviews, write_reviews

from elman.equations import cell
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems.parts import Sources

QUICK = Settings(steps=40, batch=16, lr=2e-2, eval_every=20, threads=1, device="cpu", sample_length=0)
GIVEN = frozenset({"batch", "lr", "precision", "limit", "eval_every", "warmup"})


def classifier(out: Path, *, pooling: str = "attention", tokens: str = "words", longest: int = 1000) -> Path:
    """A run folder of a classifier of "neg" and "pos"; of words, "good" is known and "zebra" is not."""
    from elman.training.systems.classify.data import Reading
    from elman.training.systems.classify.run import Wishes, train

    data = write_reviews(out.with_suffix(".csv"), reviews(160, 1))
    shape = {"hidden": 12, "embedding": 12, "pooling": pooling}
    wishes = Wishes(cell("gru"), shape, QUICK, GIVEN, reports=Reports(quiet=True))
    train(Sources((data,)), Reading(tokens=tokens, longest=longest), wishes, out)
    return out


def tagger(out: Path, *, entities: bool = True, characters: bool = True) -> Path:
    """A run folder of a tagger of names, or of what is written with a capital."""
    from elman.training.systems.tag.data import Reading
    from elman.training.systems.tag.run import Wishes, train

    sentences = Names().sentences(120, 1)
    if not entities:
        sentences = [
            [(word, "CAPITAL" if word[0].isupper() else "SMALL") for word, _ in sentence] for sentence in sentences
        ]
    data = write_columns(out.with_suffix(".conll"), sentences)
    shape = {"hidden": 16, "embedding": 16, "character_hidden": 8, "characters": characters, "crf": entities}
    wishes = Wishes(cell("gru"), shape, QUICK, given=GIVEN, reports=Reports(quiet=True))
    train(Sources((data,)), Reading(), wishes, out)
    return out
