"""Questions with their images and answers, divided into parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elman.data.images.sources import BAD, ImageSource
from elman.data.questions.forms import Raw, read_form, tarfile_named
from elman.data.questions.pictures import Lookup, open_pictures
from elman.data.splits import PARTS, parse_split
from elman.errors import MisuseError


@dataclass(frozen=True)
class Question:
    """A question about an image.

    Attributes:
        text: in one line.
        image: index among the images.
        answers: what people answered, at least one; all ten of VQA v2.
        kind: the data's type of question, else its first two words.
        choices: what a multiple-choice question offers; else empty.
        part: train, valid or test.
        group: what may not be divided among parts.
        place: file and line, for messages.
    """

    text: str
    image: int
    answers: tuple[str, ...]
    kind: str
    choices: tuple[str, ...]
    part: str
    group: str
    place: str


@dataclass(frozen=True)
class QuestionOptions:
    """How questions are read.

    Attributes:
        images: folders and archives of the images; empty where the questions bring them, or they lie beside the file.
        annotations: of VQA v2, the files with the answers.
        valid, test: files with the questions of these parts; default: as the data say, else cut off by ``split``.
        form: of the files, see :mod:`elman.data.questions.forms`; None to see it from what is there.
        split: shares of training and validation, and of a test part where the data have none.
        seed: of the split.
        bad: ``"refuse"`` or ``"skip"`` a question without answer or image, and an image that cannot be used.
    """

    images: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    valid: str | None = None
    test: str | None = None
    form: str | None = None
    split: str = "90/10"
    seed: int = 1
    bad: str = "refuse"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"images": list(self.images), "annotations": list(self.annotations)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> QuestionOptions:
        """What :meth:`to_json` gave.

        Raises:
            TypeError: other entries.
        """
        return cls(**{**stored, "images": tuple(stored["images"]), "annotations": tuple(stored["annotations"])})


@dataclass(frozen=True)
class Questions:
    """Questions and the images that they are about.

    Attributes:
        items: the questions, in the order of the files.
        images: of which :attr:`Question.image` is an index.
        form: as it was read.
    """

    items: tuple[Question, ...]
    images: ImageSource
    form: str

    def part(self, name: str) -> tuple[Question, ...]:
        """The questions of a part, ``"train"``, ``"valid"`` or ``"test"``."""
        return tuple(question for question in self.items if question.part == name)

    def used(self) -> list[int]:
        """The images that are asked about, in the order of their index."""
        return sorted({question.image for question in self.items})

    def with_images(self, usable: Collection[int]) -> Questions:
        """Without the questions about other images than these."""
        return replace(self, items=tuple(question for question in self.items if question.image in usable))

    def fingerprint(self) -> str:
        """SHA-256 over all questions and the bytes of their images."""
        digest = hashlib.sha256()
        for question in self.items:
            facts = [question.text, question.answers, question.kind, question.choices, question.part]
            digest.update(json.dumps([*facts, self.images.items[question.image].name]).encode())
        for _, sha in self.images.fingerprints(self.used()):
            digest.update(sha.encode())
        return digest.hexdigest()


def read_questions(
    data: str | Path, options: QuestionOptions | None = None, notices: list[str] | None = None
) -> Questions:
    """Read questions about images and divide them into parts.

    Args:
        data: a file, or a folder or archive in easy-VQA's layout.
        options: how.
        notices: receives a line about each question that was skipped.

    Returns:
        The questions; images are not decoded yet. Where the data have no validation part, the questions of a share of
        the training images (of NLVR: sentences) become one, drawn by the seed.

    Raises:
        MisuseError: files that cannot be read, or with bad="refuse" a question without answer or image; the text names
            its place.
        FailureError: a damaged archive.
    """
    options = options or QuestionOptions()
    if options.bad not in BAD:
        raise MisuseError(f"--bad is {options.bad!r}; it takes {' or '.join(BAD)}.")
    heard = notices if notices is not None else []
    path = Path(data).expanduser()
    annotations = [Path(name).expanduser() for name in options.annotations]
    form, raws = read_form(path, options.form, annotations)
    for part, name in (("valid", options.valid), ("test", options.test)):
        if name is not None:
            if any(raw.part == part for raw in raws):
                raise MisuseError(f"{path} has a {part} part of its own; leave --{part} {name} out.")
            _, further = read_form(Path(name).expanduser(), form, annotations)
            raws += [raw._replace(part=part) for raw in further]
    brings = path.is_dir() or tarfile_named(path)
    places = [str(path if brings else path.parent)] if not options.images else list(options.images)
    images = open_pictures(places, None if brings else heard)
    items = _with_images(raws, images, options.bad, heard)
    if not items:
        raise MisuseError(f"{path} has no question with an answer and an image.")
    return Questions(_divided(items, options), images, form)


def _with_images(raws: Sequence[Raw], images: ImageSource, bad: str, notices: list[str]) -> list[Question]:
    lookup = Lookup(images)
    items: list[Question] = []
    for raw in raws:
        text = " ".join(raw.text.split())
        found, fault = _found(raw, text, lookup)
        if fault:
            if bad == "refuse":
                raise MisuseError(f"{raw.place}: {fault}. Leave such questions out with --bad skip.")
            notices.append(f"Skipped {raw.place}: {fault}.")
        items += [
            Question(
                text,
                index,
                raw.answers,
                raw.kind or " ".join(text.lower().split()[:2]),
                raw.choices,
                raw.part,
                raw.group or images.items[index].name,
                raw.place,
            )
            for index in found
        ]
    return items


def _found(raw: Raw, text: str, lookup: Lookup) -> tuple[Sequence[int], str]:
    """The images that a question is about, and else what is wrong with it."""
    if not text:
        return (), "the question is empty"
    if not raw.answers:
        return (), "the question has no answer"
    if raw.choices and not set(raw.answers) & set(raw.choices):
        return (), f"the answer {raw.answers[0]!r} is not among the choices"
    if raw.identifier:
        found = lookup.layouts(raw.identifier)
        return found, "" if found else f"there is no image of {raw.identifier}"
    if not raw.images:
        return (), "no image is named"
    try:
        index = lookup.find(raw.images)
    except MisuseError as error:
        return (), str(error)
    return ((), f"the image {raw.images[0]} is not there") if index is None else ([index], "")


def _divided(items: Sequence[Question], options: QuestionOptions) -> tuple[Question, ...]:
    shares = [float(share) for share in parse_split(options.split)]
    shares += [0.0] * (3 - len(shares))
    total = sum(shares)
    own = {question.part for question in items}
    if shares[2] and "test" in own:
        raise MisuseError(f"--split {options.split} has a test part, and so have the data: leave one of them out.")
    groups = sorted({question.group for question in items if question.part in ("", "train")})
    order = np.random.default_rng(options.seed).permutation(len(groups))
    cut: dict[str, str] = {}
    ends = (0.0 if "valid" in own else shares[1] / total, shares[2] / total)
    begin = 0
    for part, share in zip(PARTS[1:], ends, strict=True):
        # a share of something is at least one group, so that small data have the part that was asked for
        count = max(1, round(share * len(groups))) if share else 0
        cut |= {groups[place]: part for place in order[begin : begin + count]}
        begin += count
    return tuple(
        replace(question, part=cut.get(question.group, "train") if question.part in ("", "train") else question.part)
        for question in items
    )
