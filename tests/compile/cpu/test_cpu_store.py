"""The cache of objects gives back what it was given, and nothing that somebody else could have put there."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from elman.compile.cpu import store
from elman.compile.cpu.target import named_target

TARGET = named_target("avx2")
IMAGE = bytes(range(256)) * 20


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ELMAN_CACHE", raising=False)
    return tmp_path / "cache" / "compiled"


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_stored_is_read(folder: Path) -> None:
    assert store.read("key", TARGET) is None
    store.write("key", TARGET, IMAGE)
    assert store.read("key", TARGET) == IMAGE
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only(folder).stat().st_mode & 0o077 == 0


def test_key_and_target_belong_to_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("key", TARGET, IMAGE)
    assert store.read("kez", TARGET) is None
    assert store.read("key", named_target("x86-64")) is None
    monkeypatch.setattr(store, "__version__", "0.0.0")
    assert store.read("key", TARGET) is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "magic", "empty", "only a header", "longer"])
def test_a_damaged_entry_is_thrown_away(folder: Path, damage: str) -> None:
    store.write("key", TARGET, IMAGE)
    path = only(folder)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    path.write_bytes(
        {
            "truncated": content[:-1],
            "flipped": bytes(flipped),
            "magic": b"X" + content[1:],
            "empty": b"",
            "only a header": content[: store._HEADER],
            "longer": content + b"\0",
        }[damage]
    )
    assert store.read("key", TARGET) is None
    assert not path.exists()
    store.write("key", TARGET, IMAGE)
    assert store.read("key", TARGET) == IMAGE


def test_an_entry_in_the_place_of_another_is_not_taken(folder: Path) -> None:
    store.write("key", TARGET, IMAGE)
    path = only(folder)
    store.write("other", TARGET, IMAGE[::-1])
    (other,) = set(folder.iterdir()) - {path}
    os.replace(other, path)
    assert store.read("key", TARGET) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_entry_that_others_may_write_is_not_taken(folder: Path, mode: int) -> None:
    store.write("key", TARGET, IMAGE)
    only(folder).chmod(mode)
    assert store.read("key", TARGET) is None


def test_links_and_pipes_are_not_taken(folder: Path) -> None:
    store.write("key", TARGET, IMAGE)
    path = only(folder)
    elsewhere = folder.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert store.read("key", TARGET) is None
    assert not path.is_symlink()
    os.mkfifo(path)
    assert store.read("key", TARGET) is None  # and does not wait for a writer


def test_what_belongs_to_somebody_else_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("key", TARGET, IMAGE)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert store.read("key", TARGET) is None
    store.write("other", TARGET, IMAGE)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_is_not_used(folder: Path, mode: int) -> None:
    store.write("key", TARGET, IMAGE)
    folder.chmod(mode)
    assert store.read("key", TARGET) is None
    store.write("other", TARGET, IMAGE)
    assert len(list(folder.iterdir())) == 1


def test_the_cache_can_be_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("key", TARGET, IMAGE)
    monkeypatch.setenv("ELMAN_CACHE", "off")
    assert store.read("key", TARGET) is None
    store.write("other", TARGET, IMAGE)
    assert len(list(folder.iterdir())) == 1


def test_without_a_place_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "file"))
    store.write("key", TARGET, IMAGE)
    assert store.read("key", TARGET) is None

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ELMAN_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    store.write("key", TARGET, IMAGE)
    assert store.read("key", TARGET) is None


def test_a_full_disk_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        store.write("key", TARGET, IMAGE)
    assert list(folder.iterdir()) == []
    store.write("key", TARGET, IMAGE)
    assert store.read("key", TARGET) == IMAGE


def test_what_was_used_longest_ago_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BOUND", 3 * (len(IMAGE) + store._HEADER))
    now = time.time()
    for age, key in ((300, "old"), (200, "middle"), (100, "young")):
        before = set(folder.iterdir()) if folder.exists() else set()
        store.write(key, TARGET, IMAGE)
        (path,) = set(folder.iterdir()) - before
        os.utime(path, (now - age, now - age))
    assert store.read("old", TARGET) == IMAGE  # now the one used last
    store.write("new", TARGET, IMAGE)
    assert store.read("middle", TARGET) is None
    assert [store.read(key, TARGET) for key in ("old", "young", "new")] == [IMAGE] * 3


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    store.write("key", TARGET, IMAGE)
    left, current = folder / "left.part", folder / "current.part"
    left.touch()
    current.touch()
    os.utime(left, (time.time() - 7200,) * 2)
    store.write("other", TARGET, IMAGE)
    assert not left.exists()
    assert current.exists()


def test_processes_that_write_one_entry_never_show_a_part() -> None:
    """A child rewrites an entry again and again; whatever the parent sees is whole."""
    store.write("key", TARGET, IMAGE)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(300):
                store.write("key", TARGET, IMAGE)
            status = 0
        finally:
            os._exit(status)
    seen = {store.read("key", TARGET) for _ in range(300)}
    assert os.waitpid(child, 0)[1] == 0
    assert seen == {IMAGE}
