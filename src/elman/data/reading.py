"""Files become text: decoding in chunks, with the byte position of the first fault."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.errors import FailureError, MisuseError

CHUNK_BYTES = 1 << 20
ERRORS = ("strict", "replace", "ignore", "surrogateescape")
BYTE_ORDER_MARK = "\ufeff"

# Longer signatures first: UTF-32's little-endian mark begins with UTF-16's.
_SIGNATURES = (
    (codecs.BOM_UTF32_LE, "It begins like UTF-32: try --encoding utf-32."),
    (codecs.BOM_UTF32_BE, "It begins like UTF-32: try --encoding utf-32."),
    (codecs.BOM_UTF16_LE, "It begins like UTF-16: try --encoding utf-16."),
    (codecs.BOM_UTF16_BE, "It begins like UTF-16: try --encoding utf-16."),
    (b"\x1f\x8b", "It begins like a gzip file: let its name end in .gz, or decompress it."),
    (b"PK\x03\x04", "It begins like a zip archive (or an office document): extract its text first."),
    (b"%PDF", "It begins like a PDF: extract its text first."),
)


@dataclass(frozen=True, slots=True)
class Source:
    """One regular file to read.

    Attributes:
        name: how the user knows it: a path as given, or a URL.
        path: the local file.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a text tells about it.

    Attributes:
        fingerprint: SHA-256 (hexadecimal) of the decoded content, written as UTF-8.
        characters: its length in code points.
        bytes: its length in UTF-8.
    """

    fingerprint: str
    characters: int
    bytes: int


def read_text(
    sources: Sequence[Source],
    encoding: str = "utf-8",
    errors: str = "strict",
    bom: str = "keep",
    newlines: str = "keep",
    notices: list[str] | None = None,
) -> Iterator[str]:
    """The sources' text, one after the other with nothing between, in chunks of about a million characters.

    Args:
        sources: the files, in order.
        encoding: any text encoding that Python knows.
        errors: ``"strict"`` stops at the first fault, ``"replace"`` reads it as U+FFFD, ``"ignore"`` leaves
            it out, ``"surrogateescape"`` keeps each undecodable byte as a lone surrogate, so that nothing is
            lost.
        bom: ``"strip"`` drops a byte order mark at the start of each file, ``"keep"`` reads it as U+FEFF.
        newlines: ``"unix"`` reads CR LF and a lone CR as LF, ``"keep"`` leaves line ends alone.
        notices: receives a sentence for each kept byte order mark, foreign line end and NUL character.

    Yields:
        Non-empty strings; where the chunk borders fall means nothing.

    Raises:
        MisuseError: an unknown option, a file that cannot be opened, or a decoding fault with
            errors="strict"; the text names the file, the byte and what would work.
    """
    check_reading_options(encoding, errors, bom, newlines)
    heard = notices if notices is not None else []
    for source in sources:
        yield from _read_one(source, encoding, errors, bom, newlines, heard)


def check_reading_options(encoding: str, errors: str, bom: str, newlines: str) -> None:
    """Refuse unknown reading options before a file is touched.

    Raises:
        MisuseError: naming the option and what it can be.
    """
    try:
        codecs.getincrementaldecoder(encoding)
        b"a".decode(encoding, "replace")
    except (LookupError, UnicodeError) as error:
        raise MisuseError(
            f"--encoding {encoding} is not a text encoding that Python knows; utf-8, utf-16, latin-1 and cp1252 are."
        ) from error
    for option, value, allowed in (
        ("--errors", errors, ERRORS),
        ("--bom", bom, ("keep", "strip")),
        ("--newlines", newlines, ("keep", "unix")),
    ):
        if value not in allowed:
            raise MisuseError(f"{option} {value} is unknown; it can be {', '.join(allowed)}.")


def survey(chunks: Iterable[str]) -> Survey:
    """Read a text once for its fingerprint and its sizes.

    Args:
        chunks: the text.

    Returns:
        Its SHA-256 and its lengths in characters and in UTF-8 bytes.
    """
    digest = hashlib.sha256()
    characters = size = 0
    for chunk in chunks:
        data = chunk.encode("utf-8", "surrogateescape")
        digest.update(data)
        characters += len(chunk)
        size += len(data)
    return Survey(digest.hexdigest(), characters, size)


def fingerprint(chunks: Iterable[str]) -> str:
    """SHA-256 (hexadecimal) of a text written as UTF-8, whatever its chunks, encoding and file names were."""
    return survey(chunks).fingerprint


def _read_one(source: Source, encoding: str, errors: str, bom: str, newlines: str, notices: list[str]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    line_ends = io.IncrementalNewlineDecoder(None, True) if newlines == "unix" else None
    head = b""
    position = 0  # bytes of the file read so far
    at_start = True
    foreign_line_end = nul = False
    for data in _bytes_of(source):
        head = head or data[:8]
        position += len(data)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise _fault(source, error, position, head, encoding) from error
        except UnicodeError as error:
            # UTF-16 without its byte order mark is refused as a whole, with no position.
            raise MisuseError(f"{source.name} cannot be read as {encoding}: {error}.") from error
        if at_start and text:
            at_start = False
            if text.startswith(BYTE_ORDER_MARK):
                if bom == "strip":
                    text = text[1:]
                else:
                    notices.append(
                        f"{source.name} begins with a byte order mark, kept as the character U+FEFF; "
                        "--bom strip drops it."
                    )
        nul = nul or "\0" in text
        if line_ends is not None:
            text = line_ends.decode(text, final=not data)
        else:
            foreign_line_end = foreign_line_end or "\r" in text
        if text:
            yield text
    if foreign_line_end:
        notices.append(
            f"{source.name} has carriage returns (Windows or old Mac line ends), kept as characters; "
            "--newlines unix makes them line feeds."
        )
    if nul:
        notices.append(f"{source.name} has NUL characters: is it a binary file, or UTF-16 (--encoding utf-16-le)?")


def _bytes_of(source: Source) -> Iterator[bytes]:
    """The bytes of the file, unpacked where it is called .gz, in chunks, then an empty one that stands for the end."""
    try:
        packed = source.name.endswith(".gz")
        with gzip.open(source.path) if packed else source.path.open("rb", buffering=0) as file:
            while data := file.read(CHUNK_BYTES):
                yield data
            yield b""
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MisuseError(f"{source.name} is no whole gzip file ({error}).") from error
    except FileNotFoundError as error:
        raise MisuseError(f"{source.name} does not exist.") from error
    except IsADirectoryError as error:
        raise MisuseError(f"{source.name} is a folder where a file is needed.") from error
    except PermissionError as error:
        raise MisuseError(f"{source.name} may not be read: permission denied.") from error
    except OSError as error:
        raise FailureError(f"{source.name} could not be read to its end: {error.strerror or error}.") from error


def _fault(source: Source, error: UnicodeDecodeError, position: int, head: bytes, encoding: str) -> MisuseError:
    # The decoder's object is what it had kept back and the last chunk, so it ends where the reading stands.
    offset = position - len(error.object) + error.start
    faulty = error.object[error.start] if error.start < len(error.object) else None
    value = f" (value 0x{faulty:02x})" if faulty is not None else ""
    hint = next((hint for signature, hint in _SIGNATURES if head.startswith(signature)), "")
    ways = [way for way in ("--encoding latin-1", "--errors replace") if way != f"--encoding {encoding}"]
    return MisuseError(
        f"{source.name} is not {encoding}: the byte at position {offset}{value} cannot be decoded "
        f"({error.reason}). "
        + (hint or f"Name its encoding (such as {ways[0]}), or choose --errors replace or --errors ignore.")
    )
