"""ROUGE-L: the longest common subsequence of a candidate and its references.

Lin 2004, ROUGE: a package for automatic evaluation of summaries, ACL workshop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.metrics.bleu import Words, check_pairs

# recall counts more than precision, as in the evaluation of COCO captions
BETA = 1.2


def longest_common(first: Words, second: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for at, other in enumerate(second, 1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return row[-1]


def rouge_l(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """ROUGE-L of each candidate.

        P = max_r LCS(c, r) / |c|,   R = max_r LCS(c, r) / |r|,   F = (1 + beta^2) P R / (R + beta^2 P)

    Numbers equal those of pycocoevalcap; an empty candidate has 0.

    Args:
        candidates: [N] sentences, each a sequence of words.
        references: [N] of each candidate its references.

    Returns:
        [N], 0 to 1; the corpus has their mean.

    Raises:
        MisuseError: candidates and references that do not belong together.
    """
    check_pairs(candidates, references)
    scores = np.zeros(len(candidates))
    for at, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        common = [(longest_common(candidate, reference), len(reference)) for reference in own]
        if best := max(length for length, _ in common):
            precision = best / len(candidate)
            recall = max(length / words for length, words in common if words)
            scores[at] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return scores
