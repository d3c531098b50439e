"""The recurrent classifier: padding does not matter, gradients explain, configurations come back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from elman.errors import MisuseError
from elman.models.classifier import POOLINGS, Classifier


def model(pooling: str, bidirectional: bool, **options: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier("gru", 20, 3, 8, 2, bidirectional=bidirectional, pooling=pooling, **options).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_of_a_padded_batch_is_classified_as_alone(pooling: str, bidirectional: bool) -> None:
    made = model(pooling, bidirectional)
    tokens, lengths = torch.randint(0, 20, (7, 4)), torch.tensor([7, 3, 1, 5])
    scores, weights = made.explained(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, own = made.explained(tokens[:length, row : row + 1], lengths[row : row + 1])
        torch.testing.assert_close(scores[row], alone[0], atol=1e-5, rtol=1e-5)
        if weights is not None and own is not None:
            torch.testing.assert_close(weights[:length, row], own[:, 0], atol=1e-5, rtol=1e-5)
            assert (weights[length:, row] == 0).all()
    assert (weights is None) == (pooling != "attention")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_contributions_are_the_slope_of_the_log_odds(pooling: str) -> None:
    made = model(pooling, True).double()
    made.recurrent.backend = "reference"
    tokens, lengths = torch.randint(0, 20, (5, 2)), torch.tensor([5, 3])
    classes = torch.tensor([2, 0])
    found = made.contributions(tokens, lengths, classes)
    assert (found[3:, 1] == 0).all()
    embedded, step = made.embedding(tokens).detach(), 1e-6
    for t, row in ((0, 0), (4, 0), (2, 1)):
        sides = []
        for sign in (1, -1):
            changed = embedded.clone()
            # along the token's own vector: what gradient times input measures
            changed[t, row] *= 1 + sign * step
            scores, _ = made.explained(tokens, lengths, changed)
            chance = torch.softmax(scores, -1)[row, classes[row]]
            sides.append((chance / (1 - chance)).log().item())
        assert found[t, row].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_a_configuration_makes_the_same_model() -> None:
    made = model("attention", True, dropout=0.25, embedding=5)
    again = Classifier.from_configuration(made.configuration())
    again.load_state_dict(made.state_dict())
    tokens, lengths = torch.randint(0, 20, (4, 2)), torch.tensor([4, 2])
    torch.testing.assert_close(again.eval()(tokens, lengths), made(tokens, lengths))
    assert again.configuration() == made.configuration()


def test_it_remembers_the_first_token() -> None:
    torch.manual_seed(1)
    made = Classifier("lstm", 6, 2, 16, pooling="last")
    optimiser = torch.optim.Adam(made.parameters(), 0.02)
    for _ in range(120):
        tokens = torch.randint(0, 6, (6, 32))
        classes = torch.randint(0, 2, (32,))
        tokens[0] = classes
        optimiser.zero_grad()
        functional.cross_entropy(made(tokens, torch.full((32,), 6)), classes).backward()
        optimiser.step()
    made.eval()
    tokens[0] = torch.arange(32) % 2
    lengths = torch.full((32,), 6)
    assert (made(tokens, lengths).argmax(-1) == tokens[0]).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pooling": "median"}, "pooling is 'median'; it takes last, mean, max, attention"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": 0}, "hidden is 0"),
    ],
)
def test_what_cannot_be(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        Classifier("gru", 20, 3, **options)
