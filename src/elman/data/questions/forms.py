"""Files of questions about images.

easy-VQA    a folder or tar with PART/questions.json, a list of [question, answer, image number], and PART/images/
NLVR        lines of JSON objects with sentence, label and identifier; images SET-IDENTIFIER-LAYOUT.png
VQA v2      one JSON object with "questions", another with "annotations": ten people's answers to each
Visual7W    one JSON object with "images", each with filename, split and qa_pairs; three wrong choices to each answer
table       CSV, TSV, JSON lines or a JSON list: image, question, answer, and if wanted choices, part, type
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from elman.data.reading import Source, read_text
from elman.errors import FailureError, MisuseError
from elman.metrics.answers import normalise_answer

FORMS = ("easy-vqa", "nlvr", "vqa", "visual7w", "table")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
IMAGE_NAMES = ("image", "file_name", "filename", "file_path", "path", "img")
QUESTION_NAMES = ("question", "text", "sentence")
ANSWER_NAMES = ("answer", "answers", "label")
CHOICE_NAMES = ("choices", "multiple_choices", "options")
PART_KEYS = ("part", "split")
KIND_NAMES = ("kind", "type", "question_type", "answer_type")
# between the choices in a field of a table
SEPARATOR = "|"
# a file of questions is read whole; VQA v2's largest has 60 MB
MOST_BYTES = 1 << 30
LONGEST_FIELD = 1_000_000


class Raw(NamedTuple):
    """A question as its file has it.

    Attributes:
        text: the question.
        images: names that its image may have, the best first.
        identifier: of NLVR, by which its images are found; else empty.
        answers: all that were given; empty where nobody answered.
        place: file and line or number, for messages.
        kind: its type, if the file has types.
        choices: of a multiple-choice question.
        part: train, valid, test, or empty where the file does not say.
        group: questions of one group never come into different parts; empty for those about the same image.
    """

    text: str
    images: tuple[str, ...]
    answers: tuple[str, ...]
    place: str
    identifier: str = ""
    kind: str = ""
    choices: tuple[str, ...] = ()
    part: str = ""
    group: str = ""


def read_form(path: Path, form: str | None, annotations: Sequence[Path]) -> tuple[str, list[Raw]]:
    """Read a file, folder or archive of questions.

    Args:
        path: what to read.
        form: one of ``FORMS``; None to see it from what is there.
        annotations: of VQA v2, the files with the answers.

    Returns:
        The form, and the questions in their order.

    Raises:
        MisuseError: something that is none of these, with file and line.
        FailureError: a damaged archive.
    """
    if form is not None and form not in FORMS:
        raise MisuseError(f"--format is {form!r}; it takes {', '.join(FORMS)}.")
    if path.is_dir() or tarfile_named(path):
        if form not in (None, "easy-vqa"):
            raise MisuseError(
                f"{path} is a folder or an archive, which is read as easy-vqa; --format {form} is a file."
            )
        return "easy-vqa", list(_easy(path))
    if path.suffix.lower() in (".csv", ".tsv", ".tab"):
        found, questions = "table", list(_table(path))
    else:
        found, questions = _json(path, annotations)
    if form is not None and form != found:
        raise MisuseError(f"{path} is read as {found}, not as {form}.")
    if annotations and found != "vqa":
        raise MisuseError(f"--annotations belong to questions in VQA v2's form; {path} is read as {found}.")
    return found, questions


def tarfile_named(path: Path) -> bool:
    """Whether a path is named as a tar archive."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MisuseError(f"{path} cannot be opened: {error.strerror or error}.") from error
    if size > MOST_BYTES:
        raise MisuseError(f"{path} has {size:,} bytes; files of questions may have {MOST_BYTES:,}.")
    return "".join(read_text([Source(str(path), path)], bom="strip", newlines="unix"))


# easy-VQA


