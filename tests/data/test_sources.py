"""What the user named becomes a list of files."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from elman.data.sources import read_text, resolve
from elman.errors import MisuseError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in {
        "b.txt": b"b",
        "a/z.txt": b"z",
        "a/c.md": b"c",
        "a-b.txt": b"-",
        ".hidden": b"h",
        ".git/config": b"g",
        "picture.png": b"\x89PNG\0\0",
        "wide.txt": "w".encode("utf-16"),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def names(root: Path, found: list) -> list[str]:
    return [source.path.relative_to(root).as_posix() for source in found]


def test_a_folder_is_read_sorted_without_hidden_and_binary_files(tree: Path) -> None:
    notices: list[str] = []
    found = resolve([str(tree)], notices)
    assert names(tree, found) == ["a/c.md", "a/z.txt", "a-b.txt", "b.txt", "wide.txt"]
    (notice,) = notices
    assert "5 text files" in notice
    assert "2 hidden, 1 binary" in notice


def test_several_keep_the_given_order(tree: Path) -> None:
    found = resolve([str(tree / "b.txt"), str(tree / "a"), tree / "a-b.txt"])
    assert names(tree, found) == ["b.txt", "a/c.md", "a/z.txt", "a-b.txt"]
    assert "".join(read_text(found)) == "bcz-"


def test_globs(tree: Path) -> None:
    assert names(tree, resolve([f"{tree}/*.txt"])) == ["a-b.txt", "b.txt", "wide.txt"]
    assert names(tree, resolve([f"{tree}/**/*.[tm]*"])) == [
        "a/c.md", "a/z.txt", "a-b.txt", "b.txt", "wide.txt",
    ]  # fmt: skip
    with pytest.raises(MisuseError, match="no text file"):
        resolve([f"{tree}/*.rst"])
    with pytest.raises(MisuseError, match="1 binary"):
        resolve([f"{tree}/*.png"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert len(resolve([str(tmp_path / "a[1].txt")])) == 1


def test_an_explicit_file_is_never_skipped(tree: Path) -> None:
    assert names(tree, resolve([str(tree / "picture.png"), str(tree / ".hidden")])) == [
        "picture.png",
        ".hidden",
    ]


def test_a_file_named_twice_is_noticed(tree: Path) -> None:
    notices: list[str] = []
    assert len(resolve([str(tree / "b.txt"), str(tree / "b.txt")], notices)) == 2
    assert "more than once" in notices[0]


@pytest.mark.parametrize("named", ["nowhere.txt", "", "-", "a\0b"])
def test_missing_files(named: str) -> None:
    with pytest.raises(MisuseError):
        resolve([named])


def test_nothing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="No text was named"):
        resolve([])
    with pytest.raises(MisuseError, match="nothing is there"):
        resolve([str(tmp_path)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MisuseError, match="is a pipe"):
        resolve([str(pipe)])
    with pytest.raises(MisuseError, match="is a device"):
        resolve(["/dev/zero"])
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    notices: list[str] = []
    assert names(tmp_path, resolve([str(tmp_path)], notices)) == ["a.txt"]
    assert "2 special or broken" in notices[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("s")
    (tmp_path / "secret.txt").chmod(0)
    with pytest.raises(MisuseError, match="permission denied"):
        resolve([str(tmp_path)])


def test_the_interpreters_library() -> None:
    found = resolve(["python:stdlib"])
    listed = [source.name for source in found]
    assert listed == [source.name for source in resolve(["python:stdlib"])]
    assert "python:stdlib/ast.py" in listed
    assert "python:stdlib/json/decoder.py" in listed
    assert not [name for name in listed if "site-packages" in name or "/test/" in name or "/tests/" in name]
    source = found[listed.index("python:stdlib/ast.py")]
    assert "".join(read_text([source], newlines="unix")) == Path(ast.__file__).read_text(encoding="utf-8")
