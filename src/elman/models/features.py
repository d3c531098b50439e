"""Image features on disk, by image and by encoder.

The cache of an encoder is a folder of safetensors files, each with the features of some images and, in its metadata,
their SHA-256 and a checksum of the numbers. A file that is damaged is thrown away and its images are encoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elman.files import cache_folder, write_whole
from elman.models.fingerprint import add_tensors

_METADATA = "elman"
LIMIT_BYTES = 8 << 30


class FeatureCache:
    """The stored features of one encoder.

    Args:
        fingerprint: of the encoder; hexadecimal.
        shapes: name and shape of one image's features.
        folder: of all encoders' caches; default the cache folder ``features``.
        limit_bytes: what all encoders' features may take; beyond it the files that were longest unused go.
    """

    def __init__(
        self,
        fingerprint: str,
        shapes: Mapping[str, tuple[int, ...]],
        folder: Path | None = None,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.root = folder if folder is not None else cache_folder("features")
        self.folder = self.root / fingerprint[:32]
        self.shapes, self.limit_bytes = dict(shapes), limit_bytes
        self.places: dict[str, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            for row, key in enumerate(self._keys_of(path)):
                self.places[key] = (path, row)

    def read(self, keys: Sequence[str], into: Mapping[str, Tensor]) -> list[int]:
        """Take what is stored.

        Args:
            keys: SHA-256 of each image.
            into: by name a tensor [len(keys), *shape], whose rows are filled.

        Returns:
            The positions of those that are not stored.
        """
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for position, key in enumerate(keys):
            if place := self.places.get(key):
                wanted.setdefault(place[0], []).append((position, place[1]))
        found = set()
        for path, pairs in wanted.items():
            stored = self._open(path)
            if stored is None:
                self._forget(path)
                continue
            positions, rows = (torch.tensor(column) for column in zip(*pairs, strict=True))
            for name, target in into.items():
                target[positions] = stored[name][rows]
            found.update(positions.tolist())
            with contextlib.suppress(OSError):
                os.utime(path)
        return [position for position in range(len(keys)) if position not in found]

    def write(self, keys: Sequence[str], features: Mapping[str, Tensor]) -> None:
        """Store the features of some images, then make room if there is too much.

        Args:
            keys: SHA-256 of each image.
            features: by name [len(keys), *shape], float16.

        Raises:
            FailureError: the disk refused.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in features.items()}
        facts = {"keys": list(keys), "sha256": _digest(keys, tensors)}
        path = self.folder / f"{facts['sha256'][:32]}.safetensors"
        write_whole(path, lambda name: save_file(tensors, name, metadata={_METADATA: json.dumps(facts)}))
        for row, key in enumerate(keys):
            self.places[key] = (path, row)
        self._make_room(path)

    def _keys_of(self, path: Path) -> list[str]:
        """The images of a file, from its header; none, and the file goes, if they do not fit its tensors."""
        try:
            with safe_open(path, framework="pt", device="cpu") as stored:
                keys = json.loads((stored.metadata() or {})[_METADATA])["keys"]
                shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
            if shapes == {name: (len(keys), *shape) for name, shape in self.shapes.items()}:
                return [str(key) for key in keys]
        except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError):
            pass
        self._forget(path)
        return []

    def _open(self, path: Path) -> dict[str, Tensor] | None:
        try:
            with safe_open(path, framework="pt", device="cpu") as stored:
                facts = json.loads((stored.metadata() or {})[_METADATA])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            return tensors if facts["sha256"] == _digest(facts["keys"], tensors) else None
        except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError):
            return None

    def _forget(self, path: Path) -> None:
        self.places = {key: place for key, place in self.places.items() if place[0] != path}
        # another process may have been faster, or the cache may be read-only
        with contextlib.suppress(OSError):
            path.unlink()

    def _make_room(self, newest: Path) -> None:
        sizes = []
        for path in self.root.glob("*/*.safetensors"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                sizes.append((facts.st_mtime, facts.st_size, path))
        excess = sum(size for _, size, _ in sizes) - self.limit_bytes
        for _, size, path in sorted(sizes):
            if excess <= 0:
                return
            if path != newest:
                self._forget(path)
                excess -= size


def _digest(keys: Sequence[str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(list(keys)).encode())
    add_tensors(digest, tensors)
    return digest.hexdigest()
