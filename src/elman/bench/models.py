"""Whole models: a training step of a language model, and sampling from it one character at a time."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.bench.contenders import Contender, Outcome, Setting, torch_settings
from elman.bench.counterpart import counterpart
from elman.bench.eager import Eager
from elman.bench.layers import own_contenders
from elman.bench.work import SYMBOLS, Job
from elman.data.batches import Streams, Window
from elman.data.vocabulary import build
from elman.generate import generate
from elman.models.language import LanguageModel
from elman.runs import RunFolder
from elman.training.display import QuietDisplay
from elman.training.loop import Trainer
from elman.training.schedules import Plan
from elman.training.settings import Settings
from elman.training.systems.language.task import LanguageTask

VOCABULARY = build("characters", [SYMBOLS])
RATE = 2e-3
CLIP = 1.0

# of training data, in steps; then they begin anew
WINDOWS = 8
# training steps whose losses are compared; characters whose probabilities are
COMPARED_STEPS, COMPARED_CHARACTERS = 3, 16

PROMPT = "a"


class PlainModel(nn.Module):
    """The language model as it is written with torch.nn: embedding, layers, linear readout."""

    def __init__(self, model: LanguageModel, layers: nn.RNNBase | Eager) -> None:
        super().__init__()
        self.embedding, self.layers = copy.deepcopy(model.embedding), layers
        self.readout = nn.Linear(model.hidden, model.vocabulary_size)
        with torch.no_grad():
            self.readout.weight.copy_(model.readout_weight)
            self.readout.bias.copy_(model.readout_bias)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores [T, B, V] and the layers' state."""
        hidden, state = self.layers(self.embedding(tokens), state)
        return self.readout(hidden), state


class PlainTraining:
    """A training step as everybody writes it: loss, backward, clipping, Adam; the state is carried, its gradient not.

    Args:
        model: (tokens [T, B], state or None) to (scores [T, B, V], state).
        windows: inputs, targets and whether the state begins anew, without end.
        setting: of the forward pass.
        fused: torch's Adam in one kernel instead of as it comes.
    """

    def __init__(self, model: nn.Module, windows: Iterable[Window], setting: Setting, *, fused: bool) -> None:
        self.model, self.windows, self.setting, self.state = model, iter(windows), setting, None
        self.parameters = list(model.parameters())
        # None is what torch's Adam has as it comes
        self.optimiser = torch.optim.Adam(self.parameters, lr=RATE, fused=True if fused else None)

    def step(self) -> Tensor:
        """One step; the loss before it."""
        inputs, targets, fresh = next(self.windows)
        if fresh:
            self.state = None
        self.optimiser.zero_grad()
        with self.setting.autocasting():
            scores, state = self.model(inputs, self.state)
            loss = functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        self.state = detached(state)
        return loss.detach()


def detached(state: Any) -> Any:
    """A state, whatever it is made of, without what led to it."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: value.detach() for name, value in state.items()}
    return tuple(value.detach() for value in state)


def contenders(job: Job) -> list[Contender]:
    """The contenders of a model's training or sampling; see :func:`elman.bench.contenders.contenders`."""
    model = _model(job, "auto")
    torch_layers = counterpart(model.recurrent)
    make = _training if job.work == "model" else _Sampling(job, model).contender
    plain = Setting(autocast=job.precision == "bf16")
    found = own_contenders(
        lambda backend, name: make(name, _model(job, backend), job, Setting()),
        job.recurrence,
        torch.zeros(job.shape.steps, job.shape.batch, job.shape.hidden),
        plain,
    )
    if torch_layers is not None:
        for title, setting in torch_settings(job.precision).items():
            found.append(make("torch" + title, PlainModel(model, copy.deepcopy(torch_layers)), job, setting))
        if job.work == "model":
            for title, setting in torch_settings(job.precision).items():
                name = f"torch fused Adam{title}"
                found.append(make(name, PlainModel(model, copy.deepcopy(torch_layers)), job, setting))
    return [*found, make("eager", PlainModel(model, Eager(model.recurrent)), job, plain)]


def _model(job: Job, backend: str) -> LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return LanguageModel(job.recurrence, len(SYMBOLS), job.shape.hidden, job.layers, backend=backend)


# ---------------------------------------------------------------- training


