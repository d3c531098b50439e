"""Questions about images from files of several forms."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data.questions import Lookup, QuestionOptions, Questions, open_pictures, read_questions
from elman.errors import FailureError, MisuseError

Image = pytest.importorskip("PIL.Image")


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, dtype=np.uint8)).save(path)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    """easy-VQA's layout: 20 training and 5 test images, two questions about each."""
    root = tmp_path / "easy"
    for part, count in (("train", 20), ("test", 5)):
        for number in range(count):
            picture(root / part / "images" / f"{number}.png", shade=number + (100 if part == "test" else 0))
        rows = [[f"what is {word}?", f"{word} {number}", number] for number in range(count) for word in ("it", "this")]
        write(root / part / "questions.json", rows)
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(12):
        picture(folder / f"{number}.png", shade=number)
    return folder


def table(photos: Path, rows: list[dict[str, Any]], name: str = "q.jsonl") -> Path:
    return write(photos.parent / name, "\n".join(map(json.dumps, rows)))


def rows_of(count: int = 12) -> list[dict[str, Any]]:
    return [{"image": f"{number}.png", "question": "how dark?", "answer": number} for number in range(count)]


def read(path: Path, **options: Any) -> Questions:
    return read_questions(path, QuestionOptions(**options))


def shades(questions: Questions) -> list[int]:
    """What each question's image shows."""
    return [int(questions.images.image(question.image)[0, 0, 0]) for question in questions.items]


def test_easy_vqa_finds_the_image_of_each_part(easy: Path) -> None:
    """Images of both parts have the same names; a question must be about that of its own part."""
    questions = read(easy)
    expected = [int(q.answers[0].split()[1]) + (100 if q.part == "test" else 0) for q in questions.items]
    assert shades(questions) == expected
    assert len(questions.part("test")) == 10
    assert len(questions.part("train")) == 36
    assert len(questions.part("valid")) == 4


