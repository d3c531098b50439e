"""Captioners that write together: the mean of their probabilities, whatever each of them is."""

from __future__ import annotations

import copy

import pytest
import torch
from caption_models import WORDS, captioner, features

from elman.errors import MisuseError
from elman.models.captioning import Together

TOKENS = torch.randint(0, WORDS, (5, 3), generator=torch.Generator().manual_seed(4))


def test_a_word_has_the_mean_of_the_probabilities():
    models = [captioner("constant", "gru"), captioner("two-layer", "lstm"), captioner("first", "rnn")]
    for model in models[1:]:
        model.encoder = models[0].encoder
    together = Together(models).eval()
    seen = features(models[0], 3)
    scores, _ = together(TOKENS, together.begin(seen))
    wanted = torch.stack([model(TOKENS, model.begin(seen))[0].softmax(-1) for model in models]).mean(0)
    torch.testing.assert_close(scores.exp(), wanted)
    # word by word, and with the rows of the states in another order
    state = together.begin(seen)
    steps = []
    for word in TOKENS.split(1):
        step, state = together(word[:, [2, 0, 1]], {name: part[:, [2, 0, 1]] for name, part in state.items()})
        state = {name: part[:, [1, 2, 0]] for name, part in state.items()}
        steps.append(step[:, [1, 2, 0]])
    torch.testing.assert_close(torch.cat(steps), scores, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(together.average_image(2), models[0].average_image(2))


def test_one_alone_and_twins_are_the_one():
    model = captioner("attention", "gru")
    seen = features(model, 3)
    alone = torch.log_softmax(model(TOKENS, model.begin(seen))[0], -1)
    _, _, looks = model.read(TOKENS, model.begin(seen))
    for members in ([model], [model, copy.deepcopy(model)]):
        together = Together(members)
        torch.testing.assert_close(together(TOKENS, together.begin(seen))[0], alone)
        torch.testing.assert_close(together.read(TOKENS, together.begin(seen))[2], looks)


def test_what_does_not_belong_together_is_refused():
    model, other = captioner("constant"), captioner("constant")
    other.encoder = copy.deepcopy(model.encoder)
    next(other.encoder.parameters()).data += 1
    with pytest.raises(MisuseError, match="same encoder with the same weights"):
        Together([model, other])
    with pytest.raises(MisuseError, match="same vocabulary and features"):
        Together([model, captioner("attention")])
