"""Showing one clip to a run: which clip, what is thought of it, what it looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from video_cases import wishes, write_drawings, write_poses

from elman.errors import MisuseError
from elman.insight.watching import moments, open_clip, tell, watch
from elman.runs import load
from elman.training.settings import Settings
from elman.training.systems.video.data import ClipOptions, read_footage
from elman.training.systems.video.run import train

SHORT = Settings(steps=6, batch=8, lr=1e-2, eval_every=6, backend="reference")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    write_poses(folder / "poses.npz", clips=30)
    write_drawings(folder / "drawings.npz")
    train([str(folder / "poses.npz")], ClipOptions(), wishes(settings=SHORT), folder / "named")
    train([str(folder / "drawings.npz")], ClipOptions(), wishes(settings=SHORT), folder / "points")
    options = ClipOptions(stream="pictures", pairs=20, split="70/30")
    train([str(folder / "drawings.npz")], options, wishes("lstm", "s2vt", SHORT), folder / "told")
    return folder


def test_the_end_of_the_clip_is_the_clip(folder: Path) -> None:
    run = folder / "named"
    loaded = load(run, systems=("video",))
    seen = open_clip(loaded, run, f"{folder / 'poses.npz'}:3")
    watched = watch(loaded, run, seen)
    footage = read_footage([str(folder / "poses.npz")], ClipOptions(), describe=False)
    frames, lengths = footage.frames([3])
    with torch.inference_mode():
        whole = loaded.model(frames, lengths)[0]
    np.testing.assert_allclose(watched.so_far[-1], whole.numpy(), atol=1e-5)
    assert watched.classes == ("fall", "rise")
    assert seen.label == "fall"
    assert watched.likeliest(1) == [int(whole.argmax())]
    assert len(seen.places) == len(watched.each) == int(lengths)


def test_sentences_come_with_their_log_probability(folder: Path) -> None:
    run = folder / "told"
    loaded = load(run, systems=("video",))
    seen = open_clip(loaded, run, f"{folder / 'drawings.npz'}:0+4")
    assert seen.label == "pole + rail"
    found = tell(loaded, run, seen, width=2, best=3)
    assert len(found) == 3
    assert found[0].logprob >= found[1].logprob >= found[2].logprob
    words = torch.tensor(loaded.vocabulary.encode(found[0].text + "\n").ids.astype(np.int64))[:, None]
    with torch.inference_mode():
        scores = loaded.model(seen.frames[:, None], torch.tensor([len(seen.frames)]), words[:-1])
    nats = torch.nn.functional.cross_entropy(scores[:, 0], words[1:, 0], reduction="sum")
    assert found[0].logprob == pytest.approx(-float(nats), abs=1e-3)


def test_moments_show_the_body_and_the_strokes(folder: Path) -> None:
    loaded = load(folder / "named", systems=("video",))
    seen = open_clip(loaded, folder / "named", f"{folder / 'poses.npz'}:0")
    shown = moments(seen, folder / "named", loaded, 4)
    assert len(shown) == 4
    assert [len(moment.lines) for moment in shown] == [14] * 4
    assert shown[0].place == 1
    assert shown[-1].place == len(seen.frames)
    raw = seen.source
    assert isinstance(raw, torch.Tensor)
    assert shown[0].lines[0].tolist() == raw[0, [2, 0]].tolist()
    loaded = load(folder / "told", systems=("video",))
    both = open_clip(loaded, folder / "told", f"{folder / 'drawings.npz'}:0+2")
    strokes = [sum(len(line) for line in moment.lines) for moment in moments(both, folder / "told", loaded, 20)]
    # the second drawing begins on a fresh paper
    assert max(strokes[:8]) == 2
    assert strokes[-1] == 3


@pytest.mark.parametrize(
    ("run", "clip", "sentence"),
    [
        ("named", "poses.npz", "no film"),
        ("named", "poses.npz:30", "has clips 0 to 29; there is no clip 30"),
        ("named", "poses.npz:-1", "there is no clip -1"),
        ("named", "poses.npz:first", "names no clip"),
        ("named", "poses.npz:1+2", "Only drawings can follow each other"),
        ("named", "drawings.npz:1", "holds drawings; .* knows poses"),
        ("named", "film.mp4", "name a clip as FILE.npz:ROW"),
    ],
)
def test_clips_that_are_none_are_refused(folder: Path, run: str, clip: str, sentence: str) -> None:
    loaded = load(folder / run, systems=("video",))
    if sentence == "no film":
        sentence = "name a clip as FILE.npz:ROW"
    with pytest.raises(MisuseError, match=sentence):
        open_clip(loaded, folder / run, str(folder / clip))
