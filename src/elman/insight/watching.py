"""Showing one clip to a trained model, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.video import drawings, poses
from elman.data.video.archive import read_archive
from elman.data.video.reader import BadClipError, ClipLimits, read_frames
from elman.errors import MisuseError
from elman.generate.beam import beam_search
from elman.generate.sampling import Sample
from elman.insight.figures.watch import Moment
from elman.models.video.describer import Telling
from elman.runs import LoadedRun
from elman.training.material import recorded_data
from elman.training.systems.parts import names_of
from elman.training.systems.video.data import ClipOptions, film_reader, recorded, stream_of
from elman.training.systems.video.describe import LONGEST

MOMENTS = 8


@dataclass(frozen=True)
class Seen:
    """A clip as a model sees it.

    Attributes:
        name: of the clip.
        frames: [T, D].
        places: [T] of the frames.
        unit: of the places.
        label: what it is, where that is known.
        source: the film, or the archive's frames of this clip [T', ...].
    """

    name: str
    frames: Tensor
    places: NDArray[np.float64]
    unit: str
    label: str | None
    source: Path | Tensor


@dataclass(frozen=True)
class Watched:
    """What a model thinks of a clip.

    Attributes:
        classes: [K].
        each: [T, K] probabilities after each frame.
        so_far: [T, K] of the clip if it ended there; the last row is of the whole clip.
    """

    classes: tuple[str, ...]
    each: NDArray[np.float64]
    so_far: NDArray[np.float64]

    def likeliest(self, count: int) -> list[int]:
        """The classes that the whole clip is most likely to be, the likeliest first."""
        return np.argsort(-self.so_far[-1], kind="stable")[:count].tolist()


def open_clip(loaded: LoadedRun, run: Path, clip: str) -> Seen:
    """One clip, read as the run's own.

    Args:
        loaded: the run.
        run: its folder, for errors.
        clip: a film; or ``FILE.npz:ROW`` of poses or drawings, rows from 0; ``FILE.npz:ROW+ROW`` for drawings one after
            the other.

    Raises:
        MisuseError: there is no such clip, or it is of another kind than the run's.
    """
    options, _, _ = recorded(loaded.config, run)
    kind = str(recorded_data(loaded.config, run).get("kind"))
    path, _, which = clip.rpartition(":")
    if not path.lower().endswith(".npz"):
        if kind != "films":
            raise MisuseError(f"{run} knows {kind}: name a clip as FILE.npz:ROW, with rows from 0.")
        return _film(Path(clip).expanduser(), options)
    clips = read_archive(Path(path).expanduser())
    if clips.kind != kind:
        raise MisuseError(f"{path} holds {clips.kind}; {run} knows {kind}.")
    try:
        rows = [int(row) for row in which.split("+")]
    except ValueError:
        raise MisuseError(f"{clip} names no clip: FILE.npz:ROW, with rows from 0.") from None
    if min(rows) < 0 or max(rows) >= len(clips):
        raise MisuseError(f"{path} has clips 0 to {len(clips) - 1}; there is no clip {which}.")
    if len(rows) > 1 and kind != "drawings":
        raise MisuseError(f"Only drawings can follow each other in one clip; {path} holds {kind}.")
    raw = drawings.joined(clips, rows) if len(rows) > 1 else clips.batch(rows)[0][:, 0]
    seen, _ = stream_of(kind, raw.unsqueeze(1), torch.tensor([len(raw)]), str(options.stream))
    label = " + ".join(str(clips.labels[row]) for row in rows)
    return Seen(clip, seen[:, 0], np.arange(1, len(seen) + 1, dtype=np.float64), "frame", label, raw)


def _film(path: Path, options: ClipOptions) -> Seen:
    raw = film_reader(options)(path)
    seen, _ = stream_of("films", raw.unsqueeze(1), torch.tensor([len(raw)]), str(options.stream))
    return Seen(path.name, seen[:, 0], np.arange(len(raw)) / options.rate, "seconds", None, path)


@torch.inference_mode()
def watch(loaded: LoadedRun, run: Path, seen: Seen) -> Watched:
    """Show a clip to a run that names clips.

    Raises:
        MisuseError: the run describes clips, or the clip is of another width.
    """
    _check_width(loaded, run, seen)
    each, so_far = loaded.model.watch(seen.frames.to(next(loaded.model.parameters()).device))
    return Watched(names_of(loaded.config, "classes", run), each.double().cpu().numpy(), so_far.double().cpu().numpy())


@torch.inference_mode()
def tell(loaded: LoadedRun, run: Path, seen: Seen, *, width: int, best: int) -> list[Sample]:
    """The likeliest sentences about a clip, from a run that describes clips, best first."""
    _check_width(loaded, run, seen)
    telling = Telling(loaded.model, seen.frames.to(next(loaded.model.parameters()).device))
    return beam_search(telling, loaded.vocabulary, length=LONGEST, width=max(width, best), best=best, until_end=True)


def moments(seen: Seen, run: Path, loaded: LoadedRun, count: int = MOMENTS) -> Sequence[Moment]:
    """What a clip looks like at places spread over it."""
    total = len(seen.frames)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    if isinstance(seen.source, Path):
        options, _, _ = recorded(loaded.config, run)
        wanted = set(chosen.tolist())
        frames = enumerate(read_frames(seen.source, options.rate, ClipLimits(frames=options.most_frames)))
        return [
            Moment(float(seen.places[number]), image=frame.image.permute(1, 2, 0).numpy())
            for number, frame in frames
            if number in wanted
        ]
    raw = seen.source.numpy()
    if raw.ndim == 2:
        return [Moment(float(seen.places[k]), _strokes(raw, round(len(raw) * (k + 1) / total))) for k in chosen]
    bones = poses.BONES if raw.shape[1] == len(poses.JHMDB_JOINTS) else ()
    return [Moment(float(seen.places[k]), [raw[k][list(bone), :2] for bone in bones]) for k in chosen]


def _strokes(points: NDArray[np.floating], count: int) -> list[NDArray[np.floating]]:
    """The strokes on the paper after so many points."""
    fresh = np.flatnonzero(points[: count - 1, 2] == 2)
    begin = int(fresh[-1]) + 1 if len(fresh) else 0
    shown = points[begin:count]
    ends = np.flatnonzero(shown[:, 2] > 0) + 1
    return [stroke[:, :2] for stroke in np.split(shown, ends) if len(stroke)]


def _check_width(loaded: LoadedRun, run: Path, seen: Seen) -> None:
    if seen.frames.shape[1] != loaded.model.width:
        raise BadClipError(
            f"{seen.name}: its frames have {seen.frames.shape[1]:,} numbers; {run} knows {loaded.model.width:,}."
        )
