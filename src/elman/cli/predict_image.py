"""What an image classifier says of images; ``elman predict`` comes here for runs of ``elman train image``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.models.image_classifier import ImageClassifier

_BATCH = 32
BEST = 5


def predict_images(
    model: ImageClassifier, images: Sequence[str], *, best: int = BEST, bad: str = "refuse", as_json: bool = False
) -> None:
    """Print the classes of images with their probabilities.

    Args:
        model: of the run, in evaluation mode.
        images: files, folders and tar archives of images.
        best: how many classes are named of each image.
        bad: "refuse" or "skip" images that cannot be used; those that are skipped are named on standard error.
        as_json: one JSON object a line: image, class, probability, best, and the probabilities of all classes.

    Raises:
        MisuseError: no image, or a bad one with bad="refuse".
    """
    from itertools import islice

    from elman.data.images import gather

    if not images:
        raise MisuseError("Name at least one image, folder or archive behind the run.")
    notices: list[str] = []
    found = gather([Path(image).expanduser() for image in images], bad, notices)
    # some at a time: a folder may hold more than the memory
    while some := list(islice(found, _BATCH)):
        shares = model.probabilities([pixels for _, pixels in some])
        for (name, _), row in zip(some, shares.tolist(), strict=True):
            _print(name, dict(zip(model.classes, row, strict=True)), best, as_json)
    for notice in notices:
        print(notice, file=sys.stderr)


def _print(name: str, shares: dict[str, float], best: int, as_json: bool) -> None:
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])[:best]
    if not as_json:
        print(f"{name}: " + ", ".join(f"{word} {share:.3f}" for word, share in ranked), flush=True)
        return
    values: dict[str, Any] = {
        "image": name,
        "class": ranked[0][0],
        "probability": ranked[0][1],
        "best": [{"class": word, "probability": share} for word, share in ranked],
        "probabilities": shares,
    }
    print(json.dumps(values, ensure_ascii=False), flush=True)
