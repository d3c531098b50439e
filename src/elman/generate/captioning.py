"""Writing captions: greedy, drawn, or by beam, each with its log-probability in total and by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.data.symbols import UNKNOWN
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.beam import beam_search, check_beam, length_penalty
from elman.generate.stepping import Reading, State, evaluating, last_scores, single_steps

# a caption of more words than this says nothing more
LONGEST = 40
_TAG = re.compile(r"<([\w.-]{1,40})>")


def tag_symbol(tag: str) -> str:
    """The symbol that a model reads before a caption with this tag: ``<de>`` for ``de``."""
    return f"<{tag}>"


def tags_of(vocabulary: Vocabulary) -> dict[str, int]:
    """The tags that a vocabulary knows, by name their id."""
    found = {}
    for token in range(vocabulary.size):
        if token not in (vocabulary.start, vocabulary.end) and (match := _TAG.fullmatch(vocabulary.symbol(token))):
            found[match[1]] = token
    found.pop(UNKNOWN.strip("<>"), None)
    return found


def opening_of(vocabulary: Vocabulary, tag: str = "") -> list[int]:
    """What is read before a caption's first word: ``<S>``, and the tag where there is one.

    Raises:
        MisuseError: a tag that the model does not know, or none where it needs one.
    """
    assert vocabulary.start is not None, "captions are made of words"
    known = tags_of(vocabulary)
    if not known and not tag:
        return [vocabulary.start]
    if tag not in known:
        wanted = f"{tag!r}" if tag else "none"
        takes = f"it takes one of {', '.join(sorted(known))}" if known else "this model was trained without"
        raise MisuseError(f"--tag is {wanted}; {takes}.")
    return [vocabulary.start, known[tag]]


def never_written(vocabulary: Vocabulary) -> frozenset[int]:
    """Ids that no caption holds: ``<S>``, the unknown word, and the tags."""
    unknown = {int(token) for token in vocabulary.ids([UNKNOWN]) if token >= 0}
    return frozenset(vocabulary.unpredicted | unknown | set(tags_of(vocabulary).values()))


class Drawn(NamedTuple):
    """Captions of a batch of images.

    Attributes:
        tokens: [T, B] ids, the end symbol included; after it the end symbol again.
        logprobs: [T, B] the model's own log-probability of each, nats; 0 after the end.
        lengths: [B] symbols of each, the end symbol included.
    """

    tokens: Tensor
    logprobs: Tensor
    lengths: Tensor

    def rows(self, end: int) -> list[list[int]]:
        """Each caption's ids, without the end symbol."""
        return [
            [token for token in column[:length] if token != end]
            for column, length in zip(self.tokens.T.tolist(), self.lengths.tolist(), strict=True)
        ]


def read_opening(model: Any, state: State, opening: Sequence[int] | Tensor) -> tuple[Tensor, State]:
    """Feed what stands before the first word.

    Args:
        model: a captioner.
        state: of batch B, from its images.
        opening: ids, the same for every row, or [T, B].

    Returns:
        Scores of the first word [B, V], and the state.
    """
    tokens = opening if isinstance(opening, Tensor) else torch.tensor(opening)
    if tokens.dim() == 1:
        rows = next(iter(state.values())).shape[1]
        tokens = tokens.unsqueeze(1).expand(-1, rows)
    scores, state = model(tokens.to(next(iter(state.values())).device), state)
    return scores[-1], state


