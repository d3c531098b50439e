"""The images of a run: how they are read, divided, told and recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.data.images import BadImageError, ImageSource, SquareImages, open_images
from elman.data.splits import PARTS, parse_split
from elman.errors import FailureError, MisuseError
from elman.training.display import Display
from elman.training.material import absolute, check_same, fingerprint_of, recorded_data, shuffled_parts

# of the division into parts, whatever the seed of the training, so that runs with several seeds can be compared
SPLIT_SEED = 0
# a bad image is named; of more than so many the rest is counted
MOST_NAMED = 50


@dataclass(frozen=True)
class ImageOptions:
    """How images are read; stored with the run.

    Attributes:
        side: of the squares, pixels.
        shorter: shorter side before the middle is cut out.
        split: shares of training, validation and test of the one source.
        valid, test: sources of their own in the place of shares.
        bad: "refuse" or "skip" images that cannot be used.
    """

    side: int
    shorter: int
    split: str = "90/10"
    valid: str | None = None
    test: str | None = None
    bad: str = "refuse"


@dataclass(frozen=True)
class ImagePart:
    """The images of one part.

    Attributes:
        squares: where they are.
        rows: [N] which of the squares.
        labels: [N] numbers of their classes.
    """

    squares: SquareImages
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def announce(self, calls: Sequence[NDArray[np.integer]]) -> None:
        """Say what :meth:`take` will be called with next."""
        self.squares.announce([self.rows[chosen] for chosen in calls])

    def take(self, chosen: NDArray[np.integer]) -> Tensor:
        """Some of the images, [B, 3, side, side], uint8."""
        return self.squares.take(self.rows[chosen])

    def each(self) -> Iterator[Tensor]:
        """All images one at a time, [3, side, side]."""
        return self.squares.each(self.rows)

    def name(self, row: int) -> str:
        """What an image is called in its source."""
        return self.squares.source.items[int(self.squares.indices[self.rows[row]])].name

    @property
    def contents(self) -> set[str]:
        """Digests of the images' files."""
        return {self.squares.digests[row] for row in self.rows}


@dataclass(frozen=True)
class Images:
    """What a run is trained and judged on.

    Attributes:
        parts: "train", "valid" and "test"; the last two may be empty.
        classes: their names.
        fingerprint: of all that was read and of how it was divided.
    """

    parts: Mapping[str, ImagePart]
    classes: tuple[str, ...]
    fingerprint: str


def image_options(
    side: int, shorter: int, split: str | None, valid: str | None, test: str | None, bad: str
) -> ImageOptions:
    """Options whose parts do not contradict each other.

    Args:
        side, shorter, valid, test, bad: as in :class:`ImageOptions`.
        split: None for 90/10, or for all of the one source where validation has a source of its own.

    Raises:
        MisuseError: a part that has both a share and a source, or a split that is none.
    """
    split = split or ("100" if valid else "90/10")
    shares = parse_split(split)
    for at, (name, place) in enumerate((("valid", valid), ("test", test)), 1):
        if place and len(shares) > at and shares[at]:
            raise MisuseError(f"--{name} {place} and --split {split} both give the {name} part; take one of them.")
    return ImageOptions(side, shorter, split, valid, test, bad)


def read_images(opened: ImageSource, options: ImageOptions, display: Display | None = None) -> Images:
    """Read and divide.

    Args:
        opened: a folder of class folders, or a tar archive of one.
        options: how.
        display: is told what was left out; None keeps silent.

    Returns:
        The parts.

    Raises:
        MisuseError: no class folders, a class that training lacks, or a bad image with bad="refuse".
        FailureError: a damaged archive, or the disk refused.
    """
    notices: list[str] = []
    squares = _squares(opened, options, notices, display)
    classes = opened.classes
    if len(classes) < 2:
        raise MisuseError(
            f"{opened.path} has {len(classes) or 'no'} class folder{'s' * (len(classes) != 1)}: a classifier needs at "
            "least two. Put the images of each class into a folder of its name."
        )
    labels = squares.labels
    rows = shuffled_parts(len(squares), options.split, SPLIT_SEED)
    parts = {name: ImagePart(squares, rows[name], labels[rows[name]]) for name in PARTS}
    for name in ("valid", "test"):
        if place := getattr(options, name):
            parts[name] = _other_part(place, options, classes, notices, display)
    if missing := sorted(set(range(len(classes))) - set(parts["train"].labels.tolist())):
        notices.append(f"No image of {', '.join(classes[k] for k in missing[:5])} is in the training part.")
    seen = parts["train"].contents
    for name in ("valid", "test"):
        if shared := sum(parts[name].squares.digests[row] in seen for row in parts[name].rows):
            notices.append(f"{shared:,} of the {name} part's {len(parts[name]):,} images are in the training part too.")
    if display:
        _tell(parts, classes, notices, display)
    read = {part.squares.fingerprint for part in parts.values()}
    return Images(parts, classes, fingerprint_of([*sorted(read), options.split]))


