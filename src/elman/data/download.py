"""A URL becomes a local file: cached, checked, and resumed after a broken connection."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast

from elman import __version__
from elman.errors import FailureError, MisuseError
from elman.files import cache_folder, write_whole

_CHUNK = 1 << 18
_ATTEMPTS = 3


def split_checksum(url: str) -> tuple[str, str | None]:
    """Take ``#sha256=HEX`` off a URL.

    Args:
        url: with or without a fragment.

    Returns:
        The URL without its fragment, and the checksum in lower case or None.

    Raises:
        MisuseError: a fragment that begins with ``sha256=`` without 64 hexadecimal digits.
    """
    address, _, fragment = url.partition("#")
    if not fragment.lower().startswith("sha256="):
        return address, None
    checksum = fragment[len("sha256=") :].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise MisuseError(f"The checksum of {address} must be 64 hexadecimal digits after #sha256=.")
    return address, checksum


def fetch(
    url: str,
    *,
    sha256: str | None = None,
    folder: Path | None = None,
    timeout: float = 30.0,
    limit: int | None = None,
) -> Path:
    """Download a file once; later calls return the cached copy without asking the network.

    An interrupted download stays as a ``.part`` file and is continued by the next call (HTTP Range), where
    the server allows it and the file has not changed there since.

    Args:
        url: ``http://`` or ``https://``.
        sha256: the expected checksum (64 hexadecimal digits); also checked on a cached copy.
        folder: where to keep the file; default is the download cache.
        timeout: seconds without an answer before a connection is given up.
        limit: the largest size accepted, in bytes.

    Returns:
        The path of the complete file.

    Raises:
        MisuseError: not an http(s) URL, no such page, a wrong checksum, or a file above the limit.
        FailureError: no connection, a connection that keeps breaking, or a disk that cannot be written.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MisuseError(f"{url!r} is not an http or https URL.")
    folder = folder if folder is not None else cache_folder("downloads")
    # Two URLs with the same last part must not share a file.
    base = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(parts.path).name)[-80:] or "index"
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{base}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            if target.exists() and (sha256 is None or _sha256_of(target) == sha256):
                return target
            _download(url, target, sha256, timeout, limit)
    except OSError as error:
        raise FailureError(
            f"{url} could not be kept in {folder}: {error.strerror or error}. ELMAN_CACHE_DIR names another folder."
        ) from error
    return target


def _download(url: str, target: Path, sha256: str | None, timeout: float, limit: int | None) -> None:
    part = target.with_name(target.name + ".part")
    notes = target.with_name(target.name + ".part.json")
    reason = "it broke off"
    for _ in range(_ATTEMPTS):
        try:
            complete = _continue(url, part, notes, sha256, timeout, limit)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the server's file is shorter than what we have: it is another one
                part.unlink(missing_ok=True)
                continue
            kind = MisuseError if 400 <= error.code < 500 else FailureError
            raise kind(f"{url} cannot be downloaded: the server answers {error.code} {error.reason}.") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
            continue
        if complete:
            break
        reason = "it ended before the announced length"
    else:
        kept = part.stat().st_size if part.exists() else 0
        raise FailureError(
            f"{url} could not be downloaded in {_ATTEMPTS} attempts ({reason}). Is this machine online? "
            + (f"{kept:,} bytes are kept; the next call continues from there." if kept else "")
        )
    if sha256 is not None and (got := _sha256_of(part)) != sha256:
        part.unlink()
        notes.unlink(missing_ok=True)
        raise MisuseError(
            f"{url} has the SHA-256 {got}, not the expected {sha256}: it is another file, or was changed."
        )
    os.replace(part, target)
    notes.unlink(missing_ok=True)


def _continue(url: str, part: Path, notes: Path, sha256: str | None, timeout: float, limit: int | None) -> bool:
    """Receive what is missing of `part`; True when the announced length was reached."""
    validator = _validator(notes)
    have = part.stat().st_size if part.exists() else 0
    if have and validator is None and sha256 is None:
        have = 0  # nothing could tell whether the rest belongs to the same file
    headers = {"User-Agent": f"elman/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator is not None:
            headers["If-Range"] = validator
    with _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        response = cast(HTTPResponse, answer)
        resumed = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        if response.status == 206 and not resumed:
            raise HTTPException("it answers with another range than the one asked for")
        start = have if resumed else 0
        announced = response.headers.get("Content-Length")
        total = start + int(announced) if announced and announced.isdigit() else None
        if limit is not None and total is not None and total > limit:
            raise MisuseError(f"{url} has {total:,} bytes, more than the {limit:,} allowed.")
        if not resumed:
            tag = response.headers.get("ETag") or ""
            strong = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
            write_whole(notes, json.dumps({"url": url, "validator": strong}))
        with part.open("ab" if resumed else "wb") as file:
            received = start
            while data := response.read(_CHUNK):
                received += len(data)
                if limit is not None and received > limit:
                    raise MisuseError(f"{url} has more than the {limit:,} bytes allowed.")
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return total is None or received == total


def _validator(notes: Path) -> str | None:
    try:
        value = json.loads(notes.read_bytes())["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS with the environment's proxies; a redirection to anything else is refused."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One download of a file at a time on this machine: the processes of a distributed run start together."""
    try:
        import fcntl
    except ImportError:  # Windows has no advisory locks of this kind
        yield
        return
    with target.with_name(target.name + ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
