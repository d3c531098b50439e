"""Encoders: an image becomes a vector and a grid of vectors, for recurrent nets to read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from elman.data.images.preprocessing import Preprocessing, normalisation
from elman.data.images.resizing import fit_square
from elman.data.images.sources import ImageSource
from elman.errors import FailureError, MisuseError
from elman.models.convnets import ConvNet, design
from elman.models.features import FeatureCache
from elman.models.fingerprint import add_tensors

PARTS = ("pooled", "grid")
# an image's features are kept together with those of so many others
_SHARD = 256


class Encoder(Protocol):
    """What gives features of images, whichever library it comes from."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the features: weights, layers, sizes, preprocessing."""

    @property
    def pooled_width(self) -> int:
        """D of the vector."""

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """(D, h, w) of the grid."""

    def prepare(self, image: Tensor) -> Tensor:
        """An image of any size, [3, H, W] uint8, as the encoder reads it: [3, side, side], uint8."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared images [B, 3, side, side], uint8 -> vectors [B, D] and grids [B, D', h, w], with gradients."""


class ConvNetEncoder(nn.Module):
    """A ConvNet as an encoder: the grid is one of its feature maps, the vector that map's mean or a later layer.

    Args:
        net: with trained weights. It is used in evaluation mode; what is fine-tuned is the caller's to say.
        grid: the layer whose output is the grid; default the last feature map.
        pooled: the layer whose output is the vector, such as ``"classifier.4"`` for the 4096 numbers of VGG's second
            fully connected layer; default the grid's mean over its places.
        side: of the square images that the net reads, pixels; default what it was published for.
        shorter: shorter side to which an image is resized before the middle is cut out; default ``side``, so that
            little of the image is lost.
        preprocessing: default the published normalisation by channel.

    Raises:
        MisuseError: a layer that is not there, comes before the grid, or is no feature map.
    """

    def __init__(
        self,
        net: ConvNet,
        *,
        grid: str | None = None,
        pooled: str | None = None,
        side: int | None = None,
        shorter: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        entry = design(net.name)
        # torch's convolutions on a CPU take half the time with the channels last in memory
        self.net: ConvNet = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.grid_layer, self.pooled_layer = grid or net.trunk, pooled
        self.side, self.shorter = side or entry.image, shorter or side or entry.image
        self.preprocessing = preprocessing or normalisation(entry.mean, entry.std)
        self._grid_at = net.position(self.grid_layer)
        self._pooled_at = net.position(pooled) if pooled else 0
        if pooled and self._pooled_at < self._grid_at:
            raise MisuseError(f"{pooled} comes before the grid's layer {self.grid_layer}; choose an earlier grid.")
        if self.shorter < self.side:
            raise MisuseError(f"A square of {self.side} pixels cannot be cut out of images with a side {self.shorter}.")
        with torch.inference_mode():
            vector, places = self.encode(torch.zeros(1, 3, self.side, self.side, dtype=torch.uint8))
        if places.ndim != 4 or vector.ndim != 2:
            raise MisuseError(
                f"The grid must be a feature map and the vector a layer behind the pooling: {self.grid_layer} gives "
                f"{list(places.shape[1:])}, {pooled or 'its mean'} {list(vector.shape[1:])}."
            )
        self.pooled_width = vector.shape[1]
        self.grid_shape = (places.shape[1], places.shape[2], places.shape[3])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of weights, layers, sizes and preprocessing."""
        facts = {
            "net": self.net.configuration(),
            "layers": [self.grid_layer, self.pooled_layer],
            "sizes": [self.side, self.shorter],
            "preprocessing": self.preprocessing.facts(),
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for tensors in (self.net.state_dict(), self.preprocessing.tensors):
            add_tensors(digest, tensors)
        return digest.hexdigest()

    def prepare(self, image: Tensor) -> Tensor:
        """Resize and cut out the middle: [3, H, W] -> [3, side, side]."""
        return fit_square(image, self.side, self.shorter)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and grids.

        Args:
            images: prepared, [B, 3, side, side], uint8 or 0..1.

        Returns:
            [B, pooled_width] and [B, *grid_shape].
        """
        place = next(self.net.parameters()).device
        x = self.preprocessing(images.to(place)).contiguous(memory_format=torch.channels_last)
        grid = self.net.run(x, 0, self._grid_at)
        if self._pooled_at:
            return self.net.run(grid, self._grid_at, self._pooled_at), grid
        return grid.flatten(2).mean(2) if grid.ndim == 4 else grid, grid


@dataclass(frozen=True)
class Features:
    """Features of the images of a source.

    Attributes:
        indices: which images these are, N of them; those that could not be read are not among them.
        pooled: [N, D], float16; None where not asked for.
        grid: [N, D', h, w], float16; None where not asked for.
        computed: how many were not in the cache.
    """

    indices: tuple[int, ...]
    pooled: Tensor | None
    grid: Tensor | None
    computed: int


def encode_images(
    encoder: Encoder,
    source: ImageSource,
    indices: Sequence[int] | None = None,
    *,
    parts: Sequence[str] = PARTS,
    bad: str = "refuse",
    notices: list[str] | None = None,
    batch: int = 32,
    cache: bool = True,
    folder: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Features:
    """Encode images, or take their features from the disk where they are there.

    Numbers are rounded to 16 bits whether they were stored or not, so that what is trained on them does not depend on
    the cache.

    Args:
        encoder: whose features.
        source: the images.
        indices: which of them, in this order; default all.
        parts: ``"pooled"``, ``"grid"`` or both.
        bad, notices: as for :meth:`ImageSource.images`.
        batch: images at a time.
        cache: whether features are looked for and kept on the disk.
        folder: of the cache; default the user's.
        progress: called with the share that is done.

    Returns:
        The features.

    Raises:
        MisuseError: an unknown part, a batch of no image, or a bad image with bad="refuse".
        FailureError: features beyond 16 bits, or the disk refused.
    """
    if not parts or set(parts) - set(PARTS) or batch < 1:
        raise MisuseError(f"parts is {list(parts)!r} and batch {batch}: parts can be {PARTS}, a batch at least 1.")
    asked = list(range(len(source)) if indices is None else indices)
    shapes = {"pooled": (encoder.pooled_width,), "grid": encoder.grid_shape}
    shapes = {name: shapes[name] for name in PARTS if name in parts}
    store = FeatureCache(_key(encoder.fingerprint, shapes), shapes, folder) if cache else None
    images = partial(source.images, bad=bad, notices=notices)
    fingerprints = partial(source.fingerprints, bad=bad, notices=notices)
    kept: list[int] = []
    blocks: dict[str, list[Tensor]] = {name: [] for name in shapes}
    computed = 0
    for begin in range(0, len(asked), _SHARD):
        block = asked[begin : begin + _SHARD]

        def report(done: int, begin: int = begin) -> None:
            if progress:
                progress((begin + done) / len(asked))

        good, features, fresh = _encode_block(
            encoder,
            list(fingerprints(block)) if store else [(index, "") for index in block],
            images,
            {name: torch.empty(len(block), *shape, dtype=torch.float16) for name, shape in shapes.items()},
            store,
            batch,
            report,
        )
        kept += good
        computed += fresh
        for name, tensor in features.items():
            blocks[name].append(tensor)
        report(len(block))
    whole = {
        name: torch.cat(tensors) if tensors else torch.empty(0, *shapes[name], dtype=torch.float16)
        for name, tensors in blocks.items()
    }
    return Features(tuple(kept), whole.get("pooled"), whole.get("grid"), computed)


def _encode_block(
    encoder: Encoder,
    keyed: Sequence[tuple[int, str]],
    images: Callable[[Sequence[int]], Iterable[tuple[int, Tensor]]],
    rows: dict[str, Tensor],
    store: FeatureCache | None,
    batch: int,
    report: Callable[[int], None],
) -> tuple[list[int], dict[str, Tensor], int]:
    """Features of the images of ``keyed`` (index and SHA-256): of which, what, and how many were computed."""
    rows = {name: tensor[: len(keyed)] for name, tensor in rows.items()}
    missing = store.read([key for _, key in keyed], rows) if store else list(range(len(keyed)))
    fresh: list[int] = []
    for begin in range(0, len(missing), batch):
        report(len(keyed) - len(missing) + begin)
        prepared = {
            position: encoder.prepare(image)
            for position in missing[begin : begin + batch]
            for _, image in images([keyed[position][0]])
        }
        if prepared:
            with torch.inference_mode():
                vectors, grids = encoder.encode(torch.stack([*prepared.values()]))
            for name, values in (("pooled", vectors), ("grid", grids)):
                if name in rows:
                    rows[name][[*prepared]] = _rounded(values, name)
        fresh += prepared
    if store and fresh:
        store.write([keyed[position][1] for position in fresh], {name: tensor[fresh] for name, tensor in rows.items()})
    lost = set(missing) - set(fresh)
    good = [position for position in range(len(keyed)) if position not in lost]
    return [keyed[position][0] for position in good], {name: tensor[good] for name, tensor in rows.items()}, len(fresh)


def _rounded(values: Tensor, name: str) -> Tensor:
    rounded = values.to("cpu", torch.float16)
    if not torch.isfinite(rounded).all():
        raise FailureError(f"The encoder's {name} features are beyond what 16 bits hold, or no numbers.")
    return rounded


def _key(fingerprint: str, shapes: dict[str, tuple[int, ...]]) -> str:
    return hashlib.sha256(json.dumps([fingerprint, shapes], sort_keys=True).encode()).hexdigest()
