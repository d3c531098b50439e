"""BLEU, ROUGE-L and CIDEr-D beside pycocoevalcap, whose figures stand here as constants.

The constants are what pycocoevalcap 1.2 gives (``Bleu(4)``, ``Rouge()``, ``Cider()``) for the sentences made below.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from elman.errors import MisuseError
from elman.metrics.bleu import bleu
from elman.metrics.cider import CiderD, cider_d
from elman.metrics.rouge import longest_common, rouge_l

CANDIDATES = [
    "a dog runs on the grass",
    "two girls play with a red ball",
    "a man",
    "the the the the",
    "a brown dog jumps over a log in the snowy woods near a river",
]
REFERENCES = [
    ["a brown dog is running on the grass", "the dog runs across a green field", "a dog runs"],
    ["two girls are playing with a ball", "girls play with a red ball in the park"],
    ["a man in a blue shirt is climbing a rock wall", "a man climbs", "a climber on a wall"],
    ["the cat sat on the mat", "there is a cat on the mat"],
    ["a dog jumps over a log", "a brown dog leaps over a fallen log in the snow", "dog jumping in the woods"],
]
BLEU = [0.7937603211582273, 0.7228734233404707, 0.6235572151668437, 0.49879400232463744]
ROUGE = [0.92424242, 0.7666527, 0.7721519, 0.38607595, 0.76489028]
CIDER = [2.71235627, 4.64111478, 1.3564497, 0.11327471, 1.43736468]


def words(sentences: list[str]) -> list[list[str]]:
    return [sentence.split() for sentence in sentences]


def made() -> tuple[list[list[str]], list[list[list[str]]]]:
    """30 candidates of 1 to 14 words with 1 to 6 references each, from a vocabulary of 9."""
    chance = random.Random(5)

    def sentence() -> list[str]:
        count = chance.randint(1, 14)
        return [f"w{chance.choice(range(9))}" for _ in range(count)]

    candidates = [sentence() for _ in range(30)]
    return candidates, [[sentence() for _ in range(chance.randint(1, 6))] for _ in range(30)]


def test_sentences_score_as_in_pycocoevalcap():
    candidates, references = words(CANDIDATES), [words(own) for own in REFERENCES]
    assert bleu(candidates, references) == pytest.approx(BLEU, rel=1e-12)
    assert rouge_l(candidates, references) == pytest.approx(ROUGE, abs=1e-8)
    assert CiderD.of(references).scores(candidates, references) == pytest.approx(CIDER, abs=1e-8)


def test_made_corpus_scores_as_in_pycocoevalcap():
    candidates, references = made()
    expected = [0.6869158878472574, 0.36147385552914496, 0.1362430779349118, 1.1832824063344138e-05]
    assert bleu(candidates, references) == pytest.approx(expected, rel=1e-12)
    assert rouge_l(candidates, references).mean() == pytest.approx(0.4225751058359418, rel=1e-12)
    assert cider_d(candidates, references) == pytest.approx(0.728608377532008, rel=1e-12)


def test_longest_common_subsequence_by_brute_force():
    chance = random.Random(0)

    def brute(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return 0
        if a[0] == b[0]:
            return 1 + brute(a[1:], b[1:])
        return max(brute(a[1:], b), brute(a, b[1:]))

    for _ in range(100):
        a, b = ([chance.choice("abc") for _ in range(chance.randint(0, 7))] for _ in range(2))
        assert longest_common(a, b) == brute(a, b)


def test_a_reference_itself_scores_highest():
    references = [words(own) for own in REFERENCES]
    own = [sentences[0] for sentences in references]
    assert bleu(own, references) == pytest.approx([1, 1, 1, 1], abs=1e-9)
    assert rouge_l(own, references) == pytest.approx(np.ones(5))
    alone = [[sentences[0]] for sentences in references]
    assert CiderD.of(alone).scores(own, alone) == pytest.approx(10 * np.ones(5))


def test_documents_are_counted_once_and_may_be_other_images():
    frequencies = CiderD.of([words(["a a a", "a b"]), words(["a c"])]).frequency
    assert frequencies[("a",)] == 2
    assert frequencies[("a", "a")] == frequencies[("b",)] == 1
    # a word of every image weighs nothing, whatever the candidate
    assert CiderD(2, frequencies).scores([["a"]], [[["a"]]]) == pytest.approx([0.0])


def test_empty_candidate_scores_nothing():
    references = [words(REFERENCES[0]), words(REFERENCES[1])]
    candidates = [[], words(CANDIDATES)[1]]
    assert rouge_l(candidates, references)[0] == 0
    assert CiderD.of(references).scores(candidates, references)[0] == 0
    assert 0 < bleu(candidates, references)[0] < 1


def test_what_does_not_belong_together_is_refused():
    for scores in (bleu, rouge_l, cider_d):
        with pytest.raises(MisuseError, match="give each its own"):
            scores([["a"]], [])
        with pytest.raises(MisuseError, match="Candidate 2 has no reference"):
            scores([["a"], ["b"]], [[["a"]], []])
    with pytest.raises(MisuseError, match="no image"):
        CiderD.of([])
