"""A language model of one sentence: cat sat on mat.

    python examples/cat_sat.py

A language model gives P(next word | previous words). The lecture's training sentence is "cat sat on mat":
from the start token <S> to the end token <E> the model is asked five times for the next word, and training is
to make the five probabilities high. Their product is the probability of the whole sentence.

The example prints the five probabilities before and after training, then the sentence that the model writes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import elman
from elman.data import vocabulary as vocabularies
from elman.data.vocabulary import Vocabulary
from elman.nn import Recurrent

SENTENCE = "cat sat on mat"
HIDDEN = 8
STEPS = 200


class Model(torch.nn.Module):
    """h_t = tanh(Wx x_t + Wh h_{t-1} + b) over one-hot words, log P(next word) = log softmax(V h_t + c)."""

    def __init__(self, vocabulary: Vocabulary, generator: torch.Generator) -> None:
        super().__init__()
        self.words = vocabulary.size
        self.recurrence = Recurrent(elman.cell("rnn"), self.words, HIDDEN)
        self.readout = torch.nn.Linear(HIDDEN, self.words)
        # <S> is read and never written: its score is minus infinity.
        barred = torch.zeros(self.words)
        barred[list(vocabulary.unpredicted)] = -math.inf
        self.register_buffer("barred", barred)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator) * 0.1)

    def forward(self, words: Tensor) -> Tensor:
        """Words [T] -> for each the log-probabilities of what comes next [T, words]."""
        x = torch.nn.functional.one_hot(words, self.words).float()
        h, _ = self.recurrence(x[:, None])  # a batch of one: [T, 1, hidden]
        return (self.readout(h[:, 0]) + self.barred).log_softmax(1)


@torch.no_grad()
def show(model: Model, ids: Tensor, vocabulary: Vocabulary) -> None:
    """Print P(word | the words before it) for each word of the sentence, and their product."""
    chosen = model(ids[:-1]).gather(1, ids[1:, None])[:, 0]  # log P of each next word
    symbols = [vocabulary.symbol(int(id)) for id in ids]
    for place, log_probability in enumerate(chosen, start=1):
        condition = f"P({symbols[place]} | {', '.join(symbols[:place])})"
        print(f"  {condition:<34} {log_probability.exp():.3f}")
    print(f"  {'P(' + SENTENCE + ')':<34} {chosen.sum().exp():.2g}")


@torch.no_grad()
def write(model: Model, vocabulary: Vocabulary, most: int = 20) -> str:
    """From <S> on, the likeliest next word, until <E>."""
    assert vocabulary.start is not None
    ids = [vocabulary.start]
    while ids[-1] != vocabulary.end and len(ids) <= most:
        ids.append(int(model(torch.tensor(ids))[-1].argmax()))
    return " ".join(vocabulary.symbol(id) for id in ids)


def main() -> None:
    vocabulary = vocabularies.build("words", [SENTENCE + "\n"])
    ids = torch.from_numpy(vocabulary.encode(SENTENCE + "\n").ids.astype("int64"))
    model = Model(vocabulary, torch.Generator().manual_seed(1))
    print("before training")
    show(model, ids, vocabulary)

    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(STEPS):
        # L = -sum_t log P(w_{t+1} | <S>, w_1 .. w_t)
        loss = torch.nn.functional.nll_loss(model(ids[:-1]), ids[1:], reduction="sum")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    print(f"after {STEPS} steps")
    show(model, ids, vocabulary)
    print("the model writes: " + write(model, vocabulary))


if __name__ == "__main__":
    main()