def read_other(source: str, options: ImageOptions, classes: Sequence[str], display: Display | None = None) -> ImagePart:
    """All images of a source that is not the run's, by the run's classes; errors as for :func:`read_images`."""
    notices: list[str] = []
    part = _other_part(source, options, classes, notices, display)
    if display:
        _warn(notices, display)
    return part


def describe_images(source: str, options: ImageOptions, images: Images) -> dict[str, Any]:
    """The record of a run's images for ``config.json``."""
    places = {name: place and absolute(place) for name, place in (("valid", options.valid), ("test", options.test))}
    return {
        "sources": [absolute(source)],
        "options": {**asdict(options), **places},
        "fingerprint": images.fingerprint,
        "images": {name: len(part) for name, part in images.parts.items()},
    }


def options_of(config: Mapping[str, Any], run: Path) -> ImageOptions:
    """How the images of a run were read.

    Raises:
        FailureError: its configuration does not say.
    """
    try:
        return ImageOptions(**recorded_data(config, run)["options"])
    except (KeyError, TypeError) as error:
        raise FailureError(f"The configuration of {run} does not say how its images were read ({error!r}).") from error


def read_again(config: Mapping[str, Any], run: Path, sources: Sequence[str] | None = None) -> Images:
    """The images that a run was trained on, from its record.

    Args:
        config: of the run.
        run: its folder, for errors.
        sources: where they lie now: the training source, then those of validation and test if the run has such;
            None for the recorded places.

    Raises:
        FailureError: they have changed since.
        MisuseError: they are not there any more.
    """
    options = options_of(config, run)
    recorded = [*recorded_data(config, run)["sources"], options.valid, options.test]
    names = ("source", "valid", "test")
    places = {name: place for name, place in zip(names, recorded, strict=True) if place}
    if sources:
        if len(sources) != len(places):
            raise MisuseError(f"{run} was trained on {len(places)} sources ({', '.join(places)}); name as many.")
        places = dict(zip(places, sources, strict=True))
    moved = ImageOptions(**{**asdict(options), "valid": places.get("valid"), "test": places.get("test")})
    images = read_images(open_images(places["source"]), moved)
    check_same(images.fingerprint, config, run, [*places.values()])
    return images


def _squares(opened: ImageSource, options: ImageOptions, notices: list[str], display: Display | None) -> SquareImages:
    def tell(share: float) -> None:
        if display and not share:
            display.note(f"decoding {len(opened):,} images of {opened.path} into the cache, once")

    try:
        return SquareImages(opened, options.side, options.shorter, bad=options.bad, notices=notices, progress=tell)
    except BadImageError as error:
        raise MisuseError(f"{error} Mend or remove it, or leave out what cannot be used with --bad skip.") from error


def _other_part(
    source: str, options: ImageOptions, classes: Sequence[str], notices: list[str], display: Display | None
) -> ImagePart:
    squares = _squares(open_images(source, notices=notices), options, notices, display)
    theirs = squares.source.classes
    if not theirs:
        raise MisuseError(f"{source} has no class folders, so that there is nothing to compare the predictions with.")
    if unknown := [name for name in theirs if name not in classes]:
        known = ", ".join(classes[:10])
        raise MisuseError(f"{source} has the class {unknown[0]!r}, which the training images lack; they have {known}.")
    number = np.array([classes.index(name) for name in theirs], dtype=np.int64)
    return ImagePart(squares, np.arange(len(squares)), number[squares.labels])


def _tell(parts: Mapping[str, ImagePart], classes: Sequence[str], notices: Sequence[str], display: Display) -> None:
    _warn(notices, display)
    train, valid, test = (len(parts[name]) for name in PARTS)
    judged = f", {test:,} to test" if test else ""
    kept = "" if parts["train"].squares.kept else "; too many to keep decoded, so they are decoded again each time"
    display.note(f"{train:,} images to train on, {valid:,} to validate{judged}; {len(classes):,} classes{kept}")


def _warn(notices: Sequence[str], display: Display) -> None:
    for notice in notices[:MOST_NAMED]:
        display.warn(notice)
    if len(notices) > MOST_NAMED:
        display.warn(f"and {len(notices) - MOST_NAMED:,} more")
