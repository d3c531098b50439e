"""The algorithm of the 112-line min-char-rnn program, written in Elman.

    python examples/min_char_rnn.py input.txt
    python examples/min_char_rnn.py input.txt --iterations 5000 --sample-every 1000

A vanilla recurrent network reads a text 25 characters at a time, carries its state from piece to piece, and
is corrected after each by Adagrad (Karpathy's "Minimal character-level Vanilla RNN model"). The example prints
the smoothed loss, in nats a piece of 25 characters, and now and then 200 characters that the network writes.

The recurrence and its gradient through time come from Elman, the readout and the loss from torch. The test
tests/examples/test_min_char_rnn.py does the same by hand in numpy and finds the same losses.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import elman
from elman.nn import Recurrent

EQUATIONS = "h = tanh(Wxh @ x + Whh @ h + bh)"
HIDDEN = 100
UNROLL = 25  # characters between two corrections
RATE = 0.1
CLIP = 5.0


class MinCharRNN(torch.nn.Module):
    """The recurrence, and y = Why h + by: an unnormalised log-probability for each next character."""

    def __init__(self, vocabulary: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.recurrence = Recurrent(elman.Recurrence(EQUATIONS), vocabulary, hidden)
        self.readout = torch.nn.Linear(hidden, vocabulary)
        self.double()  # as numpy computes
        with torch.no_grad():
            for weights in (
                self.recurrence.parameter("Wxh"),
                self.recurrence.parameter("Whh"),
                self.readout.weight,
            ):
                weights.copy_(torch.randn(weights.shape, generator=generator, dtype=torch.float64) * 0.01)
            self.recurrence.parameter("bh").zero_()
            self.readout.bias.zero_()

    def forward(self, characters: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Read characters [T] from the state h [hidden] -> scores [T, vocabulary], the state after them."""
        x = torch.nn.functional.one_hot(characters, self.readout.out_features).to(h.dtype)
        y, state = self.recurrence(x[:, None], {"h": h[None, None]})  # a batch of one: x [T, 1, vocabulary]
        return self.readout(y[:, 0]), state["h"][0, 0]


class Iteration(NamedTuple):
    """One correction: before it the state and the piece's first character, and the losses."""

    number: int
    loss: float  # nats, summed over the piece
    smooth_loss: float
    h: Tensor  # [hidden], as it was before the piece
    first: int


@torch.no_grad()
def adagrad(parameter: Tensor, squares: Tensor, rate: float) -> None:
    """One step of Adagrad, in place; ``squares`` collects the squared gradients.

    The small number stands under the root. torch.optim.Adagrad adds it after the root, which is another step
    while the squares are small.
    """
    gradient = parameter.grad
    assert gradient is not None
    # m <- m + g^2;  w <- w - rate g / sqrt(m + 1e-8)
    squares += gradient * gradient
    parameter -= rate * gradient / torch.sqrt(squares + 1e-8)


def train(model: MinCharRNN, characters: Tensor, rate: float = RATE) -> Iterator[Iteration]:
    """Correct the model piece by piece, over the text again and again, for as long as the caller asks.

    Args:
        model: is changed in place, after each iteration is handed out.
        characters: the text as ids, [length], longer than UNROLL + 1.
        rate: Adagrad's.
    """
    vocabulary, hidden = model.readout.weight.shape
    squares = [torch.zeros_like(parameter) for parameter in model.parameters()]
    smooth_loss = math.log(vocabulary) * UNROLL  # every character equally likely
    position, number = 0, 0
    h = model.readout.weight.new_zeros(hidden)
    while True:
        if position + UNROLL + 1 >= len(characters):  # the text ends: start again, remembering nothing
            position, h = 0, torch.zeros_like(h)
        inputs = characters[position : position + UNROLL]
        targets = characters[position + 1 : position + UNROLL + 1]

        scores, h_after = model(inputs, h)
        # L = -sum_t log softmax(y_t)[target_t]
        loss = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
        model.zero_grad()
        loss.backward()
        smooth_loss = smooth_loss * 0.999 + loss.item() * 0.001
        yield Iteration(number, loss.item(), smooth_loss, h, int(inputs[0]))

        for parameter, collected in zip(model.parameters(), squares, strict=True):
            assert parameter.grad is not None
            parameter.grad.clamp_(-CLIP, CLIP)
            adagrad(parameter, collected, rate)
        h = h_after.detach()  # carried on, but not differentiated through
        position += UNROLL
        number += 1


@torch.no_grad()
def sample(model: MinCharRNN, h: Tensor, first: int, length: int, generator: torch.Generator) -> list[int]:
    """Feed ``first``, then draw ``length`` characters, each from the distribution after the one before."""
    drawn: list[int] = []
    character = torch.tensor([first])
    for _ in range(length):
        scores, h = model(character, h)
        character = torch.multinomial(scores[0].softmax(0), 1, generator=generator)
        drawn.append(int(character))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description="min-char-rnn in Elman")
    parser.add_argument("text", type=Path, help="a plain text file")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--sample-every", type=int, default=500, help="0: write nothing")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    text = options.text.read_text(encoding="utf-8")
    if len(text) <= UNROLL + 1:
        parser.error(f"{options.text} has {len(text)} characters; at least {UNROLL + 2} are needed")
    alphabet = sorted(set(text))
    number_of = {character: number for number, character in enumerate(alphabet)}
    characters = torch.tensor([number_of[character] for character in text])
    print(f"data has {len(text)} characters, {len(alphabet)} unique.")

    generator = torch.Generator().manual_seed(options.seed)
    model = MinCharRNN(len(alphabet), HIDDEN, generator)
    for iteration in train(model, characters):
        last = iteration.number >= options.iterations
        if options.sample_every and (iteration.number % options.sample_every == 0 or last):
            written = sample(model, iteration.h, iteration.first, 200, generator)
            print("----\n" + "".join(alphabet[number] for number in written) + "\n----")
        if iteration.number % 100 == 0 or last:
            print(f"iteration {iteration.number}, loss {iteration.smooth_loss:.4f}", flush=True)
        if last:
            break


if __name__ == "__main__":
    main()
