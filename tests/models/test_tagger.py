"""The recurrent tagger: padding does not matter, spelling is read, decoding is what brute force finds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.tagger import Allowed, Spelling, Tagger


def model(crf: bool = True, **options: Any) -> Tagger:
    torch.manual_seed(0)
    made = Tagger("gru", 20, 4, 8, **{"characters": 10, "character_hidden": 5, "crf": crf, **options}).eval()
    if made.crf is not None:
        torch.nn.init.normal_(made.crf.transitions)
        torch.nn.init.normal_(made.crf.begin)
        made.crf.requires_grad_(False)
    return made


def batch() -> tuple[torch.Tensor, torch.Tensor, Spelling]:
    words, lengths = torch.randint(0, 20, (6, 3)), torch.tensor([6, 1, 4])
    return words, lengths, Spelling(torch.randint(0, 10, (5, 7)), torch.tensor([5, 1, 3, 2, 4, 5, 1]), words % 7)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sentence_of_a_padded_batch_is_scored_as_alone(bidirectional: bool) -> None:
    made = model(bidirectional=bidirectional)
    words, lengths, spelling = batch()
    scores = made(words, lengths, spelling)
    for row, length in enumerate(lengths.tolist()):
        own = spelling._replace(words=spelling.words[:length, row : row + 1])
        alone = made(words[:length, row : row + 1], lengths[row : row + 1], own)
        torch.testing.assert_close(scores[:length, row], alone[:, 0], atol=1e-5, rtol=1e-5)


def test_only_the_word_at_a_place_reads_its_spelling() -> None:
    made = model(bidirectional=False)
    words, lengths, spelling = batch()
    spelling = spelling._replace(words=torch.zeros_like(words))
    before = made(words, lengths, spelling)
    other = spelling.words.clone()
    other[3, 0] = 2
    after = made(words, lengths, spelling._replace(words=other))
    torch.testing.assert_close(after[:3], before[:3])
    assert (after[3, 0] - before[3, 0]).abs().max() > 1e-4
    torch.testing.assert_close(after[:, 1:], before[:, 1:])


@pytest.mark.parametrize("crf", [False, True])
def test_loss_and_marginals_are_those_of_all_label_sequences(crf: bool) -> None:
    made = model(crf)
    words, lengths, spelling = batch()
    words, lengths = words[:3], torch.tensor([3, 1, 2])
    scores = made(words, lengths, spelling._replace(words=spelling.words[:3])).detach()
    labels = torch.randint(0, 4, (3, 3))
    expected, marginals = 0.0, torch.zeros(3, 3, 4)
    for row, length in enumerate(lengths.tolist()):
        values = {}
        for sequence in itertools.product(range(4), repeat=length):
            value = sum(float(scores[t, row, label]) for t, label in enumerate(sequence))
            if made.crf is not None:
                value += float(made.crf.begin[sequence[0]] + made.crf.end[sequence[-1]])
                value += sum(float(made.crf.transitions[a, b]) for a, b in itertools.pairwise(sequence))
            values[sequence] = value
        total = torch.logsumexp(torch.tensor(list(values.values())), 0)
        expected += float(total) - values[tuple(labels[:length, row].tolist())]
        for sequence, value in values.items():
            for t, label in enumerate(sequence):
                marginals[t, row, label] += torch.exp(value - total)
    assert made.loss(scores, labels, lengths).item() == pytest.approx(expected, rel=1e-5)
    found = made.marginals(scores, lengths)
    inside = torch.arange(3).unsqueeze(1) < lengths
    torch.testing.assert_close(found[inside], marginals[inside], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
def test_decoding_finds_the_best_allowed_sequence(crf: bool, constrained: bool) -> None:
    made = model(crf)
    words, lengths, spelling = batch()
    words, lengths = words[:4], torch.tensor([4, 1, 3])
    scores = made(words, lengths, spelling._replace(words=spelling.words[:4])).detach()
    generator = torch.Generator().manual_seed(1)
    pairs = torch.rand(4, 4, generator=generator) < 0.5
    pairs.fill_diagonal_(True)
    allowed = Allowed(pairs, torch.tensor([True, False, True, True]), torch.tensor([True, True, False, True]))
    found = made.decode(scores, lengths, allowed if constrained else None)
    for row, length in enumerate(lengths.tolist()):
        best, path = -torch.inf, ()
        for sequence in itertools.product(range(4), repeat=length):
            if constrained and not (
                allowed.begin[sequence[0]]
                and allowed.end[sequence[-1]]
                and all(pairs[a, b] for a, b in itertools.pairwise(sequence))
            ):
                continue
            value = sum(float(scores[t, row, label]) for t, label in enumerate(sequence))
            if made.crf is not None:
                value += float(made.crf.begin[sequence[0]] + made.crf.end[sequence[-1]])
                value += sum(float(made.crf.transitions[a, b]) for a, b in itertools.pairwise(sequence))
            if value > best:
                best, path = value, sequence
        assert tuple(found[:length, row].tolist()) == path
        assert (found[length:, row] == -1).all()


def test_it_learns_from_the_spelling_alone() -> None:
    torch.manual_seed(1)
    made = Tagger("gru", 1, 2, 12, characters=6, character_hidden=8, crf=False)
    optimiser = torch.optim.Adam(made.parameters(), 0.02)
    lengths = torch.full((16,), 4)

    def drawn() -> tuple[Spelling, torch.Tensor]:
        characters = torch.randint(0, 6, (3, 64))
        # a word is of class 1 if it ends with one of three characters
        return Spelling(characters, torch.full((64,), 3), torch.arange(64).view(4, 16)), (characters[2] < 3).long()

    words = torch.zeros(4, 16, dtype=torch.long)
    for _ in range(80):
        spelling, classes = drawn()
        optimiser.zero_grad()
        made.loss(made(words, lengths, spelling), classes.view(4, 16), lengths).backward()
        optimiser.step()
    spelling, classes = drawn()
    assert (made.eval().decode(made(words, lengths, spelling), lengths).flatten() == classes).float().mean() > 0.95


def test_a_configuration_makes_the_same_model() -> None:
    made = model(dropout=0.25, input_dropout=0.5, embedding=6, layers=2)
    again = Tagger.from_configuration(made.configuration())
    again.load_state_dict(made.state_dict())
    words, lengths, spelling = batch()
    torch.testing.assert_close(again.eval()(words, lengths, spelling), made(words, lengths, spelling))
    assert again.configuration() == made.configuration()


def test_a_softmax_without_characters_is_one_layer_of_scores() -> None:
    made = model(crf=False, characters=0)
    words, lengths, _ = batch()
    scores = made(words, lengths)
    labels = torch.randint(0, 4, words.shape)
    expected = sum(
        functional.cross_entropy(scores[:length, row], labels[:length, row], reduction="sum")
        for row, length in enumerate(lengths.tolist())
    )
    torch.testing.assert_close(made.loss(scores, labels, lengths), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"characters": -1}, "characters is -1"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        Tagger("gru", 20, 3, **options)
    with pytest.raises(MisuseError, match="their spelling is missing"):
        model()(*batch()[:2])
