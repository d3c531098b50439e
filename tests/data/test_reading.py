"""Files become text: decoding, fault positions, byte order marks, line ends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import reading
from elman.data.reading import Source, fingerprint, read_text, survey
from elman.errors import MisuseError


def source(folder: Path, content: bytes, name: str = "text.txt") -> Source:
    path = folder / name
    path.write_bytes(content)
    return Source(name, path)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32", "shift_jis"])
def test_text_does_not_depend_on_chunk_borders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, encoding: str
) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    text = "かな naïve\r\n𝄞\r\r\nend\r" if encoding != "shift_jis" else "かな\r\nabc\r"
    file = source(tmp_path, text.encode(encoding))
    assert "".join(read_text([file], encoding=encoding)) == text
    unix = "".join(read_text([file], encoding=encoding, newlines="unix"))
    assert unix == text.replace("\r\n", "\n").replace("\r", "\n")


@given(
    good=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
    chunk=st.integers(1, 9),
    rest=st.binary(max_size=5),
)
def test_the_fault_is_where_the_decoder_of_the_whole_file_finds_it(
    tmp_path_factory: pytest.TempPathFactory, good: str, chunk: int, rest: bytes
) -> None:
    content = good.encode() + b"\xff" + rest
    file = source(tmp_path_factory.mktemp("fault"), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_BYTES", chunk)
        with pytest.raises(MisuseError, match=rf"position {len(good.encode())} \(value 0xff\)"):
            list(read_text([file]))


@pytest.mark.parametrize(
    ("content", "offset", "byte"),
    [(b"ab\xe2\x82", 2, "e2"), (b"ab\xc3(", 2, "c3"), (b"x" * (1 << 20) + b"\xe9t\xe9", 1 << 20, "e9")],
)
def test_cut_off_and_wrong_sequences(tmp_path: Path, content: bytes, offset: int, byte: str) -> None:
    file = source(tmp_path, content)
    with pytest.raises(MisuseError) as caught:
        list(read_text([file]))
    message = str(caught.value)
    assert message.startswith("text.txt is not utf-8")
    assert f"position {offset} (value 0x{byte})" in message
    assert "--encoding latin-1" in message
    assert "--errors replace" in message


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("hello".encode("utf-16"), "--encoding utf-16"),
        ("hello".encode("utf-32"), "--encoding utf-32"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04\xff", "zip"),
    ],
)
def test_the_error_recognises_what_it_is(tmp_path: Path, content: bytes, hint: str) -> None:
    with pytest.raises(MisuseError, match=hint):
        list(read_text([source(tmp_path, content)]))


def test_errors_as_chosen(tmp_path: Path) -> None:
    file = source(tmp_path, b"a\xffb")
    assert "".join(read_text([file], errors="replace")) == "a\ufffdb"
    assert "".join(read_text([file], errors="ignore")) == "ab"
    assert "".join(read_text([file], encoding="latin-1")) == "aÿb"
    kept = "".join(read_text([file], errors="surrogateescape"))
    assert kept.encode("utf-8", "surrogateescape") == b"a\xffb"


def test_byte_order_marks_of_each_file(tmp_path: Path) -> None:
    files = [source(tmp_path, b"\xef\xbb\xbfone", "1"), source(tmp_path, b"\xef\xbb\xbftwo\xef\xbb\xbf", "2")]
    notices: list[str] = []
    assert "".join(read_text(files, notices=notices)) == "\ufeffone\ufefftwo\ufeff"
    assert [notice[:1] for notice in notices] == ["1", "2"]
    assert "--bom strip" in notices[0]
    quiet: list[str] = []
    assert "".join(read_text(files, bom="strip", notices=quiet)) == "onetwo\ufeff"
    assert quiet == []


def test_foreign_line_ends_and_nul_are_noticed(tmp_path: Path) -> None:
    notices: list[str] = []
    list(read_text([source(tmp_path, b"a\r\n\0")], notices=notices))
    assert any("--newlines unix" in notice for notice in notices)
    assert any("NUL" in notice for notice in notices)
    assert len(notices) == 2


@pytest.mark.parametrize(
    "option",
    [
        {"encoding": "klingon"},
        {"encoding": "hex"},
        {"encoding": "rot13"},
        {"errors": "guess"},
        {"bom": "maybe"},
        {"newlines": "dos"},
    ],
)
def test_unknown_options_name_the_known_ones(tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises(MisuseError, match=f"--{next(iter(option))} {next(iter(option.values()))}"):
        list(read_text([source(tmp_path, b"a")], **option))


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="does not exist"):
        list(read_text([Source("gone", tmp_path / "gone")]))
    with pytest.raises(MisuseError, match="is a folder"):
        list(read_text([Source("here", tmp_path)]))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(1, 7))
def test_survey(text: str, step: int) -> None:
    found = survey(text[at : at + step] for at in range(0, len(text), step))
    data = text.encode()
    assert found == (type(found))(hashlib.sha256(data).hexdigest(), len(text), len(data))
    assert fingerprint([text]) == found.fingerprint
