"""Drawing texts from a language model."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate import compiled
from elman.generate.filters import Filters, Scores, draw, log_softmax
from elman.generate.stepping import State, advance, check_sizes, evaluating, read, select, single_steps
from elman.generate.stream import Detokenizer, StopFinder, continuation

Stopped = Literal["length", "stop", "end"]
OnToken = Callable[[int, int, str], None]

# torch's CPU generator (a Mersenne twister) takes 32 bits of a seed
SEEDS = 2**32
_UNIFORMS_A_BLOCK = 256


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote.

    Attributes:
        text: what follows the prompt, up to the stop text or the end symbol where one was met (without it).
            Of a word model it begins with the space that separates it from the prompt, where there is one.
        ids: every drawn symbol, those of the stop text and the end symbol included.
        logprob: sum of ``token_logprobs``: nats.
        token_logprobs: the model's own log-probability of each drawn symbol, before temperature and filters:
            nats.
        stopped: why it ended: "length", "stop" (a stop text) or "end" (the end symbol).
        seed: draws this text again, alone or as the first of a batch; None where nothing was drawn (beam
            search).
        unknown: symbols of the prompt that the vocabulary lacks, with their counts.
    """

    text: str
    ids: list[int]
    logprob: float
    token_logprobs: list[float]
    stopped: Stopped
    seed: int | None
    unknown: Counter[str] = field(default_factory=Counter)


def generate(
    model: Any,
    vocabulary: Vocabulary,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    banned: Collection[int] = (),
    stop: Sequence[str] = (),
    until_end: bool = False,
    samples: int = 1,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    on_token: OnToken | None = None,
    precision: str = "fp32",
) -> list[Sample]:
    """Continue a prompt by drawing symbols, several texts in one batch.

    Each text has a seed and a generator of its own, which gives one uniform number a step; the symbol is
    found by inverting the distribution function in float64 on the CPU. So a text depends on its seed alone,
    not on the batch or the device, up to the rounding of the model's own arithmetic.

    Args:
        model: a language model.
        vocabulary: its vocabulary; its policy decides what becomes of symbols of the prompt that it lacks.
        prompt: read before the first draw; when empty, the text begins as after the vocabulary's start
            symbol, else as after a newline, else with a symbol drawn uniformly.
        length: symbols to draw at most.
        temperature: 1 draws from the model's distribution, 0 always takes the likeliest symbol (greedy).
        top_k: draw from the k likeliest symbols only.
        top_p: draw from the likeliest symbols that together have at least this probability.
        min_p: draw from the symbols that have at least this share of the likeliest's probability.
        banned: ids that are never drawn, beside those that the vocabulary never predicts.
        stop: texts at which a text ends; they may be cut anywhere by token borders and are not part of the
            text.
        until_end: end at the vocabulary's end symbol even where the vocabulary says what follows it.
        samples: number of texts N.
        seed: of the first text, 0 to 2^32 - 1; text i has seed + i (modulo 2^32). Default: a fresh one, which
            the samples report.
        generator: draws the first seed where none is given.
        on_token: called as (text's index, id, new text) after each draw; the new texts joined are the
            sample's text.
        precision: "fp32"; "bf16" for weights in bfloat16, faster where they do not fit a cache, and another text;
            "int8" for a readout in 8 bits beside that, for large vocabularies.

    Returns:
        N samples, in order of their seeds.

    Raises:
        MisuseError: an argument outside its range, or an unknown symbol under the policy "error".
        FailureError: scores that are not finite, or no symbol left to draw.
    """
    if length < 0:
        raise MisuseError(f"The length is {length}; it must be 0 or more symbols.")
    if samples < 1:
        raise MisuseError(f"The number of samples is {samples}; it must be at least 1.")
    if banned and (min(banned) < 0 or max(banned) >= vocabulary.size):
        raise MisuseError(f"A banned id lies outside the vocabulary, whose ids are 0 to {vocabulary.size - 1}.")
    check_sizes(model, vocabulary)
    compiled.check_precision(model, precision)
    filters = Filters(temperature, top_k, top_p, min_p, vocabulary.unpredicted | frozenset(banned))
    seeds = _seeds(samples, seed, generator)
    uniforms = _Uniforms(seeds)
    with evaluating(model):
        scores, state, last, unknown = read(model, vocabulary, prompt)
        rows = [_Row(index, vocabulary, last, stop, until_end, on_token) for index in range(samples)]
        scores, state = scores.repeat(samples, axis=0), select(state, [0] * samples)
        if compiled.can_draw(model):
            steps = compiled.draws(model, filters, scores, state, uniforms.block, length, vocabulary.follows, precision)
        else:
            steps = _draws(model, filters, scores, state, uniforms, length, vocabulary.follows)
        for step, (ids, logprobs) in enumerate(steps, 1):
            for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
                if row.stopped is None:
                    row.accept(token, logprob, last=step == length)
            if all(row.stopped for row in rows):
                break
    return [row.sample(seed, unknown) for row, seed in zip(rows, seeds, strict=True)]


