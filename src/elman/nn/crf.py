"""The linear-chain conditional random field: labels that know their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.errors import MisuseError


class LinearChainCRF(nn.Module):
    """A distribution over sequences of labels, given a score for each label at each step.

        s(y) = begin[y_1] + sum_t e_t[y_t] + sum_t A[y_{t-1}, y_t] + end[y_T]
        log P(y) = s(y) - log sum_y' exp s(y')

    Lafferty, McCallum, Pereira 2001; on a recurrent network Huang, Xu, Yu 2015 (arXiv:1508.01991).

    Args:
        labels: number of labels K.

    Attributes:
        transitions: A [K, K], from the row's label to the column's.
        begin, end: [K], of the first and the last label.

    Raises:
        MisuseError: fewer than one label.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        if labels < 1:
            raise MisuseError(f"A conditional random field needs at least one label, not {labels}.")
        self.labels = labels
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.begin = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def score(self, scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """s(y), not normalised.

        Args:
            scores: e [T, B, K].
            labels: y [T, B]; what stands beyond a row's length is not read.
            lengths: [B], 1 to T.

        Returns:
            [B] nats.
        """
        inside = self._inside(scores, lengths)
        labels = labels.masked_fill(~inside, 0)
        single = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        pairs = self.transitions[labels[:-1], labels[1:]]
        last = labels.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)
        summed = single.where(inside, 0.0).sum(0) + pairs.where(inside[1:], 0.0).sum(0)
        return summed + self.begin[labels[0]] + self.end[last]

    def log_partition(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """log Z = log sum_y exp s(y) by the forward algorithm: [B] nats; arguments as of :meth:`score`."""
        return torch.logsumexp(self._forward_scores(scores, lengths)[-1] + self.end, dim=-1)

    def forward(self, scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """-log P(y) of each row: [B] nats; arguments as of :meth:`score`."""
        return self.log_partition(scores, lengths) - self.score(scores, labels, lengths)

    def marginals(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """P(y_t = k) of each step: [T, B, K], zero beyond a row's length; arguments as of :meth:`score`."""
        # d log Z / d e_t[k] = P(y_t = k)
        with torch.enable_grad():
            given = scores.detach().requires_grad_()
            (marginals,) = torch.autograd.grad(self.log_partition(given, lengths).sum(), given)
        return marginals

    @torch.no_grad()
    def decode(self, scores: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest labels (Viterbi 1967).

        Args:
            scores, lengths: as of :meth:`score`.

        Returns:
            Labels [T, B], -1 beyond a row's length, and s(y) of each row [B].
        """
        self._inside(scores, lengths)
        return viterbi(scores, lengths, self.transitions, self.begin, self.end)

    def _forward_scores(self, scores: Tensor, lengths: Tensor) -> list[Tensor]:
        """alpha_t[k]: log of the summed exp scores of all beginnings that end in label k."""
        inside = self._inside(scores, lengths)
        alphas = [self.begin + scores[0]]
        for t in range(1, len(scores)):
            # alpha_t[k] = e_t[k] + log sum_j exp(alpha_{t-1}[j] + A[j, k])
            into = torch.logsumexp(alphas[-1].unsqueeze(-1) + self.transitions, dim=1) + scores[t]
            alphas.append(torch.where(inside[t].unsqueeze(-1), into, alphas[-1]))
        return alphas

    def _inside(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """[T, B] whether a step belongs to its row.

        Raises:
            MisuseError: shapes that do not fit.
        """
        batch = scores.shape[1]
        if scores.shape[2] != self.labels or lengths.shape != (batch,):
            raise MisuseError(
                f"scores must be [T, B, {self.labels}] and lengths [B]; got {list(scores.shape)} and "
                f"{list(lengths.shape)}."
            )
        return _inside(scores, lengths)


@torch.no_grad()
def viterbi(scores: Tensor, lengths: Tensor, transitions: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The labels with the highest s(y) of :class:`LinearChainCRF` (Viterbi 1967).

    Args:
        scores: e [T, B, K].
        lengths: [B], 1 to T.
        transitions: A [K, K]; a large negative number forbids a pair.
        begin, end: [K], of the first and the last label.

    Returns:
        Labels [T, B], -1 beyond a row's length, and s(y) of each row [B].
    """
    inside = _inside(scores, lengths)
    best = begin + scores[0]
    keep = torch.arange(len(begin), device=scores.device).expand_as(best)
    came: list[Tensor] = []
    for t in range(1, len(scores)):
        into, origin = (best.unsqueeze(-1) + transitions).max(dim=1)
        alive = inside[t].unsqueeze(-1)
        # a row that has ended stays where it is, and leads back to itself
        best = torch.where(alive, into + scores[t], best)
        came.append(torch.where(alive, origin, keep))
    total, label = (best + end).max(dim=-1)
    path = [label]
    for origin in reversed(came):
        label = origin.gather(1, label.unsqueeze(1)).squeeze(1)
        path.append(label)
    return torch.stack(path[::-1]).masked_fill(~inside, -1), total


def _inside(scores: Tensor, lengths: Tensor) -> Tensor:
    """[T, B] whether a step belongs to its row."""
    return torch.arange(len(scores), device=scores.device).unsqueeze(1) < lengths.to(scores.device)
