"""What a model of questions sees of an image: the image at one size, or features of a net that is not trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from elman.data.images.resizing import to_float
from elman.data.images.sources import ImageSource
from elman.errors import FailureError, MisuseError
from elman.models.convnets import build, load_weights
from elman.models.encoders import ConvNetEncoder, Encoder, encode_images

# where no size is given, images are made smaller until they have so many pixels
PIXELS = 10_000
# images or features are held in memory, all of them
MOST_BYTES = 8 << 30


class Sight:
    """Makes images of any size what the model takes.

    Args:
        size: (height, width) to which images are scaled, their proportions changed if need be.
        encoder: whose grid features are taken instead.
        facts: of the encoder, for :meth:`to_json`.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        encoder: Encoder | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if (size is None) == (encoder is None):
            raise MisuseError("An image is seen at a size, or through an encoder.")
        self.size, self.encoder, self._facts = size, encoder, dict(facts or {})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what is seen of one image."""
        if self.encoder is not None:
            return self.encoder.grid_shape
        assert self.size is not None
        return (3, *self.size)

    def to_json(self) -> dict[str, Any]:
        """What :func:`sight_of` reads, as JSON values."""
        return {"size": list(self.size)} if self.size else {"encoder": self._facts}

    def see(self, images: Iterable[Tensor]) -> Tensor:
        """Images of any size, [3, H, W] uint8, as the model takes them.

        Returns:
            [N, 3, height, width] uint8, or features [N, *grid_shape] float16.
        """
        if self.encoder is None:
            assert self.size is not None
            return torch.stack([_scaled(image, self.size) for image in images])
        with torch.inference_mode():
            prepared = torch.stack([self.encoder.prepare(image) for image in images])
            return self.encoder.encode(prepared)[1].to("cpu", torch.float16)

    def see_all(
        self,
        source: ImageSource,
        indices: Sequence[int],
        *,
        bad: str = "refuse",
        notices: list[str] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[Tensor, dict[int, int]]:
        """Many images of a source; features come from the cache where they are in it.

        Args:
            source: the images.
            indices: which ones.
            bad, notices: as for :meth:`ImageSource.images`.
            progress: called with the share that is done.

        Returns:
            As :meth:`see`, and by index of the image its row.

        Raises:
            MisuseError: a bad image with bad="refuse", or more than memory should be taken for.
        """
        bytes_each = math.prod(self.shape) * (1 if self.encoder is None else 2)
        if len(indices) * bytes_each > MOST_BYTES:
            raise MisuseError(
                f"{len(indices):,} images of {self.shape} take {len(indices) * bytes_each >> 30} GiB, more than "
                f"{MOST_BYTES >> 30}: choose a smaller --size, or an encoder with a smaller grid."
            )
        if self.encoder is not None:
            features = encode_images(
                self.encoder, source, indices, parts=("grid",), bad=bad, notices=notices, progress=progress
            )
            assert features.grid is not None
            return features.grid, {index: row for row, index in enumerate(features.indices)}
        seen = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        rows: dict[int, int] = {}
        for index, image in source.images(indices, bad=bad, notices=notices):
            assert self.size is not None
            seen[len(rows)] = _scaled(image, self.size)
            rows[index] = len(rows)
            if progress:
                progress(len(rows) / len(indices))
        return seen[: len(rows)], rows


def _scaled(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[1:]) == size:
        return image
    scaled = functional.interpolate(to_float(image)[None], size, mode="bilinear", antialias=True)[0]
    return (scaled * 255).round().to(torch.uint8)


def fitting_size(height: int, width: int) -> tuple[int, int]:
    """A size in the same proportions with at most ``PIXELS`` pixels."""
    scale = min(1.0, math.sqrt(PIXELS / (height * width)))
    return max(8, round(height * scale)), max(8, round(width * scale))


def encoder_sight(name: str, weights: str | Path, device: str = "cpu") -> Sight:
    """See through a ConvNet with trained weights.

    Args:
        name: of the table of ConvNets.
        weights: its file.
        device: where the net runs.

    Raises:
        MisuseError, FailureError: no such net, or weights that are not its.
    """
    path = Path(weights).expanduser().absolute()
    with torch.random.fork_rng(devices=[]):
        net = load_weights(build(name, generator=torch.Generator().manual_seed(0)), path)
    encoder = ConvNetEncoder(net.to(device))
    return Sight(encoder=encoder, facts={"name": name, "weights": str(path), "fingerprint": encoder.fingerprint})


def sight_of(stored: Mapping[str, Any], device: str = "cpu", weights: str | None = None) -> Sight:
    """What :meth:`Sight.to_json` describes.

    Args:
        stored: JSON values.
        device: where an encoder runs.
        weights: where an encoder's file lies now, if not where it lay.

    Raises:
        MisuseError: the weights are not there.
        FailureError: they are others than those that the model was trained with, or the record is damaged.
    """
    try:
        if "size" in stored:
            height, width = map(int, stored["size"])
            return Sight((height, width))
        facts = stored["encoder"]
        name, path, fingerprint = str(facts["name"]), str(facts["weights"]), str(facts["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(f"The record of how the model sees is damaged ({error!r}).") from error
    sight = encoder_sight(name, weights or path, device)
    assert sight.encoder is not None
    if sight.encoder.fingerprint != fingerprint:
        raise FailureError(
            f"{weights or path} holds other weights of {name} than those that the model was trained with."
        )
    return sight
