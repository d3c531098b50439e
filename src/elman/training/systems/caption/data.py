"""Captioned images as a training reads them: captions found their images, words their ids, images their features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.captions import Caption, Captions, Fault, match_images, read_captions, read_lists, report_faults
from elman.data.images import ImageSource, open_images
from elman.data.splits import PARTS
from elman.data.vocabulary import Vocabulary
from elman.data.words import Words
from elman.errors import MisuseError
from elman.generate.captioning import opening_of, tag_symbol
from elman.metrics.penn import penn_words
from elman.models.captioning import Captioner
from elman.models.captioning.encoding import coarser
from elman.models.encoders import encode_images
from elman.training.material import absolute, fingerprint_of, shuffled_parts

WORDINGS = ("penn", "plain")
IGNORED = -100
# images whose features are held at once while they are made coarser
_BLOCK = 512


@dataclass(frozen=True)
class CaptionOptions:
    """How images and captions are read; stored with the run.

    Attributes:
        lists: files that name the images of training, validation and test, or none of them.
        split: shares of training, validation and test, drawn by image, where neither lists nor the file say.
        split_seed: of that draw.
        words: "penn" (lower-case, without punctuation, as captions are scored) or "plain" (as written, punctuation
            marks are words).
        lower: lower-case plain words.
        min_count: words that the training part has more rarely become unknown.
        longest: captions of more words are cut.
        bad: what becomes of images and captions that cannot be used: "refuse" or "skip".
        encoding: of the caption files.
    """

    lists: tuple[str, ...] = ()
    split: str = "80/10/10"
    split_seed: int = 1
    words: str = "penn"
    lower: bool = False
    min_count: int = 3
    longest: int = 40
    bad: str = "refuse"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: naming the flag.
        """
        if self.words not in WORDINGS:
            raise MisuseError(f"--words is {self.words!r}; it takes {' or '.join(WORDINGS)}.")
        if len(self.lists) not in (0, 3):
            raise MisuseError("--lists takes three files: the images of training, validation and test.")

    def text(self, caption: str) -> str:
        """A caption as the vocabulary reads it."""
        return " ".join(penn_words(caption)) if self.words == "penn" else caption

    def vocabulary(self, captions: Sequence[Caption]) -> Words:
        """The words of training captions, and a symbol for each tag."""
        texts = (self.text(caption.text) + "\n" for caption in captions)
        built = Words.build(
            texts, min_count=self.min_count, max_size=None, lower=self.lower, whitespace=self.words == "penn"
        )
        tags = sorted({tag_symbol(caption.tag) for caption in captions if caption.tag})
        return replace(built, words=(*tags, *built.words))


