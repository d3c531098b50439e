"""Where a captioner looked when it chose each word, as light on the image: a picture a word, and all on one sheet."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
from torch import Tensor

from elman.errors import FailureError, MisuseError, require
from elman.files import write_whole
from elman.generate.captioning import Written
from elman.insight.figures.question_attention import lit
from elman.insight.figures.sheet import sheet, shown, write

COLUMNS = 6


def prepare_folder(folder: Path) -> None:
    """Make the folder of the pictures, and refuse what could not be drawn before anything is computed.

    Raises:
        MisuseError: matplotlib or Pillow is not installed, or something else stands in the folder's place.
        FailureError: it cannot be made.
    """
    require("matplotlib", "plot")
    require("PIL.Image", "images")
    if folder.exists() and not folder.is_dir():
        raise MisuseError(f"--attention is {folder}, which is no folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailureError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def draw_overlays(folder: Path, name: str, image: Tensor, written: Written) -> list[Path]:
    """Draw a caption's words on its image.

    Args:
        folder: of the pictures.
        name: of the image; its last part names the pictures.
        image: as the encoder reads it, [3, side, side], uint8.
        written: with attention.

    Returns:
        The files: ``NAME.png`` with all words, then ``NAME-01-WORD.png`` and so on.

    Raises:
        MisuseError: there is no attention.
        FailureError: a file cannot be written.
    """
    if written.weights is None:
        raise MisuseError("This model has no attention to draw.")
    stem = re.sub(r"[^\w.-]+", "-", Path(name).stem) or "image"
    overlays = [lit(image, weights) for weights in written.weights]
    whole = folder / f"{stem}.png"
    _sheet(whole, image, written, overlays)
    paths = [whole]
    for number, (word, overlay) in enumerate(zip(written.symbols, overlays, strict=True), 1):
        safe = re.sub(r"[^\w-]+", "", word) or "sign"
        paths.append(folder / f"{stem}-{number:02}-{safe}.png")
        write_whole(paths[-1], _png(overlay))
    return paths


def _sheet(path: Path, image: Tensor, written: Written, overlays: list[Tensor]) -> None:
    assert written.weights is not None
    pictures = [image.float() / 255, *overlays]
    titles = ["", *written.symbols]
    columns = min(COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = sheet(1.7 * columns, 2.0 * rows + 0.4)
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in panels:
        axes.set_axis_off()
    for place, (axes, picture, title) in enumerate(zip(panels, pictures, titles, strict=False)):
        axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        if place:
            axes.set_title(f"{shown(title)}  {written.logprobs[place - 1]:.2f}", fontsize=8)
    write(figure, path, f"{written.text}   log P {written.logprob:.2f}")


def _png(pixels: Tensor) -> bytes:
    images = require("PIL.Image", "images")
    content = io.BytesIO()
    images.fromarray((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy()).save(content, format="PNG")
    return content.getvalue()
