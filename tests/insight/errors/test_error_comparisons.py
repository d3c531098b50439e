"""Closing braces by distance, characters beside n-grams, and the whole analysis of a model that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from elman.data.symbols import code_points
from elman.data.vocabulary import build
from elman.errors import CancelledError, FailureError, MisuseError
from elman.insight.errors import analyse_errors, brace_curve, by_character
from elman.insight.errors.braces import matching
from elman.models.language import LanguageModel
from elman.models.likelihood import token_nats
from elman.models.ngram import train_ngram


def test_braces_are_matched_by_nesting() -> None:
    pairs, unmatched = matching(code_points("a{b{}}}{c"))
    assert pairs.tolist() == [[3, 4], [1, 5]]
    assert unmatched == 1


def test_the_curve_holds_the_mean_of_every_distance() -> None:
    generator = np.random.default_rng(0)
    text = "".join("{" + "x" * int(length) + "}\n" for length in generator.integers(0, 300, 200))
    nats, ngram = generator.exponential(size=(2, len(text)))
    curve = brace_curve(code_points(text), nats, ngram, 7)
    assert curve is not None
    assert (curve.pairs, curve.unmatched, curve.order) == (200, 0, 7)
    closing = [(text.rindex("{", 0, place), place) for place, sign in enumerate(text) if sign == "}"]
    for place in range(len(curve.counts)):
        low, high = curve.edges[place], curve.edges[place + 1]
        inside = [(end - begin, end) for begin, end in closing if low <= end - begin < high]
        assert curve.counts[place] == len(inside)
        if len(inside) > 1:
            probabilities = np.exp(-nats[[end for _, end in inside]])
            assert curve.model[place] == pytest.approx(probabilities.mean())
            assert curve.model_error[place] == pytest.approx(probabilities.std(ddof=1) / math.sqrt(len(inside)))
            assert curve.ngram[place] == pytest.approx(np.exp(-ngram[[end for _, end in inside]]).mean())
            assert curve.distance[place] == pytest.approx(np.mean([far for far, _ in inside]))
    assert (np.diff(curve.edges) > 0).all()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_every_distance_has_a_bin(size: int) -> None:
    text = "{" + "x" * (size - 1) + "}"
    curve = brace_curve(code_points(text), np.zeros(len(text)), np.zeros(len(text)), 3)
    assert curve is not None
    (place,) = np.flatnonzero(curve.counts)
    assert curve.edges[place] <= size < curve.edges[place + 1]


def test_without_a_pair_there_is_no_curve() -> None:
    assert brace_curve(code_points("}} no {"), np.zeros(7), np.zeros(7), 3) is None
    assert brace_curve(code_points("{}"), np.array([0.1, np.nan]), np.zeros(2), 3) is None


def test_characters_are_told_apart() -> None:
    generator = np.random.default_rng(1)
    text = "".join(generator.choice(list("ab \n}"), 5000))
    model, ngram = generator.exponential(size=(2, 5000))
    letters = np.array(list(text))
    model[letters == "}"] -= 5  # no matter that these are no probabilities: the model is planted to know }
    model[0] = np.nan
    found = by_character(code_points(text), model, ngram, 20)
    assert found.characters[0].symbol == "}"
    assert found.classes[0].symbol == "closing bracket"
    assert found.characters[0].difference == pytest.approx(5, abs=5 * found.characters[0].standard_error)
    for row in found.characters:
        here = letters == row.symbol.encode().decode("unicode_escape")
        here[0] = False
        assert row.count == here.sum()
        assert row.model == pytest.approx(model[here].mean())
        assert row.difference == pytest.approx((ngram - model)[here].mean())
        assert row.model_errors == (model[here] > math.log(2)).sum()
        # what independent characters would give; the pieces are independent here
        assert row.standard_error == pytest.approx((ngram - model)[here].std() / math.sqrt(row.count), rel=0.35)
    saved = np.nansum(ngram[1:] - model[1:])
    assert sum(row.total for row in found.characters) == pytest.approx(saved)
    assert sum(row.total for row in found.classes) == pytest.approx(saved)
    wrong = model[1:] > math.log(2), ngram[1:] > math.log(2)
    assert (found.both, found.only_model) == ((wrong[0] & wrong[1]).sum(), (wrong[0] & ~wrong[1]).sum())
    assert found.only_ngram == (~wrong[0] & wrong[1]).sum()


SOURCE = "int main() {\n\tif (x) { return 1; }\n\treturn 0;\n}\n\n/* a word, and 'more' */\nint y = 2;\n" * 40
VOCABULARY = build("characters", [SOURCE])
IDS = VOCABULARY.encode(SOURCE).ids.astype(np.uint8)
TRAIN, TEXT = IDS[:2400], IDS[2400:3100]


def test_a_model_that_is_the_ngram_model_neither_wins_nor_loses() -> None:
    """The model is the one that the 12-gram oracle's comparison trains, so each of its differences is nothing."""
    same = train_ngram(TRAIN, VOCABULARY.size, 12, min_counts=(1,) * 6 + (2,))
    found = analyse_errors(same, VOCABULARY, TEXT, TRAIN, before=TRAIN[-32:], order=12)
    assert found.characters.only_model <= 5  # it lacks what stands before the text
    assert found.model_nats == pytest.approx(found.ngram_nats, abs=0.02)
    assert [row.difference for row in found.characters.characters if row.symbol == "y"] == pytest.approx([0], abs=1e-5)
    assert set(found.ngrams) == set(range(1, 10))
    for order in (1, 4, 9):
        expected = train_ngram(TRAIN, VOCABULARY.size, order).surprisal(TEXT, TRAIN[-32:])[1:].mean()
        assert found.ngrams[order] == pytest.approx(expected, rel=1e-5)
    assert found.braces is not None
    assert found.braces.pairs == len([c for c in VOCABULARY.decode(TEXT[1:]) if c == "}"]) - found.braces.unmatched


