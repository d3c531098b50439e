"""Preprocessing that is fitted on the training part alone and kept with the model.

    mean_image      x - m, m the mean of every pixel                              (AlexNet)
    channel_mean    x - m, m one number a channel                                 (VGG)
    normalise       (x - m) / s by channel                                        (ResNet and later)
    pca             U^T (x - m), the k directions of largest variance             [B, k]
    whiten          the same, each divided by sqrt(variance + epsilon)            [B, k]
    zca             U diag(1 / sqrt(variance + epsilon)) U^T (x - m), an image again

Images are numbers from 0 to 1. The lecture's names; ZCA: Bell & Sejnowski 1997, Krizhevsky 2009, appendix A.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elman.data.images.resizing import to_float
from elman.errors import FailureError, MisuseError
from elman.files import write_whole

KINDS = ("mean_image", "channel_mean", "normalise", "pca", "whiten", "zca")
_ROTATIONS = ("pca", "whiten", "zca")
# a covariance of more numbers a side takes gigabytes and its eigenvectors hours
MOST_NUMBERS = 8192
_BLOCK = 512
_METADATA = "elman"


@dataclass(frozen=True)
class Preprocessing:
    """A fitted transformation of images.

    Attributes:
        kind: one of :data:`KINDS`.
        shape: (3, H, W) of the images that it was fitted on; by channel, other sizes are taken too.
        images: how many it was fitted on; 0 for published numbers.
        fingerprint: SHA-256 over their pixels, so that it can be told what the numbers come from.
        epsilon: added to the variances before their root.
        tensors: ``mean``, and by kind ``deviation`` [3], ``directions`` [D, k], ``variances`` [k]; D = 3 H W.
    """

    kind: str
    shape: tuple[int, int, int]
    images: int
    fingerprint: str
    epsilon: float
    tensors: Mapping[str, Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Transform a batch.

        Args:
            images: [B, 3, H, W], uint8 or 0..1.

        Returns:
            [B, 3, H, W]; [B, k] for ``pca`` and ``whiten``.

        Raises:
            MisuseError: images of another size than it was fitted on.
        """
        x = to_float(images)
        if self.kind in ("mean_image", *_ROTATIONS) and tuple(x.shape[1:]) != self.shape:
            raise MisuseError(
                f"{self.kind} was fitted on images of {self.shape[1]}x{self.shape[2]}, "
                f"these are {x.shape[-2]}x{x.shape[-1]}."
            )
        own = {name: tensor.to(x) for name, tensor in self.tensors.items()}
        if self.kind in ("channel_mean", "normalise"):
            x = x - own["mean"][:, None, None]
            return x / own["deviation"][:, None, None] if self.kind == "normalise" else x
        x = x - own["mean"]
        if self.kind == "mean_image":
            return x
        codes = x.flatten(1) @ own["directions"]
        if self.kind == "pca":
            return codes
        codes = codes * (own["variances"] + self.epsilon).rsqrt()
        return codes if self.kind == "whiten" else (codes @ own["directions"].T).view_as(x)

    def as_images(self, images: Tensor) -> Tensor:
        """The same for what reads images: codes are turned back by the directions that made them.

        Of x - m, ``pca`` then leaves what lies along its k directions, U U^T (x - m); ``whiten`` is ``zca`` along them.

        Args:
            images: [B, 3, H, W], uint8 or 0..1.

        Returns:
            [B, 3, H, W].
        """
        x = self(images)
        if x.ndim == 4:
            return x
        return (x @ self.tensors["directions"].to(x).T).view(len(x), *self.shape)

    def facts(self) -> dict[str, Any]:
        """All but the tensors, as JSON values."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "images": self.images,
            "fingerprint": self.fingerprint,
            "epsilon": self.epsilon,
        }

    @classmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Preprocessing:
        """What :meth:`facts` and ``tensors`` describe, checked.

        Raises:
            FailureError: they do not fit together.
        """
        try:
            kind, (channels, height, width) = str(facts["kind"]), map(int, facts["shape"])
            made = cls(
                kind,
                (channels, height, width),
                int(facts["images"]),
                str(facts["fingerprint"]),
                float(facts["epsilon"]),
                dict(tensors),
            )
            found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            count = found["directions"][-1] if kind in _ROTATIONS else 0
            if channels != 3 or kind not in KINDS or found != expected_shapes(kind, made.shape, count):
                raise ValueError(f"tensors {found} for {kind} of {made.shape}")
            if not all(torch.isfinite(tensor).all() for tensor in tensors.values()) or made.epsilon < 0:
                raise ValueError("numbers that are not finite or below zero")
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise FailureError(f"The stored preprocessing does not fit together ({error}).") from error
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as one safetensors file, the facts as JSON in its metadata.

        Raises:
            FailureError: the disk refused.
        """
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        header = {_METADATA: json.dumps(self.facts(), sort_keys=True)}
        write_whole(path, lambda name: save_file(tensors, name, metadata=header))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Read what :meth:`save` wrote.

        Raises:
            FailureError: the file is missing, damaged, or holds something else.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="pt", device="cpu") as stored:
                facts = json.loads((stored.metadata() or {})[_METADATA])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError, ValueError, RuntimeError, LookupError) as error:
            raise FailureError(f"{path} cannot be read as a stored preprocessing: {error}.") from error
        if not isinstance(facts, dict):
            raise FailureError(f"{path} is no stored preprocessing.")
        return cls.from_parts(facts, tensors)


