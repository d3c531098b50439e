"""A recording folder: whole or not there, and refused with a sentence when it is damaged or hostile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import elman_environment

from elman.data.symbols import printable
from elman.errors import FailureError, MisuseError
from elman.insight.recording import Group, Recording, open_recording, write_recording
from elman.insight.recording.writing import Draft, remove_abandoned

TEXT = 'He said "no".\n' * 20
LENGTH = len(TEXT)
GROUPS = (
    Group(0, "c", "state", "tanh", 0, 3),
    Group(0, "f", "gate", "identity", 3, 3),
    Group(1, "c", "state", "tanh", 6, 3),
)


def make(folder: Path, **options: Any) -> Recording:
    values = np.random.default_rng(0).integers(-127, 128, (9, LENGTH)).astype(np.int8)
    return write_recording(folder, values, TEXT, groups=GROUPS, nats=np.linspace(0, 5, LENGTH), **options)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    top = np.tile(np.arange(5), (LENGTH, 1))
    written = make(
        tmp_path / "r", top_ids=top, top_logprobs=-top, facts={"model": "ab" * 32, "burn_in": 7, "note": "é"}
    )
    recording = open_recording(str(tmp_path / "r"))
    values = np.random.default_rng(0).integers(-127, 128, (9, LENGTH))
    assert (recording.values == values).all()
    assert isinstance(recording.values, np.memmap)
    assert (recording.text, recording.groups) == (TEXT, GROUPS)
    assert [recording.symbols[token] for token in recording.ids] == [printable(letter) for letter in TEXT]
    assert recording.offsets.tolist() == list(range(LENGTH))
    assert recording.nats == pytest.approx(np.linspace(0, 5, LENGTH))
    assert (recording.top_ids == top).all()
    assert (recording.top_logprobs == -top).all()
    assert recording.manifest == written.manifest
    assert (recording.manifest["burn_in"], recording.manifest["note"]) == (7, "é")


def test_cells_have_numbers_and_names(tmp_path: Path) -> None:
    recording = make(tmp_path / "r")
    names = [recording.describe(cell) for cell in range(9)]
    assert names[2:7] == ["layer 0 c[2]", "layer 0 f[0]", "layer 0 f[1]", "layer 0 f[2]", "layer 1 c[0]"]
    for cell in range(9):
        group, unit = recording.locate(cell)
        assert recording.find(group.layer, group.name, unit) == cell
        assert (recording.cell(cell) == recording.values[cell]).all()
    with pytest.raises(MisuseError, match="cells 0 to 8"):
        recording.cell(9)
    with pytest.raises(MisuseError, match="cells 0 to 8"):
        recording.locate(-1)
    with pytest.raises(MisuseError, match="recorded are 0:c, 0:f, 1:c"):
        recording.find(1, "f", 0)
    with pytest.raises(MisuseError, match="units 0 to 2; 3"):
        recording.find(0, "f", 3)


def test_a_recording_cannot_be_written_to(tmp_path: Path) -> None:
    recording = make(tmp_path / "r")
    with pytest.raises(ValueError, match="read-only"):
        recording.values[0, 0] = 1


def test_a_text_with_every_kind_of_character(tmp_path: Path) -> None:
    text = "a\r\né中𝄞\ud800\x00"
    recording = write_recording(tmp_path / "r", np.zeros((1, len(text)), np.int8), text)
    assert open_recording(tmp_path / "r").text == text
    assert "\\n" in recording.symbols


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    values = np.zeros((2, LENGTH), np.int8)
    for options in ({"nats": np.zeros(3)}, {"top_ids": np.zeros((LENGTH, 4))}, {"groups": GROUPS}, {"ids": [0]}):
        with pytest.raises(MisuseError, match="must be"):
            write_recording(tmp_path / "r", values, TEXT, **options)  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="int8"):
        write_recording(tmp_path / "r", values.astype(float), TEXT)  # type: ignore[arg-type]
    with pytest.raises(MisuseError, match="nothing to record"):
        write_recording(tmp_path / "r", np.zeros((2, 0), np.int8), "")
    assert list(tmp_path.iterdir()) == []


def damage_manifest(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def in_group(index: int, **changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        groups = json.loads((folder / "manifest.json").read_text())["groups"]
        groups[index] |= changes
        damage_manifest(groups=groups)(folder)

    return damage


def replaced(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def linked(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.copy(folder / name, folder.parent / "secret")
        (folder / name).unlink()
        (folder / name).symlink_to(folder.parent / "secret")

    return damage


def piped(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def sparse(folder: Path) -> None:
    """A manifest that claims cells and tokens without end, beside a file that has the size on paper."""
    length, cells = 2**26, 2**24
    damage_manifest(length=length, cells=cells, groups=[Group(0, "h", "state", "tanh", 0, cells).to_json()])(folder)
    with open(folder / "values.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": (cells, length)})
        os.truncate(folder / "values.npy", file.tell() + 2**43)


def header(text: str) -> bytes:
    padded = text + " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


TEN = np.arange(LENGTH)
DAMAGES: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no values": lambda folder: (folder / "values.npy").unlink(),
    "no text": lambda folder: (folder / "text.txt").unlink(),
    "another format": damage_manifest(format=2),
    "a list": written("manifest.json", b"[]"),
    "deep JSON": written("manifest.json", b"[" * 100_000),
    "cut JSON": written("manifest.json", b'{"format": 1, '),
    "no UTF-8": written("manifest.json", b'{"format": "\xff"}'),
    "a large manifest": written("manifest.json", b" " * 2**25),
    "length is text": damage_manifest(length="280"),
    "length is true": damage_manifest(length=True),
    "length too large": damage_manifest(length=2**40),
    "length zero": damage_manifest(length=0),
    "another length": damage_manifest(length=LENGTH - 1),
    "fewer cells": damage_manifest(cells=8),
    "many cells": damage_manifest(cells=10**30),
    "created is not a number": written("manifest.json", b'{"format": 1, "created": NaN}'),
    "endless time": damage_manifest(created=float("inf")),
    "no fingerprint": damage_manifest(model="../../x"),
    "another text": damage_manifest(text="0" * 64),
    "seed": damage_manifest(seed=1.5),
    "untrained": damage_manifest(untrained=0),
    "no groups": damage_manifest(groups=[]),
    "groups are numbers": damage_manifest(groups=[1, 2, 3]),
    "a group twice": in_group(2, layer=0),
    "a gap": in_group(1, first=4),
    "a negative count": in_group(1, count=-3),
    "a name with an escape": in_group(0, name="c\x1b[2J"),
    "an unknown kind": in_group(0, kind="weight"),
    "an unknown transform": in_group(0, transform="eval"),
    "more in a group": in_group(0, more=1),
    "a layer": in_group(0, layer=0.0),
    "cut values": lambda folder: os.truncate(folder / "values.npy", 500),
    "longer values": lambda folder: os.truncate(folder / "values.npy", 10**6),
    "a sparse giant": sparse,
    "values of another type": replaced("values.npy", np.zeros((9, LENGTH), np.uint8)),
    "values turned": replaced("values.npy", np.zeros((LENGTH, 9), np.int8).T),
    "objects": lambda folder: np.save(folder / "ids.npy", np.array([{}] * LENGTH, dtype=object)),
    "no array": written("values.npy", b"PK\x03\x04"),
    "an empty array": written("values.npy", b""),
    "a header that calls": written("ids.npy", header("__import__('os').abort()")),
    "a header that is no shape": written("ids.npy", header("{'descr': '<i4', 'fortran_order': False, 'shape': -1}")),
    "a header that takes long": written(
        "ids.npy", header("{'descr': '<i4', 'fortran_order': False, 'shape': (" + "1" * 60 + "x), }")
    ),
    "a deep header": written("ids.npy", header("(" * 100)),
    "a structured type": written(
        "ids.npy", header(f"{{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': ({LENGTH},)}}")
    ),
    "ids beyond the symbols": replaced("ids.npy", TEN.astype("<i4")),
    "negative ids": replaced("ids.npy", -TEN.astype("<i4")),
    "offsets beyond the text": replaced("offsets.npy", TEN + 1),
    "offsets that fall": replaced("offsets.npy", TEN[::-1].copy()),
    "top ids": replaced("top_ids.npy", np.full((LENGTH, 5), 99, "<i4")),
    "a changed text": written("text.txt", TEXT.replace("no", "NO").encode()),
    "a longer text": written("text.txt", (TEXT * 10).encode()),
    "symbols are numbers": written("symbols.json", b"[1, 2]"),
    "no symbols": written("symbols.json", b"[]"),
    "fewer symbols": written("symbols.json", b'["a"]'),
    "a linked text": linked("text.txt"),
    "a linked array": linked("values.npy"),
    "a pipe for a text": piped("text.txt"),
    "a pipe for an array": piped("values.npy"),
    "a folder for an array": lambda folder: [(folder / "ids.npy").unlink(), (folder / "ids.npy").mkdir()][0],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_or_hostile_folder_is_refused(name: str, tmp_path: Path) -> None:
    make(tmp_path / "r")
    DAMAGES[name](tmp_path / "r")
    with pytest.raises(FailureError) as refusal:
        open_recording(tmp_path / "r")
    assert str(tmp_path / "r") in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_every_cut_array_is_noticed(tmp_path: Path) -> None:
    for path in list(make(tmp_path / "r").path.iterdir()):
        whole = path.read_bytes()
        for share in (0, 0.3, 0.999):
            path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 2)])
            with pytest.raises(FailureError):
                open_recording(tmp_path / "r")
        path.write_bytes(whole)
    assert open_recording(tmp_path / "r").length == LENGTH


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none", "x" * 300):
        with pytest.raises(MisuseError, match="There is no recording"):
            open_recording(tmp_path / name)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FailureError, match=r"No space left.*Free some space"):
        make(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_the_same_do_not_mix(tmp_path: Path) -> None:
    text = "abc"
    with Draft(tmp_path / "r", [Group(0, "h", "state", "tanh", 0, 2)], text, 3) as draft:
        mine = write_recording(tmp_path / "r", np.ones((2, 3), np.int8), text)
        with pytest.raises(MisuseError, match="is there already"):
            draft.finish(["a", "b", "c"], {"model": "0" * 64})
    assert (open_recording(mine.path).values == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_killed_process_leaves_a_draft_that_the_next_removes(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from elman.insight.recording.layout import Group\n"
        "from elman.insight.recording.writing import Draft\n"
        "with Draft(Path(sys.argv[1]), [Group(0, 'h', 'state', 'tanh', 0, 2)], 'abc', 3):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "r")], env=elman_environment(), capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".r.*.part"))) == 1
    with Draft(tmp_path / "other", [Group(0, "h", "state", "tanh", 0, 2)], "abc", 3):
        remove_abandoned(tmp_path)
        # only the dead one's
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".other.")