def test_a_network_is_read_whole_and_every_character_once() -> None:
    torch.manual_seed(0)
    model = LanguageModel("gru", VOCABULARY.size, hidden=16, layers=1).eval()
    long = np.tile(IDS, 6)[:20_000]
    told: list[tuple[float, str]] = []
    found = analyse_errors(model, VOCABULARY, long, TRAIN, progress=lambda *pair: told.append(pair))
    assert found.taxonomy.characters == len(long) - 1
    # an untrained network of 16 units forgets at once: where its streams begin does not show
    with torch.no_grad():
        assert found.model_nats == pytest.approx(token_nats(model, long).mean(), abs=1e-3)
    assert found.taxonomy.nats == pytest.approx(found.model_nats)
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[-1] == (1.0, "errors")
    # n-grams know this text by heart
    assert found.taxonomy.share(found.taxonomy.categories[0]) > 0.95
    assert found.to_json()["taxonomy"]["errors"] == found.taxonomy.errors


def test_what_cannot_be_analysed_is_refused() -> None:
    model = LanguageModel("gru", VOCABULARY.size, hidden=8, layers=1).eval()
    with pytest.raises(MisuseError, match="at least 2 characters"):
        analyse_errors(model, VOCABULARY, TEXT[:1], TRAIN)
    with pytest.raises(MisuseError, match="training text of 20"):
        analyse_errors(model, VOCABULARY, TEXT, TRAIN[:19])
    with pytest.raises(CancelledError):
        analyse_errors(model, VOCABULARY, TEXT, TRAIN, cancel=lambda: True)
    with torch.no_grad():
        model.readout_bias.fill_(torch.nan)
    with pytest.raises(FailureError, match="not numbers"):
        analyse_errors(model, VOCABULARY, TEXT, TRAIN)
