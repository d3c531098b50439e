"""A network with four symbols learns to say hello.

    python examples/hello.py

The lecture's first character model: the vocabulary is h, e, l, o, the training sequence "hello", the hidden
state three numbers. Fed "hell", the network is to score "ello" highest. The two l's need different answers, so
the answer must come from the hidden state and not from the input alone.

The example prints, before and after training, the slide's picture: input layer, hidden layer, output layer
and target character at each of the four steps. Then it feeds h, and after it whatever the network says.
"""

from __future__ import annotations

import torch
from torch import Tensor

import elman
from elman.nn import Recurrent

VOCABULARY = "helo"
WORD = "hello"
HIDDEN = 3
MOST_STEPS = 2000


class Model(torch.nn.Module):
    """h_t = tanh(Whh h_{t-1} + Wxh x_t) and the scores y_t = Why h_t."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.recurrence = Recurrent(elman.Recurrence("h = tanh(Whh @ h + Wxh @ x)"), len(VOCABULARY), HIDDEN)
        self.readout = torch.nn.Linear(HIDDEN, len(VOCABULARY), bias=False)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator) * 0.5)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One-hot characters [T, 4] -> hidden states [T, 3], scores [T, 4]; without h the state starts at 0."""
        state = None if h is None else {"h": h[None, None]}
        hidden, _ = self.recurrence(x[:, None], state)  # a batch of one: [T, 1, 3]
        return hidden[:, 0], self.readout(hidden[:, 0])


def one_hot(text: str) -> Tensor:
    """Each character as a row with a single 1: [len(text), 4]."""
    rows = torch.tensor([VOCABULARY.index(character) for character in text])
    return torch.nn.functional.one_hot(rows, len(VOCABULARY)).float()


@torch.no_grad()
def show(model: Model) -> None:
    """Print the four steps as the slide draws them, one step a column."""
    inputs, targets = WORD[:-1], WORD[1:]
    x = one_hot(inputs)
    hidden, scores = model(x)

    def layer(name: str, values: Tensor, form: str) -> None:
        for row in range(values.shape[1]):
            label = name if row == 0 else ""
            print(f"{label:>14} " + " ".join(f"{format(float(value), form):>7}" for value in values[:, row]))

    print(f"{'target':>14} " + " ".join(f"{character:>7}" for character in targets))
    layer("output layer", scores, ".1f")
    layer("hidden layer", hidden, ".2f")
    layer("input layer", x, ".0f")
    print(f"{'input':>14} " + " ".join(f"{character:>7}" for character in inputs))


@torch.no_grad()
def say(model: Model, first: str, length: int) -> str:
    """The character with the highest score is said and fed next, ``length`` times."""
    said, h = first, None
    while len(said) <= length:
        hidden, scores = model(one_hot(said[-1]), h)
        h = hidden[-1]
        said += VOCABULARY[int(scores[-1].argmax())]
    return said


def main() -> None:
    model = Model(torch.Generator().manual_seed(1))
    print("before training")
    show(model)
    print(f"fed h, it says: {say(model, 'h', 4)}\n")

    x, targets = one_hot(WORD[:-1]), one_hot(WORD[1:]).argmax(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(MOST_STEPS):
        _, scores = model(x)
        loss = torch.nn.functional.cross_entropy(scores, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # Confident as well as right: at least 9 times of 10 a sampled character is the next one of hello.
        if say(model, "h", 4) == WORD and loss.item() < 0.1:
            print(f"after {step + 1} steps, loss {loss.item():.3f} nats a character")
            show(model)
            print(f"fed h, it says: {say(model, 'h', 4)}")
            return
    raise SystemExit(f"it does not say hello after {MOST_STEPS} steps, loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
