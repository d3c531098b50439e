"""Naming what happens in a clip: every frame is judged, alone or after the frames before it, and the clip by all.

Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description" (LRCN),
section 4; Simonyan & Zisserman 2014 for two streams and their late fusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from elman.equations import Recurrence
from elman.equations import cell as zoo_cell
from elman.errors import MisuseError
from elman.models.configuration import (
    MOST_LAYERS,
    WIDEST,
    check_rates,
    check_sizes,
    read_configuration,
    recurrence_entry,
)
from elman.nn import Recurrent
from elman.nn.dropout import dropout as drop_units

#: how much the frames of a clip count
VOTES = ("even", "late", "last")

ENTRIES: dict[str, type] = {
    "kind": str,
    "width": int,
    "classes": int,
    "hidden": int,
    "layers": int,
    "embedding": int,
    "bidirectional": bool,
    "votes": str,
    "dropout": float,
    "input_dropout": float,
    "recurrent_dropout": float,
}


class Standardise(nn.Module):
    """(x - mean) / deviation, number by number, fitted on the training part and kept with the weights.

    Args:
        width: numbers of a frame.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Take mean and deviation of frames; a number that hardly varies is only shifted.

        Args:
            parts: frames [N, width], part by part, so that they need not be in memory together.
        """
        count = 0
        total, squares = torch.zeros(2, self.mean.numel(), dtype=torch.float64)
        for part in parts:
            wide = part.double()
            count += len(wide)
            total += wide.sum(0)
            squares += wide.square().sum(0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        least = 1e-3 * deviation.square().mean().sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > least, deviation, torch.ones_like(deviation)))

    def forward(self, frames: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        return (frames - self.mean) / self.deviation


class VideoClassifier(nn.Module):
    """Gives every frame of a clip, and the clip, probabilities of K classes.

        x'_t = dropout((x_t - mean) / deviation),   then We x'_t where there is an embedding
        h_t  = recurrence(x'_t, h_(t-1)), layer upon layer;  of single frames relu(W x'_t + b), layer upon layer
        P_t  = softmax(Wy dropout(h_t) + by)                    after each frame
        P    = sum_t v_t P_t                                    of the clip: LRCN, section 4
        v_t  = 1 / T (even),   2 t / (T (T + 1)) (late; Ng et al. 2015),   1 at t = T only (last)
        loss = - sum_t v_t log P_t(class)

    Args:
        recurrence: a zoo name or a :class:`elman.Recurrence`; None judges every frame alone.
        width: numbers of a frame D.
        classes: number of classes K.
        hidden: width H of every layer and direction.
        layers: number of layers.
        embedding: width of the embedding of frames; 0 for none, None for none but for cells that use x elementwise,
            which need one as wide as the hidden state.
        bidirectional: a second set of layers reads from the end; frames are then judged in knowledge of later ones.
        votes: one of ``VOTES``.
        dropout: between layers and before the softmax.
        input_dropout: on the frames.
        recurrent_dropout: on the state inside the recurrence, one mask a batch.
        backend: as for :class:`elman.nn.Recurrent`.

    Raises:
        MisuseError: sizes that do not fit together.
    """

    def __init__(
        self,
        recurrence: str | Recurrence | None,
        width: int,
        classes: int,
        hidden: int = 128,
        layers: int = 1,
        *,
        embedding: int | None = None,
        bidirectional: bool = False,
        votes: str = "even",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_sizes(
            {
                "width": (width, WIDEST),
                "classes": (classes, 2**20),
                "hidden": (hidden, WIDEST),
                "layers": (layers, MOST_LAYERS),
                "embedding": (embedding or 1, WIDEST),
            }
        )
        check_rates(dropout=dropout, input_dropout=input_dropout, recurrent_dropout=recurrent_dropout)
        if votes not in VOTES:
            raise MisuseError(f"votes is {votes!r}; it takes {', '.join(VOTES)}.")
        self.width, self.classes, self.hidden, self.layers = width, classes, hidden, layers
        self.bidirectional, self.votes = bidirectional, votes
        self.dropout, self.input_dropout, self.recurrent_dropout = dropout, input_dropout, recurrent_dropout
        self.standardise = Standardise(width)
        self.recurrence = as_cell(recurrence)
        if embedding is None:
            embedding = hidden if self.recurrence is not None and "x" in self.recurrence.square else 0
        self.embedding = embedding
        if embedding:
            self.frame = nn.Linear(width, embedding, bias=False)
        if self.recurrence is None:
            if bidirectional or recurrent_dropout or votes != "even":
                raise MisuseError(
                    "Frames that are judged alone have no order: bidirectional, recurrent_dropout and votes other than "
                    "even are for recurrences."
                )
            widths = [embedding or width, *[hidden] * layers]
            self.frame_layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        else:
            self.recurrent = Recurrent(
                self.recurrence,
                embedding or width,
                hidden,
                layers,
                bidirectional=bidirectional,
                dropout=dropout if layers > 1 else 0.0,
                recurrent_dropout=recurrent_dropout,
                backend=backend,
            )
        self.readout = nn.Linear(hidden * (2 if bidirectional else 1), classes)

    def scores(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Every frame's scores before the softmax.

        Args:
            frames: [T, B, D]; what stands beyond a clip's length is not read.
            lengths: [B], 1 to T.

        Returns:
            [T, B, K].
        """
        x = drop_units(self.standardise(frames), self.input_dropout, self.training)
        x = self.frame(x) if self.embedding else x
        if self.recurrence is not None:
            x, _ = self.recurrent(x, lengths=lengths)
        else:
            for number, layer in enumerate(self.frame_layers):
                x = functional.relu(layer(drop_units(x, self.dropout, self.training and number > 0)))
        return self.readout(drop_units(x, self.dropout, self.training))

    def weights(self, lengths: Tensor, steps: int) -> Tensor:
        """How much each frame counts: v [T, B], which sums to 1 over a clip."""
        time = torch.arange(steps, device=lengths.device).unsqueeze(1)
        if self.votes == "last":
            return (time == lengths - 1).float()
        counted = (time + 1.0) if self.votes == "late" else torch.ones(steps, 1, device=lengths.device)
        inside = counted * (time < lengths)
        return inside / inside.sum(0)

    def loss(self, frames: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
        """The loss of each clip in nats [B]; arguments as for :meth:`scores`, classes [B]."""
        logprobs = functional.log_softmax(self.scores(frames, lengths), -1)
        right = logprobs.gather(-1, classes.expand(len(frames), -1).unsqueeze(-1)).squeeze(-1)
        return -(self.weights(lengths, len(frames)) * right).sum(0)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Probabilities of the clips [B, K]; arguments as for :meth:`scores`."""
        each = self.scores(frames, lengths).softmax(-1)
        return (self.weights(lengths, len(frames)).unsqueeze(-1) * each).sum(0)

    def watch(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What is thought of one clip frame by frame.

        Args:
            frames: [T, D].

        Returns:
            P_t after each frame [T, K], and what the clip would be called if it ended there, sum_s<=t v_s P_s [T, K].
        """
        length = torch.tensor([len(frames)], device=frames.device)
        each = self.scores(frames.unsqueeze(1), length).softmax(-1).squeeze(1)
        if self.votes == "last":
            return each, each
        counted = torch.arange(1, len(frames) + 1, device=frames.device, dtype=each.dtype)
        counted = (counted if self.votes == "late" else torch.ones_like(counted)).unsqueeze(1)
        return each, (counted * each).cumsum(0) / counted.cumsum(0)

    def configuration(self) -> dict[str, Any]:
        """Everything that rebuilds this model without its weights, as JSON values."""
        values = {name: getattr(self, name) for name in ENTRIES if name != "kind"}
        if self.recurrence is None:
            return {"kind": "frames"} | values
        return {"kind": "recurrent", "recurrence": recurrence_entry(self.recurrence)} | values

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], backend: str = "auto") -> VideoClassifier:
        """The model that :meth:`configuration` describes, with fresh weights.

        Raises:
            MisuseError: sizes that do not fit together or are missing.
            EquationError: equations that are not a recurrence.
        """
        alone = configuration.get("kind") == "frames"
        entries = read_configuration(configuration, ENTRIES if alone else ENTRIES | {"recurrence": Recurrence})
        entries.pop("kind")
        return cls(entries.pop("recurrence", None), **entries, backend=backend)


