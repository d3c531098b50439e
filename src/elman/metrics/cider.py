"""CIDEr-D: how much a caption says what people say of the image, rare words counting more.

Vedantam, Zitnick and Parikh 2015, CIDEr: consensus-based image description evaluation, CVPR, arXiv:1411.5726.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.errors import MisuseError
from elman.metrics.bleu import Words, check_pairs, ngrams

ORDER = 4
# a difference of so many words costs a factor of exp(-1/2)
SIGMA = 6.0


@dataclass(frozen=True)
class _Vector:
    """A sentence: weight of each n-gram by its length, their norms, and the number of words less one."""

    weights: tuple[dict[tuple[str, ...], float], ...]
    norms: tuple[float, ...]
    length: int


@dataclass(frozen=True)
class CiderD:
    """The score with the document frequencies of a set of images.

    Attributes:
        documents: number of images.
        frequency: by n-gram, in the references of how many of them it stands.
    """

    documents: int
    frequency: Mapping[tuple[str, ...], int]

    @classmethod
    def of(cls, references: Sequence[Sequence[Words]]) -> CiderD:
        """Count a set of images.

        Args:
            references: of each image its references.

        Raises:
            MisuseError: no image.
        """
        if not references:
            raise MisuseError("CIDEr-D counts in how many images' references a word stands; there is no image.")
        frequency: Counter[tuple[str, ...]] = Counter()
        for own in references:
            frequency.update({gram for reference in own for gram in ngrams(reference, ORDER)})
        return cls(len(references), frequency)

    def scores(self, candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
        """CIDEr-D of each candidate.

            g_k(s) = count_k(s) log(N / max(1, df_k))
            CIDEr-D = 10/4 sum_n mean_r exp(-(l(c) - l(r))^2 / (2 sigma^2)) min(g^n(c), g^n(r)) . g^n(r)
                      / (|g^n(c)| |g^n(r)|)                                   equations 1-3 and section 6, sigma = 6

        Numbers equal those of pycocoevalcap, whose length is the number of 2-grams; papers print them times 100.

        Args:
            candidates: [N] sentences, each a sequence of words.
            references: [N] of each candidate its references.

        Returns:
            [N], 0 to 10; the corpus has their mean.

        Raises:
            MisuseError: candidates and references that do not belong together.
        """
        check_pairs(candidates, references)
        return np.array(
            [
                self.score(self._vector(candidate), [self._vector(reference) for reference in own])
                for candidate, own in zip(candidates, references, strict=True)
            ]
        )

    def score(self, candidate: _Vector, references: Sequence[_Vector]) -> float:
        """CIDEr-D of one sentence, from :meth:`_vector` of it and of its references."""
        total = 0.0
        for reference in references:
            similarity = 0.0
            for own, theirs, own_norm, their_norm in zip(
                candidate.weights, reference.weights, candidate.norms, reference.norms, strict=True
            ):
                product = sum(
                    min(weight, theirs[gram]) * theirs[gram] for gram, weight in own.items() if gram in theirs
                )
                if own_norm and their_norm:
                    product /= own_norm * their_norm
                similarity += product
            total += similarity * math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))
        return 10.0 * total / (ORDER * len(references))

    def _vector(self, words: Words) -> _Vector:
        weights: tuple[dict[tuple[str, ...], float], ...] = tuple({} for _ in range(ORDER))
        whole = math.log(self.documents)
        for gram, count in ngrams(words, ORDER).items():
            weights[len(gram) - 1][gram] = count * (whole - math.log(max(1, self.frequency.get(gram, 0))))
        norms = tuple(math.sqrt(sum(weight * weight for weight in own.values())) for own in weights)
        return _Vector(weights, norms, max(0, len(words) - 1))


def cider_d(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """CIDEr-D of a corpus with the document frequencies of its own references, as the COCO evaluation has it.

    Args:
        candidates, references: as for :meth:`CiderD.scores`.

    Returns:
        The mean, 0 to 10.
    """
    check_pairs(candidates, references)
    return float(CiderD.of(references).scores(candidates, references).mean())
