"""Folders and archives of images; what is hostile in them."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest
import torch
from image_files import encoded, picture, tar_of
from tests_support import flip_byte

from elman.data.images import BadImageError, Limits, open_images, sources
from elman.errors import FailureError, MisuseError

pytest.importorskip("PIL.Image")

NAMES = ["train/dog/b.png", "train/cat/1.png", "train/cat/sub/0.PNG", "train/dog/a.jpg"]


def files() -> dict[str, bytes]:
    return {name: encoded(picture(seed=at), "JPEG" if name.endswith("jpg") else "PNG") for at, name in enumerate(NAMES)}


@pytest.fixture(params=["folder", "tar", "tar.gz"])
def source_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same images as a folder, an archive and a gzipped archive."""
    if request.param != "folder":
        return tar_of(tmp_path / f"images.{request.param}", files())
    for name, content in files().items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "images"


def test_class_folders_are_labels_whatever_holds_them(source_path: Path) -> None:
    source = open_images(source_path)
    assert source.classes == ("cat", "dog")
    assert [(item.name, item.label) for item in source.items] == [
        ("train/cat/1.png", 0),
        ("train/cat/sub/0.PNG", 0),
        ("train/dog/a.jpg", 1),
        ("train/dog/b.png", 1),
    ]
    assert source.data(3) == files()["train/dog/b.png"]
    assert torch.equal(source.image(0), torch.from_numpy(picture(seed=1)).permute(2, 0, 1))
    assert [index for index, _ in source.images([2, 0])] == [2, 0]


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {f"png/72/{n}.png": encoded(picture()) for n in range(3)})
    source = open_images(path)
    assert (source.classes, [item.label for item in source.items]) == ((), [None] * 3)


def test_what_is_no_image_is_left_out_and_said(tmp_path: Path) -> None:
    odd = {"a/1.png": b"x", "b/2.png": b"x", "3.png": b"x", "readme.txt": b"x", "a/._1.png": b"x"}
    notices: list[str] = []
    source = open_images(tar_of(tmp_path / "a.tar", odd), notices=notices)
    assert len(source) == 2
    assert "2 files that are no images by their names" in notices[0]
    assert "1 images outside the class folders" in notices[1]


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {"cifar/train/cat/1.png": b"x", "cifar/test/cat/1.png": b"x"})
    with pytest.raises(MisuseError, match="the folders test, train, which are parts of a data set"):
        open_images(path)


def test_names_that_lead_out_links_and_devices_are_left_out(tmp_path: Path) -> None:
    inside = {"a/1.png": encoded(picture()), "b/2.png": encoded(picture())}
    out = {"../../evil.png": b"x", "/etc/evil.png": b"x", "a/../../evil.png": b"x"}
    special = []
    for kind, name in ((tarfile.SYMTYPE, "a/link.png"), (tarfile.LNKTYPE, "a/hard.png"), (tarfile.FIFOTYPE, "a/p.png")):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        special.append(info)
    notices: list[str] = []
    source = open_images(tar_of(tmp_path / "evil.tar", {**inside, **out}, special), notices=notices)
    assert [item.name for item in source.items] == ["a/1.png", "b/2.png"]
    assert [notice.partition(": ")[2][:7] for notice in notices] == ["3 files", "3 files"]
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


# in a file, between two files, in a header
@pytest.mark.parametrize(("suffix", "end"), [("tar", 700), ("tar", 1024), ("tar", 1100), ("tar", 0), ("tar.gz", 200)])
def test_a_cut_archive_is_refused(tmp_path: Path, suffix: str, end: int) -> None:
    path = tar_of(tmp_path / f"a.{suffix}", {f"{n}.png": bytes(400) + os.urandom(100) for n in range(3)})
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(FailureError, match="damaged, cut short, or no tar archive"):
        open_images(path)


def test_a_damaged_header_does_not_end_an_archive_silently(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {f"{n}.png": bytes(500) for n in range(3)})
    flip_byte(path, 1024 + 5)
    with pytest.raises(FailureError, match="no file and no end at byte 1,024"):
        open_images(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(5 << 20)))
    with pytest.raises(FailureError, match="unpacks to more than"):
        open_images(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.tar", None, r"none\.tar' cannot be opened: No such file"),
        ("text.tar", b"hello", "damaged, cut short, or no tar archive"),
        ("empty", "folder", r"holds no image \(\.bmp, \.gif, \.jpeg"),
    ],
)
def test_what_is_no_source_is_said(tmp_path: Path, name: str, content: object, words: str) -> None:
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises((MisuseError, FailureError), match=words):
        open_images(tmp_path / name)


def test_bad_images_are_refused_or_skipped_as_chosen(tmp_path: Path) -> None:
    good = encoded(picture())
    content = {"a/0.png": good, "a/1.png": good[:200], "b/2.png": b"", "b/3.png": good, "b/4.png": good * 40}
    source = open_images(tar_of(tmp_path / "a.tar", content), limits=Limits(file_bytes=20 * len(good)))
    notices: list[str] = []
    assert [index for index, _ in source.images(range(5), bad="skip", notices=notices)] == [0, 3]
    assert [notice.split(":")[0] for notice in notices] == ["Skipped a/1.png", "Skipped b/2.png", "Skipped b/4.png"]
    with pytest.raises(BadImageError, match=r"^a/1\.png: damaged"):
        list(source.images(range(5)))
    with pytest.raises(MisuseError, match="can be 'refuse' or 'skip'"):
        list(source.images([0], bad="ignore"))


def test_a_file_that_vanished_or_is_a_pipe_is_a_bad_image(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encoded(picture()))
    source = open_images(tmp_path)
    (tmp_path / "a/1.png").unlink()
    (tmp_path / "b/2.png").unlink()
    os.mkfifo(tmp_path / "b/2.png")
    notices: list[str] = []
    assert list(source.images([0, 1], bad="skip", notices=notices)) == []
    assert ["No such file" in notices[0], "not a regular file" in notices[1]] == [True, True]


def test_cifar_is_read_from_its_archive(shared_data: Path) -> None:
    source = open_images(shared_data / "images" / "cifar10_test.tar.gz")
    assert (len(source), len(source.classes)) == (10_000, 10)
    assert source.classes[0] == "airplane"
    images = dict(source.images(range(0, 10_000, 500)))
    assert {tuple(image.shape) for image in images.values()} == {(3, 32, 32)}
    assert [source.items[index].label for index in images] == [at // 2 for at in range(20)]
