"""Captions of images: who says what about which file.

COCO json                {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
Karpathy's split json    {"images": [{"filename", "filepath", "split", "sentences": [{"raw"}]}]}
file paths               [{"file_path": ..., "captions": [...]}]
names                    {"cat.png": "a cat", "dog.png": ["a dog", "a puppy"]}
Flickr token files       cat.jpg#0<tab>a cat
tables                   image,caption (also a tab or | between), with an optional column for a tag such as a language
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from elman.data.reading import Source, read_text
from elman.data.sources import resolve
from elman.errors import MisuseError

IMAGE_NAMES = ("image", "image_name", "file", "filename", "file_name", "file_path", "image_id", "path")
CAPTION_NAMES = ("caption", "comment", "text", "sentence", "description")
TAG_NAMES = ("language", "lang", "tag", "style")
BAD = ("refuse", "skip")
# so many faults are named one by one
MOST_NAMED = 20
LONGEST_CAPTION = 10_000
_TOKEN_LINE = re.compile(r"(\S.*?)#(\d+)\t(.*)")
_TAG = re.compile(r"[\w.-]{1,40}")
_KARPATHY_PARTS = {"train": "train", "restval": "train", "val": "valid", "test": "test"}


class Caption(NamedTuple):
    """One text about an image.

    Attributes:
        text: as written, white space at its ends removed.
        tag: what the model is told before the text, such as a language; "" for nothing.
    """

    text: str
    tag: str = ""


@dataclass(frozen=True)
class Captions:
    """Images by name with their captions, in the order in which the files name them.

    Attributes:
        images: [N] names, as the files have them.
        captions: [N] of each at least one.
        parts: [N] "train", "valid" or "test" where the file says so, else "".
        ids: [N] COCO's number of each image; None where there is none.
    """

    images: tuple[str, ...]
    captions: tuple[tuple[Caption, ...], ...]
    parts: tuple[str, ...]
    ids: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def tags(self) -> tuple[str, ...]:
        """The different tags, in alphabetical order, "" among them where some captions have none."""
        return tuple(sorted({caption.tag for own in self.captions for caption in own}))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of names, captions and parts."""
        digest = hashlib.sha256()
        for row in zip(self.images, self.captions, self.parts, strict=True):
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class Fault(NamedTuple):
    """Something that cannot be used, in a line, and what to call it where it is counted."""

    line: str
    kind: str


def report_faults(faults: Sequence[Fault], bad: str, notices: list[str] | None) -> None:
    """Refuse what cannot be used, or name it and go on.

    Args:
        faults: a line each.
        bad: "refuse" or "skip".
        notices: receives the lines, the first ``MOST_NAMED`` of a kind; of the others their number.

    Raises:
        MisuseError: with bad="refuse", naming the first; another word for ``bad``.
    """
    if bad not in BAD:
        raise MisuseError(f"--bad is {bad!r}; it takes {' or '.join(BAD)}.")
    if faults and bad == "refuse":
        more = f" {len(faults) - 1:,} more like it." if len(faults) > 1 else ""
        raise MisuseError(f"{faults[0].line}{more} --bad skip goes on without them.")
    name_each(faults, notices)


def name_each(faults: Sequence[Fault], notices: list[str] | None) -> None:
    """A line for each of the first ``MOST_NAMED`` of a kind, and one for the number of the others."""
    if notices is None:
        return
    for kind in dict.fromkeys(fault.kind for fault in faults):
        lines = [fault.line for fault in faults if fault.kind == kind]
        notices += [f"Skipped: {line}" for line in lines[:MOST_NAMED]]
        if len(lines) > MOST_NAMED:
            notices.append(f"Skipped: {len(lines) - MOST_NAMED:,} more {kind}.")


class _Row(NamedTuple):
    image: str
    text: object
    tag: str
    part: str
    id: int | None
    place: str


