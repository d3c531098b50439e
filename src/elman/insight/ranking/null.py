"""How strong the strongest cell is by chance: the labels shifted along the text, in a circle.

Text and cells are autocorrelated, so labels that are shuffled one by one make any cell look significant. A circular
shift keeps both series as they are and only breaks their alignment; if a hypothesis means nothing to the network, every
shift is as good as no shift. For each shift the strongest of all cells counts, which corrects for their number
(Westfall and Young 1993).

Once a cell's values are ranks, AUC - 1/2 and Spearman's correlation are linear in the labels, so all shifts at once are
one circular correlation, by fast Fourier transforms. It is taken on a grid: every k-th token of the part, shifted by
multiples of k. The statistic without a shift is the grid's too, so it is one of those that it is compared with in all
but the shift, and the test is as valid as on all tokens. What the grid leaves out costs power, and little of it, since
neighbours say nearly the same; for rare labels the grid is denser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from elman.insight.ranking import measures
from elman.insight.ranking.measures import Array
from elman.insight.ranking.scan import Cancel, Progress, stop_if, workers
from elman.insight.ranking.targets import Target, levels

# Labels that are shifted by less are still nearly in place. Of a short part, a quarter.
LEAST_SHIFT = 1000
# single precision of sums of ranks: what differs by less is equal
EQUAL = 1e-6
# points of a grid, and how many of the rarer label it should keep
POINTS = 2**14
RARE = 500
# numbers that are transformed at once
AT_ONCE = 2**21


@dataclass(frozen=True)
class Grid:
    """Every ``stride``-th token of a part.

    Attributes:
        begin: first token.
        stride: k.
        points: how many.
    """

    begin: int
    stride: int
    points: int

    @property
    def places(self) -> slice:
        """The tokens, as a slice of the whole text."""
        return slice(self.begin, self.begin + self.stride * self.points, self.stride)


@dataclass(frozen=True)
class Null:
    """A target's statistics without a shift and with them.

    Attributes:
        observed: [cells] AUC - 1/2 or Spearman's correlation on the grid.
        strongest: [shifts] the largest magnitude of all cells.
    """

    observed: Array
    strongest: Array

    def p(self) -> Array:
        """[cells] chance that the strongest cell is as strong as this one: (1 + as strong shifts) / (1 + shifts)."""
        ordered = np.sort(self.strongest)
        as_strong = len(ordered) - np.searchsorted(ordered, np.abs(self.observed) - EQUAL, side="left")
        return (1 + as_strong) / (1 + len(ordered))


def grid_of(target: Target, part: tuple[int, int]) -> Grid:
    """The grid for a target on a part: about 16,384 points, more where its labels are rare.

    Args:
        target: the labels.
        part: (first token, token after the last).
    """
    begin, end = part
    counts = target.counts(begin, end)
    # of a graded target, all but its commonest grade
    rare = int(counts.min() if target.binary else counts.sum() - counts.max())
    stride = max(1, min((end - begin) // POINTS, rare // RARE))
    # neighbouring strides share a grid, so that cells are transformed for fewer of them
    stride = 1 << (stride.bit_length() - 1)
    return Grid(begin, stride, _smooth((end - begin) // stride))


def draw_shifts(grid: Grid, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Different shifts, in points of the grid, none nearer than 1,000 tokens, or a quarter, in either direction.

    Where there are fewer than ``count``, all of them.

    Args:
        grid: what is shifted.
        count: how many.
        generator: of the draw.
    """
    least = min(-(-LEAST_SHIFT // grid.stride), grid.points // 4)
    allowed = np.arange(least, grid.points - least + 1)
    return np.sort(generator.permutation(allowed)[:count])


def null(
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    ranks: Array,
    targets: Sequence[Target],
    part: tuple[int, int],
    shifts: int,
    generator: np.random.Generator,
    progress: Progress = None,
    cancel: Cancel = None,
) -> list[Null]:
    """The null distribution of each target's strongest cell.

    Args:
        values: [C, N].
        cells: which of them, [cells].
        ranks: [cells, 256] centred midranks of the levels on the part.
        targets: of the same tokens.
        part: the tokens to test on.
        shifts: how many.
        generator: of the shifts.
        progress: called with the share that is done.
        cancel: asked now and then; True stops.

    Returns:
        In the order of the targets.

    Raises:
        CancelledError: ``cancel`` said so.
    """
    grids = [grid_of(each, part) for each in targets]
    made: dict[int, Null] = {}
    done = 0
    for grid in sorted(set(grids), key=lambda grid: grid.stride):
        members = [number for number, each in enumerate(grids) if each == grid]
        drawn = torch.from_numpy(draw_shifts(grid, shifts, generator))
        spectra = [torch.fft.rfft(_weights(targets[number], grid)) for number in members]
        graded = [not targets[number].binary for number in members]
        step = max(1, min(AT_ONCE // grid.points, -(-len(cells) // torch.get_num_threads())))
        batches = [slice(begin, begin + step) for begin in range(0, len(cells), step)]
        correlate = partial(_correlated, values, grid=grid, spectra=spectra, graded=graded, drawn=drawn, cancel=cancel)
        with workers() as pool:
            found = list(pool.map(correlate, [cells[some] for some in batches], [ranks[some] for some in batches]))
        observed = np.concatenate([each for each, _ in found], axis=1)
        strongest = np.max([each for _, each in found], axis=0)
        made |= {number: Null(observed[place], strongest[place]) for place, number in enumerate(members)}
        done += len(members) * grid.points
        if progress is not None:
            progress(done / sum(grid.points for grid in grids))
    return [made[number] for number in range(len(targets))]


def _correlated(
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    ranks: Array,
    *,
    grid: Grid,
    spectra: Sequence[torch.Tensor],
    graded: Sequence[bool],
    drawn: torch.Tensor,
    cancel: Cancel,
) -> tuple[Array, Array]:
    """Of some cells on one grid: [targets, cells] statistics, and [targets, shifts] the strongest under each shift."""
    stop_if(cancel)
    rows = ranked(values, cells, ranks, grid.places)
    norms = rows.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-12)
    spectrum = torch.fft.rfft(rows).conj_physical_()
    observed, strongest = [], []
    for other, divided in zip(spectra, graded, strict=True):
        statistic = torch.fft.irfft(spectrum * other, n=grid.points)
        if divided:
            statistic /= norms
        observed.append(statistic[:, 0].numpy().astype(np.float64))
        strongest.append(statistic[:, drawn].abs().amax(0).numpy().astype(np.float64))
    return np.stack(observed), np.stack(strongest)


def confirmed(
    values: NDArray[np.int8],
    cells: NDArray[np.int64],
    ranks: Array,
    signs: NDArray[np.int64],
    target: Target,
    part: tuple[int, int],
    shifts: int,
    generator: np.random.Generator,
) -> Array:
    """The chance that a cell, chosen elsewhere, is as strong in the direction that was chosen.

    Args:
        values: [C, N].
        cells: numbers, [cells].
        ranks: [cells, 256] centred midranks of the levels on the part.
        signs: [cells] 1 or -1.
        target: the labels.
        part: the tokens to test on.
        shifts, generator: of the null.

    Returns:
        p of each cell alone, one-sided, [cells].
    """
    grid = grid_of(target, part)
    spectrum = torch.fft.rfft(ranked(values, cells, ranks, grid.places)).conj()
    statistic = torch.fft.irfft(spectrum * torch.fft.rfft(_weights(target, grid)), n=grid.points)
    statistic *= torch.from_numpy(signs)[:, None]
    drawn = statistic[:, torch.from_numpy(draw_shifts(grid, shifts, generator))]
    as_strong = (drawn >= statistic[:, :1] - EQUAL).sum(-1)
    return (1 + as_strong.numpy()) / (1 + drawn.shape[1])


def ranked(values: NDArray[np.int8], cells: NDArray[np.int64], ranks: Array, places: slice) -> torch.Tensor:
    """The ranks of cells' values at some tokens.

    Args:
        values: [C, N].
        cells: [cells].
        ranks: [cells, 256] of the levels.
        places: the tokens.

    Returns:
        float32 [cells, places].
    """
    tables = ranks.astype(np.float32)
    rows = [np.take(table, levels(values[cell, places])) for cell, table in zip(cells.tolist(), tables, strict=True)]
    return torch.from_numpy(np.stack(rows))


def _weights(target: Target, grid: Grid) -> torch.Tensor:
    """What a rank counts for: its product with the ranks is AUC - 1/2, or, divided by their norm, Spearman's rho."""
    codes = target.codes[grid.places]
    counts = np.bincount(codes, minlength=target.grades + 1)[: target.grades].astype(np.float64)
    if target.binary:
        weights = np.array([-1.0, 1.0]) / np.maximum(counts, 1)
    else:
        weights = measures.midranks(counts)
        weights /= max(float(np.sqrt((counts * weights**2).sum())), 1e-12)
    return torch.from_numpy(np.append(weights, 0.0)[codes].astype(np.float32))


def _smooth(points: int) -> int:
    """The largest number up to ``points`` without a prime factor above 7, for fast transforms."""
    while True:
        rest = points
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest <= 1:
            return points
        points -= 1
