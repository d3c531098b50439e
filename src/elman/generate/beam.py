"""Beam search: the likeliest texts instead of drawn ones."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.filters import Scores, ban, log_softmax
from elman.generate.sampling import Sample, Stopped
from elman.generate.stepping import Reading, advance, check_sizes, evaluating, read, select, single_steps
from elman.generate.stream import Detokenizer, StopFinder, continuation


def beam_search(
    model: Any,
    vocabulary: Vocabulary,
    *,
    prompt: str = "",
    length: int = 500,
    width: int = 5,
    best: int = 1,
    normalisation: float = 0.0,
    stop: Sequence[str] = (),
    until_end: bool = False,
    reading: Reading | None = None,
    banned: Collection[int] = (),
) -> list[Sample]:
    """The likeliest continuations that a search of limited width finds.

    At every step the ``width`` likeliest one-symbol extensions of the texts in the beam are kept; those that
    meet a stop text or the end symbol leave the beam. Width 1 is greedy decoding; a width that never has to
    drop an extension finds the likeliest texts of all. Texts are ranked by

        log P(y) / lp(y),   lp(y) = ((5 + |y|) / 6)^a            (Wu et al. 2016, equation 14)

    with |y| the number of symbols; a = 0 ranks by log-probability alone, which favours texts that end early.

    Args:
        model: a language model.
        vocabulary: its vocabulary.
        prompt, length, stop, until_end: as for :func:`elman.generate.generate`.
        width: texts in the beam.
        best: number of texts to return, at most ``width``.
        normalisation: the exponent a, 0 to 1 usually.
        reading: what the model has read already, in the place of the prompt; of batch 1.
        banned: ids that are never written, beside those that the vocabulary never predicts.

    Returns:
        At most ``best`` samples, best first (fewer where there are no more texts); of equals the one found
        first.

    Raises:
        MisuseError: an argument outside its range, or an unknown symbol under the policy "error".
        FailureError: scores that are not finite.
    """
    if length < 0:
        raise MisuseError(f"The length is {length}; it must be 0 or more symbols.")
    check_beam(width, best, normalisation)
    check_sizes(model, vocabulary)
    end = vocabulary.end if until_end or vocabulary.end not in vocabulary.follows else None
    follows = vocabulary.follows
    never = vocabulary.unpredicted | frozenset(banned)
    finished: list[_Path] = []
    with evaluating(model):
        scores, state, last, unknown = reading or read(model, vocabulary, prompt)
        watched = (Detokenizer(vocabulary, last), StopFinder(stop)) if stop else None
        beam = [_Path((), (), 0.0, "", None, watched)]
        with single_steps():
            for step in range(1, length + 1):
                logprobs = log_softmax(scores)
                totals = np.array([path.logprob for path in beam])[:, None] + ban(logprobs, never)
                parents, ids = _likeliest(totals, width)
                extended = [
                    beam[parent].extended(token, float(logprobs[parent, token]), end)
                    for parent, token in zip(parents.tolist(), ids.tolist(), strict=True)
                ]
                finished += [path for path in extended if path.stopped]
                finished = _ranked(finished, normalisation)[:best]
                alive = [row for row, path in enumerate(extended) if not path.stopped]
                beam = [extended[row] for row in alive]
                if not beam or step == length or _settled(beam, finished, best, length, normalisation):
                    break
                scores, state = advance(model, ids[alive], select(state, parents[alive]), follows)
    texts = _ranked(finished + beam, normalisation)[:best]
    return [path.sample(vocabulary, last, unknown) for path in texts]


@dataclass(frozen=True)
class _Path:
    """A text in the beam: nothing in it is changed in place, so paths may share their past."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    logprob: float
    text: str
    stopped: Stopped | None
    watched: tuple[Detokenizer, StopFinder] | None  # only where stop texts are looked for

    def extended(self, token: int, logprob: float, end: int | None) -> _Path:
        longer = replace(
            self,
            ids=(*self.ids, token),
            logprobs=(*self.logprobs, logprob),
            logprob=self.logprob + logprob,
            stopped="end" if token == end else None,
        )
        if self.watched is None or token == end:
            return longer
        detokenizer, finder = copy.copy(self.watched[0]), copy.copy(self.watched[1])
        text = self.text + finder.feed(detokenizer.feed(token))
        return replace(longer, text=text, watched=(detokenizer, finder), stopped="stop" if finder.found else None)

    def sample(self, vocabulary: Vocabulary, context: int | None, unknown: Counter[str]) -> Sample:
        if self.stopped == "stop":
            text = self.text
        else:
            text = continuation(vocabulary, context, self.ids[:-1] if self.stopped == "end" else self.ids)
        return Sample(
            text,
            list(self.ids),
            self.logprob,
            list(self.logprobs),
            self.stopped or "length",
            None,
            unknown.copy(),
        )


def _likeliest(totals: Scores, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the ``width`` largest finite entries, largest first, of equals the earlier."""
    flat = totals.ravel()
    if len(flat) > width:
        # a full sort of beam x vocabulary is what would cost here
        candidates = np.flatnonzero(flat >= np.partition(flat, len(flat) - width)[len(flat) - width])
    else:
        candidates = np.arange(len(flat))
    candidates = candidates[np.isfinite(flat[candidates])]
    candidates = candidates[np.argsort(-flat[candidates], kind="stable")][:width]
    return candidates // totals.shape[1], candidates % totals.shape[1]


def _score(path: _Path, normalisation: float) -> float:
    return path.logprob / length_penalty(len(path.ids), normalisation)


def length_penalty(length: int, normalisation: float) -> float:
    """lp(y) = ((5 + |y|) / 6)^a, by which a log-probability is divided (Wu et al. 2016, equation 14).

    Args:
        length: |y|, symbols.
        normalisation: a.
    """
    return ((5 + length) / 6) ** normalisation


def check_beam(width: int, best: int, normalisation: float) -> None:
    """Refuse a beam that cannot be.

    Raises:
        MisuseError: naming the argument and what it takes.
    """
    if not 1 <= best <= width:
        raise MisuseError(
            f"A beam of width {width} cannot give the {best} best texts; the width must be at least that."
        )
    if normalisation < 0:
        raise MisuseError(f"The length normalisation is {normalisation}; it must be 0 or more.")


def _ranked(paths: list[_Path], normalisation: float) -> list[_Path]:
    return sorted(paths, key=lambda path: -_score(path, normalisation))


def _settled(beam: list[_Path], finished: list[_Path], best: int, length: int, normalisation: float) -> bool:
    """Whether no text in the beam can overtake: log-probabilities only fall, penalties grow with length."""
    if len(finished) < best:
        return False
    reachable = max(path.logprob for path in beam) / length_penalty(length, normalisation)
    return reachable <= _score(finished[-1], normalisation)
