"""Films on disk with their labels and descriptions: class folders, or a table."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from elman.data.labelled import LONGEST_FIELD
from elman.data.reading import read_text
from elman.data.sources import resolve
from elman.data.video.reader import ENDINGS, LIMITS, BadClipError, ClipLimits, read_frames
from elman.errors import MisuseError

# what to do with a film that cannot be used
BAD = ("refuse", "skip")
MOST_FILMS = 1_000_000
_CLIP = ("clip", "video", "file", "path")
_LABEL = ("label", "class", "action")
_TOLD = ("description", "caption", "text")


@dataclass(frozen=True)
class Films:
    """Films that are read when they are needed.

    Attributes:
        paths: [N].
        labels: [N]; None for a film without one.
        descriptions: [N], each none, one or several sentences.
        names: [N] as they stand in the source.
    """

    paths: tuple[Path, ...]
    labels: tuple[str | None, ...]
    descriptions: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, rows: Sequence[int]) -> Films:
        """Some of the films, in the order given."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            descriptions=tuple(self.descriptions[row] for row in rows),
            names=tuple(self.names[row] for row in rows),
        )


def open_films(path: Path, notices: list[str] | None = None) -> Films:
    """Find films; none is read yet.

    A folder: every film below it, whose label is the folder that it lies in (none for films in the folder itself). A
    table (.csv, .tsv): columns clip, label and description by these names, a row a film; of the last two one may be
    missing. A film with several rows has several descriptions. Paths in a table are from the table's folder.

    Args:
        path: the folder or the table.
        notices: receives a sentence about files that were left out.

    Returns:
        The films, sorted by name in a folder, in order in a table.

    Raises:
        MisuseError: nothing there, no film, or a table that cannot be read.
    """
    if path.is_dir():
        return _folder(path, notices)
    if path.suffix.lower() in (".csv", ".tsv", ".tab"):
        return _table(path)
    if path.suffix.lower() in ENDINGS and path.is_file():
        return Films((path,), (None,), ((),), (path.name,))
    raise MisuseError(
        f"{path} is no folder of films, no table of them (.csv, .tsv) and no film ({', '.join(sorted(ENDINGS))})."
    )


def _folder(path: Path, notices: list[str] | None) -> Films:
    found: list[Path] = []
    other = 0
    for inside, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in ENDINGS and not name.startswith("."):
                found.append(Path(inside) / name)
            elif not name.startswith("."):
                other += 1
        if len(found) > MOST_FILMS:
            raise MisuseError(f"{path} holds more than {MOST_FILMS:,} films.")
    if not found:
        raise MisuseError(f"{path} holds no film ({', '.join(sorted(ENDINGS))}).")
    if other and notices is not None:
        notices.append(f"{path}: {other:,} files that are no films by their names were left out.")
    found.sort(key=lambda film: film.relative_to(path).parts)
    labels = tuple(film.parent.name if film.parent != path else None for film in found)
    names = tuple(film.relative_to(path).as_posix() for film in found)
    return Films(tuple(found), labels, ((),) * len(found), names)


def _table(path: Path) -> Films:
    (source,) = resolve([str(path)])
    whole = "".join(read_text([source], "utf-8", "strict", "strip", "unix"))
    reader = csv.reader(io.StringIO(whole), delimiter="," if path.suffix.lower() == ".csv" else "\t")
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise MisuseError(f"{path.name}, line {reader.line_num}: {error}.") from error
    finally:
        csv.field_size_limit(before)
    head = [name.strip().lower() for name in rows[0][1]] if rows else []

    def column(usual: Sequence[str]) -> int | None:
        return next((head.index(name) for name in usual if name in head), None)

    clip, label, told = column(_CLIP), column(_LABEL), column(_TOLD)
    if clip is None or (label is None and told is None):
        raise MisuseError(
            f"{path.name}: the first line must name a column clip and a column label or description; "
            f"it has {', '.join(head) or 'nothing'}."
        )
    labels: dict[str, str | None] = {}
    descriptions: dict[str, list[str]] = {}
    for line, fields in rows[1:]:
        if len(fields) != len(head):
            raise MisuseError(f"{path.name}, line {line}: {len(fields)} columns where the first line has {len(head)}.")
        name = fields[clip].strip()
        given = (fields[label].strip() or None) if label is not None else None
        if not name:
            raise MisuseError(f"{path.name}, line {line}: the clip has no name.")
        if labels.setdefault(name, given) != given:
            raise MisuseError(f"{path.name}, line {line}: {name} is labelled {given}, and {labels[name]} above.")
        sentence = fields[told].strip() if told is not None else ""
        descriptions.setdefault(name, []).extend([sentence] if sentence else [])
    if not labels:
        raise MisuseError(f"{path.name} names no clip.")
    names = tuple(labels)
    return Films(
        tuple(path.parent / name for name in names),
        tuple(labels[name] for name in names),
        tuple(tuple(descriptions[name]) for name in names),
        names,
    )


def small_pictures(path: Path, rate: float, side: int, limits: ClipLimits = LIMITS) -> Iterator[Tensor]:
    """A film as small grey pictures: the middle square, by area to ``side``: [side * side], 0 to 1, one a frame."""
    for frame in read_frames(path, rate, limits):
        # ITU-R BT.601: how bright the eye finds red, green and blue
        red, green, blue = frame.image.float() / 255
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        high, wide = grey.shape
        least = min(high, wide)
        top, left = (high - least) // 2, (wide - least) // 2
        square = grey[top : top + least, left : left + least]
        yield functional.adaptive_avg_pool2d(square[None, None], side).flatten()


def each_film(
    films: Films,
    read: Callable[[Path], Tensor],
    bad: str = "refuse",
    notices: list[str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Read the films one after the other.

    Args:
        films: which.
        read: gives a film's frames [T, D].
        bad: ``"refuse"`` stops at the first film that cannot be used, ``"skip"`` goes on without it.
        notices: receives a line for each that was skipped.
        progress: called with the share that is done.

    Yields:
        A film's number and its frames.

    Raises:
        BadClipError: with bad="refuse".
        MisuseError: another word for ``bad``.
    """
    if bad not in BAD:
        raise MisuseError(f"--bad is {bad!r}; films that cannot be used can be {' or '.join(map(repr, BAD))}.")
    for row, path in enumerate(films.paths):
        if progress:
            progress(row / len(films))
        try:
            frames = read(path)
        except BadClipError as error:
            if bad == "refuse":
                raise
            if notices is not None:
                notices.append(f"Skipped {error}")
            continue
        yield row, frames


def digest_of(path: Path) -> str:
    """SHA-256 of a film's file, hexadecimal.

    Raises:
        BadClipError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadClipError(f"{path.name}: cannot be read ({error.strerror}).") from error