def read_captions(
    sources: Sequence[str], *, bad: str = "refuse", encoding: str = "utf-8", notices: list[str] | None = None
) -> Captions:
    """Read caption files; of which form each is, its content says.

    Args:
        sources: files, folders, globs or URLs.
        bad: what becomes of captions that are empty, no text or longer than 10,000 characters: "refuse" or "skip".
        encoding: of the files.
        notices: receives a line for each that was skipped.

    Returns:
        The images that have a caption.

    Raises:
        MisuseError: a file of no known form, with its name and line; a bad caption with bad="refuse"; no caption.
    """
    rows: dict[str, list[Caption]] = {}
    parts: dict[str, str] = {}
    ids: dict[str, int | None] = {}
    faults: list[Fault] = []
    for source in resolve(sources, notices):
        whole = "".join(read_text([source], encoding, "strict", "strip", "unix"))
        for row in _rows(whole, source):
            text = row.text.strip() if isinstance(row.text, str) else ""
            if not isinstance(row.text, str) or not text:
                what = "is empty" if isinstance(row.text, str) else "is no text"
                faults.append(Fault(f"{row.place}: the caption of {row.image} {what}.", "empty captions"))
                continue
            if len(text) > LONGEST_CAPTION:
                line = f"{row.place}: the caption of {row.image} has {len(text):,} characters."
                faults.append(Fault(line, "captions that are too long"))
                continue
            if row.tag and not _TAG.fullmatch(row.tag):
                raise MisuseError(f"{row.place}: the tag {row.tag[:60]!r} is not one word of letters and digits.")
            rows.setdefault(row.image, []).append(Caption(" ".join(text.split()), row.tag))
            parts.setdefault(row.image, row.part)
            ids.setdefault(row.image, row.id)
    report_faults(faults, bad, notices)
    if not rows:
        raise MisuseError(f"{', '.join(map(str, sources))} holds no caption.")
    images = tuple(rows)
    return Captions(
        images, tuple(map(tuple, rows.values())), tuple(parts[name] for name in images), tuple(ids[n] for n in images)
    )


def _rows(whole: str, source: Source) -> Iterator[_Row]:
    start = whole.lstrip()[:1]
    if start in ("{", "["):
        try:
            values = json.loads(whole)
        except (ValueError, RecursionError) as error:
            raise MisuseError(f"{source.name}: this is not JSON ({error}).") from error
        return _from_json(values, source.name)
    first = next((line for line in whole.split("\n") if line.strip()), "")
    return _token_lines(whole, source.name) if _TOKEN_LINE.fullmatch(first) else _table(whole, first, source.name)


def _from_json(values: Any, name: str) -> Iterator[_Row]:
    try:
        if isinstance(values, list):
            yield from _file_paths(values, name)
        elif isinstance(values.get("annotations"), list):
            yield from _coco(values, name)
        elif isinstance(values.get("images"), list):
            yield from _karpathy(values["images"], name)
        else:
            for image, texts in values.items():
                for text in texts if isinstance(texts, list) else [texts]:
                    yield _Row(image, text, "", "", None, f"{name}, {image}")
    except (KeyError, TypeError, AttributeError) as error:
        raise MisuseError(
            f"{name} is JSON, but of no known form ({error!r}): COCO's has images and annotations, Karpathy's images "
            "with sentences, a list has file_path and captions, and a plain object captions by file name."
        ) from error


def _file_paths(values: list[Any], name: str) -> Iterator[_Row]:
    for number, entry in enumerate(values, 1):
        image = next(str(entry[key]) for key in (*IMAGE_NAMES, "") if key in entry or not key)
        texts = entry["captions"] if "captions" in entry else entry["caption"]
        tag = str(entry.get("tag", entry.get("language", "")))
        for text in texts if isinstance(texts, list) else [texts]:
            yield _Row(image, text, tag, "", None, f"{name}, entry {number}")


def _coco(values: Mapping[str, Any], name: str) -> Iterator[_Row]:
    files = {entry["id"]: str(entry["file_name"]) for entry in values["images"]}
    for number, entry in enumerate(values["annotations"], 1):
        place = f"{name}, annotation {number}"
        if entry["image_id"] not in files:
            raise MisuseError(f"{place}: no image of the file has the id {entry['image_id']!r}.")
        own = entry["image_id"]
        yield _Row(files[own], entry["caption"], "", "", own if isinstance(own, int) else None, place)


def _karpathy(entries: list[Any], name: str) -> Iterator[_Row]:
    for number, entry in enumerate(entries, 1):
        image = "/".join(filter(None, (str(entry.get("filepath", "")), str(entry["filename"]))))
        place = f"{name}, image {number}"
        part = str(entry["split"])
        if part not in _KARPATHY_PARTS:
            raise MisuseError(f"{place}: the split is {part!r}; it can be {', '.join(_KARPATHY_PARTS)}.")
        coco = entry.get("cocoid")
        for sentence in entry["sentences"]:
            text = sentence["raw"] if "raw" in sentence else " ".join(sentence["tokens"])
            yield _Row(image, text, "", _KARPATHY_PARTS[part], coco if isinstance(coco, int) else None, place)


def _token_lines(whole: str, name: str) -> Iterator[_Row]:
    for number, line in enumerate(whole.split("\n"), 1):
        if not line.strip():
            continue
        found = _TOKEN_LINE.fullmatch(line)
        if not found:
            raise MisuseError(
                f"{name}, line {number}: {line[:60]!r} is not an image, #, a number, a tab and a caption."
            )
        yield _Row(found[1], found[3], "", "", None, f"{name}, line {number}")