def draw(
    model: Any,
    state: State,
    opening: Sequence[int] | Tensor,
    *,
    end: int,
    banned: Collection[int] = (),
    length: int = LONGEST,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Drawn:
    """Write a caption for every row of a batch, without gradients, in the model's present mode.

    Args:
        model: a captioner.
        state: of batch B, from its images.
        opening: as for :func:`read_opening`.
        end: id of the end symbol.
        banned: ids that are never drawn.
        length: symbols at most.
        temperature: 1 draws from the model's distribution, 0 takes the likeliest word (greedy).
        generator: of the draws, on the CPU; needed unless the temperature is 0.

    Returns:
        The captions.
    """
    never = torch.tensor(sorted(banned), dtype=torch.long)
    tokens, logprobs = [], []
    with torch.no_grad(), single_steps():
        scores, state = read_opening(model, state, opening)
        over = torch.zeros(len(scores), dtype=torch.bool)
        for _ in range(length):
            own = torch.log_softmax(scores.float(), -1).cpu()
            allowed = own.index_fill(1, never, -torch.inf)
            if temperature == 0:
                chosen = allowed.argmax(1)
            else:
                shares = torch.softmax(allowed / temperature, 1)
                chosen = torch.multinomial(shares, 1, generator=generator).squeeze(1)
            chosen = torch.where(over, end, chosen)
            tokens.append(chosen)
            logprobs.append(own.gather(1, chosen.unsqueeze(1)).squeeze(1).masked_fill(over, 0.0))
            over = over | (chosen == end)
            if bool(over.all()):
                break
            scores, state = model(chosen.unsqueeze(0).to(scores.device), state)
            scores = scores[-1]
    drawn = torch.stack(tokens)
    ended = (drawn == end).int()
    lengths = torch.where(ended.any(0), ended.argmax(0) + 1, len(drawn))
    return Drawn(drawn, torch.stack(logprobs), lengths)


@dataclass(frozen=True)
class Written:
    """A caption that a model wrote.

    Attributes:
        text: the caption.
        ids: its symbols, the end symbol included where it was reached.
        symbols: their names.
        logprob: sum of ``logprobs``: nats.
        logprobs: the model's own log-probability of each symbol, before temperature: nats.
        score: ``logprob`` divided by the length penalty, by which captions are ranked.
        weights: for attention [symbols, h, w], how much each place of the grid weighed when the symbol was chosen.
    """

    text: str
    ids: list[int]
    symbols: list[str]
    logprob: float
    logprobs: list[float]
    score: float
    weights: Tensor | None = None


@dataclass(frozen=True)
class Manner:
    """How captions are written.

    Attributes:
        best: captions of each image.
        beam: width of the beam; 1 is greedy. Not used where ``temperature`` is given.
        normalisation: the exponent a of the length penalty ((5 + |y|) / 6)^a.
        temperature: draw captions with this temperature; None searches with the beam.
        length: symbols at most.
        seed: of the draws.
    """

    best: int = 1
    beam: int = 3
    normalisation: float = 0.7
    temperature: float | None = None
    length: int = LONGEST
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: naming the value.
        """
        if self.temperature is None:
            check_beam(self.beam, self.best, self.normalisation)
        elif not 0 <= self.temperature <= 100:
            raise MisuseError(f"--temperature is {self.temperature}; it takes 0 (the likeliest word) to 100.")
        if self.best < 1 or self.length < 1:
            raise MisuseError(f"{self.best} captions of {self.length} words cannot be written; both are at least 1.")


def write(
    model: Any,
    vocabulary: Vocabulary,
    features: Tensor,
    tag: str = "",
    manner: Manner | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[list[Written]]:
    """Caption images.

    Args:
        model: a captioner.
        vocabulary: its vocabulary.
        features: [N, *feature_shape].
        tag: of the captions, where the model was trained with tags.
        manner: beam or draws.
        progress: called with the share that is done.

    Returns:
        For each image at most ``manner.best`` captions, the best first (drawn ones in the order of drawing).
    """
    manner = manner or Manner()
    opening = opening_of(vocabulary, tag)
    banned = never_written(vocabulary)
    assert vocabulary.end is not None
    captions: list[list[Written]] = []
    with evaluating(model):
        for row, one in enumerate(features.split(1)):
            state = model.begin(one)
            found: list[tuple[list[int], list[float]]] = []
            if manner.temperature is None:
                with single_steps():
                    scores, after = read_opening(model, state, opening)
                reading = Reading(last_scores(scores.unsqueeze(0)), after, opening[-1], Counter())
                samples = beam_search(
                    model,
                    vocabulary,
                    length=manner.length,
                    width=manner.beam,
                    best=manner.best,
                    normalisation=manner.normalisation,
                    until_end=True,
                    reading=reading,
                    banned=banned,
                )
                found = [(sample.ids, sample.token_logprobs) for sample in samples]
            else:
                generator = torch.Generator().manual_seed((manner.seed + row) % 2**32)
                many = model.begin(one.expand(manner.best, *one.shape[1:]))
                drawn = draw(
                    model,
                    many,
                    opening,
                    end=vocabulary.end,
                    banned=banned,
                    length=manner.length,
                    temperature=manner.temperature,
                    generator=generator,
                )
                for column, nats, count in zip(drawn.tokens.T, drawn.logprobs.T, drawn.lengths.tolist(), strict=True):
                    found.append((column[:count].tolist(), nats[:count].tolist()))
            captions.append([_written(model, vocabulary, one, opening, *each, manner) for each in found])
            if progress:
                progress((row + 1) / len(features))
    return captions


def _written(
    model: Any,
    vocabulary: Vocabulary,
    features: Tensor,
    opening: list[int],
    ids: list[int],
    logprobs: list[float],
    manner: Manner,
) -> Written:
    words = [token for token in ids if token != vocabulary.end]
    weights = None
    if model.looks:
        tokens = torch.tensor([*opening, *ids[:-1]], device=features.device).unsqueeze(1)
        _, _, looked = model.read(tokens, model.begin(features))
        height, width = model.feature_shape[1:]
        # the weights with which the last opening symbol was read chose the first word
        weights = looked[len(opening) - 1 :, 0].float().cpu().view(-1, height, width)
    return Written(
        vocabulary.decode(words).strip(),
        ids,
        [vocabulary.symbol(token) for token in ids],
        sum(logprobs),
        logprobs,
        sum(logprobs) / length_penalty(len(ids), manner.normalisation),
        weights,
    )
