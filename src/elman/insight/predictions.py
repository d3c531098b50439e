"""What a classifier or a tagger says of new texts, as ``elman predict`` and the inspector tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.labelled import token_ids, unknown_id
from elman.insight.word_weights import Explained, explain, places
from elman.metrics.classification import softmax
from elman.metrics.entities import entities
from elman.runs import LoadedRun
from elman.training.systems.classify.data import Reading
from elman.training.systems.classify.examples import scores_of, temperature_of
from elman.training.systems.parts import names_of, options_of
from elman.training.systems.tag.run import Decoder, label_sentences


@dataclass(frozen=True)
class Classified:
    """A text and what it was taken for.

    Attributes:
        text: as given.
        classes: [K] names.
        probabilities: [K], calibrated.
        explained: what its tokens did; None where that was not asked for.
        places: [T] where these tokens stand in the text, as :func:`elman.insight.word_weights.places` says.
    """

    text: str
    classes: Sequence[str]
    probabilities: NDArray[np.float64]
    explained: Explained | None = None
    places: Sequence[tuple[int, int]] = ()

    @property
    def order(self) -> list[int]:
        """[K] numbers of the classes, the likeliest first."""
        return np.argsort(-self.probabilities, kind="stable").tolist()

    def entries(self) -> dict[str, Any]:
        """For JSON: text, class, probability, probabilities by class (the likeliest first); if explained, its words
        and how many tokens beyond them were not read."""
        order = self.order
        told: dict[str, Any] = {
            "text": self.text,
            "class": self.classes[order[0]],
            "probability": float(self.probabilities[order[0]]),
            "probabilities": {self.classes[number]: float(self.probabilities[number]) for number in order},
        }
        if self.explained is not None:
            told["words"] = self._words(self.explained)
            told["unread"] = self.explained.unread
        return told

    def _words(self, explained: Explained) -> list[dict[str, Any]]:
        words = []
        for place, (token, (begin, end)) in enumerate(zip(explained.tokens, self.places, strict=True)):
            entry = {
                "token": token,
                "begin": begin,
                "end": end,
                "contribution": float(explained.contributions[place]),
                "unknown": bool(explained.unknown[place]),
            }
            if explained.attention is not None:
                entry["attention"] = float(explained.attention[place])
            words.append(entry)
        return words


def classify_texts(loaded: LoadedRun, run: Path, texts: Sequence[str], *, explained: bool = False) -> list[Classified]:
    """What a classifier says of texts.

    Args:
        loaded: a run of ``elman train classify``.
        run: its folder, for errors.
        texts: N of them.
        explained: say what each token did.

    Returns:
        For each text its classes.

    Raises:
        FailureError: the run is damaged.
    """
    classes, temperature = names_of(loaded.config, "classes", run), temperature_of(loaded.model)
    longest = options_of(Reading, loaded.config, run).longest
    if not explained:
        rows = [token_ids(loaded.vocabulary, text, longest) for text in texts]
        chances = softmax(scores_of(loaded.model, rows), temperature)
        return [Classified(text, classes, row) for text, row in zip(texts, chances, strict=True)]
    return [
        Classified(each.text, classes, each.probabilities, each, places(loaded.vocabulary, each.text, each.tokens))
        for each in explain(loaded.model, loaded.vocabulary, classes, texts, longest)
    ]


@dataclass(frozen=True)
class LabelledWords:
    """A sentence and the labels of its words.

    Attributes:
        words: [T].
        labels: [T].
        probabilities: [T] of each label by itself (its marginal).
        unknown: [T] whether the vocabulary lacks the word.
        in_scheme: the labels are those of entities.
    """

    words: Sequence[str]
    labels: Sequence[str]
    probabilities: Sequence[float]
    unknown: Sequence[bool]
    in_scheme: bool

    def entries(self) -> dict[str, Any]:
        """For JSON: words, labels, probabilities, unknown and, in a scheme, the entities; the probability of an entity
        is the lowest of its words'."""
        names = ("words", "labels", "probabilities", "unknown")
        told: dict[str, Any] = {name: list(getattr(self, name)) for name in names}
        if self.in_scheme:
            told["entities"] = [
                {
                    "kind": each.kind,
                    "begin": each.begin,
                    "end": each.end,
                    "text": " ".join(self.words[each.begin : each.end]),
                    "probability": min(self.probabilities[each.begin : each.end]),
                }
                for each in entities(self.labels)
            ]
        return told


def label_words(loaded: LoadedRun, decoder: Decoder, sentences: Sequence[Sequence[str]]) -> list[LabelledWords]:
    """What a tagger says of sentences.

    Args:
        loaded: a run of ``elman train tag``.
        decoder: of that run.
        sentences: words of each, at least one.

    Returns:
        For each sentence its labels.

    Raises:
        FailureError: the run is damaged.
    """
    substitute = unknown_id(decoder.vocabulary)
    found = []
    labelled = label_sentences(loaded.model, decoder, sentences)
    for words, (labels, chances) in zip(sentences, labelled, strict=True):
        ids = decoder.vocabulary.ids([decoder.reading.normal(word) for word in words])
        unknown = ((ids < 0) | (ids == substitute)).tolist()
        found.append(LabelledWords(words, labels, chances, unknown, decoder.scheme is not None))
    return found
