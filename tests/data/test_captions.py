"""Caption files of every form, and what is wrong with them named in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elman.data.captions import MOST_NAMED, Caption, Captions, match_images, read_captions, read_lists
from elman.errors import MisuseError

CAT, DOG = (Caption("a cat"), Caption("the cat sleeps")), (Caption("a dog"),)


def write(folder: Path, name: str, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


FORMS = {
    "coco": {
        "images": [{"id": 7, "file_name": "cat.jpg"}, {"id": 9, "file_name": "dog.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "a cat"},
            {"id": 2, "image_id": 9, "caption": "a dog"},
            {"id": 3, "image_id": 7, "caption": "the cat  sleeps\n"},
        ],
    },
    "file paths": [
        {"file_path": "cat.jpg", "captions": ["a cat", "the cat sleeps"]},
        {"file_path": "dog.jpg", "caption": "a dog"},
    ],
    "names": {"cat.jpg": ["a cat", "the cat sleeps"], "dog.jpg": "a dog"},
    "token file": "cat.jpg#0\ta cat\ncat.jpg#1\tthe cat sleeps\n\ndog.jpg#0\ta dog\n",
    "commas": 'image,caption\ncat.jpg,a cat\ncat.jpg,"the cat sleeps"\ndog.jpg,a dog\n',
    "no header": "cat.jpg,a cat\r\ncat.jpg,the cat sleeps\r\ndog.jpg,a dog\r\n",
    "tabs": "caption\tfile\na cat\tcat.jpg\nthe cat sleeps\tcat.jpg\na dog\tdog.jpg\n",
    "bars": "image_name| comment_number| comment\ncat.jpg| 0| a cat\ncat.jpg| 1| the cat sleeps\ndog.jpg| 0| a dog\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path: Path, form: str):
    read = read_captions([write(tmp_path, "captions", FORMS[form])])
    assert read.images == ("cat.jpg", "dog.jpg")
    assert read.captions == (CAT, DOG)
    assert read.ids == ((7, 9) if form == "coco" else (None, None))
    assert set(read.parts) == {""}
    assert read.tags == ("",)


def test_karpathys_split(tmp_path: Path):
    images = [
        {"filename": "1.jpg", "filepath": "val2014", "split": "restval", "cocoid": 1, "sentences": [{"raw": "One ."}]},
        {"filename": "2.jpg", "split": "val", "sentences": [{"tokens": ["a", "second"]}, {"raw": "again"}]},
        {"filename": "3.jpg", "split": "test", "sentences": [{"raw": "three"}]},
    ]
    read = read_captions([write(tmp_path, "dataset.json", {"images": images, "dataset": "made"})])
    assert read.images == ("val2014/1.jpg", "2.jpg", "3.jpg")
    assert read.parts == ("train", "valid", "test")
    assert [caption.text for caption in read.captions[1]] == ["a second", "again"]
    assert read.ids == (1, None, None)


def test_tags_and_several_files(tmp_path: Path):
    first = write(tmp_path, "1.csv", "image,caption,language\ncat.png,cat,en\ncat.png,Katze,de\n")
    second = write(tmp_path, "2.csv", "image,caption,language\ncat.png,chat,fr\n")
    read = read_captions([first, second])
    assert read.captions == ((Caption("cat", "en"), Caption("Katze", "de"), Caption("chat", "fr")),)
    assert read.tags == ("de", "en", "fr")
    other = read_captions([second, first])
    assert other.fingerprint != read.fingerprint
    with pytest.raises(MisuseError, match="line 2: the tag 'two words'"):
        read_captions([write(tmp_path, "3.csv", "image,caption,tag\ncat.png,cat,two words\n")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no caption"),
        ("only words\n", "neither JSON nor a table"),
        ("{'image': 1}", "not JSON"),
        ('{"annotations": []}', "no known form"),
        ("[1, 2]", "no known form"),
        ('[{"file_path": "a.jpg"}]', "no known form"),
        ('{"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}', "annotation 1: no image .* id 3"),
        ('{"images": [{"filename": "a", "split": "dev", "sentences": []}]}', "image 1: the split is 'dev'"),
        ("image,caption\na.jpg,one, two\n", "line 2: 3 columns"),
        ("a.jpg,one, two\n", "which of the columns"),
        ('image,caption\na.jpg,"open\n', "line 2"),
        ("a.jpg#0\tone\na.jpg two\n", "line 2: 'a.jpg two'"),
    ],
)
def test_what_is_no_caption_file_is_refused(tmp_path: Path, content: str, message: str):
    with pytest.raises(MisuseError, match=message):
        read_captions([write(tmp_path, "captions.txt", content)])


def test_empty_captions_are_named_and_skipped_or_refused(tmp_path: Path):
    rows = {"a.jpg": ["", "one"], "b.jpg": [None], "c.jpg": ["x" * 10_001], "d.jpg": "two"}
    file = write(tmp_path, "c.json", rows)
    with pytest.raises(MisuseError, match=r"a.jpg is empty\. 2 more like it\. --bad skip"):
        read_captions([file])
    notices: list[str] = []
    read = read_captions([file], bad="skip", notices=notices)
    assert read.images == ("a.jpg", "d.jpg")
    assert [line.split("the caption of ")[1] for line in notices] == [
        "a.jpg is empty.",
        "b.jpg is no text.",
        "c.jpg has 10,001 characters.",
    ]
    assert all("\n" not in line for line in notices)
    with pytest.raises(MisuseError, match="--bad is 'ignore'"):
        read_captions([file], bad="ignore")


def captions(*names: str) -> Captions:
    return Captions(names, tuple((Caption("text"),) for _ in names), ("",) * len(names), (None,) * len(names))


def test_images_are_found_by_path_or_by_their_only_file_name():
    files = ["x/cat.jpg", "y/cat.jpg", "y/dog.jpg"]
    assert match_images(captions("y/cat.jpg", "dog.jpg"), files) == {0: 1, 1: 2}
    # two files of that name: neither is meant
    with pytest.raises(MisuseError, match=r"cat.jpg has captions, but there is no such image"):
        match_images(captions("cat.jpg", "dog.jpg"), files)
    with pytest.raises(MisuseError, match=r"of dog.jpg and of y/dog.jpg are of one file"):
        match_images(captions("dog.jpg", "y/dog.jpg"), files)
    with pytest.raises(MisuseError, match="None of the 1 captioned images is there"):
        match_images(captions("bird.jpg"), files)


def test_captions_without_image_and_images_without_caption_are_named():
    missing = [f"no{number}.jpg" for number in range(MOST_NAMED + 3)]
    notices: list[str] = []
    found = match_images(captions("a.jpg", *missing), ["a.jpg", "b.jpg"], bad="skip", notices=notices)
    assert found == {0: 0}
    assert notices[0] == "Skipped: no0.jpg has captions, but there is no such image."
    assert notices[MOST_NAMED] == "Skipped: 3 more images that are not there."
    assert notices[MOST_NAMED + 1] == "Skipped: b.jpg has no caption."
    assert len(notices) == MOST_NAMED + 2
    notices.clear()
    match_images(captions("a.jpg"), ["a.jpg", "b.jpg"], notices=notices)
    assert notices == ["Skipped: b.jpg has no caption."]


def test_lists_name_parts(tmp_path: Path):
    paths = {
        part: Path(write(tmp_path, f"{part}.txt", names))
        for part, names in {"train": "a.jpg\nb.jpg\nmissing.jpg\n", "valid": "c.jpg\n", "test": "d.jpg\n\n"}.items()
    }
    notices: list[str] = []
    known = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    chosen = read_lists(paths, known, notices)
    assert chosen == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "valid", "d.jpg": "test"}
    assert "2 of its 3 images" in notices[0]
    assert "1 captioned images stand in no list" in notices[1]
    with pytest.raises(MisuseError, match=r"names 1 images, of which none has captions"):
        read_lists({"train": paths["valid"]}, ["a.jpg"])
    with pytest.raises(MisuseError, match="lists of two parts, train and test"):
        read_lists({"train": paths["train"], "test": paths["train"]}, known)
