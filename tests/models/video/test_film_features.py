"""Films through an encoder: the same vectors with and without the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.video.reader import BadClipError, read_frames
from elman.models.convnets import build
from elman.models.encoders import ConvNetEncoder
from elman.models.video.features import FilmEncoder

av = pytest.importorskip("av")


def film(path: Path, seed: int, count: int = 12) -> Path:
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(count):
            small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(small.repeat(8, 0).repeat(8, 1), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class Counting(ConvNetEncoder):
    """An encoder that counts the frames that it is given."""

    frames = 0

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.frames += len(images)
        return super().encode(images)


def test_vectors_are_those_of_the_frames_and_come_back_from_the_disk(tmp_path: Path) -> None:
    encoder = Counting(build("net", generator=torch.Generator().manual_seed(0)))
    path, cache = film(tmp_path / "a.mp4", 0), tmp_path / "cache"
    read = FilmEncoder(encoder, 5, batch=4, folder=cache)
    encoder.frames = 0
    vectors = read(path)
    assert vectors.shape == (6, encoder.pooled_width)
    frames = [encoder.prepare(frame.image) for frame in read_frames(path, 5)]
    with torch.inference_mode():
        alone = torch.cat([encoder.encode(image[None])[0] for image in frames])
    torch.testing.assert_close(vectors, alone.half().float(), atol=2e-3, rtol=2e-3)
    encoder.frames = 0
    assert torch.equal(FilmEncoder(encoder, 5, folder=cache)(path), vectors)
    assert encoder.frames == 0
    # another rate, another film: nothing of the first is taken for them
    assert len(FilmEncoder(encoder, 10, folder=cache)(path)) == 12
    other = film(tmp_path / "b.mp4", 1)
    assert not torch.equal(FilmEncoder(encoder, 5, folder=cache)(other), vectors)
    assert encoder.frames == 12 + 6
    # a damaged store is made anew
    for shard in cache.rglob("*.safetensors"):
        shard.write_bytes(shard.read_bytes()[:-10])
    assert torch.equal(FilmEncoder(encoder, 5, folder=cache)(path), vectors)


def test_a_bad_film_is_refused(tmp_path: Path) -> None:
    read = FilmEncoder(ConvNetEncoder(build("net")), 5, folder=tmp_path / "cache")
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(BadClipError, match="not a film"):
        read(tmp_path / "a.mp4")
    with pytest.raises(BadClipError, match="cannot be read"):
        read(tmp_path / "none.mp4")