def test_an_archive_reads_as_its_folder(easy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "easy.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(easy, "somewhere/easy")
    folder, packed = read(easy), read(archive)
    assert [(q.text, q.answers, q.part) for q in packed.items] == [(q.text, q.answers, q.part) for q in folder.items]
    assert shades(packed) == shades(folder)


def test_a_damaged_archive_is_a_failure(easy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "easy.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(easy, "easy")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(FailureError, match="damaged, cut short"):
        read(archive)


@pytest.mark.parametrize("seed", [1, 2])
def test_questions_about_one_image_stay_in_one_part(easy: Path, seed: int) -> None:
    questions = read(easy, seed=seed)
    parts: dict[int, set[str]] = {}
    for question in questions.items:
        parts.setdefault(question.image, set()).add(question.part)
    assert all(len(own) == 1 for own in parts.values())
    valid = {question.image for question in questions.part("valid")}
    assert valid == {question.image for question in read(easy, seed=seed).part("valid")}
    assert len({frozenset(q.image for q in read(easy, seed=s).part("valid")) for s in range(6)}) > 1


def test_a_share_becomes_a_test_part_where_there_is_none(photos: Path) -> None:
    questions = read(table(photos, rows_of()), images=(str(photos),), split="50/25/25")
    assert [len(questions.part(part)) for part in ("train", "valid", "test")] == [6, 3, 3]


def test_a_second_test_part_is_refused(easy: Path, photos: Path) -> None:
    with pytest.raises(MisuseError, match="has a test part, and so have the data"):
        read(easy, split="80/10/10")
    with pytest.raises(MisuseError, match="leave --test"):
        read(easy, test=str(easy / "test" / "questions.json"), images=(str(easy),))


@pytest.fixture
def nlvr(tmp_path: Path) -> Path:
    rows = []
    for sentence in (7, 8, 9, 10):
        for number in (0, 1):
            rows.append({"sentence": f"Sentence {sentence}.", "label": "true", "identifier": f"{sentence}-{number}"})
            for layout in range(3):
                picture(tmp_path / "images" / f"dev-{sentence}-{number}-{layout}.png", size=(10, 40))
    return write(tmp_path / "dev.json", "\n".join(map(json.dumps, rows)))


def test_nlvr_takes_every_layout_and_keeps_sentences_together(nlvr: Path) -> None:
    questions = read(nlvr, images=(str(nlvr.parent / "images"),), split="75/25")
    assert questions.form == "nlvr"
    assert len(questions.items) == 4 * 2 * 3
    for question in questions.items:
        name = questions.images.items[question.image].name
        assert name.split("-")[1] == question.text.split()[1].rstrip(".")
    assert not {q.text for q in questions.part("train")} & {q.text for q in questions.part("valid")}
    assert len({q.text for q in questions.part("valid")}) == 1


def test_nlvr_without_its_images_says_which(nlvr: Path, photos: Path) -> None:
    with pytest.raises(MisuseError, match=r"line 1: there is no image of 7-0.*--bad skip"):
        read(nlvr, images=(str(photos),))


@pytest.fixture
def vqa(tmp_path: Path) -> tuple[Path, Path]:
    for image in (9, 25):
        picture(tmp_path / "val2014" / f"COCO_val2014_{image:012d}.jpg", shade=image)
    asked = [
        {"image_id": image, "question": f"What is {k}?", "question_id": image * 10 + k}
        for image in (9, 25)
        for k in range(2)
    ]
    answers = [
        {
            "question_id": entry["question_id"],
            "image_id": entry["image_id"],
            "question_type": "what is",
            "answer_type": "other",
            "answers": [{"answer": "A dog." if k < 7 else "two", "answer_id": k} for k in range(10)],
        }
        for entry in asked
    ]
    questions = write(tmp_path / "questions.json", {"data_subtype": "val2014", "questions": asked})
    return questions, write(tmp_path / "annotations.json", {"annotations": answers})


def test_vqa_pairs_questions_with_ten_answers(vqa: tuple[Path, Path]) -> None:
    questions = read(vqa[0], annotations=(str(vqa[1]),), images=(str(vqa[0].parent / "val2014"),), split="100")
    assert [q.answers for q in questions.items] == [("dog",) * 7 + ("2",) * 3] * 4
    assert {q.kind for q in questions.items} == {"what is"}
    assert np.allclose(shades(questions), [9, 9, 25, 25], atol=3)  # JPEG


def test_vqa_without_annotations_has_no_answers(vqa: tuple[Path, Path]) -> None:
    with pytest.raises(MisuseError, match="question 1: the question has no answer"):
        read(vqa[0], images=(str(vqa[0].parent / "val2014"),))


def test_visual7w_offers_the_answer_among_the_wrong_ones(photos: Path) -> None:
    pair = {"question": "Why?", "answer": "It rains.", "type": "why", "multiple_choices": ["No.", "Yes.", "Ask."]}
    images = [
        {"filename": f"{number}.png", "split": split, "qa_pairs": [pair, {**pair, "question": "Why so?"}]}
        for number, split in ((3, "train"), (5, "val"), (7, "test"))
    ]
    path = write(photos.parent / "v7w.json", {"dataset": "v7w_telling", "images": images})
    questions = read(path, images=(str(photos),))
    assert questions.form == "visual7w"
    assert shades(questions) == [3, 3, 5, 5, 7, 7]
    assert [q.part for q in questions.items] == ["train"] * 2 + ["valid"] * 2 + ["test"] * 2
    assert {q.choices for q in questions.items} == {("Ask.", "It rains.", "No.", "Yes.")}
    assert {q.kind for q in questions.items} == {"why"}
    write(path, {"images": [{"filename": "3.png", "qa_pairs": [{"question": "?"}]}]})
    with pytest.raises(MisuseError, match="image 1: filename and qa_pairs"):
        read(path, images=(str(photos),))


def test_tables_of_all_endings_read_alike(photos: Path) -> None:
    rows = [{**row, "choices": ["3", "4", str(row["answer"])], "type": "shade"} for row in rows_of()]
    lines = table(photos, rows)
    whole = write(photos.parent / "q.json", rows)
    fields = [f"{r['image']},{r['question']},{r['answer']},{'|'.join(r['choices'])},shade" for r in rows]
    comma = write(photos.parent / "q.csv", "image,question,answer,choices,type\n" + "\n".join(fields))
    found = [read(path, images=(str(photos),)) for path in (lines, whole, comma)]
    for other in found[1:]:
        assert [(q.image, q.text, q.answers, q.choices, q.kind) for q in other.items] == [
            (q.image, q.text, q.answers, q.choices, q.kind) for q in found[0].items
        ]
    assert found[0].items[5].choices == ("3", "4", "5")


def test_images_beside_the_table_are_found_without_a_flag(photos: Path) -> None:
    path = write(photos / "q.csv", "image,question,answer\n3.png,how dark?,three\n4.png,how dark?,four\n")
    assert shades(read(path)) == [3, 4]


BAD_ROWS = [
    ({"image": "77.png", "question": "how?", "answer": "a"}, "the image 77.png is not there"),
    ({"image": "", "question": "how?", "answer": "a"}, "no image is named"),
    ({"image": "1.png", "question": "  ", "answer": "a"}, "the question is empty"),
    ({"image": "1.png", "question": "how?", "answer": ""}, "the question has no answer"),
    ({"image": "1.png", "question": "how?", "answer": None}, "the question has no answer"),
    ({"image": "1.png", "question": "how?", "answer": []}, "the question has no answer"),
    ({"image": "1.png", "question": "how?", "answer": "a", "choices": ["b", "c"]}, "'a' is not among the choices"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_what_is_missing_is_refused_or_skipped_by_name(photos: Path, row: dict[str, Any], reason: str) -> None:
    path = table(photos, [*rows_of(3), row])
    with pytest.raises(MisuseError, match=rf"line 4: .*{reason}") as error:
        read(path, images=(str(photos),))
    assert "\n" not in str(error.value)
    notices: list[str] = []
    questions = read_questions(path, QuestionOptions(images=(str(photos),), bad="skip"), notices)
    assert len(questions.items) == 3
    assert len(notices) == 1
    assert "line 4" in notices[0]
    assert reason in notices[0]


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ("not json", "q.jsonl", "line 1: this is not JSON"),
        ('{"image": "1.png", "answer": "a"}', "q.jsonl", "there is no question"),
        ('["a"]', "q.json", "entry 1: a is no object"),
        ('{"questions": 3}', "q.json", '"questions" must be a list'),
        ('{"questions": [{"question": "a"}]}', "q.json", "image_id and question_id are needed"),
        ("image,question,answer\n1.png,a,b,c\n", "q.csv", "line 2: more fields than columns"),
        ("image,question,answer,part\n1.png,a,b,night\n", "q.csv", "the part is 'night'"),
        ("image,question,answer\n", "q.csv", "has no question with an answer"),
        ("[" * 100_000, "q.json", "this is not JSON"),
    ],
)
def test_malformed_files_are_refused_in_a_sentence(photos: Path, content: str, name: str, reason: str) -> None:
    with pytest.raises(MisuseError, match=reason):
        read(write(photos.parent / name, content), images=(str(photos),))


def test_flags_that_do_not_fit_the_data_are_refused(photos: Path, easy: Path) -> None:
    path = table(photos, rows_of())
    with pytest.raises(MisuseError, match="is read as table, not as nlvr"):
        read(path, images=(str(photos),), form="nlvr")
    with pytest.raises(MisuseError, match="--annotations belong to"):
        read(path, images=(str(photos),), annotations=(str(path),))
    with pytest.raises(MisuseError, match="--bad is 'maybe'"):
        read(path, bad="maybe")
    with pytest.raises(MisuseError, match=r"holds no questions\.json"):
        read(photos)


def test_a_name_that_several_images_have_is_not_guessed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        picture(tmp_path / folder / "1.png", shade=ord(folder))
    source = open_pictures([tmp_path])
    lookup = Lookup(source)
    with pytest.raises(MisuseError, match=r"several images are called 1\.png"):
        lookup.find(["1.png"])
    index = lookup.find(["nowhere/1.png", "./b/1.png"])
    assert index is not None
    assert source.items[index].name == "b/1.png"
    assert lookup.find(["c.png"]) is None


def test_images_of_several_places_are_one_source(photos: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    picture(more / "3.png", shade=200)
    picture(more / "new.png", shade=201)
    source = open_pictures([photos, more])
    assert len(source) == 14
    lookup = Lookup(source)
    for name, shade in (("more/3.png", 200), ("photos/3.png", 3), ("new.png", 201), ("4.png", 4)):
        index = lookup.find([name])
        assert index is not None
        assert int(source.image(index)[0, 0, 0]) == shade
    with pytest.raises(MisuseError, match="named twice"):
        open_pictures([photos, photos])


def test_the_fingerprint_is_of_questions_and_pixels(photos: Path) -> None:
    path = table(photos, rows_of())
    before = read(path, images=(str(photos),)).fingerprint()
    assert read(path, images=(str(photos),)).fingerprint() == before
    assert read(path, images=(str(photos),), seed=5).fingerprint() != before
    picture(photos / "3.png", shade=99)
    changed = read(path, images=(str(photos),)).fingerprint()
    assert changed != before
    rows = rows_of()
    rows[2]["answer"] = "other"
    table(photos, rows)
    assert read(path, images=(str(photos),)).fingerprint() not in (before, changed)


def test_questions_go_with_images_that_cannot_be_used(photos: Path) -> None:
    (photos / "3.png").write_bytes(b"no image")
    questions = read(table(photos, rows_of()), images=(str(photos),))
    usable = [index for index, _ in questions.images.images(questions.used(), bad="skip")]
    left = questions.with_images(usable)
    assert len(left.items) == 11
    assert all(question.answers != ("3",) for question in left.items)


def test_the_options_survive_json() -> None:
    options = QuestionOptions(images=("a", "b"), test="t.json", split="80/20", bad="skip")
    assert QuestionOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_easy_vqa_as_published(shared_data: Path) -> None:
    """Its README's counts: 38,575 and 9,673 questions, 28,407 and 7,136 of them yes or no, 13 answers."""
    questions = read(shared_data / "vqa" / "easy_vqa.tar.gz")
    test = questions.part("test")
    train = [question for question in questions.items if question.part != "test"]
    assert (len(train), len(test)) == (38_575, 9_673)
    counts = [sum(question.answers[0] in ("yes", "no") for question in part) for part in (train, test)]
    assert counts == [28_407, 7_136]
    assert len({question.answers for question in questions.items}) == 13
    assert len(questions.used()) == 5_000


def test_nlvr_as_published(shared_data: Path) -> None:
    folder = shared_data / "vqa"
    images = tuple(str(folder / f"nlvr.{part}.images.tar.gz") for part in ("dev", "test"))
    questions = read(folder / "nlvr.dev.json", images=images, test=str(folder / "nlvr.test.json"), split="85/15")
    assert len(questions.part("test")) == 990
    assert len(questions.items) == 1_979
    for question in questions.items:
        assert questions.images.items[question.image].name.startswith("test-") == (question.part == "test")


def test_a_tar_in_memory_of_kilobytes_cannot_fill_it(tmp_path: Path) -> None:
    """A questions.json that claims more bytes than are allowed is refused by its header."""
    archive = tmp_path / "bomb.tar"
    member = tarfile.TarInfo("train/questions.json")
    member.size = 1 << 31
    archive.write_bytes(member.tobuf() + io.BytesIO(bytes(1024)).getvalue())
    with pytest.raises((MisuseError, FailureError)):
        read(archive)
