"""The chain against every sequence of labels written out."""

from __future__ import annotations

import copy
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import MisuseError
from elman.nn.crf import LinearChainCRF


def chain(labels: int, seed: int) -> LinearChainCRF:
    torch.manual_seed(seed)
    crf = LinearChainCRF(labels).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def written_out(crf: LinearChainCRF, scores: torch.Tensor) -> dict[tuple[int, ...], float]:
    """s(y) of every sequence of labels for one row of scores [T, K], term by term."""
    totals = {}
    crf = copy.deepcopy(crf).requires_grad_(False)
    for labels in product(range(crf.labels), repeat=len(scores)):
        total = float(crf.begin[labels[0]] + crf.end[labels[-1]])
        total += sum(float(scores[t, label]) for t, label in enumerate(labels))
        total += sum(float(crf.transitions[a, b]) for a, b in pairwise(labels))
        totals[labels] = total
    return totals


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 10_000))
def test_partition_score_path_and_marginals_are_those_of_all_sequences(labels: int, own: list[int], seed: int) -> None:
    crf = chain(labels, seed)
    lengths = torch.tensor(own)
    scores = torch.randn(max(own), len(own), labels, dtype=torch.float64)
    given = torch.randint(0, labels, scores.shape[:2])
    partition, score = crf.log_partition(scores, lengths), crf.score(scores, given, lengths)
    paths, best = crf.decode(scores, lengths)
    marginals = crf.marginals(scores, lengths)
    for row, length in enumerate(own):
        totals = written_out(crf, scores[:length, row])
        values = torch.tensor(list(totals.values()), dtype=torch.float64)
        assert partition[row].item() == pytest.approx(torch.logsumexp(values, 0).item(), rel=1e-12, abs=1e-12)
        assert score[row].item() == pytest.approx(totals[tuple(given[:length, row].tolist())], rel=1e-12, abs=1e-12)
        path = tuple(paths[:length, row].tolist())
        assert totals[path] == pytest.approx(max(totals.values()), abs=1e-12)
        assert best[row].item() == pytest.approx(totals[path], abs=1e-12)
        assert (paths[length:, row] == -1).all()
        weights = torch.softmax(values, 0)
        for t in range(length):
            for label in range(labels):
                share = sum(w for w, y in zip(weights.tolist(), totals, strict=True) if y[t] == label)
                assert marginals[t, row, label].item() == pytest.approx(share, abs=1e-10)
        assert (marginals[length:, row] == 0).all()


def test_gradients_are_right() -> None:
    crf = chain(3, 0)
    lengths, labels = torch.tensor([4, 2]), torch.randint(0, 3, (4, 2))
    scores = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def loss(scores: torch.Tensor, transitions: torch.Tensor, begin: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        table = {"transitions": transitions, "begin": begin, "end": end}
        return torch.func.functional_call(crf, table, (scores, labels, lengths))

    assert torch.autograd.gradcheck(loss, (scores, crf.transitions, crf.begin, crf.end))


def test_what_stands_beyond_a_row_is_not_read() -> None:
    crf = chain(3, 1)
    lengths = torch.tensor([5, 2])
    scores, labels = torch.randn(5, 2, 3, dtype=torch.float64), torch.randint(0, 3, (5, 2))
    changed, other = scores.clone(), labels.clone()
    changed[2:, 1] = torch.nan
    other[2:, 1] = -100
    assert torch.equal(crf(scores, labels, lengths), crf(changed, other, lengths))
    assert torch.equal(crf.decode(scores, lengths)[0], crf.decode(changed, lengths)[0])


def test_it_learns_that_a_label_follows_another() -> None:
    crf = LinearChainCRF(2)
    labels = torch.tensor([[0], [1], [0], [1], [0], [1]])
    scores, lengths = torch.zeros(6, 1, 2), torch.tensor([6])
    optimiser = torch.optim.Adam(crf.parameters(), 0.1)
    for _ in range(100):
        optimiser.zero_grad()
        crf(scores, labels, lengths).sum().backward()
        optimiser.step()
    assert crf.decode(scores, lengths)[0].squeeze(1).tolist() == [0, 1, 0, 1, 0, 1]


def test_shapes_that_do_not_fit() -> None:
    crf = LinearChainCRF(3)
    with pytest.raises(MisuseError, match=r"scores must be \[T, B, 3\]"):
        crf.log_partition(torch.zeros(2, 1, 4), torch.tensor([2]))
    with pytest.raises(MisuseError, match="at least one label"):
        LinearChainCRF(0)