@dataclass(frozen=True)
class CaptionedImages:
    """Captioned images, those of no part left out.

    Attributes:
        source: where the images are.
        indices: [N] position of each image in the source.
        captions: [N] of each.
        ids: [N] COCO's number of each; None where there is none.
        parts: by part rows 0 to N - 1.
        fingerprint: SHA-256 of images, captions and parts.
    """

    source: ImageSource
    indices: tuple[int, ...]
    captions: tuple[tuple[Caption, ...], ...]
    ids: tuple[int | None, ...]
    parts: Mapping[str, NDArray[np.int64]]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, row: int) -> str:
        """The image's file."""
        return self.source.items[self.indices[row]].name

    def training_captions(self) -> list[Caption]:
        """All captions of the training part."""
        return [caption for row in self.parts["train"] for caption in self.captions[row]]

    def kept(self, good: Sequence[int]) -> CaptionedImages:
        """Without the images whose position in the source is not in ``good``."""
        usable = set(good)
        rows = [row for row, index in enumerate(self.indices) if index in usable]
        if len(rows) == len(self):
            return self
        moved = {old: new for new, old in enumerate(rows)}
        return replace(
            self,
            indices=tuple(self.indices[row] for row in rows),
            captions=tuple(self.captions[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            parts={
                name: np.array([moved[row] for row in own.tolist() if row in moved], dtype=np.int64)
                for name, own in self.parts.items()
            },
        )


def read_captioned(
    images: str, captions: Sequence[str], options: CaptionOptions, notices: list[str]
) -> CaptionedImages:
    """Read captions and find their images; images are opened, not decoded.

    Args:
        images: a folder or a tar archive.
        captions: the caption files.
        options: how.
        notices: receives a line for each thing that was skipped.

    Raises:
        MisuseError: with the sentence for the user.
    """
    source = open_images(images, notices=notices)
    read = read_captions(captions, bad=options.bad, encoding=options.encoding, notices=notices)
    if len(read.tags) > 1 and "" in read.tags:
        raise MisuseError(f"Some captions have a tag ({read.tags[1]}) and some have none; give each one or none.")
    read = _with_words(read, options, notices)
    found = match_images(read, [item.name for item in source.items], bad=options.bad, notices=notices)
    parts = _parts(read, sorted(found), options, notices)
    rows = sorted(row for own in parts.values() for row in own)
    digests = dict(source.fingerprints([found[row] for row in rows], bad=options.bad, notices=notices))
    rows = [row for row in rows if found[row] in digests]
    moved = {old: new for new, old in enumerate(rows)}
    made = {n: np.array([moved[row] for row in own if row in moved], dtype=np.int64) for n, own in parts.items()}
    facts = [f"{name} {' '.join(map(str, own.tolist()))}" for name, own in made.items()]
    texts = [f"{read.images[row]} {read.captions[row]} {digests[found[row]]}" for row in rows]
    return CaptionedImages(
        source,
        tuple(found[row] for row in rows),
        tuple(read.captions[row] for row in rows),
        tuple(read.ids[row] for row in rows),
        made,
        fingerprint_of([*facts, *texts]),
    )


def _with_words(read: Captions, options: CaptionOptions, notices: list[str]) -> Captions:
    """Without captions that have no word, such as "..."."""
    faults: list[Fault] = []
    kept: dict[int, tuple[Caption, ...]] = {}
    for row, own in enumerate(read.captions):
        good = tuple(caption for caption in own if options.text(caption.text).strip())
        faults += [
            Fault(f"a caption of {read.images[row]} has no word: {caption.text[:40]!r}.", "captions without a word")
            for caption in own
            if caption not in good
        ]
        if good:
            kept[row] = good
    report_faults(faults, options.bad, notices)
    if not kept:
        raise MisuseError("No caption has a word.")
    return Captions(
        tuple(read.images[row] for row in kept),
        tuple(kept.values()),
        tuple(read.parts[row] for row in kept),
        tuple(read.ids[row] for row in kept),
    )


def _parts(read: Captions, rows: list[int], options: CaptionOptions, notices: list[str]) -> dict[str, list[int]]:
    """Rows of each part: by the lists, else as the file says, else drawn."""
    if options.lists:
        paths = dict(zip(PARTS, map(Path, options.lists), strict=True))
        said = read_lists(paths, (read.images[row] for row in rows), notices)
        chosen = [said.get(read.images[row], "") for row in rows]
    elif any(read.parts):
        chosen = [read.parts[row] for row in rows]
    else:
        drawn = shuffled_parts(len(rows), options.split, options.split_seed)
        return {name: [rows[place] for place in own.tolist()] for name, own in drawn.items()}
    parts = {name: [row for row, part in zip(rows, chosen, strict=True) if part == name] for name in PARTS}
    if not parts["train"]:
        raise MisuseError("No captioned image belongs to the training part.")
    return parts


def features_of(
    model: Captioner,
    data: CaptionedImages,
    options: CaptionOptions,
    notices: list[str],
    progress: Callable[[float], None] | None = None,
) -> tuple[CaptionedImages, Tensor]:
    """Features of all images from the disk's cache, or computed.

    Args:
        model: whose encoder it is.
        data: the images.
        options: what becomes of images that cannot be read.
        notices: receives a line for each that was skipped.
        progress: called with the share that is done.

    Returns:
        The images that could be read, and their features [N, *feature_shape], float16.
    """
    kept: list[int] = []
    blocks: list[Tensor] = []
    for begin in range(0, len(data), _BLOCK):

        def report(share: float, begin: int = begin) -> None:
            if progress:
                progress((begin + share * min(_BLOCK, len(data) - begin)) / len(data))

        found = encode_images(
            model.encoder,
            data.source,
            data.indices[begin : begin + _BLOCK],
            parts=(model.part,),
            bad=options.bad,
            notices=notices,
            progress=report,
        )
        kept += found.indices
        rows = found.pooled if found.grid is None else found.grid
        assert rows is not None
        if model.looks and len(rows):
            rows = torch.cat([coarser(each.float(), model.places).half() for each in rows.split(32)])
        blocks.append(rows)
    data = data.kept(kept)
    if not len(data.parts["train"]):
        raise MisuseError("No image of the training part can be read.")
    return data, torch.cat(blocks)


def encode_captions(
    vocabulary: Vocabulary, captions: Sequence[Sequence[Caption]], options: CaptionOptions
) -> list[list[list[int]]]:
    """Ids of each image's captions: what is read before the first word, the words, the end symbol.

    Raises:
        MisuseError: a tag that the vocabulary does not know.
    """
    assert vocabulary.end is not None
    openings = {tag: opening_of(vocabulary, tag) for tag in {caption.tag for own in captions for caption in own}}
    return [
        [
            [
                *openings[caption.tag],
                *vocabulary.encode(options.text(caption.text)).ids.tolist()[1 : options.longest + 1],
                vocabulary.end,
            ]
            for caption in own
        ]
        for own in captions
    ]


def collate(rows: Sequence[Sequence[int]], opening: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """Captions as one batch.

    Args:
        rows: [N] ids of each, the end symbol last.
        opening: symbols at the beginning that are not predicted.
        end: fills what is beyond a row.

    Returns:
        Tokens that are read [T, N], those that are predicted [T, N] (``IGNORED`` where none is), and how many each row
        reads [N].
    """
    lengths = torch.tensor([len(row) - 1 for row in rows])
    tokens = torch.full((int(lengths.max()), len(rows)), end)
    targets = torch.full_like(tokens, IGNORED)
    for column, row in enumerate(rows):
        ids = torch.tensor(row)
        tokens[: len(row) - 1, column] = ids[:-1]
        targets[opening - 1 : len(row) - 1, column] = ids[opening:]
    return tokens, targets, lengths


def record(images: str, captions: Sequence[str], options: CaptionOptions, data: CaptionedImages) -> dict[str, Any]:
    """The record of a run's data for ``config.json``."""
    return {
        "sources": [absolute(images), *map(absolute, captions)],
        "options": asdict(replace(options, lists=tuple(map(absolute, options.lists)))),
        "fingerprint": data.fingerprint,
        "images": {name: len(rows) for name, rows in data.parts.items()},
        "captions": {name: sum(len(data.captions[row]) for row in rows) for name, rows in data.parts.items()},
    }
