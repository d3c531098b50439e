"""Images and archives that tests make."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """A smooth picture [H, W, 3], uint8, in which no two corners are alike."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    phases = np.random.default_rng(seed).uniform(0, 0.3, 3)
    layers = [rows * 0.7 + phases[0], columns * 0.6 + phases[1], (rows * columns) * 0.5 + phases[2]]
    return (np.stack(layers, -1) * 255).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """An image file's bytes."""
    from PIL import Image

    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    if mode == "P":
        image = image.quantize(256)
    elif mode:
        image = image.convert(mode)
    image.save(stream, form, **options)
    return stream.getvalue()


def tar_of(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> Path:
    """A tar archive, gzipped if its name says so."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra or []:
            archive.addfile(info)
    return path
