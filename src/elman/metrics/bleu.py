"""BLEU: how many n-grams of the candidates stand in their references.

Papineni, Roukos, Ward and Zhu 2002, BLEU: a method for automatic evaluation of machine translation, ACL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from elman.errors import MisuseError

Words = Sequence[str]
# what the scorer of COCO captions adds to counts, so that no share is zero or divided by zero
_TINY, _SMALL = 1e-15, 1e-9


def ngrams(words: Words, order: int = 4) -> Counter[tuple[str, ...]]:
    """Counts of the 1- to ``order``-grams of a sentence."""
    return Counter(
        tuple(words[start : start + size]) for size in range(1, order + 1) for start in range(len(words) - size + 1)
    )


def check_pairs(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    """Refuse candidates and references that do not belong together.

    Raises:
        MisuseError: no candidate, another number of references, or a candidate without one.
    """
    if not candidates or len(candidates) != len(references):
        raise MisuseError(f"{len(candidates)} candidates and references for {len(references)}: give each its own.")
    for at, own in enumerate(references):
        if not own:
            raise MisuseError(f"Candidate {at + 1} has no reference.")


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], order: int = 4) -> list[float]:
    """BLEU-1 to BLEU-``order`` of a corpus.

        p_k = sum min(count in the candidate, most in one of its references) / sum count     over k-grams, candidates
        BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1/n)

    c counts the candidates' words, r those of each one's reference that is nearest in length (of equals the shorter).
    Numbers equal those of pycocoevalcap.

    Args:
        candidates: [N] sentences, each a sequence of words.
        references: [N] of each candidate its references.
        order: longest n-gram.

    Returns:
        ``order`` numbers, 0 to 1.

    Raises:
        MisuseError: candidates and references that do not belong together.
    """
    check_pairs(candidates, references)
    matched, counted = [0] * order, [0] * order
    words = nearest = 0
    for candidate, own in zip(candidates, references, strict=True):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in own:
            most |= ngrams(reference, order)
        for gram, count in (ngrams(candidate, order) & most).items():
            matched[len(gram) - 1] += count
        for size in range(order):
            counted[size] += max(0, len(candidate) - size)
        words += len(candidate)
        nearest += min((abs(len(reference) - len(candidate)), len(reference)) for reference in own)[1]
    ratio = (words + _TINY) / (nearest + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for size in range(order):
        product *= (matched[size] + _TINY) / (counted[size] + _SMALL)
        scores.append(brevity * product ** (1 / (size + 1)))
    return scores
