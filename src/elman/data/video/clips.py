"""Clips: sequences of frames of unequal length, with labels or descriptions, and how they are batched and split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.splits import PARTS, borders, parse_split
from elman.errors import MisuseError


@dataclass(frozen=True)
class Clips:
    """Clips of one kind, one after the other in one tensor.

    Attributes:
        kind: ``"poses"``, ``"drawings"`` or ``"films"``.
        frames: [sum of lengths, ...] float32; what a frame is depends on the kind.
        lengths: [N] frames of each clip, at least 1.
        labels: [N]; None for a clip without one.
        descriptions: [N], each none, one or several sentences.
        names: [N] what each is called in messages.
        fingerprint: SHA-256 of what was read, hexadecimal.
    """

    kind: str
    frames: Tensor
    lengths: NDArray[np.int64]
    labels: tuple[str | None, ...]
    descriptions: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    @property
    def starts(self) -> NDArray[np.int64]:
        """[N] where each clip's first frame stands."""
        return np.cumsum(self.lengths) - self.lengths

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some clips side by side.

        Args:
            rows: B of them.

        Returns:
            Frames [T, B, ...], where a clip that has ended goes on with its last frame, and lengths [B].
        """
        chosen = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[chosen]
        time = np.minimum(np.arange(int(lengths.max()))[:, None], lengths - 1)
        return self.frames[torch.from_numpy(self.starts[chosen] + time)], torch.from_numpy(lengths)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Clips:
        """Some of the clips, in the order given."""
        chosen = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.starts[chosen], self.lengths[chosen]
        places = [np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        index = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
        return replace(
            self,
            frames=self.frames[torch.from_numpy(index)],
            lengths=lengths,
            labels=tuple(self.labels[row] for row in chosen),
            descriptions=tuple(self.descriptions[row] for row in chosen),
            names=tuple(self.names[row] for row in chosen),
        )


def divide(labels: Sequence[str | None], split: str) -> dict[str, NDArray[np.int64]]:
    """Which clips train, validate and test.

    Every class is divided by itself, in the order of the source: clips that follow each other are often cut from one
    film, and a film that stands on both sides of a split is recognised instead of what happens in it.

    Args:
        labels: [N]; clips with the same label (or with none) are divided together.
        split: such as ``"85/15"`` or ``"70/15/15"``.

    Returns:
        Sorted rows by part: train, valid, test.

    Raises:
        MisuseError: a split that cannot be, or leaves nothing to train on.
    """
    shares = parse_split(split)
    groups: dict[str | None, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label, []).append(row)
    parts: dict[str, list[int]] = {name: [] for name in PARTS}
    for rows in groups.values():
        first, second = borders(shares, len(rows))
        for name, part in zip(PARTS, (rows[:first], rows[first:second], rows[second:]), strict=True):
            parts[name] += part
    if not parts["train"]:
        raise MisuseError(f"--split {split} leaves no clip to train on: the largest class has {len(labels)} or fewer.")
    return {name: np.array(sorted(rows), dtype=np.int64) for name, rows in parts.items()}


def shuffled(frames: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip's frames in a random order of its own: what is left is what happens, not when.

    Args:
        frames: [T, B, ...].
        lengths: [B].
        generator: on the CPU.

    Returns:
        [T, B, ...]; what stands beyond a clip's end stays.
    """
    steps, batch = frames.shape[:2]
    time = torch.arange(steps).unsqueeze(1)
    keys = torch.rand(steps, batch, generator=generator)
    # beyond the end the keys grow, so that the order there and what lies there is kept
    order = torch.where(time < lengths.cpu(), keys, 1.0 + time).argsort(0).to(frames.device)
    return frames.gather(0, order.view(steps, batch, *(1,) * (frames.dim() - 2)).expand_as(frames))


def stretched(frames: Tensor, lengths: Tensor, shortest: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random piece of each clip, played at a random pace.

    Args:
        frames: [T, B, ...], numbers that can be interpolated.
        lengths: [B].
        shortest: least share of the clip that is kept, and least share of the length that it is played in; 1 changes
            nothing.
        generator: on the CPU.

    Returns:
        Frames [T', B, ...], linearly interpolated, and lengths [B] of at least 1.
    """
    if shortest >= 1:
        return frames, lengths
    draw = torch.rand(3, len(lengths), generator=generator)
    last = (lengths.cpu() - 1).to(draw.dtype)
    kept = last * (shortest + (1 - shortest) * draw[0])
    first = (last - kept) * draw[1]
    new = (1 + (last * (shortest + (1 - shortest) * draw[2])).round()).long()
    share = torch.arange(int(new.max())).unsqueeze(1) / (new - 1).clamp(min=1)
    place = first + kept * share.clamp(max=1)
    low = place.floor().long()
    high = torch.minimum(low + 1, lengths.cpu() - 1)
    between = (place - low).to(frames.dtype)
    columns = torch.arange(len(lengths))
    wide = between.view(*between.shape, *(1,) * (frames.dim() - 2)).to(frames.device)
    return frames[low, columns] * (1 - wide) + frames[high, columns] * wide, new.to(lengths.device)


def fingerprint_of(*parts: bytes) -> str:
    """SHA-256 of parts, hexadecimal; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def concatenate(parts: Sequence[Clips]) -> Clips:
    """Clips of the same kind, one part after the other."""
    return Clips(
        parts[0].kind,
        torch.cat([part.frames for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        tuple(label for part in parts for label in part.labels),
        tuple(told for part in parts for told in part.descriptions),
        tuple(name for part in parts for name in part.names),
        fingerprint_of(*(part.fingerprint.encode() for part in parts)),
    )
