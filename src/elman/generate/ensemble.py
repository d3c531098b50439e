"""Models that write the same together, step by step: encoder-decoders, captioners."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.data.parallel import borders, encode_sentences, padded
from elman.data.vocabulary import Vocabulary, from_json
from elman.errors import FailureError, MisuseError
from elman.generate.stepping import evaluating, single_steps
from elman.models.captioning import Together as CaptionersTogether
from elman.models.translator import Memory, State, Translator
from elman.runs import LoadedRun


@dataclass(frozen=True)
class Translators:
    """One translator, or several whose probabilities are averaged, with their vocabularies.

    Attributes:
        models: on one device; all of the same vocabularies.
        source, target: the vocabularies.
        lower: sources are lower-cased, as those of the training were.
    """

    models: tuple[Translator, ...]
    source: Vocabulary
    target: Vocabulary
    lower: bool = False

    def __post_init__(self) -> None:
        for model in self.models:
            if (model.source_size, model.vocabulary_size) != (self.source.size, self.target.size):
                raise MisuseError(
                    f"A model of {model.source_size} source and {model.vocabulary_size} target symbols does not fit "
                    f"vocabularies of {self.source.size} and {self.target.size}."
                )


def from_runs(runs: Sequence[LoadedRun]) -> Translators:
    """The translators of opened runs.

    Args:
        runs: one, or several that translate together; of the same vocabularies.

    Raises:
        MisuseError: runs whose vocabularies, or whose treatment of capitals, differ.
        FailureError: a configuration that lacks something.
    """
    first = runs[0].config
    for run in runs[1:]:
        for entry in ("vocabulary", "source_vocabulary"):
            if run.config.get(entry) != first.get(entry):
                raise MisuseError(
                    "Runs that translate together need the same vocabularies: train them on the same pairs with the "
                    "same --tokens and sizes, and other seeds."
                )
    try:
        lower = {bool(run.config["data"]["options"]["lower"]) for run in runs}
    except (KeyError, TypeError) as error:
        raise FailureError(f"A run's configuration does not say how its pairs were read ({error!r}).") from error
    if len(lower) > 1:
        raise MisuseError("Runs that translate together must all be of lower-cased pairs, or none of them.")
    target = runs[0].vocabulary
    source = from_json(first["source_vocabulary"]) if "source_vocabulary" in first else target
    return Translators(tuple(run.model for run in runs), source, target, lower.pop())


def captioners_from_runs(runs: Sequence[LoadedRun]) -> LoadedRun:
    """The captioners of opened runs as one.

    Args:
        runs: one, or several that caption together; of the same vocabulary and encoder.

    Returns:
        The first run, its model a :class:`elman.models.captioning.Together` where there are several.

    Raises:
        MisuseError: runs whose vocabularies or encoders differ.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    if any(run.config.get("vocabulary") != first.config.get("vocabulary") for run in runs):
        raise MisuseError(
            "Runs that caption together need the same vocabulary: train them on the same captions with the same "
            "--words and --min-count, and other seeds."
        )
    return first._replace(model=CaptionersTogether([run.model for run in runs]))


def limit_of(symbols: int) -> int:
    """The longest target, in symbols, that is written for a source of so many."""
    return 2 * symbols + 20


@contextmanager
def writing(translators: Translators) -> Iterator[None]:
    """Every model in evaluation mode, single steps fast."""
    with ExitStack() as stack:
        for model in translators.models:
            stack.enter_context(evaluating(model))
        stack.enter_context(single_steps())
        yield


def read(translators: Translators, texts: Sequence[str], batch: int) -> Iterator[tuple[list[int], Together]]:
    """Batches of sources of similar length: their places among the texts, and the models that have read them."""
    encoded = encode_sentences(translators.source, [text.lower() for text in texts] if translators.lower else texts)
    order = sorted(range(len(texts)), key=lambda row: len(encoded[row]))
    for begin in range(0, len(order), batch):
        rows = order[begin : begin + batch]
        source, lengths = padded([encoded[row] for row in rows])
        yield rows, Together(translators, source, lengths)


class Together:
    """Models that have read the same sources and write the same targets, step by step.

    Rows of states are beam-major: row w * B + b belongs to source b.
    """

    def __init__(self, translators: Translators, source: Tensor, lengths: Tensor) -> None:
        self.models = translators.models
        self.device = self.models[0].readout_bias.device
        self.lengths = lengths
        self.limits = torch.tensor([limit_of(length) for length in lengths.tolist()])
        self.start, self.end = borders(translators.target)
        self.banned = sorted(translators.target.unpredicted)
        self.memories: list[Memory] = []
        self.states: list[State] = []
        for model in self.models:
            memory, state = model.encode(source.to(self.device), lengths.to(self.device))
            self.memories.append(memory)
            self.states.append(state)

    def step(self, tokens: Tensor) -> Tensor:
        """Take the last symbols [R]; give log-probabilities of the next [R, V], -inf for what is never predicted."""
        each = []
        for at, (model, memory) in enumerate(zip(self.models, self.memories, strict=True)):
            vectors, self.states[at], _ = model.decode(tokens.to(self.device)[None], self.states[at], memory)
            each.append(model.readout(vectors[0]))
        logprobs = self._mean(each)
        if self.banned:
            logprobs[:, self.banned] = -math.inf
        return logprobs

    def read_targets(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities [T, B] of targets [T + 1, B] with the start symbol first, and the weights [T, B, S]."""
        ids = ids.to(self.device)
        decoded = [
            model.decode(ids[:-1], state, memory)
            for model, memory, state in zip(self.models, self.memories, self.states, strict=True)
        ]
        # a step at a time, so that the scores of all symbols need little memory
        logprobs = torch.stack(
            [
                self._mean([model.readout(part[0][t]) for model, part in zip(self.models, decoded, strict=True)])
                .gather(1, ids[t + 1, :, None])
                .squeeze(1)
                for t in range(len(ids) - 1)
            ]
        )
        looks = [weights for _, _, weights in decoded if weights is not None]
        return logprobs, torch.stack(looks).mean(0) if looks else None

    def widen(self, count: int) -> None:
        """Make ``count`` rows of each source out of one."""
        self.states = [{name: tensor.repeat(1, count, 1) for name, tensor in state.items()} for state in self.states]

    def choose(self, rows: Tensor) -> None:
        """Go on with chosen rows of the states, in the order given."""
        rows = rows.to(self.device)
        self.states = [{name: tensor[:, rows] for name, tensor in state.items()} for state in self.states]

    def keep(self, sources: Tensor) -> None:
        """Forget all sources but these; states are not touched."""
        self.memories = [memory.select(sources.to(self.device)) for memory in self.memories]

    def _mean(self, scores: list[Tensor]) -> Tensor:
        logprobs = [torch.log_softmax(each if each.dtype == torch.float64 else each.float(), -1) for each in scores]
        if not all(bool(each.isfinite().all()) for each in logprobs):
            raise FailureError(
                "The model's scores are not finite numbers: its weights are damaged or its training diverged."
            )
        if len(logprobs) == 1:
            return logprobs[0]
        # P = 1/M sum_m P_m
        return torch.logsumexp(torch.stack(logprobs), 0) - math.log(len(logprobs))
