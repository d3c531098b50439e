"""A language model in which some cells are held, in the call form of the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.compile import Result, run
from elman.equations import Recurrence
from elman.errors import MisuseError
from elman.insight.lesions.intervention import Intervention, check_interventions
from elman.insight.lesions.statistics import CellStatistics
from elman.models.language import LanguageModel

State = dict[str, Tensor]
Row = Sequence[Intervention]

#: Tokens between two draws of the mode "resample": short against a sentence, long against the cost of a call.
REDRAW = 16


@dataclass(frozen=True, eq=False)
class _Held:
    """A layer in which something is held.

    Attributes:
        recurrence: with the clamp.
        pairs: by name the inputs (keep, put).
        keep, put: by name [R, hidden], a row a set of interventions.
        drawn: (name, row, unit, strength) of every unit that is resampled.
    """

    recurrence: Recurrence
    pairs: dict[str, tuple[str, str]]
    keep: dict[str, Tensor]
    put: dict[str, Tensor]
    drawn: list[tuple[str, int, int, float]]


@lru_cache(maxsize=256)
def _clamped(recurrence: Recurrence, names: tuple[str, ...]) -> tuple[Recurrence, dict[str, tuple[str, str]]]:
    pairs = recurrence.clamp_names(names)
    return recurrence.with_clamp(pairs), pairs


class Lesioned:
    """A language model whose cells are intervened upon while it runs; it shares the weights of the model.

    It is called as the model is, so that sampling, scoring, evaluation and beam search take it. The equations of a
    layer are rewritten (:meth:`elman.Recurrence.with_clamp`) and run on the backends of the model; layers in which
    nothing is held run as ever. Nothing is dropped out.

    With several rows, each a set of interventions of its own, a batch is R equal parts: sequence b belongs to the row
    b // (B / R). An object keeps what was switched and how many tokens it read since :meth:`initial_state`: it serves
    one text, or one batch of texts, at a time.

    Args:
        model: a recurrent language model.
        rows: sets of interventions, an empty one for the model as it is.
        statistics: of the cells, for the modes "mean", "off", "on" and "resample".
        seed: of the draws of "resample", which depend on it and on the place in the text alone.
        redraw: tokens between two such draws.

    Attributes:
        on: whether the interventions hold; may be set between two calls.
        state: as the last call left it.

    Raises:
        MisuseError: cells that the model has not, or statistics that are missing.
    """

    training = False

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[Row],
        *,
        statistics: CellStatistics | None = None,
        seed: int = 0,
        redraw: int = REDRAW,
    ) -> None:
        if redraw < 1:
            raise MisuseError(f"Values are drawn anew every {redraw} tokens; it must be at least 1.")
        self.model = model
        self.vocabulary_size, self.hidden, self.layers = model.vocabulary_size, model.hidden, model.layers
        self.recurrence, self.embedding = model.recurrence, model.embedding
        self.statistics, self.seed, self.redraw = statistics, seed, redraw
        self.on = True
        self.state: State = {}
        self._read, self._alike = 0, model.layers
        self._backend_used = ""
        self.apply(*rows)

    def apply(self, *rows: Row) -> None:
        """Put other interventions in the place of those that hold; from the next call on.

        Raises:
            MisuseError: as for the class.
        """
        if not rows:
            raise MisuseError("Give at least one set of interventions; an empty one leaves the model alone.")
        for row in rows:
            check_interventions(self.model, row)
        self.rows = tuple(tuple(row) for row in rows)
        layers = sorted({each.layer for row in self.rows for each in row})
        self._held = {layer: self._hold(layer) for layer in layers}

    def _hold(self, layer: int) -> _Held:
        own = [(index, each) for index, row in enumerate(self.rows) for each in row if each.layer == layer]
        names = tuple(dict.fromkeys(each.name for _, each in own))
        recurrence, pairs = _clamped(self.recurrence, names)
        like = self.embedding.weight
        shape = (len(self.rows), self.hidden)
        keep = {name: torch.ones(shape, dtype=like.dtype) for name in names}
        put = {name: torch.zeros(shape, dtype=like.dtype) for name in names}
        drawn: list[tuple[str, int, int, float]] = []
        for row, each in own:
            units = list(each.units)
            keep[each.name][row, units] = 1 - each.strength
            if each.mode == "resample":
                self._known(each)
                drawn += [(each.name, row, unit, each.strength) for unit in units]
            elif each.mode in ("mean", "off", "on"):
                mean = getattr(self._known(each), each.mode)[layer, each.name]
                put[each.name][row, units] = each.strength * mean[units].to(like.dtype)
            else:
                assert each.target is not None
                put[each.name][row, units] = each.strength * each.target
        return _Held(
            recurrence,
            pairs,
            {name: tensor.to(like.device) for name, tensor in keep.items()},
            {name: tensor.to(like.device) for name, tensor in put.items()},
            drawn,
        )

    def _known(self, each: Intervention) -> CellStatistics:
        table = "pool" if each.mode == "resample" else each.mode
        if self.statistics is None or (each.layer, each.name) not in getattr(self.statistics, table):
            raise MisuseError(
                f"The mode {each.mode} needs to know what layer {each.layer} {each.name} usually is: give the "
                f"statistics of a text (cell_statistics){' and of a label' if table in ('off', 'on') else ''}."
            )
        return self.statistics

    @property
    def backend_used(self) -> str:
        """What the top layer ran on in the last call, and why not something faster."""
        return self._backend_used

    def initial_state(self, batch: int) -> State:
        """The model's state before the first token; the places of "resample" are counted from here.

        Args:
            batch: sequences B, a multiple of the number of rows.
        """
        self._share(batch)
        self._read, self._alike = 0, self.layers
        return self.model.initial_state(batch)

    def _share(self, batch: int) -> int:
        share, rest = divmod(batch, len(self.rows))
        if rest or not share:
            raise MisuseError(f"A batch of {batch} cannot be divided among {len(self.rows)} rows of interventions.")
        return share

    def __call__(self, tokens: Tensor, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """Scores of the next token after every token.

        Args:
            tokens: [T, B] ids; or [T, B / R], which every row reads, cheaper where the lower layers are not held.
            state: as :meth:`initial_state` or an earlier call gave it; default the initial one.

        Returns:
            Scores before the softmax [T, B, V], and the state after the last token.
        """
        given = tokens.shape[1]
        shared = state is not None and given * len(self.rows) == next(iter(state.values())).shape[1]
        batch = given * len(self.rows) if shared else given
        share = self._share(batch)
        before = self.initial_state(batch) if state is None else state
        # below the lowest layer that was ever held the rows are alike, and one of them is enough
        self._alike = min(self._alike, *self._held) if self.on and self._held else self._alike
        x, finals, backend = tokens, [], ""
        with torch.no_grad():
            for layer in range(self.layers):
                if x.shape[1] < batch and layer >= self._alike:
                    x = _repeated(x, len(self.rows))
                own = {name: tensor[layer, : x.shape[1]] for name, tensor in before.items()}
                result = self._run(layer, x, own, share)
                wide = x.shape[1] == batch
                finals.append({n: t if wide else t.repeat(len(self.rows), 1) for n, t in result.final.items()})
                x, backend = result.outputs[self.recurrence.output], result.backend
            scores = self.model.readout(x)
        self._read += len(tokens)
        self._backend_used = backend
        self.state = {name: torch.stack([final[name] for final in finals]) for name in self.recurrence.states}
        if scores.shape[1] < batch:
            scores = _repeated(scores, len(self.rows))
        return scores, self.state

    def _run(self, layer: int, x: Tensor, before: Mapping[str, Tensor], share: int) -> Result:
        """One layer; x is the tokens for the lowest."""
        recurrent = self.model.recurrent
        names = (*self.recurrence.matrices, *self.recurrence.vectors)
        parameters = {name: recurrent.parameter(name, layer) for name in names}
        held = self._held.get(layer) if self.on else None
        # torch's kernels know no clamp
        backend = "auto" if held is not None and recurrent.backend == "torch" else recurrent.backend
        recurrence = self.recurrence if held is None else held.recurrence
        results: list[Result] = []
        for begin, end in pairwise(self._borders(held, len(x))):
            piece = x[begin:end]
            results.append(
                run(
                    recurrence,
                    parameters,
                    self.embedding.weight if layer == 0 else piece,
                    results[-1].final if results else before,
                    {} if held is None else self._constants(held, layer, share, self._read + begin),
                    backend=backend,
                    index=piece if layer == 0 else None,
                )
            )
        if len(results) == 1:
            return results[0]
        output = self.recurrence.output
        joined = torch.cat([each.outputs[output] for each in results])
        return Result({output: joined}, results[-1].final, results[-1].backend)

    def _borders(self, held: _Held | None, steps: int) -> list[int]:
        """Where the constants change within a call."""
        if held is None or not held.drawn:
            return [0, steps]
        first = self.redraw - self._read % self.redraw
        return [0, *range(first, steps, self.redraw), steps]

    def _constants(self, held: _Held, layer: int, share: int, place: int) -> dict[str, Tensor]:
        """The constant inputs [B, hidden] that hold from a place on."""
        constants: dict[str, Tensor] = {}
        for name, (kept, put) in held.pairs.items():
            constants[kept] = held.keep[name].repeat_interleave(share, 0)
            constants[put] = held.put[name].repeat_interleave(share, 0)
        if held.drawn:
            assert self.statistics is not None
            generator = np.random.default_rng([self.seed, layer, place // self.redraw])
            for name, row, unit, strength in held.drawn:
                pool = self.statistics.pool[layer, name][:, unit]
                chosen = torch.from_numpy(generator.integers(len(pool), size=share))
                filled = constants[held.pairs[name][1]]
                filled[row * share : (row + 1) * share, unit] = (strength * pool[chosen]).to(filled)
        return constants

    def values(self, cells: Sequence[tuple[int, str, int]]) -> NDArray[np.float32]:
        """What cells were after the last token of the last call, in their own units: [B, number of cells].

        Raises:
            MisuseError: a cell that is of no state, or nothing was read yet.
        """
        return values_in(self.state, cells)


def values_in(state: Mapping[str, Tensor], cells: Sequence[tuple[int, str, int]]) -> NDArray[np.float32]:
    """The values of cells in a state of a language model, in their own units: [B, number of cells].

    Raises:
        MisuseError: the state has no such cell.
    """
    if not state:
        raise MisuseError("Nothing was read yet, so the cells have no values.")
    columns: list[Tensor] = []
    for layer, name, unit in cells:
        tensor: Any = state.get(name)
        if tensor is None or not (0 <= layer < tensor.shape[0] and 0 <= unit < tensor.shape[2]):
            raise MisuseError(f"There is no cell {layer}:{name}:{unit}; the states are {', '.join(state)}.")
        columns.append(tensor[layer, :, unit])
    batch = next(iter(state.values())).shape[1]
    stacked = torch.stack(columns, dim=1) if columns else torch.empty(batch, 0)
    return stacked.detach().float().cpu().numpy()


def lesioned(
    model: LanguageModel,
    interventions: Row,
    statistics: CellStatistics | None = None,
    *,
    seed: int = 0,
    redraw: int = REDRAW,
) -> Lesioned:
    """A model in which some cells are held in every sequence; arguments as of :class:`Lesioned`."""
    return Lesioned(model, [interventions], statistics=statistics, seed=seed, redraw=redraw)


def _repeated(x: Tensor, rows: int) -> Tensor:
    """A batch [T, S, ...] once for every row, [T, R * S, ...]."""
    return x.repeat(1, rows, *(1,) * (x.dim() - 2))
