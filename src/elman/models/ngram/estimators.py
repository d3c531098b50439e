"""From counts to probabilities: maximum likelihood and interpolated modified Kneser-Ney.

Symbols as in S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling",
Computer Speech and Language 13 (1999): w_i the symbol, w_{i-n+1}^{i-1} the n-1 symbols before it, c the
count, N1+(. w) the number of distinct symbols seen before w, n_k the number of n-grams whose count is k.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from elman.models.ngram.counting import OrderCounts
from elman.models.ngram.tables import NgramTables

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What was estimated for one order.

    Attributes:
        order: n.
        distinct: distinct n-grams of the text.
        kept: those in the tables; the others were pruned.
        discounts: D1, D2, D3+, or () for maximum likelihood.
        fallback: the counts of counts gave no usable discounts, so :data:`FALLBACK_DISCOUNTS` were taken.
    """

    order: int
    distinct: int
    kept: int
    discounts: tuple[float, ...] = ()
    fallback: bool = False


def discounts(counts_of_counts: tuple[int, int, int, int]) -> tuple[tuple[float, float, float], bool]:
    """Discounts D1, D2, D3+ of one order.

    The estimates need n-grams that were seen once, twice, three and four times. Characters at low orders have
    few or none of them; where a count of counts is 0, or an estimate lies outside 0 < D_k < k, all three are
    :data:`FALLBACK_DISCOUNTS`, half of each count's upper bound.

    Args:
        counts_of_counts: n1, n2, n3, n4.

    Returns:
        The discounts, and whether they are the fallback.
    """
    n1, n2, n3, n4 = counts_of_counts
    if min(counts_of_counts) == 0:
        return FALLBACK_DISCOUNTS, True
    # Y = n1 / (n1 + 2 n2);  D1 = 1 - 2 Y n2 / n1;  D2 = 2 - 3 Y n3 / n2;  D3+ = 3 - 4 Y n4 / n3
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if all(0 < discount < k for k, discount in enumerate(estimates, start=1)):
        return estimates, False
    return FALLBACK_DISCOUNTS, True


def kneser_ney(orders: Iterable[OrderCounts], vocabulary_size: int) -> tuple[NgramTables, tuple[OrderReport, ...]]:
    """Interpolated modified Kneser-Ney probabilities.

    Args:
        orders: counts of every order, shortest first, with continuation counts below the highest.
        vocabulary_size: V; the unigrams are interpolated with the uniform distribution 1/V, so that no symbol
            is impossible.

    Returns:
        The tables, and a report an order.
    """
    keys, probabilities, weights, reports = [], [], [], []
    lower = np.array([1.0 / vocabulary_size])
    for counted in orders:
        found, fallback = discounts(counted.counts_of_counts)
        contexts = counted.keys // vocabulary_size
        totals = counted.totals
        discount = np.asarray(found)[np.minimum(counted.counts, 3) - 1]
        # gamma(h) = (D1 N1(h .) + D2 N2(h .) + D3+ N3+(h .)) / sum_w c(hw); what was pruned is added to it.
        kept = np.bincount(contexts, weights=counted.counts, minlength=len(totals))
        taken = np.bincount(contexts, weights=discount, minlength=len(totals)) + (totals - kept)
        gamma = np.divide(taken, totals, out=np.ones(len(totals)), where=totals > 0)
        # p(w_i | w_{i-n+1}^{i-1}) = (c(w_{i-n+1}^i) - D(c)) / sum_w c
        #                            + gamma(w_{i-n+1}^{i-1}) p(w_i | w_{i-n+2}^{i-1})
        lower = (counted.counts - discount) / totals[contexts] + gamma[contexts] * lower[counted.suffixes]
        keys.append(counted.keys)
        probabilities.append(lower.astype(np.float32))
        weights.append(gamma.astype(np.float32))
        reports.append(OrderReport(counted.order, counted.distinct, len(counted.keys), found, fallback))
    return NgramTables(vocabulary_size, tuple(keys), tuple(probabilities), tuple(weights)), tuple(reports)


def maximum_likelihood(
    orders: Iterable[OrderCounts], vocabulary_size: int
) -> tuple[NgramTables, tuple[OrderReport, ...]]:
    """Relative frequencies, c(w_{i-n+1}^i) / sum_w c, of the longest context that was seen.

    A symbol that was never seen after a seen context has probability 0. A context that was never seen falls
    back to its longest seen ending, so that a text can always be continued. Pruned n-grams count as never
    seen.

    Args:
        orders: counts of every order, shortest first.
        vocabulary_size: V.

    Returns:
        The tables, and a report an order.
    """
    keys, probabilities, weights, reports = [], [], [], []
    for counted in orders:
        contexts = counted.keys // vocabulary_size
        totals = np.bincount(contexts, weights=counted.counts, minlength=len(counted.totals))
        keys.append(counted.keys)
        probabilities.append((counted.counts / totals[contexts]).astype(np.float32))
        weights.append((totals == 0).astype(np.float32))
        reports.append(OrderReport(counted.order, counted.distinct, len(counted.keys)))
    return NgramTables(vocabulary_size, tuple(keys), tuple(probabilities), tuple(weights)), tuple(reports)