def normalisation(mean: Sequence[float], deviation: Sequence[float]) -> Preprocessing:
    """``normalise`` with published numbers.

    Args:
        mean, deviation: by channel, for levels from 0 to 1.
    """
    tensors = {"mean": torch.tensor(mean), "deviation": torch.tensor(deviation)}
    return Preprocessing("normalise", (3, 1, 1), 0, "", 0.0, tensors)


def fit(kind: str, images: Iterable[Tensor], *, components: int | None = None, epsilon: float = 0.01) -> Preprocessing:
    """Fit a preprocessing in one pass; give it images of the training part only.

    Args:
        kind: one of :data:`KINDS`.
        images: [3, H, W] each, uint8 or 0..1, all of one size except for ``channel_mean`` and ``normalise``.
        components: k of ``pca`` and ``whiten``; default all.
        epsilon: keeps ``whiten`` and ``zca`` from blowing up directions that hardly vary.

    Returns:
        The transformation.

    Raises:
        MisuseError: an unknown kind, no image, images of several sizes, or too many numbers an image.
    """
    if kind not in KINDS:
        raise MisuseError(f"There is no preprocessing {kind!r}; there are {', '.join(KINDS)}.")
    if components is not None and (kind not in ("pca", "whiten") or components < 1):
        raise MisuseError(f"components is {components}; it is for pca and whiten, at least 1.")
    if not 0 <= epsilon < math.inf:
        raise MisuseError(f"epsilon is {epsilon}; it must be at least 0.")
    by_channel = kind in ("channel_mean", "normalise")
    sums = _Sums(by_channel, products=kind in _ROTATIONS)
    for image in images:
        sums.add(image)
    sums.finish(kind)
    tensors: dict[str, Tensor] = {"mean": sums.mean().float()}
    if kind == "normalise":
        # a channel that never varies is only centred
        deviation = sums.variance().sqrt()
        tensors["deviation"] = torch.where(deviation > 0, deviation, 1.0).float()
    elif not by_channel:
        tensors["mean"] = tensors["mean"].view(sums.shape)
    if kind in _ROTATIONS:
        variances, directions = torch.linalg.eigh(sums.covariance())
        order = torch.arange(len(variances) - 1, -1, -1)[:components]
        tensors["directions"] = directions[:, order].float()
        tensors["variances"] = variances[order].clamp(min=0).float()
    return Preprocessing(kind, sums.shape, sums.images, sums.digest.hexdigest(), epsilon, tensors)


def expected_shapes(kind: str, shape: tuple[int, int, int], count: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a preprocessing by their names, for images of ``shape`` and ``count`` directions."""
    expected: dict[str, tuple[int, ...]] = {"mean": (3,) if kind in ("channel_mean", "normalise") else shape}
    if kind == "normalise":
        expected["deviation"] = (3,)
    if kind in _ROTATIONS:
        expected |= {"directions": (math.prod([*shape]), count), "variances": (count,)}
    return expected


class _Sums:
    """Sums over images: of numbers, of squares or of products, from which means and covariances follow.

    The first image (or its channel means) is subtracted from all, which keeps the differences of large sums exact.
    """

    def __init__(self, by_channel: bool, products: bool) -> None:
        self.by_channel, self.with_products = by_channel, products
        self.images = self.count = 0
        self.shape = (3, 0, 0)
        self.digest = hashlib.sha256()
        self.block: list[Tensor] = []
        self.shift = self.total = self.squares = torch.zeros(0)

    def add(self, image: Tensor) -> None:
        pixels = image.contiguous()
        if not self.images:
            self._start(pixels)
        elif not self.by_channel and tuple(pixels.shape) != self.shape:
            raise MisuseError(
                f"All images must be of one size here; one is {pixels.shape[-2]}x{pixels.shape[-1]}, "
                f"the first was {self.shape[1]}x{self.shape[2]}."
            )
        self.images += 1
        self.digest.update(pixels.view(torch.uint8).numpy().data)
        # rows are what is averaged: the pixels of a channel-wise fit, else the images
        rows = to_float(pixels).flatten(1).T if self.by_channel else to_float(pixels).reshape(1, -1)
        self.block.append(rows.double() - self.shift)
        if self.by_channel or len(self.block) == _BLOCK:
            self._flush()

    def _start(self, image: Tensor) -> None:
        channels, height, width = image.shape
        self.shape = (channels, height, width)
        numbers = channels if self.by_channel else math.prod([*self.shape])
        if self.with_products and numbers > MOST_NUMBERS:
            side = math.isqrt(MOST_NUMBERS // 3)
            raise MisuseError(
                f"Images of {height}x{width} have {numbers:,} numbers; directions of variance are found for at most "
                f"{MOST_NUMBERS:,}. Resize them to {side}x{side} or less."
            )
        first = to_float(image).double()
        self.shift = first.mean((1, 2)) if self.by_channel else first.flatten()
        self.total = torch.zeros(numbers, dtype=torch.float64)
        self.squares = torch.zeros((numbers,) * (2 if self.with_products else 1), dtype=torch.float64)

    def _flush(self) -> None:
        if self.block:
            rows = torch.cat(self.block)
            self.count += len(rows)
            self.total += rows.sum(0)
            self.squares += rows.T @ rows if self.with_products else (rows * rows).sum(0)
            self.block.clear()

    def finish(self, kind: str) -> None:
        if not self.images:
            raise MisuseError(f"{kind} needs at least one training image.")
        self._flush()

    def mean(self) -> Tensor:
        return self.shift + self.total / self.count

    def variance(self) -> Tensor:
        mean = self.total / self.count
        return (self.squares / self.count - mean * mean).clamp(min=0)

    def covariance(self) -> Tensor:
        mean = self.total / self.count
        return self.squares / self.count - torch.outer(mean, mean)
