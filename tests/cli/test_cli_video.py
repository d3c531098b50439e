"""``elman train video``, ``elman eval`` and ``elman watch`` as their user meets them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from video_cases import write_drawings

from elman.cli.watch import curve

av = pytest.importorskip("av")


def write_films(folder: Path, count: int = 8) -> Path:
    """A bright spot that moves to the left or to the right before a grey wall."""
    for name, way in (("left", -1), ("right", 1)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            with av.open(str(folder / name / f"{number}.mp4"), "w") as container:
                stream = container.add_stream("mpeg4", rate=10)
                stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
                for time in range(9):
                    pixels = np.full((48, 48, 3), 60, np.uint8)
                    middle = 24 + way * 4 * (time - 4)
                    height = 8 + 4 * (number % 8)
                    pixels[height : height + 8, max(0, middle - 4) : middle + 4] = 250
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    for packet in stream.encode(frame):
                        container.mux(packet)
                for packet in stream.encode():
                    container.mux(packet)
    return folder


def test_films_are_trained_on_measured_and_watched(elman: Callable, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films")
    run = tmp_path / "run"
    flags = ["--rate", 10, "--side", 12, "--hidden", 16, "--votes", "last", "--dropout", 0, "--split", "75/25"]
    done = elman("train", "video", films, *flags, "--epochs", 25, "--batch", 4, "--lr", 0.01, "-q", "--out", run)
    assert done.returncode == 0, done.stderr
    found = json.loads(elman("eval", run, "--json").stdout)
    assert found["clips"] == 4
    assert found["accuracy"] == 1.0
    assert found["accuracy_of_shuffled_frames"] < 1.0
    shown = elman("watch", run, films / "left" / "7.mp4", "--best", 2, "--figure", tmp_path / "watched.png")
    assert shown.returncode == 0, shown.stderr
    assert "7.mp4: 9 frames" in shown.stdout
    lines = shown.stdout.splitlines()
    assert [line.split("|")[0].strip() for line in lines[1:]] == ["seconds", "left", "right"]
    assert float(lines[2].split("|")[2]) > 0.5
    assert (tmp_path / "watched.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(elman("watch", run, films / "left" / "7.mp4", "--json").stdout)
    assert told["classes"] == ["left", "right"]
    assert told["seconds"] == pytest.approx([number / 10 for number in range(9)])
    assert all(math.isclose(sum(row), 1, abs_tol=1e-5) for row in told["so_far"])


def test_films_that_cannot_be_used_are_named(elman: Callable, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", 3)
    (films / "left" / "bad.mp4").write_bytes(b"not a film")
    flags = ["--steps", 2, "--side", 8, "--hidden", 4, "--split", "50/50", "-q", "--out", tmp_path / "run"]
    refused = elman("train", "video", films, *flags)
    assert refused.returncode == 2
    assert "bad.mp4: not a film" in refused.stderr
    skipped = elman("train", "video", films, *flags, "--bad", "skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "Skipped bad.mp4" in skipped.stderr + skipped.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "no folder of films"),
        (["films", "--encoder", "resnet18"], "needs --weights"),
        (["films", "--describe", "s2vt"], "has no description"),
        (["films", "--describe", "s2vt", "--layers", "2"], "leave them out with --describe"),
        (["films", "--describe", "words"], "mean-pool or s2vt"),
        (["films", "--stream", "joints"], "films have rgb, motion"),
        (["films", "--vary", "1"], "--vary is for poses and drawings"),
        (["films", "--votes", "most"], "even, late, last"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(
    elman: Callable, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    films = write_films(tmp_path / "films", 2)
    (films.parent / "clips.csv").write_text("clip,label\nfilms/left/0.mp4,left\n")
    done = elman("train", "video", *arguments, "--split", "50/50", "--steps", 1, "-q", cwd=tmp_path)
    if "words" in arguments:
        # the way is looked at once the sentences are there
        (tmp_path / "told.csv").write_text("clip,description\nfilms/left/0.mp4,it moves\nfilms/right/0.mp4,it goes\n")
        done = elman("train", "video", "told.csv", *arguments[1:], "--steps", 1, "-q", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_described_clip_comes_with_its_words(elman: Callable, tmp_path: Path) -> None:
    write_drawings(tmp_path / "drawings.npz")
    flags = ["--stream", "pictures", "--describe", "s2vt", "--pairs", 20, "--hidden", 8, "--split", "60/40"]
    done = elman("train", "video", "drawings.npz", *flags, "--steps", 4, "-q", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(elman("watch", "run", "drawings.npz:0+1", "--best", 2, "--json", cwd=tmp_path).stdout)
    assert told["label"] == "pole + rail"
    for sentence in told["sentences"]:
        assert sentence["logprob"] == pytest.approx(sum(word["logprob"] for word in sentence["words"]))
        assert " ".join(word["word"] for word in sentence["words"] if word["word"] != "<E>") == sentence["sentence"]
    shown = elman("watch", "run", "drawings.npz:0+1", "--best", 1, cwd=tmp_path).stdout
    assert float(shown.splitlines()[1].split()[0]) == pytest.approx(told["sentences"][0]["logprob"], abs=1e-3)
    refused = elman("watch", "run", "drawings.npz:0+1", "--figure", "a.png", cwd=tmp_path)
    assert (refused.returncode, "writes sentences" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_real_films_go_through_a_real_encoder(elman: Callable, shared_data: Path, tmp_path: Path) -> None:
    films = sorted((shared_data / "video").glob("grid_*.mpg"))
    told = ["bin blue at f two now", "bin red by k seven now", "lay blue at x four now"]
    rows = [f"{film},{film.stem},{sentence}" for film, sentence in zip(films, told, strict=True)]
    (tmp_path / "clips.csv").write_text("\n".join(["clip,label,description", *rows]) + "\n")
    weights = shared_data / "models" / "squeezenet1_0.safetensors"
    flags = ["--encoder", "squeezenet1_0", "--weights", weights, "--split", "100", "--hidden", 32, "--dropout", 0, "-q"]
    done = elman("train", "video", "clips.csv", *flags, "--steps", 30, "--out", "named", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(elman("eval", "named", "--part", "train", "--json", cwd=tmp_path).stdout)["accuracy"] == 1.0
    flags += ["--describe", "s2vt", "--lr", 0.01]
    done = elman("train", "video", "clips.csv", *flags, "--steps", 60, "--out", "told", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for film, sentence in zip(films, told, strict=True):
        assert sentence in elman("watch", "told", film, "--best", 1, cwd=tmp_path).stdout


def test_curves_say_how_high() -> None:
    assert curve([0.0, 0.5, 1.0]) == " ▄█"
    assert curve([0.25] * 200, 60) == "▂" * 60
    # a long clip is drawn by the means of its pieces
    assert curve([0.0] * 60 + [1.0] * 60, 4) == "  ██"
