"""Films as an encoder sees them: a vector a frame, kept on disk by the film's content, the rate and the encoder."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from elman.data.video.films import digest_of
from elman.data.video.reader import LIMITS, ClipLimits, read_frames
from elman.errors import FailureError
from elman.models.encoders import Encoder
from elman.models.features import FeatureCache

# whole numbers up to here are exact in 16 bits
_MOST_COUNT = 2048


class FilmEncoder:
    """Gives the vectors of a film's frames.

    Numbers are rounded to 16 bits whether they were stored or not, so that what is trained on them does not depend on
    the cache.

    Args:
        encoder: of images.
        rate: frames a second.
        limits: of what is read.
        batch: frames that are encoded together, and most that are in memory.
        cache: whether vectors are looked for and kept on the disk.
        folder: of the cache; default the user's.
    """

    def __init__(
        self,
        encoder: Encoder,
        rate: float,
        limits: ClipLimits = LIMITS,
        *,
        batch: int = 32,
        cache: bool = True,
        folder: Path | None = None,
    ) -> None:
        self.encoder, self.rate, self.limits, self.batch = encoder, rate, limits, batch
        facts = ["film", encoder.fingerprint, rate, limits.frames]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        self.shapes: dict[str, tuple[int, ...]] = {"pooled": (encoder.pooled_width,), "count": (1,)}
        self.store = FeatureCache(key, self.shapes, folder) if cache and limits.frames <= _MOST_COUNT else None

    def __call__(self, path: Path) -> Tensor:
        """The vectors of a film [T, D], float32.

        Raises:
            BadClipError: a film that cannot be used.
            FailureError: vectors beyond 16 bits, or the disk refused.
        """
        if self.store is None:
            return self._encode(path).float()
        digest = digest_of(path)
        if (found := self._stored(digest)) is not None:
            return found
        vectors = self._encode(path)
        count = torch.full((len(vectors), 1), float(len(vectors)), dtype=torch.float16)
        self.store.write(_keys(digest, len(vectors)), {"pooled": vectors, "count": count})
        return vectors.float()

    def _stored(self, digest: str) -> Tensor | None:
        """The vectors from the disk; None where not all of them are there."""
        assert self.store is not None
        # every frame is stored with the number of all, which is not known before the film is decoded
        first = self._rows(1)
        if self.store.read(_keys(digest, 1), first):
            return None
        count = int(first["count"])
        rows = self._rows(count)
        return None if self.store.read(_keys(digest, count), rows) else rows["pooled"].float()

    def _rows(self, count: int) -> dict[str, Tensor]:
        return {name: torch.empty(count, *shape, dtype=torch.float16) for name, shape in self.shapes.items()}

    def _encode(self, path: Path) -> Tensor:
        parts = []
        stream = read_frames(path, self.rate, self.limits)
        while frames := list(islice(stream, self.batch)):
            prepared = torch.stack([self.encoder.prepare(frame.image) for frame in frames])
            with torch.inference_mode():
                vectors, _ = self.encoder.encode(prepared)
            parts.append(vectors.to("cpu", torch.float16))
        vectors = torch.cat(parts)
        if not torch.isfinite(vectors).all():
            raise FailureError(f"{path.name}: the encoder's vectors are beyond what 16 bits hold, or no numbers.")
        return vectors


def _keys(digest: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{digest}:{number}".encode()).hexdigest() for number in range(count)]