def _training(name: str, model: nn.Module, job: Job, setting: Setting) -> Contender:
    if isinstance(model, LanguageModel):
        # what `elman train lm` does at every step, its own precision included
        step: Callable[[], Any] = _trainer(model, job)._step
    else:
        windows = _windows(_streams(job))
        step = PlainTraining(model, windows, setting, fused="fused" in name).step

    def outcome() -> Outcome:
        return {"loss": torch.tensor([float(step()) for _ in range(COMPARED_STEPS)])}

    return Contender(name, step, outcome, setting, backend=lambda: getattr(model, "backend_used", ""))


def _trainer(model: LanguageModel, job: Job) -> Trainer:
    """The training loop on this model; nothing is written, since it is never run as a whole."""
    settings = Settings(
        batch=job.shape.batch,
        unroll=job.shape.steps,
        optimizer="Adam",
        lr=RATE,
        schedule="constant",
        clip=CLIP,
        precision=job.precision,
        sample_length=0,
    )
    tokens = _tokens(job)
    task = LanguageTask(model, VOCABULARY, tokens, tokens[:0], settings)
    return Trainer(task, settings, Plan(10**9), RunFolder(Path("bench")), QuietDisplay())


def _tokens(job: Job) -> np.ndarray:
    count = job.shape.batch * job.shape.steps * WINDOWS + 1
    # neighbouring symbols are likely to be close, so that there is something to learn
    steps = np.random.default_rng(4).integers(-2, 3, count)
    return (np.cumsum(steps) % len(SYMBOLS)).astype(np.uint8)


def _streams(job: Job) -> Streams:
    return Streams(_tokens(job), job.shape.batch, job.shape.steps)


def _windows(streams: Streams) -> Iterable[Window]:
    return itertools.cycle([streams.next() for _ in range(streams.steps)])


# ---------------------------------------------------------------- sampling


class _Sampling:
    """Contenders that draw texts, and score one text so that their probabilities can be compared.

    Args:
        job: its steps are the characters of a text.
        model: draws the text that is scored.
    """

    def __init__(self, job: Job, model: LanguageModel) -> None:
        self.first = int(VOCABULARY.encode(PROMPT).ids[0])
        drawn = generate(model, VOCABULARY, prompt=PROMPT, length=COMPARED_CHARACTERS, seed=5)[0]
        self.text = drawn.ids

    def contender(self, name: str, model: nn.Module, job: Job, setting: Setting) -> Contender:
        count = job.shape.steps
        own = isinstance(model, LanguageModel)

        def elman() -> object:
            return generate(model, VOCABULARY, prompt=PROMPT, length=count, seed=5)

        def elman_outcome() -> Outcome:
            # the same seed draws the same text
            drawn = generate(model, VOCABULARY, prompt=PROMPT, length=COMPARED_CHARACTERS, seed=5)[0]
            return _judged(drawn.ids, torch.tensor(drawn.token_logprobs))

        def plain() -> object:
            return _draw(model, self.first, count)

        def plain_outcome() -> Outcome:
            return _judged(self.text, _score(model, self.first, self.text))

        return Contender(
            name,
            elman if own else plain,
            elman_outcome if own else plain_outcome,
            setting,
            units=count,
            backend=lambda: getattr(model, "backend_used", ""),
        )


def _judged(text: list[int], logprobs: Tensor) -> Outcome:
    """A text, and how much likelier than by chance a model finds each symbol: chance alone would hide differences."""
    return {"text": torch.tensor(text), "log-probabilities": logprobs + math.log(len(SYMBOLS))}


def _draw(model: nn.Module, first: int, count: int) -> list[int]:
    """The loop that everybody writes: a step, a softmax, a draw."""
    token, state, drawn = torch.tensor([[first]]), None, []
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _ in range(count):
            scores, state = model(token, state)
            token = torch.multinomial(torch.softmax(scores[-1], -1), 1, generator=generator)
            drawn.append(int(token))
    return drawn


def _score(model: nn.Module, first: int, text: list[int]) -> Tensor:
    """The log-probability of each symbol of a text, fed one by one."""
    state, found = None, []
    with torch.no_grad():
        for before, token in zip([first, *text], text, strict=False):
            scores, state = model(torch.tensor([[before]]), state)
            found.append(torch.log_softmax(scores[-1, 0].double(), -1)[token])
    return torch.stack(found)
