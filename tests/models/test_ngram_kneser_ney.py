"""Modified Kneser-Ney against a second implementation, in dictionaries, that follows the definitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.models.ngram import NgramModel, train_ngram
from elman.models.ngram.counting import count_orders
from elman.models.ngram.estimators import FALLBACK_DISCOUNTS, discounts, kneser_ney

Gram = tuple[int, ...]


class Dictionaries:
    """Interpolated modified Kneser-Ney, one probability at a time."""

    def __init__(self, text: list[int], size: int, order: int, least: int = 1, pruned_from: int = 1) -> None:
        self.size = size
        self.counts: dict[int, dict[Gram, int]] = {}
        self.kept: dict[int, set[Gram]] = {}
        self.found: dict[int, tuple[float, ...]] = {}
        for n in range(1, order + 1):
            seen: Counter[Gram] = Counter()
            neighbours: dict[Gram, set[int | None]] = defaultdict(set)
            for i in range(len(text) - n + 1):
                gram = tuple(text[i : i + n])
                seen[gram] += 1
                neighbours[gram].add(text[i - 1] if i else None)
            self.kept[n] = {gram for gram, count in seen.items() if n < pruned_from or count >= least}
            self.counts[n] = dict(seen) if n == order else {g: len(left) for g, left in neighbours.items()}
            of_counts = Counter(self.counts[n].values())
            self.found[n] = self.discounts([of_counts[k] for k in (1, 2, 3, 4)])

    @staticmethod
    def discounts(n: list[int]) -> tuple[float, ...]:
        if 0 in n:
            return (0.5, 1.0, 1.5)
        y = n[0] / (n[0] + 2 * n[1])
        found = tuple(k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
        return found if all(0 < d < k for k, d in enumerate(found, 1)) else (0.5, 1.0, 1.5)

    def probability(self, context: Gram, symbol: int) -> float:
        n = len(context) + 1
        if n == 1:
            lower = 1 / self.size
        else:
            lower = self.probability(context[1:], symbol)
        after = {gram: count for gram, count in self.counts[n].items() if gram[:-1] == context}
        total = sum(after.values())
        if not total:
            return lower
        mass, own = 0.0, 0.0
        for gram, count in after.items():
            if gram in self.kept[n]:
                discount = self.found[n][min(count, 3) - 1]
                own += (count - discount) / total if gram[-1] == symbol else 0.0
                mass += discount / total
            else:
                mass += count / total
        return own + mass * lower


texts = st.lists(st.integers(0, 3), min_size=5, max_size=60) | st.lists(st.integers(0, 30), min_size=5, max_size=60)


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.randoms(use_true_random=False))
def test_dictionaries_agree(text: list[int], order: int, least: int, pruned_from: int, random) -> None:  # type: ignore[no-untyped-def]
    size = max(text) + 2
    min_counts = [1] * (pruned_from - 1) + [least]
    model = train_ngram(np.array(text, np.uint8), size, order, min_counts=min_counts)
    truth = Dictionaries(text, size, order, least, pruned_from)
    contexts = [tuple(text[i : i + order - 1]) for i in range(min(6, len(text) - order + 2))]
    contexts += [tuple(random.randrange(size) for _ in range(order - 1)) for _ in range(4)]
    got = model.distribution(np.array(contexts, np.int64).reshape(len(contexts), order - 1))
    expected = [[truth.probability(context, symbol) for symbol in range(size)] for context in contexts]
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)

    other = [random.randrange(size) for _ in range(12)]
    nats = [-np.log(truth.probability(tuple(other[max(i - order + 1, 0) : i]), other[i])) for i in range(len(other))]
    np.testing.assert_allclose(model.surprisal(np.array(other)), nats, rtol=2e-6)


def test_estimated_discounts_agree_with_the_dictionaries() -> None:
    text = (np.random.default_rng(3).zipf(1.6, size=1500) - 1).clip(max=40).tolist()
    truth = Dictionaries(text, 41, 3)
    model = train_ngram(np.array(text), 41, 3)
    assert [entry.fallback for entry in model.report].count(False) >= 2
    for entry in model.report:
        assert entry.discounts == pytest.approx(truth.found[entry.order])
    got = model.distribution(np.array([text[10:12], [40, 40]]))
    expected = [[truth.probability(c, w) for w in range(41)] for c in (tuple(text[10:12]), (40, 40))]
    np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_discounts_of_known_counts_of_counts() -> None:
    # Y = 10 / (10 + 2 * 5) = 1/2
    found, fallback = discounts((10, 5, 3, 2))
    assert not fallback
    assert found == pytest.approx((1 - 2 * 0.5 * 5 / 10, 2 - 3 * 0.5 * 3 / 5, 3 - 4 * 0.5 * 2 / 3))


@pytest.mark.parametrize(
    "counts", [(0, 5, 3, 2), (10, 0, 3, 2), (10, 5, 0, 2), (10, 5, 3, 0), (10, 5, 3, 100), (10, 1, 30, 2)]
)
def test_unusable_discounts_fall_back(counts: tuple[int, int, int, int]) -> None:
    assert discounts(counts) == (FALLBACK_DISCOUNTS, True)


def test_every_distribution_sums_to_one() -> None:
    text = np.random.default_rng(0).integers(0, 5, size=400)
    model = train_ngram(text, 7, 4, min_counts=(1, 1, 2))
    contexts = np.array(list(product(range(-1, 7), repeat=3)))
    got = model.distribution(contexts)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    assert (got > 0).all()


@settings(max_examples=30, deadline=None)
@given(texts, st.integers(1, 20))
def test_counting_in_pieces_changes_nothing(text: list[int], chunk: int) -> None:
    tokens = np.array(text, np.uint16)
    for continuation in (True, False):
        options = {"continuation": continuation, "min_counts": (1, 2)}
        whole = count_orders(tokens, 31, 4, **options)  # type: ignore[arg-type]
        pieces = count_orders(tokens, 31, 4, chunk=chunk, **options)  # type: ignore[arg-type]
        for one, other in zip(whole, pieces, strict=True):
            for name in ("keys", "counts", "totals", "suffixes"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
            assert one.counts_of_counts == other.counts_of_counts
            assert one.distinct == other.distinct


def test_word_sized_vocabulary() -> None:
    generator = np.random.default_rng(1)
    words = generator.zipf(1.3, size=20_000)
    tokens = np.minimum(words - 1, 49_999).astype(np.uint16)
    model = train_ngram(tokens, 50_000, 3)
    got = model.distribution(np.array([tokens[5:7], [49_999, 49_998]], np.int64))
    assert got.shape == (2, 50_000)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)
    # A word that never occurred still has some probability.
    absent = np.setdiff1d(np.arange(50_000), tokens)[0]
    assert np.isfinite(model.surprisal(np.array([absent]))).all()
    assert model.evaluate(tokens).nats < 0.5 * np.log(50_000)


def test_memory_mapped_tokens(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokens = np.random.default_rng(2).integers(0, 9, size=300).astype(np.uint8)
    tokens.tofile(tmp_path / "tokens.bin")
    mapped = np.memmap(tmp_path / "tokens.bin", dtype=np.uint8, mode="r")
    one, other = train_ngram(tokens, 9, 3), train_ngram(mapped, 9, 3)
    np.testing.assert_array_equal(one.surprisal(tokens), other.surprisal(mapped))


def test_pruning_is_reported_and_bounds_memory() -> None:
    tokens = np.random.default_rng(2).integers(0, 9, size=3000)
    whole, pruned = train_ngram(tokens, 9, 5), train_ngram(tokens, 9, 5, min_counts=(1, 1, 1, 2))
    assert [entry.distinct for entry in whole.report] == [entry.distinct for entry in pruned.report]
    assert [entry.kept == entry.distinct for entry in pruned.report] == [True, True, True, False, False]
    assert [entry.discounts for entry in whole.report] == [entry.discounts for entry in pruned.report]
    assert pruned.memory() < whole.memory() / 2
    assert pruned.memory() >= 12 * sum(entry.kept for entry in pruned.report)


def test_too_many_ngrams_is_an_error_that_says_what_to_do() -> None:
    tokens = np.random.default_rng(2).integers(0, 9, size=3000)
    with pytest.raises(MisuseError, match=r"up to order 3 .* more than max_ngrams = 700.*min_counts"):
        train_ngram(tokens, 9, 5, max_ngrams=700)


@pytest.mark.parametrize(
    ("tokens", "size", "options", "words"),
    [
        ([0, 1, 5], 5, {}, "Token 2 is 5"),
        ([0, -1, 2], 5, {}, "Token 1 is -1"),
        ([0, 1], 5, {}, "has no 3-gram"),
        ([], 5, {}, "has no 3-gram"),
        ([0, 1, 2], 0, {}, "vocabulary size"),
        ([0, 1, 2], 5, {"order": 0}, "order"),
        ([0, 1, 2], 5, {"order": 1001}, "order"),
        ([0, 1, 2], 5, {"min_counts": (2, 1)}, "min_counts"),
        ([0, 1, 2], 5, {"min_counts": ()}, "min_counts"),
        ([0, 1, 2], 5, {"max_ngrams": 0}, "max_ngrams"),
        ([0, 1, 2], 5, {"estimator": "witten-bell"}, "kneser-ney, maximum-likelihood"),
        ([[0, 1, 2]], 5, {}, "flat array"),
        ([0.0, 1.0, 2.0], 5, {}, "float64"),
    ],
)
def test_misuse_is_said_in_a_sentence(tokens: list[int], size: int, options: dict, words: str) -> None:  # type: ignore[type-arg]
    array = np.array(tokens) if tokens else np.array([], np.uint8)
    with pytest.raises(MisuseError, match=words):
        train_ngram(array, size, **{"order": 3, **options})


def shakespeare(folder) -> tuple[np.ndarray, np.ndarray, int]:  # type: ignore[no-untyped-def, type-arg]
    text = np.frombuffer((folder / "text" / "tinyshakespeare.txt").read_bytes(), np.uint8)
    symbols, tokens = np.unique(text, return_inverse=True)
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:], len(symbols)


def test_tiny_shakespeare_at_order_5(shared_data) -> None:  # type: ignore[no-untyped-def]
    train, valid, size = shakespeare(shared_data)
    assert train_ngram(train, size, 5).evaluate(valid).nats == pytest.approx(1.5611, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "nats"), [(2, 2.4835), (3, 2.0381), (4, 1.7190), (6, 1.5226), (7, 1.5165), (8, 1.5192)]
)
def test_tiny_shakespeare_at_every_order(shared_data, order: int, nats: float) -> None:  # type: ignore[no-untyped-def]
    train, valid, size = shakespeare(shared_data)
    assert train_ngram(train, size, order).evaluate(valid).nats == pytest.approx(nats, abs=0.01)


def test_estimator_needs_nothing_but_the_counts() -> None:
    tokens = np.array([0, 1, 0, 2, 0, 1])
    tables, report = kneser_ney(count_orders(tokens, 3, 2, continuation=True), 3)
    model = NgramModel(2, 3, "kneser-ney", tables, report)
    np.testing.assert_array_equal(model.surprisal(tokens), train_ngram(tokens, 3, 2).surprisal(tokens))