def _easy(path: Path) -> Iterator[Raw]:
    files = _easy_folder(path) if path.is_dir() else _easy_archive(path)
    count = 0
    for name, content in files:
        count += 1
        parent = PurePosixPath(name).parent
        part = PART_NAMES.get(parent.name.lower(), "")
        place = f"{path.name}/{name}"
        rows = _parse(content, place)
        if not isinstance(rows, list):
            raise MisuseError(f"{place}: a list of [question, answer, image number] is needed.")
        for number, row in enumerate(rows, 1):
            if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str)):
                raise MisuseError(
                    f"{place}, question {number}: {str(row)[:80]} is not [question, answer, image number]."
                )
            image = str(parent / "images" / f"{row[2]}.png")
            yield Raw(row[0], (image,), _answers(row[1]), f"{place}, question {number}", part=part)
    if not count:
        raise MisuseError(
            f"{path} holds no questions.json. Other forms are a file (.json, .jsonl, .csv), with --images beside it."
        )


def _easy_folder(path: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(path.rglob("questions.json")):
        yield file.relative_to(path).as_posix(), _text(file)


def _easy_archive(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or PurePosixPath(member.name).name != "questions.json":
                    continue
                if member.size > MOST_BYTES:
                    raise MisuseError(f"{path}: {member.name} has {member.size:,} bytes, more than {MOST_BYTES:,}.")
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, content.read().decode("utf-8")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise FailureError(f"{path} is damaged, cut short, or no tar archive: {error}.") from error
    except UnicodeDecodeError as error:
        raise MisuseError(f"{path}: its questions.json is not UTF-8 ({error}).") from error


# JSON


def _parse(content: str, place: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MisuseError(f"{place}: this is not JSON ({error}).") from error


def _json(path: Path, annotations: Sequence[Path]) -> tuple[str, list[Raw]]:
    content = _text(path)
    try:
        whole = json.loads(content)
    except RecursionError as error:
        raise MisuseError(f"{path}: this is not JSON ({error}).") from error
    except ValueError:
        # several lines, each an object
        return _json_lines(path, content)
    if isinstance(whole, dict) and "questions" in whole:
        return "vqa", list(_vqa(path, whole, annotations))
    if isinstance(whole, dict) and isinstance(whole.get("images"), list):
        return "visual7w", list(_visual7w(path, whole["images"]))
    if isinstance(whole, list):
        numbered = [(f"{path}, entry {number}", row) for number, row in enumerate(whole, 1)]
        return "table", list(_objects(numbered))
    return _json_lines(path, content)


def _json_lines(path: Path, content: str) -> tuple[str, list[Raw]]:
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    rows = [(f"{path}, line {number}", _parse(line, f"{path}, line {number}")) for number, line in lines]
    if rows and isinstance(rows[0][1], dict) and {"sentence", "identifier"} <= rows[0][1].keys():
        return "nlvr", list(_nlvr(rows))
    return "table", list(_objects(rows))


def _nlvr(rows: Sequence[tuple[str, Any]]) -> Iterator[Raw]:
    for place, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("sentence"), str) or "identifier" not in row:
            raise MisuseError(f"{place}: an object with sentence, label and identifier is needed.")
        identifier = str(row["identifier"])
        sentence = identifier.partition("-")[0]
        yield Raw(
            row["sentence"], (), _answers(row.get("label")), place, identifier=identifier, group=f"sentence {sentence}"
        )


def _vqa(path: Path, whole: Mapping[str, Any], annotations: Sequence[Path]) -> Iterator[Raw]:
    answers: dict[Any, Mapping[str, Any]] = {}
    for file in annotations:
        content = _parse(_text(file), str(file))
        listed = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise MisuseError(f'{file}: an object with "annotations" is needed, as VQA v2 publishes them.')
        for entry in listed:
            if not isinstance(entry, dict) or "question_id" not in entry:
                raise MisuseError(f"{file}: {str(entry)[:80]} is no annotation with a question_id.")
            answers[entry["question_id"]] = entry
    if not isinstance(whole["questions"], list):
        raise MisuseError(f'{path}: "questions" must be a list.')
    subset = str(whole.get("data_subtype", ""))
    for number, entry in enumerate(whole["questions"], 1):
        place = f"{path}, question {number}"
        try:
            text, image, question = entry["question"], int(entry["image_id"]), entry["question_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise MisuseError(f"{place}: question, image_id and question_id are needed ({error!r}).") from error
        answered = answers.get(question, {})
        given = answered.get("answers", ())
        # annotators' words, as the official evaluation compares them
        words = (normalise_answer(str(each.get("answer", ""))) for each in given if isinstance(each, dict))
        endings = (f"{image:012d}.jpg", f"{image:012d}.png", f"{image}.jpg", f"{image}.png")
        yield Raw(
            str(text),
            (f"COCO_{subset}_{image:012d}.jpg", *endings),
            tuple(word for word in words if word),
            place,
            kind=str(answered.get("question_type", "")),
            choices=tuple(map(str, entry.get("multiple_choices", ()))),
        )


def _visual7w(path: Path, images: Sequence[Any]) -> Iterator[Raw]:
    for number, image in enumerate(images, 1):
        place = f"{path}, image {number}"
        try:
            name, split, pairs = str(image["filename"]), str(image.get("split", "")).lower(), list(image["qa_pairs"])
            asked = [(pair["question"], pair["answer"], pair.get("multiple_choices", []), pair) for pair in pairs]
        except (KeyError, TypeError, AttributeError) as error:
            raise MisuseError(
                f"{place}: filename and qa_pairs with question and answer are needed ({error!r})."
            ) from error
        for count, (text, answer, wrong, pair) in enumerate(asked, 1):
            answers, others = _answers(answer), _answers(wrong)
            # in alphabetical order, so that the place of a choice says nothing
            choices = tuple(sorted({*answers, *others})) if others else ()
            yield Raw(
                str(text),
                (name,),
                answers,
                f"{place}, question {count}",
                kind=str(pair.get("type", "")),
                choices=choices,
                part=PART_NAMES.get(split, ""),
            )


# tables


def _table(path: Path) -> Iterator[Raw]:
    reader = csv.DictReader(
        io.StringIO(_text(path), newline=""), delimiter="," if path.suffix.lower() == ".csv" else "\t", strict=True
    )
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row:
                raise MisuseError(f"{place}: more fields than columns; a text with a comma has to stand in quotes.")
            yield _from_names({name.strip().lower(): value for name, value in row.items() if name}, place)
    except csv.Error as error:
        raise MisuseError(f"{path}, line {reader.line_num}: {error}.") from error
    finally:
        csv.field_size_limit(before)


def _objects(rows: Sequence[tuple[str, Any]]) -> Iterator[Raw]:
    for place, row in rows:
        if not isinstance(row, dict):
            raise MisuseError(f'{place}: {str(row)[:80]} is no object such as {{"image": ..., "question": ...}}.')
        yield _from_names(row, place)


def _from_names(row: Mapping[str, Any], place: str) -> Raw:
    def first(names: Sequence[str], needed: bool = False) -> Any:
        for name in names:
            if name in row:
                return row[name]
        if needed:
            raise MisuseError(f"{place}: there is no {names[0]} (it has {', '.join(map(str, row))[:200]}).")
        return None

    image, text = first(IMAGE_NAMES, needed=True), first(QUESTION_NAMES, needed=True)
    part = str(first(PART_KEYS) or "").strip().lower()
    if part and part not in PART_NAMES:
        raise MisuseError(f"{place}: the part is {part!r}; it can be {', '.join(PART_NAMES)}.")
    listed = first(CHOICE_NAMES)
    return Raw(
        str(text or ""),
        (str(image),) if image else (),
        _answers(first(ANSWER_NAMES)),
        place,
        kind=str(first(KIND_NAMES) or ""),
        choices=_answers(listed.split(SEPARATOR) if isinstance(listed, str) else listed),
        part=PART_NAMES.get(part, ""),
    )


def _answers(value: Any) -> tuple[str, ...]:
    """An answer, or a list of them, as words; without the empty ones."""
    if isinstance(value, list | tuple):
        return tuple(answer for each in value for answer in _answers(each))
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if not isinstance(value, str | int | float):
        return ()
    word = " ".join(str(value).split())
    return (word,) if word else ()
