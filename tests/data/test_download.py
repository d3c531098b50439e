"""Downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from elman.data.download import fetch, split_checksum
from elman.data.sources import read_text, resolve
from elman.errors import FailureError, MisuseError

CONTENT = bytes(range(48, 123)) * 4000  # 300,000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server offers and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    breaks_after: list[int] = field(default_factory=list)  # bytes of the next answers, then whole ones
    announce: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("Range"))
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            if self.path != "/text.txt":
                self.send_error(404)
                return
            start = 0
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") in (None, state.etag)
            if asked and state.ranges and same:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            else:
                self.send_response(200)
            body = state.content[start:]
            if state.announce:
                self.send_header("Content-Length", str(len(body)))
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(body[: state.breaks_after.pop(0)] if state.breaks_after else body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_downloaded_once(site: Site, cache: Path) -> None:
    path = fetch(f"{site.address}/text.txt")
    assert path.read_bytes() == CONTENT
    assert path.parent == cache / "downloads"
    assert fetch(f"{site.address}/text.txt") == path
    assert len(site.asked) == 1
    assert not [file.name for file in path.parent.iterdir() if ".part" in file.name]


def test_a_broken_connection_is_resumed(site: Site) -> None:
    site.breaks_after = [100_000, 50_000]
    assert fetch(f"{site.address}/text.txt").read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(site: Site, cache: Path) -> None:
    site.breaks_after = [1000, 1000, 1000]
    with pytest.raises(FailureError, match=r"3,000 bytes are kept"):
        fetch(f"{site.address}/text.txt")
    assert [file for file in (cache / "downloads").iterdir() if file.suffix == ".part"]
    assert fetch(f"{site.address}/text.txt").read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=3000-"


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(site: Site) -> None:
    site.breaks_after = [1000, 1000, 1000]
    with pytest.raises(FailureError):
        fetch(f"{site.address}/text.txt")
    site.content, site.etag = CONTENT[::-1], '"two"'
    assert fetch(f"{site.address}/text.txt").read_bytes() == CONTENT[::-1]


def test_without_a_validator_nothing_is_resumed(site: Site) -> None:
    site.etag, site.breaks_after = None, [1000]
    assert fetch(f"{site.address}/text.txt").read_bytes() == CONTENT
    assert site.asked == [None, None]


def test_a_server_without_ranges_sends_everything_again(site: Site) -> None:
    site.ranges, site.breaks_after = False, [100_000]
    assert fetch(f"{site.address}/text.txt", sha256=SHA256).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-"]


def test_a_shorter_file_than_the_kept_part(site: Site) -> None:
    site.breaks_after, site.ranges = [200_000] * 3, False
    with pytest.raises(FailureError):
        fetch(f"{site.address}/text.txt", sha256=SHA256)
    site.ranges, site.content = True, b"short"
    assert fetch(f"{site.address}/text.txt").read_bytes() == b"short"


def test_checksums(site: Site, cache: Path) -> None:
    with pytest.raises(MisuseError, match=SHA256):
        fetch(f"{site.address}/text.txt", sha256="0" * 64)
    assert not [file for file in (cache / "downloads").iterdir() if file.suffix != ".lock"]
    path = fetch(f"{site.address}/text.txt", sha256=SHA256)
    path.write_bytes(b"damaged")
    assert fetch(f"{site.address}/text.txt", sha256=SHA256).read_bytes() == CONTENT


def test_what_is_not_there(site: Site) -> None:
    with pytest.raises(MisuseError, match="404"):
        fetch(f"{site.address}/other.txt")


def test_size_limit(site: Site) -> None:
    with pytest.raises(MisuseError, match="300,000 bytes, more than the 1,000 allowed"):
        fetch(f"{site.address}/text.txt", limit=1000)
    site.announce = False
    with pytest.raises(MisuseError, match="more than the 1,000 bytes allowed"):
        fetch(f"{site.address}/text.txt", limit=1000)
    assert fetch(f"{site.address}/text.txt", limit=300_000).read_bytes() == CONTENT


def test_a_redirection_does_not_leave_the_web(site: Site) -> None:
    with pytest.raises((FailureError, MisuseError)) as caught:
        fetch(f"{site.address}/elsewhere")
    assert "root:" not in str(caught.value)


def test_offline() -> None:
    with pytest.raises(FailureError, match="Is this machine online"):
        fetch("http://127.0.0.1:9/text.txt", timeout=2)


@pytest.mark.parametrize("url", ["ftp://host/a", "file:///etc/passwd", "http://", "text.txt"])
def test_other_addresses(url: str) -> None:
    with pytest.raises(MisuseError, match="not an http or https URL"):
        fetch(url)


def test_checksum_in_the_url(site: Site) -> None:
    assert split_checksum(f"http://a/b#sha256={SHA256.upper()}") == ("http://a/b", SHA256)
    assert split_checksum("http://a/b#top") == ("http://a/b", None)
    with pytest.raises(MisuseError, match="64 hexadecimal digits"):
        split_checksum("http://a/b#sha256=123")
    (source,) = resolve([f"{site.address}/text.txt#sha256={SHA256}"])
    assert source.name == f"{site.address}/text.txt"
    assert "".join(read_text([source])).encode() == CONTENT