def as_cell(recurrence: str | Recurrence | None) -> Recurrence | None:
    """A recurrence over frames; None stays None.

    Raises:
        MisuseError: it asks for constant inputs, which a clip does not have.
    """
    found = zoo_cell(recurrence) if isinstance(recurrence, str) else recurrence
    if found is not None and found.inputs:
        raise MisuseError(f"A clip has no constant inputs to give; this recurrence asks for {', '.join(found.inputs)}.")
    return found


def fuse(streams: Sequence[NDArray[np.floating]], weights: Sequence[float]) -> NDArray[np.float64]:
    """Late fusion: the weighted mean of the streams' probabilities [N, K] (Simonyan & Zisserman 2014, section 4)."""
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    return np.tensordot(shares, np.stack(streams).astype(np.float64), 1)


def fusion_weight(
    first: NDArray[np.floating], second: NDArray[np.floating], classes: NDArray[np.integer], steps: int = 20
) -> float:
    """The second stream's share of a fusion, chosen on clips that neither stream was trained on.

    The share w on a grid with the greatest sum_n log((1 - w) P_n + w P'_n)(class). It is concave in w, so that there is
    one best place; the number of clips named rightly jumps about where there are few.

    Args:
        first, second: probabilities of the validation clips [N, K].
        classes: [N].
        steps: of the grid from 0 to 1.

    Returns:
        The share w in (1 - w) first + w second.

    Raises:
        MisuseError: no clips, or streams of different clips or classes.
    """
    if first.shape != second.shape or len(first) != len(classes) or not len(classes):
        raise MisuseError(
            f"Streams are fused over the same clips and classes; got {list(first.shape)} and {list(second.shape)} "
            f"for {len(classes)} clips."
        )
    rows = np.arange(len(classes))

    def merit(share: float) -> float:
        # nobody's probability is so small that one clip should decide
        return float(np.log(fuse((first, second), (1 - share, share))[rows, classes] + 1e-6).sum())

    return max((number / steps for number in range(steps + 1)), key=merit)
