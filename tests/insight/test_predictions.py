"""What is told of new texts: the numbers of the models below, tokens that were not read, entities and their places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.data.labelled import spelled
from elman.data.vocabulary import build
from elman.errors import FailureError
from elman.insight.predictions import Classified, LabelledWords
from elman.insight.word_weights import explain, places
from elman.models.classifier import Classifier

LETTERS = build("characters", ["abc"])


def made(pooling: str = "attention") -> Classifier:
    torch.manual_seed(0)
    return Classifier("gru", LETTERS.size, 2, 6, pooling=pooling).eval()


def test_tokens_that_the_vocabulary_leaves_out_did_nothing() -> None:
    model, text = made(), "xaybzc"
    (found,) = explain(model, LETTERS, ("no", "yes"), [text], 100)
    assert found.tokens == spelled(LETTERS, text)
    assert found.unknown.tolist() == [True, False, True, False, True, False]
    ids = torch.from_numpy(LETTERS.ids(["a", "b", "c"])).unsqueeze(1)
    lengths = torch.tensor([3])
    scores, weights = model.explained(ids, lengths)
    slopes = model.contributions(ids, lengths, scores.argmax(-1))[:, 0]
    assert found.contributions[found.unknown].tolist() == [0, 0, 0]
    assert found.contributions[~found.unknown] == pytest.approx(slopes.tolist())
    assert found.attention is not None
    assert weights is not None
    assert found.attention[~found.unknown] == pytest.approx(weights[:, 0].tolist())


def test_of_a_text_without_a_known_token_nothing_mattered() -> None:
    for text in ("x", "xyz"):
        (found,) = explain(made(), LETTERS, ("no", "yes"), [text], 100)
        assert len(found.tokens) == len(text)
        assert found.unknown.all()
        assert not found.contributions.any()
        assert found.probabilities.sum() == pytest.approx(1.0)


def test_what_is_beyond_the_longest_text_is_counted() -> None:
    texts = ["abcab", "ab", "xxabc"]
    found = explain(made(), LETTERS, ("no", "yes"), texts, 3)
    assert [each.unread for each in found] == [2, 0, 2]
    assert [len(each.tokens) for each in found] == [3, 2, 3]


def test_damaged_weights_are_no_probabilities() -> None:
    model = made()
    model.readout.weight.data.fill_(torch.nan)
    with pytest.raises(FailureError, match="no numbers"):
        explain(model, LETTERS, ("no", "yes"), ["abc"], 10)


def test_a_classified_text_is_told_with_the_likeliest_class_first() -> None:
    (explained,) = explain(made(), LETTERS, ("no", "yes", "maybe")[:2], ["cab"], 10)
    spans = places(LETTERS, "cab", explained.tokens)
    told = Classified("cab", ("1", "0", "2"), np.array([0.2, 0.5, 0.3]), explained, spans).entries()
    assert (told["class"], told["probability"]) == ("0", 0.5)
    assert list(told["probabilities"]) == ["0", "2", "1"]
    assert [(word["token"], word["begin"], word["end"]) for word in told["words"]] == [
        ("c", 0, 1), ("a", 1, 2), ("b", 2, 3),
    ]  # fmt: skip
    assert [word["contribution"] for word in told["words"]] == explained.contributions.tolist()
    assert told["unread"] == 0
    assert set(Classified("cab", ("1", "0"), np.array([0.2, 0.8])).entries()) == {
        "text", "class", "probability", "probabilities",
    }  # fmt: skip


def test_an_entity_is_as_probable_as_its_least_probable_word() -> None:
    words, labels = ("Ada", "King", "saw", "Rome"), ("B-PER", "I-PER", "O", "B-LOC")
    told = LabelledWords(words, labels, (0.9, 0.6, 0.99, 0.7), (False,) * 4, in_scheme=True).entries()
    assert told["entities"] == [
        {"kind": "PER", "begin": 0, "end": 2, "text": "Ada King", "probability": 0.6},
        {"kind": "LOC", "begin": 3, "end": 4, "text": "Rome", "probability": 0.7},
    ]
    assert "entities" not in LabelledWords(words, ("N",) * 4, (1.0,) * 4, (False,) * 4, in_scheme=False).entries()