def _draws(
    model: Any,
    filters: Filters,
    scores: Scores,
    state: State,
    uniforms: _Uniforms,
    length: int,
    follows: Mapping[int, int],
) -> compiled.Draws:
    """As :func:`elman.generate.compiled.draws`, for any model."""
    every_row = np.arange(len(scores))
    with single_steps():
        for step in range(1, length + 1):
            logprobs = log_softmax(scores)
            ids = draw(filters(logprobs), uniforms.block(1)[0])
            yield ids, logprobs[every_row, ids]
            if step < length:
                scores, state = advance(model, ids, state, follows)


class _Row:
    """One text of the batch while it grows."""

    def __init__(
        self,
        index: int,
        vocabulary: Vocabulary,
        context: int | None,
        stop: Sequence[str],
        until_end: bool,
        on_token: OnToken | None,
    ) -> None:
        self.index, self.vocabulary, self.context, self.on_token = index, vocabulary, context, on_token
        self.end = vocabulary.end if until_end or vocabulary.end not in vocabulary.follows else None
        self.finder = StopFinder(stop)
        # text is only made on the way where somebody looks at it
        self.detokenizer = Detokenizer(vocabulary, context) if stop or on_token else None
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.pieces: list[str] = []
        self.stopped: Stopped | None = None

    def accept(self, token: int, logprob: float, last: bool) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        ended = token == self.end
        if self.detokenizer is not None:
            piece = "" if ended else self.finder.feed(self.detokenizer.feed(token))
            if (last or ended) and not self.finder.found:
                piece += self.finder.feed(self.detokenizer.finish()) + self.finder.finish()
            self.pieces.append(piece)
            if self.on_token is not None:
                self.on_token(self.index, token, piece)
        if ended:
            self.stopped = "end"
        elif self.finder.found:
            self.stopped = "stop"

    def sample(self, seed: int, unknown: Counter[str]) -> Sample:
        if self.detokenizer is not None:
            text = "".join(self.pieces)
        else:
            text = continuation(self.vocabulary, self.context, self.ids[:-1] if self.stopped == "end" else self.ids)
        return Sample(
            text,
            self.ids,
            sum(self.logprobs),
            self.logprobs,
            self.stopped or "length",
            seed,
            Counter(unknown),
        )


class _Uniforms:
    """A stream of uniform numbers a row, each from its own seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._left = np.empty((0, len(seeds)))

    def block(self, steps: int) -> NDArray[np.float64]:
        """The next numbers of every row [steps, B]."""
        while len(self._left) < steps:
            # one call for many steps: a call costs more than the numbers
            fresh = [torch.rand(_UNIFORMS_A_BLOCK, generator=g, dtype=torch.float64) for g in self._generators]
            self._left = np.concatenate((self._left, torch.stack(fresh, dim=1).numpy()))
        taken, self._left = self._left[:steps], self._left[steps:]
        return taken


def _seeds(samples: int, seed: int | None, generator: torch.Generator | None) -> list[int]:
    if seed is None:
        seed = secrets.randbelow(SEEDS) if generator is None else int(torch.randint(SEEDS, (), generator=generator))
    if not 0 <= seed < SEEDS:
        raise MisuseError(f"The seed is {seed}; it must lie between 0 and {SEEDS - 1}.")
    return [(seed + index) % SEEDS for index in range(samples)]