def _table(whole: str, first: str, name: str) -> Iterator[_Row]:
    if not first:
        return
    delimiter = next((sign for sign in ("\t", "|", ",") if sign in first), None)
    if delimiter is None:
        raise MisuseError(
            f"{name}: {first[:60]!r} is neither JSON nor a table of images and captions. A table begins with a line "
            "such as image,caption."
        )
    # what stands between tabs and bars is not quoted
    reader = csv.reader(
        io.StringIO(whole, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
        strict=delimiter == ",",
    )
    image_at, caption_at, tag_at = 0, 1, -1
    begin = columns = 1
    try:
        for number, fields in enumerate(reader):
            line, begin = begin, reader.line_num + 1
            cells = [field.strip() for field in fields]
            if number == 0:
                columns = len(cells)
                lower = [cell.lower() for cell in cells]
                image_at, caption_at, tag_at = (_column(lower, n) for n in (IMAGE_NAMES, CAPTION_NAMES, TAG_NAMES))
                if image_at >= 0 and caption_at >= 0:
                    continue
                if len(cells) != 2:
                    raise MisuseError(
                        f"{name}: which of the columns {', '.join(cells)[:100]} are the image and the caption? The "
                        "first line must name them: image,caption."
                    )
                image_at, caption_at, tag_at = 0, 1, -1
            if not any(cells):
                continue
            if len(cells) != columns:
                raise MisuseError(
                    f"{name}, line {line}: {len(cells)} columns where {columns} are expected; a caption that holds the "
                    "separator must stand in quotes."
                )
            tag = cells[tag_at] if tag_at >= 0 else ""
            yield _Row(cells[image_at], cells[caption_at], tag, "", None, f"{name}, line {line}")
    except csv.Error as error:
        raise MisuseError(f"{name}, line {begin}: {error}.") from error


def _column(names: Sequence[str], usual: Sequence[str]) -> int:
    return next((names.index(name) for name in usual if name in names), -1)


def match_images(
    captions: Captions, names: Sequence[str], *, bad: str = "refuse", notices: list[str] | None = None
) -> dict[int, int]:
    """Find each captioned image among the images that there are.

    A name fits one that is equal, or else the only one that ends in the same file name.

    Args:
        captions: whose images are looked for.
        names: of the images, paths inside their folder or archive.
        bad: what becomes of captions whose image is not there: "refuse" or "skip".
        notices: receives a line for each of those, and for each image that has no caption (which is no fault).

    Returns:
        By position in ``captions`` the position in ``names``.

    Raises:
        MisuseError: with bad="refuse" an image that is missing; two captioned images that are one file; none at all.
    """
    exact = {name: at for at, name in enumerate(names)}
    short: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        short.setdefault(PurePosixPath(name).name, []).append(at)
    found: dict[int, int] = {}
    taken: dict[int, str] = {}
    faults: list[Fault] = []
    for position, name in enumerate(captions.images):
        own = exact.get(name)
        if own is None:
            alike = short.get(PurePosixPath(name.replace("\\", "/")).name, [])
            own = alike[0] if len(alike) == 1 else None
        if own is None:
            faults.append(Fault(f"{name} has captions, but there is no such image.", "images that are not there"))
        elif own in taken:
            raise MisuseError(f"The captions of {taken[own]} and of {name} are of one file, {names[own]}.")
        else:
            found[position], taken[own] = own, name
    if not found:
        raise MisuseError(
            f"None of the {len(captions):,} captioned images is there; the first are called "
            f"{captions.images[0]!r} in the captions and {names[0]!r} among the images."
        )
    report_faults(faults, bad, notices)
    bare = [Fault(f"{name} has no caption.", "images without caption") for name in names if exact[name] not in taken]
    name_each(bare, notices)
    return found


def read_lists(paths: Mapping[str, Path], images: Iterable[str], notices: list[str] | None = None) -> dict[str, str]:
    """Official lists of images, a name a line, as Flickr8k and Flickr30k have them.

    Args:
        paths: by part ("train", "valid", "test") its list.
        images: the names of the captioned images.
        notices: receives a sentence about names that are no captioned image, and about images in no list.

    Returns:
        By name of an image its part.

    Raises:
        MisuseError: a list that cannot be read, that names none of the images, or an image in two lists.
    """
    known = set(images)
    chosen: dict[str, str] = {}
    for part, path in paths.items():
        text = "".join(read_text([Source(str(path), Path(path))], "utf-8", "strict", "strip", "unix"))
        names = [line.strip() for line in text.split("\n") if line.strip()]
        here = [name for name in names if name in known]
        if not here:
            raise MisuseError(f"{path} names {len(names):,} images, of which none has captions here.")
        for name in here:
            if chosen.setdefault(name, part) != part:
                raise MisuseError(f"{name} stands in the lists of two parts, {chosen[name]} and {part}.")
        if notices is not None and len(here) < len(names):
            notices.append(f"{path}: {len(here):,} of its {len(names):,} images have captions here.")
    if notices is not None and (left := len(known) - len(chosen)):
        notices.append(f"{left:,} captioned images stand in no list and were left out.")
    return chosen
