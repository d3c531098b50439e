"""What is measured: cells, kinds of work, sizes; which of them make up a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from elman.equations import Recurrence, cell, recurrence_of, zoo
from elman.errors import MisuseError

#: Kinds of work, and what one unit of each is.
WORKS = {
    "train": "forward and backward of one layer",
    "infer": "forward of one layer, no gradients",
    "sample": "one character of a two-layer model, one text",
    "model": "a training step of a two-layer language model",
}
PRECISIONS = ("fp32", "bf16")

#: torch's own layers, and the cells of the zoo that compute the same.
STOCK = {"LSTM": "lstm", "GRU": "gru-reset-after", "RNN": "rnn"}

#: Printable characters, the vocabulary of whole models.
SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:!?-'\n&$3"


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a job: hidden width H (of the input too), rows B, time steps T; whether rows end at their own steps."""

    hidden: int
    batch: int
    steps: int
    ragged: bool = False

    def __str__(self) -> str:
        return f"H {self.hidden} B {self.batch} T {self.steps}" + (" ragged" if self.ragged else "")

    @property
    def lengths(self) -> list[int] | None:
        """The rows' own lengths, spread evenly over T/4 to T in a fixed random order; None where all are T.

        Their sum is a multiple of B, so that a padded batch of the same number of tokens exists.
        """
        if not self.ragged:
            return None
        low, last = max(1, self.steps // 4), max(1, self.batch - 1)
        own = [round(low + (self.steps - low) * row / last) for row in range(self.batch)]
        random.Random(1).shuffle(own)
        surplus = sum(own) % self.batch
        for row in [row for row, length in enumerate(own) if length > 1][:surplus]:
            own[row] -= 1
        return own

    @property
    def tokens(self) -> int:
        """Steps of all rows together."""
        return sum(self.lengths or [self.steps] * self.batch)


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison: a cell at one kind of work, size and precision."""

    cell: str
    work: str
    shape: Shape
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.cell} {self.work} {self.shape} {self.precision}"

    @property
    def recurrence(self) -> Recurrence:
        return recurrence_of_cell(self.cell)

    @property
    def layers(self) -> int:
        """One layer alone, or the two of a model."""
        return 1 if self.work in ("train", "infer") else 2

    @property
    def flops(self) -> int:
        """Operations of one unit: 2 * rows * columns a product of a token, three times that with the backward pass.

        Only products with matrices that run for every token count, the readout's of a model included; what else a
        program computes is overhead.
        """
        recurrence, hidden = self.recurrence, self.shape.hidden
        shapes = recurrence.parameters(hidden, hidden, **widths(recurrence, hidden))
        nodes = recurrence.graph.nodes
        products = [shapes[node.name] for node in nodes if node.op == "product" and node.phase != "once"]
        token = self.layers * sum(2 * rows * columns for rows, columns in products)
        if self.work in ("sample", "model"):
            token += 2 * len(SYMBOLS) * hidden
        passes = 3 if self.work in ("train", "model") else 1
        return passes * token * (1 if self.work == "sample" else self.shape.tokens)


@dataclass(frozen=True, slots=True)
class Part:
    """Some kinds of work at one size."""

    shape: Shape
    works: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32",)


SMALL = Shape(128, 50, 50)
MIDDLE = Shape(256, 64, 128)
LARGE = Shape(512, 64, 128)
FEW_ROWS = Shape(128, 4, 50)
RAGGED = Shape(128, 64, 128, ragged=True)

QUICK_CELLS = ("LSTM", "GRU", "mut1")
QUICK = (Part(SMALL, tuple(WORKS)),)
USUAL_CELLS = ("LSTM", "GRU", "RNN", "gru", "mut1")
USUAL = (
    Part(SMALL, tuple(WORKS)),
    Part(SMALL, ("model",), ("bf16",)),
    Part(MIDDLE, ("train",)),
    Part(FEW_ROWS, ("train",)),
    Part(RAGGED, ("train",)),
)
FULL = (
    *(Part(shape, tuple(WORKS), PRECISIONS) for shape in (SMALL, MIDDLE, LARGE)),
    Part(FEW_ROWS, ("train", "infer", "model"), PRECISIONS),
    Part(RAGGED, ("train", "infer"), PRECISIONS),
)


def recurrence_of_cell(name: str) -> Recurrence:
    """A cell by the name of torch's layer or of the zoo, by equations or a file of them."""
    return cell(STOCK[name]) if name in STOCK else recurrence_of(name)


def widths(recurrence: Recurrence, hidden: int) -> dict[str, int]:
    """The widths of the constant inputs: all as wide as the states."""
    return {name: hidden for name in recurrence.inputs if name not in recurrence.square}


def every_cell() -> tuple[str, ...]:
    """torch's layers and the whole zoo."""
    return (*STOCK, *zoo())


def plan(
    *,
    extent: str = "usual",
    cells: Sequence[str] = (),
    works: Sequence[str] = (),
    precisions: Sequence[str] = (),
    shape: Shape | None = None,
) -> list[Job]:
    """The jobs of a run, in the order in which they are measured.

    Args:
        extent: "quick" (seconds), "usual" (about two minutes) or "full" (every cell at every size).
        cells: names of :data:`STOCK` or the zoo, or "all", instead of the extent's.
        works: of :data:`WORKS`, at every size, instead of the extent's.
        precisions: of :data:`PRECISIONS`, likewise.
        shape: the only size, instead of the extent's.

    Raises:
        MisuseError: an unknown name, or nothing that can be measured.
    """
    for asked, known, option in ((works, tuple(WORKS), "--work"), (precisions, PRECISIONS, "--precision")):
        for name in asked:
            if name not in known:
                raise MisuseError(f"{option} is {name!r}; it takes {', '.join(known)}.")
    usual_cells = {"quick": QUICK_CELLS, "usual": USUAL_CELLS, "full": every_cell()}[extent]
    names = every_cell() if list(cells) == ["all"] else tuple(cells) or usual_cells
    parts = {"quick": QUICK, "usual": USUAL, "full": FULL}[extent]
    if shape is not None:
        parts = (Part(shape, tuple(WORKS)),)
    jobs = {
        _fitting(Job(name, work, part.shape, precision)): None
        for part in parts
        for work in works or part.works
        for precision in precisions or part.precisions
        for name in names
    }
    found = [job for job in jobs if job is not None]
    # a model knows no difference between torch's name of a cell and the zoo's
    twins = {STOCK[name] for name in names if name in STOCK}
    found = [job for job in found if job.work in ("train", "infer") or job.cell not in twins]
    if not found:
        raise MisuseError(
            "Nothing is left to measure: sampling runs in fp32 only, and whole models have neither ragged rows nor "
            "constant inputs."
        )
    return found


def _fitting(job: Job) -> Job | None:
    """The job with the sizes that its work has; None where there is no such work."""
    recurrence = job.recurrence
    if job.work in ("sample", "model") and (recurrence.inputs or job.shape.ragged):
        return None
    if job.work == "sample":
        return replace(job, shape=replace(job.shape, batch=1)) if job.precision == "fp32" else None
    return job
