"""Beam search over a batch of sources that encoder-decoders have read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elman.generate.beam import length_penalty
from elman.generate.ensemble import Together

#: Ids and log-probabilities of a target.
Path = tuple[list[int], list[float]]


class Search:
    """A beam search over a batch of sources that have been read."""

    def __init__(self, together: Together, width: int, best: int, normalisation: float) -> None:
        self.together, self.width, self.best, self.normalisation = together, width, best, normalisation
        count = len(together.lengths)
        self.finished: list[list[tuple[float, Path]]] = [[] for _ in range(count)]
        # of the sources that are still searched: their places, and by place in the beam what was written
        self.places = torch.arange(count)
        self.totals = torch.zeros(count, 1, dtype=torch.float64)
        self.ids = torch.zeros(count, 1, 0, dtype=torch.long)
        self.nats = torch.zeros(count, 1, 0, dtype=torch.float64)

    def run(self) -> list[list[Path]]:
        """For each source its best targets."""
        tokens = torch.full((len(self.places),), self.together.start)
        while len(self.places):
            tokens = self._step(tokens)
        return [[path for _, path in paths] for paths in self.finished]

    def _step(self, tokens: Tensor) -> Tensor:
        sources, beam = self.totals.shape
        scores = self.together.step(tokens)
        # what is not among the likeliest of its own row is not among those of the beam: no need to look at every symbol
        likeliest, symbols = (
            found.cpu().view(beam, sources, -1).transpose(0, 1).flatten(1)
            for found in scores.topk(min(self.width, scores.shape[1]), dim=1)
        )
        logprobs = likeliest.double()
        each = logprobs.shape[1] // beam
        extended = self.totals.repeat_interleave(each, 1) + logprobs
        self.totals, best = extended.topk(min(self.width, extended.shape[1]), dim=1)
        parents, chosen = best // each, symbols.gather(1, best)
        own = logprobs.gather(1, best)
        self.ids = torch.cat((_of(self.ids, parents), chosen.unsqueeze(-1)), -1)
        self.nats = torch.cat((_of(self.nats, parents), own.unsqueeze(-1)), -1)
        alive = self._collect(chosen)
        going_on = alive.nonzero().squeeze(1)
        self.places, self.totals = self.places[going_on], self.totals[going_on]
        self.ids, self.nats = self.ids[going_on], self.nats[going_on]
        # the states' rows are beam-major: parent w of source b is row w * B + b
        self.together.choose((parents[going_on] * sources + going_on.unsqueeze(1)).t().flatten())
        if len(going_on) < sources:
            self.together.keep(going_on)
        return chosen[going_on].t().flatten()

    def _collect(self, chosen: Tensor) -> Tensor:
        """Take out of the beams what ended; returns of which sources the search goes on."""
        length = self.ids.shape[-1]
        ended = (chosen == self.together.end) & self.totals.isfinite()
        spent = self.together.limits[self.places] <= length
        alive = torch.ones(len(self.places), dtype=torch.bool)
        leaving = ended | (spent.unsqueeze(1) & self.totals.isfinite())
        for row, at in leaving.nonzero().tolist():
            score = float(self.totals[row, at]) / length_penalty(length, self.normalisation)
            path = (self.ids[row, at].tolist(), self.nats[row, at].tolist())
            self.finished[int(self.places[row])].append((score, path))
        self.totals = self.totals.masked_fill(leaving, -math.inf)
        for row, (place, top) in enumerate(zip(self.places.tolist(), self.totals.amax(1).tolist(), strict=True)):
            # a stable sort: of equals the one that ended first
            done = self.finished[place] = sorted(self.finished[place], key=lambda found: -found[0])[: self.best]
            # log-probabilities only fall and penalties grow with length, so that no more than this can be reached
            reachable = top / length_penalty(int(self.together.limits[place]), self.normalisation)
            settled = len(done) == self.best and reachable <= done[-1][0]
            alive[row] = math.isfinite(top) and not settled
        return alive


def _of(history: Tensor, parents: Tensor) -> Tensor:
    return history.gather(1, parents.unsqueeze(-1).expand(*parents.shape, history.shape[-1]))
