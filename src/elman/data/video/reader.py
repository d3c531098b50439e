"""A film as a stream of frames: at a rate of one's own, one frame in memory at a time, bounded."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.errors import MisuseError, require

# containers of one film; formats that name other files or addresses are not among them
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo,mpegts,ogg,flv,asf,gif,m4v,h264,hevc,ivf,apng"
ENDINGS = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".ogv", ".flv", ".wmv", ".asf", ".3gp"}
    | {".gif", ".h264"}
)
# a frame that comes this much before its time is still taken: times are fractions of a container's clock
_EARLY = 1e-4
_EVERY = 1e9


class BadClipError(MisuseError):
    """A film that cannot be used; the text is one line that begins with its name."""


@dataclass(frozen=True)
class ClipLimits:
    """What is read; all else is refused.

    Attributes:
        pixels: largest width times height of a frame.
        frames: most frames that are taken.
        decoded: most frames that are decoded on the way to these.
    """

    pixels: int = 16_000_000
    frames: int = 2_000
    decoded: int = 200_000


LIMITS = ClipLimits()


class Frame(NamedTuple):
    """A frame.

    Attributes:
        time: seconds since the first frame.
        image: [3, H, W], uint8, red, green, blue.
    """

    time: float
    image: Tensor


def read_frames(path: Path, rate: float | None = None, limits: ClipLimits = LIMITS) -> Iterator[Frame]:
    """Decode a film.

    Frame k is the first that is shown at k / rate seconds or later, so that no frame is given twice: a rate above the
    film's own gives every frame. The file is read as a stream: memory does not grow with its length.

    Args:
        path: a file; the first of its video streams is read.
        rate: frames a second; None for every frame.
        limits: of sizes.

    Yields:
        The frames, in the order in which they are shown.

    Raises:
        BadClipError: empty, no video, damaged, cut short, or beyond the limits.
        MisuseError: a rate that is none, or PyAV is not installed.
    """
    if rate is not None and not 0 < rate < _EVERY:
        raise MisuseError(f"A rate of {rate:g} frames a second cannot be; it must be above 0.")
    av = require("av", "video")
    # FFmpeg writes its own complaints to the terminal, which say the same as the sentence here, less well
    av.logging.set_level(av.logging.PANIC)
    name = path.name
    try:
        facts = path.stat()
        # a pipe in the place of a film would wait for ever
        if not stat.S_ISREG(facts.st_mode):
            raise BadClipError(f"{name}: not a regular file.")
        file = path.open("rb")
    except OSError as error:
        raise BadClipError(f"{name}: cannot be read ({error.strerror}).") from error
    with file:
        if not facts.st_size:
            raise BadClipError(f"{name}: the file is empty.")
        try:
            # an open file, not a name: FFmpeg would take some names for addresses
            container = av.open(file, options={"format_whitelist": FORMATS, "protocol_whitelist": "none"})
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise BadClipError(f"{name}: not a film, or damaged from its beginning ({_reason(error)}).") from error
        with container:
            if not container.streams.video:
                raise BadClipError(f"{name}: there is no video in it.")
            stream = container.streams.video[0]
            _check_size(stream.codec_context.width, stream.codec_context.height, name, limits)
            # a film may say one size at its beginning and another inside
            stream.codec_context.options = {"max_pixels": str(limits.pixels)}
            yield from _sampled(av, container, stream, name, rate, limits)


def _sampled(
    av: Any, container: Any, stream: Any, name: str, rate: float | None, limits: ClipLimits
) -> Iterator[Frame]:
    begin: float | None = None
    time = end = 0.0
    given = due = decoded = 0
    try:
        for frame in container.decode(stream):
            decoded += 1
            if decoded > limits.decoded:
                raise BadClipError(f"{name}: more than {limits.decoded:,} frames; cut it into clips.")
            if frame.is_corrupt:
                raise BadClipError(f"{name}: damaged or cut short: the frame at {end:.2f} seconds is not whole.")
            shown = (decoded - 1) / float(stream.average_rate or 25) if frame.time is None else frame.time
            begin = shown if begin is None else begin
            time = shown - begin
            end = time + float((frame.duration or 0) * (frame.time_base or 0))
            if rate is not None and time < due / rate - _EARLY:
                continue
            if given == limits.frames:
                advice = f" at {rate:g} a second; take a lower rate." if rate else "; take them at a rate."
                raise BadClipError(f"{name}: more than {limits.frames:,} frames{advice}")
            _check_size(frame.width, frame.height, name, limits)
            image = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()
            given += 1
            # where frames were dropped, several due times may have passed
            due = 0 if rate is None else int((time + _EARLY) * rate) + 1
            yield Frame(time, image)
    except (av.error.FFmpegError, OSError) as error:
        raise BadClipError(
            f"{name}: damaged or cut short after {decoded:,} frames, {time:.2f} seconds ({_reason(error)})."
        ) from error
    if not decoded:
        raise BadClipError(f"{name}: no frame can be read from it.")
    _check_end(container, stream, name, decoded, end)


def _check_end(container: Any, stream: Any, name: str, decoded: int, end: float) -> None:
    """Refuse a film that ends before the time that its beginning announced."""
    if stream.duration is not None:
        announced = float(stream.duration * stream.time_base)
    elif len(container.streams) == 1 and container.duration is not None:
        announced = container.duration / 1e6
    else:
        return
    if stream.frames and decoded >= stream.frames:
        return
    if end < announced - 1.5 / float(stream.average_rate or 25):
        raise BadClipError(f"{name}: cut short: it ends at {end:.2f} of {announced:.2f} seconds.")


def _check_size(width: int, height: int, name: str, limits: ClipLimits) -> None:
    if width * height > limits.pixels:
        raise BadClipError(f"{name}: {width} x {height} pixels, more than {limits.pixels:,} in all.")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:100] or type(error).__name__
