"""Clips in numpy archives: poses, and drawings as strokes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.video.clips import Clips, fingerprint_of
from elman.errors import FailureError, MisuseError

MOST_BYTES = 1 << 32
# longer ones are no clips; a recurrence over them would take hours
LONGEST = 100_000


def read_archive(path: Path, notices: list[str] | None = None) -> Clips:
    """Read a .npz of poses or drawings; nothing in it is unpickled.

    Poses: ``poses`` [sum, J, 2] or [sum, J, 3]. Drawings: ``points`` [sum, 2] and ``pen_up`` [sum], 1 where the pen is
    lifted after the point. Both: ``lengths`` [N]; ``labels`` [N], words or numbers of ``names`` [K]; ``descriptions``
    [N], sentences. Labels or descriptions may be missing.

    Args:
        path: the file.
        notices: receives a sentence about what was left out.

    Returns:
        The clips.

    Raises:
        MisuseError: another kind of file, or arrays that do not fit together.
        FailureError: the file is damaged or too large.
    """
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise FailureError(f"{path} unpacks to more than {MOST_BYTES >> 30} GiB.")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except OSError as error:
        raise MisuseError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise FailureError(f"{path} is no .npz of plain arrays, or it is damaged ({error}).") from error
    kind, frames = _frames(path, arrays)
    lengths = _lengths(path, arrays, len(frames))
    labels, descriptions = _words(path, arrays, len(lengths))
    names = tuple(f"{path.name}:{row}" for row in range(len(lengths)))
    whole = Clips(kind, torch.from_numpy(frames), lengths, labels, descriptions, names, fingerprint_of(content))
    bad = [row for row, clip in enumerate(np.split(frames, np.cumsum(lengths)[:-1])) if not np.isfinite(clip).all()]
    if not bad:
        return whole
    if notices is not None:
        notices.append(f"{path}: {len(bad):,} clips hold numbers that are not finite and were left out.")
    kept = np.setdiff1d(np.arange(len(lengths)), bad)
    if not len(kept):
        raise MisuseError(f"{path}: no clip holds finite numbers only.")
    return whole.select(kept)


def _frames(path: Path, arrays: Mapping[str, NDArray]) -> tuple[str, NDArray[np.float32]]:
    if "poses" in arrays:
        poses = _numbers(path, "poses", arrays["poses"])
        if poses.ndim != 3 or poses.shape[2] not in (2, 3) or poses.shape[1] < 2:
            shape = list(poses.shape)
            raise MisuseError(f"{path}: poses is {shape}; it must be [frames of all clips, joints, 2 or 3].")
        return "poses", poses
    if "points" in arrays and "pen_up" in arrays:
        points, pen = (_numbers(path, name, arrays[name]) for name in ("points", "pen_up"))
        if points.ndim != 2 or points.shape[1] != 2 or pen.shape != points.shape[:1]:
            raise MisuseError(
                f"{path}: points is {list(points.shape)} and pen_up {list(pen.shape)}; they must be [points of all "
                "drawings, 2] and as many numbers, 1 where the pen is lifted after the point."
            )
        return "drawings", np.concatenate([points, (pen > 0)[:, None].astype(np.float32)], 1)
    raise MisuseError(
        f"{path} has {', '.join(arrays) or 'nothing'}; clips are read from poses, or from points and pen_up, "
        "each with lengths."
    )


def _numbers(path: Path, name: str, array: NDArray) -> NDArray[np.float32]:
    if array.dtype.kind not in "fiub":
        raise MisuseError(f"{path}: {name} must hold numbers, not {array.dtype}.")
    return array.astype(np.float32)


def _lengths(path: Path, arrays: Mapping[str, NDArray], total: int) -> NDArray[np.int64]:
    stored = arrays.get("lengths")
    if stored is None or stored.ndim != 1 or stored.dtype.kind not in "iu" or not len(stored):
        raise MisuseError(f"{path}: lengths must be there and hold the whole number of frames of each clip.")
    lengths = stored.astype(np.int64)
    if lengths.min() < 1 or lengths.max() > LONGEST:
        raise MisuseError(
            f"{path}: lengths are from {lengths.min()} to {lengths.max()}; a clip has 1 to {LONGEST:,} frames."
        )
    if lengths.sum() != total:
        raise MisuseError(f"{path}: the lengths sum to {lengths.sum():,}, but there are {total:,} frames.")
    return lengths


def _words(
    path: Path, arrays: Mapping[str, NDArray], count: int
) -> tuple[tuple[str | None, ...], tuple[tuple[str, ...], ...]]:
    labels: tuple[str | None, ...] = (None,) * count
    if (stored := arrays.get("labels")) is not None:
        if stored.shape != (count,):
            raise MisuseError(f"{path}: labels is {list(stored.shape)}; there are {count:,} clips.")
        if stored.dtype.kind in "iu" and "names" in arrays:
            names = arrays["names"]
            if names.ndim != 1 or stored.min() < 0 or stored.max() >= len(names):
                raise MisuseError(f"{path}: labels go from {stored.min()} to {stored.max()}; names has {len(names)}.")
            stored = names[stored]
        labels = tuple(map(str, stored.tolist()))
    descriptions: tuple[tuple[str, ...], ...] = ((),) * count
    if (told := arrays.get("descriptions")) is not None:
        if told.shape != (count,) or told.dtype.kind != "U":
            raise MisuseError(f"{path}: descriptions must be {count:,} texts.")
        descriptions = tuple((text,) if text.strip() else () for text in map(str, told.tolist()))
    return labels, descriptions
