"""Describers of clips: padding, state, what mean-pooling cannot see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from elman.data.words import Words
from elman.errors import MisuseError
from elman.generate.beam import beam_search
from elman.models.video.classifier import VideoClassifier
from elman.models.video.describer import WAYS, Telling, VideoDescriber, VideoNetwork

LENGTHS = torch.tensor([6, 2, 4])


def model(way: str, recurrence: str = "lstm", **options: object) -> VideoDescriber:
    torch.manual_seed(0)
    return VideoDescriber(recurrence, way, 5, 9, 8, **options).eval()


def clips() -> Tensor:
    return torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("recurrence", ["lstm", "gru", "mut1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_clip_in_a_padded_batch_is_described_as_alone(way: str, recurrence: str) -> None:
    made = model(way, recurrence)
    words = torch.randint(0, 9, (5, 3))
    together = made(clips(), LENGTHS, words)
    assert together.shape == (5, 3, 9)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = made(clips()[:length, row : row + 1], LENGTHS[row : row + 1], words[:, row : row + 1])
        torch.testing.assert_close(together[:, row], alone[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_words_one_at_a_time_are_the_words_at_once(way: str) -> None:
    made, words = model(way), torch.randint(0, 9, (5, 3))
    state = made.read(clips(), LENGTHS)
    scores = []
    for word in words:
        step, state = made.write(word[None], state)
        scores.append(step)
    torch.testing.assert_close(torch.cat(scores), made(clips(), LENGTHS, words), atol=1e-5, rtol=1e-5)


def test_s2vt_is_one_stack_that_goes_on() -> None:
    made = model("s2vt")
    length, words = 4, torch.randint(0, 9, (3, 1))
    clip = clips()[:length, 2:]
    seen = functional.relu(made.frame(clip))
    # the same two layers over frames and words as one sequence: padding on the side that has nothing to say
    below, _ = made.lower(torch.cat([seen, torch.zeros(3, 1, 8)]))
    told = torch.cat([torch.zeros(length, 1, 8), made.embedding(words)])
    h, _ = made.upper(torch.cat([below, told], -1))
    torch.testing.assert_close(
        made(clip, torch.tensor([length]), words), made.readout(h[length:]), atol=1e-5, rtol=1e-5
    )


def test_the_mean_has_no_order_and_s2vt_has() -> None:
    words, lengths = torch.randint(0, 9, (4, 3)), torch.full((3,), 6)
    for way, seen in (("mean-pool", False), ("s2vt", True)):
        made = model(way)
        change = (made(clips().flip(0), lengths, words) - made(clips(), lengths, words)).abs().max()
        assert (change > 1e-4) == seen


@pytest.mark.parametrize("way", WAYS)
def test_sentences_are_found_as_by_trying_all(way: str) -> None:
    vocabulary = Words(("a", "b"))
    torch.manual_seed(3)
    made = VideoDescriber("gru", way, 5, vocabulary.size, 6).eval()
    with torch.no_grad():
        made.readout.weight.mul_(8)
    clip = clips()[:, 0]
    found = beam_search(Telling(made, clip), vocabulary, length=3, width=64, until_end=True)[0]
    # every sentence of at most three symbols, by one call each
    best, text = -torch.inf, ""
    ids = [i for i in range(vocabulary.size) if i != vocabulary.start]
    for one in ids:
        for two in ids:
            for three in ids:
                symbols = [one, two, three]
                if vocabulary.end in symbols:
                    symbols = symbols[: symbols.index(vocabulary.end) + 1]
                fed = torch.tensor([vocabulary.start, *symbols[:-1]])[:, None]
                scores = made(clip[:, None], torch.tensor([6]), fed)[:, 0]
                logprobs = scores.detach().log_softmax(-1)
                total = float(sum(logprobs[place, symbol] for place, symbol in enumerate(symbols)))
                if total > best:
                    best, text = total, vocabulary.decode(symbols).strip()
    assert found.logprob == pytest.approx(best, abs=1e-4)
    assert found.text.strip() == text


@pytest.mark.parametrize("way", WAYS)
def test_a_configuration_makes_the_same_model(way: str) -> None:
    made = model(way, embedding=3)
    again = VideoNetwork.from_configuration(made.configuration())
    assert isinstance(again, VideoDescriber)
    again.load_state_dict(made.state_dict())
    words = torch.randint(0, 9, (2, 3))
    torch.testing.assert_close(again.eval()(clips(), LENGTHS, words), made(clips(), LENGTHS, words))
    named = VideoClassifier("gru", 5, 3)
    assert isinstance(VideoNetwork.from_configuration(named.configuration()), VideoClassifier)


def test_another_way_is_refused() -> None:
    with pytest.raises(MisuseError, match="mean-pool or s2vt"):
        model("max-pool")
