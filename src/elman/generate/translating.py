"""Writing with encoder-decoders: greedy, drawn, or the likeliest by beam search; one model or several together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from elman.data.parallel import padded
from elman.data.vocabulary import Vocabulary
from elman.errors import MisuseError
from elman.generate.beam import check_beam
from elman.generate.ensemble import Translators, from_runs, read, writing
from elman.generate.filters import Filters, draw
from elman.generate.search import Search

__all__ = ["Judged", "Translation", "Translators", "draw_translations", "from_runs", "judge", "translate"]

# sentences that are translated at a time, of similar length
BATCH = 64


@dataclass(frozen=True)
class Translation:
    """What was written for one source.

    Attributes:
        text: without the end symbol.
        ids: every symbol, the end symbol included.
        token_logprobs: log-probability of each: nats.
        stopped: "end", or "length" where the limit came first.
    """

    text: str
    ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    stopped: Literal["end", "length"]

    @property
    def logprob(self) -> float:
        """log P(target | source): nats."""
        return math.fsum(self.token_logprobs)

    @property
    def per_token(self) -> float:
        """Log-probability a symbol: nats."""
        return self.logprob / len(self.ids)


@dataclass(frozen=True)
class Judged:
    """What models think of a given target.

    Attributes:
        token_logprobs: [T] of each symbol of the target, the end symbol last: nats.
        weights: [T, S] how each looked at the symbols of the source, the end symbol last; of several models the mean;
            None where none has attention.
    """

    token_logprobs: np.ndarray
    weights: np.ndarray | None


def translate(
    translators: Translators,
    texts: Sequence[str],
    *,
    width: int = 1,
    best: int = 1,
    normalisation: float = 0.0,
    batch: int = BATCH,
) -> list[list[Translation]]:
    """The likeliest targets that a search of limited width finds, for many sources at once.

    At every step the ``width`` likeliest one-symbol extensions of the targets in a source's beam are kept; those that
    end leave the beam. Targets are ranked by log P(y | x) / lp(y), see :func:`elman.generate.beam.length_penalty`; the
    search of a source ends when none in its beam can overtake those that ended. Width 1 is greedy decoding. Several
    models take every step together, by the mean of their probabilities:  P(y_t | ...) = 1/M sum_m P_m(y_t | ...).

    Args:
        translators: models and vocabularies.
        texts: sources, one line each.
        width: targets in a beam.
        best: targets to return for each source, at most ``width``.
        normalisation: the exponent a of lp, 0 to 1 usually; 0 favours short targets.
        batch: sources that are worked on at a time; the result does not depend on it.

    Returns:
        For each source at most ``best`` targets, best first.

    Raises:
        MisuseError: an argument outside its range.
        FailureError: scores that are not finite.
    """
    check_beam(width, best, normalisation)
    found: list[list[Translation]] = [[] for _ in texts]
    with writing(translators):
        for rows, together in read(translators, texts, batch):
            for row, paths in zip(rows, Search(together, width, best, normalisation).run(), strict=True):
                found[row] = [_translation(translators.target, *path, together.end) for path in paths]
    return found


def draw_translations(
    translators: Translators,
    texts: Sequence[str],
    *,
    filters: Filters | None = None,
    samples: int = 1,
    seed: int = 1,
    batch: int = BATCH,
) -> list[list[Translation]]:
    """Targets drawn symbol by symbol.

    Args:
        translators: models and vocabularies.
        texts: sources, one line each.
        filters: temperature, top-k and so on; the log-probabilities are those before them.
        samples: targets for each source.
        seed: each target has a generator of its own, from this, the source's place and its own number.
        batch: sources that are worked on at a time; the result does not depend on it.

    Returns:
        For each source its targets.

    Raises:
        MisuseError: an argument outside its range.
        FailureError: scores that are not finite.
    """
    if samples < 1 or seed < 0:
        raise MisuseError(f"Samples are {samples} and the seed {seed}; they take 1 or more, and 0 or more.")
    filters = filters or Filters()
    found: list[list[Translation]] = [[] for _ in texts]
    with writing(translators):
        for rows, together in read(translators, texts, batch):
            # row w * B + b of the batch is sample w of source b
            generators = [np.random.default_rng([seed, row, sample]) for sample in range(samples) for row in rows]
            limits = np.tile(together.limits.numpy(), samples)
            written: list[tuple[list[int], list[float]]] = [([], []) for _ in generators]
            together.widen(samples)
            tokens = torch.full((len(generators),), together.start)
            alive = np.ones(len(generators), dtype=bool)
            while alive.any():
                logprobs = together.step(tokens).double().cpu().numpy()
                uniforms = np.array([generator.random() for generator in generators])
                chosen = draw(filters(logprobs), uniforms)
                for row in np.flatnonzero(alive).tolist():
                    ids, nats = written[row]
                    ids.append(int(chosen[row]))
                    nats.append(float(logprobs[row, chosen[row]]))
                    alive[row] = ids[-1] != together.end and len(ids) < limits[row]
                tokens = torch.from_numpy(chosen)
            for place, row in enumerate(rows):
                found[row] = [
                    _translation(translators.target, *written[sample * len(rows) + place], together.end)
                    for sample in range(samples)
                ]
    return found


def judge(
    translators: Translators, texts: Sequence[str], targets: Sequence[Sequence[int]], *, batch: int = BATCH
) -> list[Judged]:
    """The log-probabilities of given targets, and where the models looked while they read them.

    Args:
        translators: models and vocabularies.
        texts: sources, one line each.
        targets: for each source the ids of a target, the end symbol last (or not, where it broke off).
        batch: pairs at a time.

    Returns:
        For each pair what was found.
    """
    judged: list[Judged] = [Judged(np.zeros(0), None)] * len(texts)
    with writing(translators):
        for rows, together in read(translators, texts, batch):
            given = [np.array([together.start, *targets[row]], dtype=np.int64) for row in rows]
            ids, lengths = padded(given)
            logprobs, weights = together.read_targets(ids)
            for place, row in enumerate(rows):
                count = int(lengths[place]) - 1
                looked = None
                if weights is not None:
                    looked = weights[:count, place, : int(together.lengths[place])].double().cpu().numpy()
                judged[row] = Judged(logprobs[:count, place].double().cpu().numpy(), looked)
    return judged


def _translation(vocabulary: Vocabulary, ids: list[int], nats: list[float], end: int) -> Translation:
    closed = ids[-1] == end
    text = vocabulary.decode(ids[:-1] if closed else ids)
    return Translation(text, tuple(ids), tuple(nats), "end" if closed else "length")
