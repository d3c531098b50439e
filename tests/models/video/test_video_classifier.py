"""Classifiers of clips: votes, padding, order, fusion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.errors import MisuseError
from elman.models.video.classifier import VOTES, VideoClassifier, fuse, fusion_weight

LENGTHS = torch.tensor([7, 3, 1, 5])


def model(recurrence: str | None = "gru", **options: object) -> VideoClassifier:
    torch.manual_seed(0)
    made = VideoClassifier(recurrence, 6, 4, 8, 2, **options).eval()
    made.standardise.fit([3 + 2 * torch.randn(50, 6)])
    return made


def clips() -> Tensor:
    return torch.randn(7, 4, 6, generator=torch.Generator().manual_seed(1))


KINDS = [(None, "even", False), *[("lstm", votes, False) for votes in VOTES], ("gru", "even", True)]


@pytest.mark.parametrize(("recurrence", "votes", "bidirectional"), KINDS)
def test_a_clip_in_a_padded_batch_is_judged_as_alone(recurrence: str | None, votes: str, bidirectional: bool) -> None:
    made, frames = model(recurrence, votes=votes, bidirectional=bidirectional), clips()
    classes = torch.tensor([0, 3, 1, 2])
    together, losses = made(frames, LENGTHS), made.loss(frames, LENGTHS, classes)
    torch.testing.assert_close(together.sum(-1), torch.ones(4))
    for row, length in enumerate(LENGTHS.tolist()):
        own, alone = frames[:length, row : row + 1], LENGTHS[row : row + 1]
        torch.testing.assert_close(made(own, alone)[0], together[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(made.loss(own, alone, classes[row : row + 1])[0], losses[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("votes", VOTES)
def test_the_clip_is_the_weighted_mean_of_its_frames(votes: str) -> None:
    made, frames = model("lstm", votes=votes), clips()
    each = made.scores(frames, LENGTHS).softmax(-1)
    weights = {
        "even": lambda t, length: 1 / length,
        "late": lambda t, length: 2 * (t + 1) / (length * (length + 1)),
        "last": lambda t, length: float(t == length - 1),
    }[votes]
    for row, length in enumerate(LENGTHS.tolist()):
        whole = sum(weights(t, length) * each[t, row] for t in range(length))
        torch.testing.assert_close(made(frames, LENGTHS)[row], whole, atol=1e-6, rtol=1e-5)
        nats = -sum(weights(t, length) * each[t, row, 2].log() for t in range(length))
        torch.testing.assert_close(made.loss(frames, LENGTHS, torch.full((4,), 2))[row], nats, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("recurrence", "votes"), [(None, "even"), *[("lstm", votes) for votes in VOTES]])
def test_watching_says_at_each_frame_what_the_clip_so_far_would_be_called(recurrence: str | None, votes: str) -> None:
    made, clip = model(recurrence, votes=votes), clips()[:, 0]
    each, so_far = made.watch(clip)
    for t in range(1, len(clip) + 1):
        cut = made(clip[:t, None], torch.tensor([t]))[0]
        torch.testing.assert_close(so_far[t - 1], cut, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(each, made.scores(clip[:, None], torch.tensor([7])).softmax(-1)[:, 0])


def test_frames_alone_have_no_order_and_recurrences_have() -> None:
    turned = clips().flip(0)
    lengths = torch.full((4,), 7)
    alone, recurrent = model(None), model("lstm")
    torch.testing.assert_close(alone(turned, lengths), alone(clips(), lengths))
    assert (recurrent(turned, lengths) - recurrent(clips(), lengths)).abs().max() > 1e-3


def test_numbers_are_standardised_by_what_was_fitted() -> None:
    made = model("gru")
    frames = 5 + 3 * torch.randn(40, 6)
    frames[:, 2] = 7.0
    made.standardise.fit(frames.split(7))
    seen = made.standardise(frames)
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 0, 1, 1, 1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("recurrence", [None, "mut1", "h = tanh(Wx @ x + Wh @ h + b)"])
def test_a_configuration_makes_the_same_model(recurrence: str | None) -> None:
    from elman.equations import recurrence_of

    made = model(None if recurrence is None else recurrence_of(recurrence), dropout=0.25)
    again = VideoClassifier.from_configuration(made.configuration())
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again.eval()(clips(), LENGTHS), made(clips(), LENGTHS))
    assert again.configuration() == made.configuration()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"votes": "most"}, "even, late, last"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"recurrence": None, "bidirectional": True}, "have no order"),
        ({"recurrence": None, "votes": "late"}, "have no order"),
        ({"classes": 0}, "classes is 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        VideoClassifier(**{"recurrence": "gru", "width": 3, "classes": 2} | options)


def test_a_recurrence_learns_an_order_that_frames_alone_cannot() -> None:
    def accuracy(recurrence: str | None) -> float:
        torch.manual_seed(0)
        made = VideoClassifier(recurrence, 2, 2, 12, votes="even" if recurrence is None else "last")
        optimiser = torch.optim.Adam(made.parameters(), 0.02)

        def some() -> tuple[Tensor, Tensor]:
            # the same two events in either order
            classes = torch.randint(0, 2, (64,))
            frames = 0.1 * torch.randn(8, 64, 2)
            rows = torch.arange(64)
            frames[1, rows, classes] += 1
            frames[5, rows, 1 - classes] += 1
            return frames, classes

        lengths = torch.full((64,), 8)
        for _ in range(120):
            frames, classes = some()
            optimiser.zero_grad()
            made.loss(frames, lengths, classes).mean().backward()
            optimiser.step()
        frames, classes = some()
        return float((made.eval()(frames, lengths).argmax(-1) == classes).double().mean())

    assert accuracy("lstm") > 0.95
    assert 0.25 < accuracy(None) < 0.75


@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
@settings(max_examples=30, deadline=None)
def test_the_weight_of_a_fusion_is_found_again(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    first, second = (random.dirichlet(np.full(3, 0.5), 4000) for _ in range(2))
    # classes that are drawn from a mixture of both have that mixture as their likeliest
    mixture = (1 - share) * first + share * second
    classes = (mixture.cumsum(1) < random.random((4000, 1))).sum(1).clip(max=2)
    assert abs(fusion_weight(first, second, classes) - share) <= 0.1


def test_fusion_prefers_the_stream_that_knows() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, 100)
    blind = np.full((100, 4), 0.25)
    knowing = 0.9 * np.eye(4)[classes] + 0.025
    assert fusion_weight(blind, knowing, classes) == 1.0
    assert fusion_weight(knowing, blind, classes) == 0.0
    np.testing.assert_allclose(fuse((knowing, blind), (3, 1)), 0.75 * knowing + 0.25 * blind)
    with pytest.raises(MisuseError, match="same clips and classes"):
        fusion_weight(blind, knowing[:50], classes)
