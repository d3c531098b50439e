"""Films: frames at a rate, in bounded memory, and a sentence for everything that is no whole film."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from elman.data.video.reader import BadClipError, ClipLimits, read_frames
from elman.errors import MisuseError

av = pytest.importorskip("av")

RATE = 10


def film(path: Path, count: int = 20, width: int = 64, height: int = 48, times: list[int] | None = None) -> Path:
    """A film whose frame k is grey 10 + 10 k; shown every 1 / RATE seconds, or at ``times`` of these."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            pixels = np.full((height, width, 3), 10 + 10 * (number % 24), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, RATE)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def greys(path: Path, rate: float | None = None) -> list[int]:
    return [round((float(frame.image.float().mean()) - 10) / 10) for frame in read_frames(path, rate)]


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".ts"])
def test_every_frame_comes_once_in_its_order(tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"a{ending}")
    frames = list(read_frames(path))
    assert greys(path) == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([number / RATE for number in range(20)], abs=1e-3)
    assert frames[0].image.shape == (3, 48, 64)


@pytest.mark.parametrize("rate", [1, 2.5, 3, 7, 10, 25, 1000])
def test_a_rate_takes_the_first_frame_at_or_after_each_moment(tmp_path: Path, rate: float) -> None:
    path = film(tmp_path / "a.mp4")
    expected = []
    for moment in range(int(2 * rate) + 1):
        later = [number for number in range(20) if number / RATE >= moment / rate - 1e-6]
        if later and later[0] not in expected:
            expected.append(later[0])
    assert greys(path, rate) == expected


def test_frames_that_were_dropped_are_not_made_up(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", count=5, times=[0, 1, 9, 10, 20])
    assert [round(frame.time, 2) for frame in read_frames(path, 5)] == [0, 0.9, 1.0, 2.0]


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = film(tmp_path / f"{count}.avi", count=count, width=320, height=240)
        tracemalloc.start()
        largest = 0
        for frame in read_frames(path):
            largest = max(largest, frame.image.numel())
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert largest == 3 * 320 * 240
        return top

    assert peak(200) < 1.2 * peak(20) + 100_000


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_film_that_is_cut_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    content = film(tmp_path / f"a{ending}", width=160, height=120).read_bytes()
    cut = tmp_path / f"cut{ending}"
    # the last fifth of a container is often its index, without which all frames are still there
    for share in (0.0, 0.02, 0.3, 0.5, 0.7):
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(BadClipError, match=f"^cut{ending}: "):
            list(read_frames(cut))


def other_name(folder: Path) -> Path:
    path = folder / "playlist.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{film(folder / 'b.mp4')}\n#EXT-X-ENDLIST\n")
    return path


def concatenation(folder: Path) -> Path:
    path = folder / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{film(folder / 'b.mp4')}'\n")
    return path


def prose(folder: Path) -> Path:
    path = folder / "prose.mp4"
    path.write_text("It was a dark and stormy night. " * 500)
    return path


def sound(folder: Path) -> Path:
    path = folder / "sound.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        for packet in stream.encode(frame):
            container.mux(packet)
    return path


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (other_name, "playlist.mp4: not a film"),
        (concatenation, "list.mp4: not a film"),
        (prose, "prose.mp4: not a film"),
        (sound, "sound.avi: there is no video in it"),
        (pipe, "pipe.mp4: not a regular file"),
        (lambda folder: folder / "none.mp4", "none.mp4: cannot be read"),
    ],
)
def test_what_is_no_film_is_named(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(BadClipError, match=sentence) as caught:
        list(read_frames(make(tmp_path)))
    assert "\n" not in str(caught.value)


def test_limits_hold(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with pytest.raises(BadClipError, match="64 x 48 pixels, more than 3,000 in all"):
        list(read_frames(path, limits=ClipLimits(pixels=3_000)))
    with pytest.raises(BadClipError, match="more than 5 frames; take them at a rate"):
        list(read_frames(path, limits=ClipLimits(frames=5)))
    with pytest.raises(BadClipError, match="more than 3 frames at 4 a second; take a lower rate"):
        list(read_frames(path, 4, ClipLimits(frames=3)))
    with pytest.raises(BadClipError, match="more than 7 frames; cut it into clips"):
        list(read_frames(path, 1, ClipLimits(decoded=7)))
    assert len(list(read_frames(path, 4, ClipLimits(frames=8)))) == 8
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MisuseError, match="must be above 0"):
            list(read_frames(path, rate))


def test_real_films_are_read_whole_and_refused_when_cut(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "video").glob("grid_*.mpg")):
        frames = list(read_frames(path, 5))
        assert len(frames) == 15
        assert frames[-1].time == pytest.approx(2.8)
        assert frames[0].image.shape == (3, 288, 360)
        # a speaker before a plain wall: neither black nor of one colour
        assert 20 < float(frames[7].image.float().mean()) < 235
        assert float(frames[7].image.float().std()) > 20
        content = path.read_bytes()
        for size in (1_000, 150_000, len(content) - 3_000):
            (tmp_path / "cut.mpg").write_bytes(content[:size])
            with pytest.raises(BadClipError, match="damaged or cut short"):
                list(read_frames(tmp_path / "cut.mpg"))
