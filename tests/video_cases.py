"""Small clips with something to learn, and trainings of seconds, for the tests of video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from elman.equations import cell
from elman.training.settings import Settings
from elman.training.start import Reports
from elman.training.systems.video.run import Wishes

SETTINGS = Settings(steps=80, batch=16, lr=1e-2, eval_every=20, warmup=5, backend="reference")
QUIET = Reports(quiet=True)
SHAPE = {"hidden": 16, "dropout": 0.0}


def wishes(recurrence: str | None = "lstm", describe: str = "", settings: Settings = SETTINGS, **shape: Any) -> Wishes:
    found = None if recurrence is None else cell(recurrence)
    return Wishes(found, describe, SHAPE | shape, settings, frozenset({"eval_every", "warmup"}), QUIET)


def write_poses(path: Path, seed: int = 0, clips: int = 120) -> Path:
    """A figure whose arm goes up or comes down: single frames are the same, their order is not."""
    random = np.random.default_rng(seed)
    body = random.normal(size=(15, 2))
    poses, lengths, labels = [], [], []
    for row in range(clips):
        length = int(random.integers(6, 12))
        rises = row % 2 == 0
        way = np.linspace(-1, 1, length) * (1 if rises else -1)
        frames = np.repeat(body[None], length, 0) + 0.02 * random.normal(size=(length, 15, 2))
        frames[:, 11, 1] += 2 * way
        poses.append(frames)
        lengths.append(length)
        labels.append("rise" if rises else "fall")
    np.savez(path, poses=np.concatenate(poses).astype(np.float32), lengths=lengths, labels=labels)
    return path


def write_drawings(path: Path, seed: int = 0) -> Path:
    """A line down, a line across, and a corner, each drawn a little differently."""
    random = np.random.default_rng(seed)
    shapes = {"pole": [(0, 0), (0, 9)], "rail": [(0, 0), (9, 0)], "corner": [(0, 0), (0, 9), (9, 9)]}
    points, pen, lengths, labels = [], [], [], []
    for row in range(90):
        name = list(shapes)[row % 3]
        shape = np.array(shapes[name]) + 0.4 * random.normal(size=(len(shapes[name]), 2))
        points.append(shape)
        pen += [0] * (len(shape) - 1) + [1]
        lengths.append(len(shape))
        labels.append(name)
    np.savez(path, points=np.concatenate(points), pen_up=pen, lengths=lengths, labels=labels)
    return path
