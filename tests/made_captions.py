"""Squares and discs in three colours, with captions in one or two languages, and a small net to look at them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from elman.models.convnets import build

COLOURS = {"red": (200, 30, 30), "green": (30, 190, 40), "blue": (30, 40, 210)}
GERMAN = {"red": "rot", "green": "grün", "blue": "blau", "square": "Quadrat", "disc": "Kreis"}


def png(colour: str, shape: str, seed: int) -> bytes:
    """A picture of 32 x 32."""
    random = np.random.default_rng(seed)
    pixels = np.full((32, 32, 3), 235) + random.integers(-8, 9, (32, 32, 3))
    rows, columns = np.mgrid[:32, :32]
    inside = (
        (abs(rows - 16) < 9) & (abs(columns - 16) < 9)
        if shape == "square"
        else (rows - 16) ** 2 + (columns - 16) ** 2 < 90
    )
    pixels[inside] = COLOURS[colour]
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_data(folder: Path, count: int = 30, languages: bool = False) -> tuple[Path, Path, tuple[Path, Path, Path]]:
    """A folder of images, a table of captions, and three lists: 60, 20 and 20 in a hundred."""
    images = folder / "images"
    images.mkdir()
    rows = []
    names = []
    for number in range(count):
        colour, shape = list(COLOURS)[number % 3], ("square", "disc")[number // 3 % 2]
        names.append(f"{number:03}.png")
        (images / names[-1]).write_bytes(png(colour, shape, number))
        if languages:
            rows.append((names[-1], f"{colour} {shape}", "en"))
            rows.append((names[-1], f"{GERMAN[colour]}, {GERMAN[shape]}", "de"))
        else:
            rows.append((names[-1], f"A {colour} {shape} on white.", ""))
            rows.append((names[-1], f"there is a {shape} that is {colour}", ""))
    table = folder / "captions.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        header = ("image", "caption", "language")[: 3 if languages else 2]
        csv.writer(file).writerows([header, *(row[: len(header)] for row in rows)])
    bounds = [0, count * 6 // 10, count * 8 // 10, count]
    lists = []
    for part, begin, end in zip(("train", "dev", "test"), bounds, bounds[1:], strict=False):
        lists.append(folder / f"{part}.txt")
        lists[-1].write_text("\n".join(names[begin:end]) + "\n")
    return images, table, (lists[0], lists[1], lists[2])


def write_weights(folder: Path) -> Path:
    """The lecture's net with chance weights, which tell colours and shapes apart well enough."""
    net = build("net", 10, generator=torch.Generator().manual_seed(0))
    path = folder / "net.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, str(path))
    return path
