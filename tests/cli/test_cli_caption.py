"""``elman train caption``, ``elman caption`` and ``elman eval`` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_captions import png, write_data, write_weights

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, captions, lists and weights in one folder."""
    folder = tmp_path_factory.mktemp("cli-captions")
    write_data(folder)
    write_weights(folder)
    return folder


SMALL = {"weights": "net.safetensors", "hidden": 16, "embedding": 8, "image": 8} | {
    "dropout": 0,
    "feature-dropout": 0,
    "min-count": 1,
}


def train(elman: Callable[..., Any], made: Path, out: Path, *flags: object) -> Any:
    sizes = {"batch": 6, "threads": 1} if "--from" in flags else {"batch": 6, "threads": 1, **SMALL}
    small = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    lists = [made / f"{part}.txt" for part in ("train", "dev", "test")]
    data = [made / "images", made / "captions.csv", "--lists", *lists]
    return elman("train", "caption", *data, *small, "--quiet", "--out", out, *flags, cwd=made)


def test_from_pictures_to_captions(elman: Callable[..., Any], made: Path, tmp_path: Path):
    run = tmp_path / "run"
    done = train(elman, made, run, "--way", "attention", "--steps", 40, "--lr", 0.02, "--cell", "gru", "--keep", "nats")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    # the net is known by its weights
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["encoder"]["net"]["name"] == "net"

    image = made / "images" / "024.png"
    done = elman("caption", run, image, "--n-best", 2, "--beam", 4)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == str(image)
    assert len(lines) == 5
    assert lines[2].strip().startswith("log P -")
    assert "nats" in lines[2]

    (tmp_path / "000000000042.png").write_bytes(png("red", "disc", 3))
    done = elman("caption", run, tmp_path / "000000000042.png", image, "--json", "--attention", tmp_path / "looks")
    first, second = json.loads(done.stdout)
    assert first["image_id"] == 42
    assert second["image_id"] == "024"
    assert first["log_probability"] == pytest.approx(sum(first["token_log_probabilities"]), abs=1e-4)
    assert len(first["tokens"]) == len(first["token_log_probabilities"])
    length = len(first["tokens"])
    assert first["score"] == pytest.approx(first["log_probability"] / ((5 + length) / 6) ** 0.7, abs=1e-4)
    pictures = sorted(path.name for path in (tmp_path / "looks").iterdir())
    assert "024.png" in pictures
    assert sum(name.startswith("000000000042-") for name in pictures) == length

    drawn = [
        elman("caption", run, image, "--sample", "--temperature", 1.5, "--n-best", 3, "--seed", seed, "--json").stdout
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(json.loads(drawn[0])) == 3

    done = elman("eval", run, "--part", "test", "--option", "beam=2", "--json")
    scores = json.loads(done.stdout)
    assert scores["images"] == 6
    assert set(scores["captions"]) == {"model", "image-blind", "shuffled"}
    shown = elman("eval", run, "--part", "test", "--option", "retrieval=0").stdout
    assert "CIDEr-D" in shown
    assert "image-blind" in shown

    together = elman("caption", run, image, "--ensemble", run, "--json")
    (twins,), (alone,) = json.loads(together.stdout), json.loads(elman("caption", run, image, "--json").stdout)
    assert twins["caption"] == alone["caption"]
    assert twins["log_probability"] == pytest.approx(alone["log_probability"], abs=1e-4)
    scored = elman("eval", run, "--part", "test", "--option", f"ensemble={run},{run}", "--option", "beam=2", "--json")
    assert json.loads(scored.stdout)["captions"] == scores["captions"]

    done = elman("resume", run, "--steps", 42, "--quiet")
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_is_said_in_a_sentence(elman: Callable[..., Any], made: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert train(elman, made, run, "--steps", 2).returncode == 0
    bad = tmp_path / "bad.png"
    bad.write_bytes(png("red", "disc", 3)[:90])
    for arguments, message in (
        ((bad,), "bad.png: damaged or cut short"),
        ((tmp_path / "none.png",), "there is no such file"),
        ((bad, "--bad", "skip"), "No image can be used"),
        ((made / "images" / "000.png", "--tag", "fr"), "--tag is 'fr'; this model was trained without"),
        ((made / "images" / "000.png", "--attention", tmp_path), "has no attention"),
    ):
        done = elman("caption", run, *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    done = elman("caption", run, bad, made / "images" / "000.png", "--bad", "skip")
    assert done.returncode == 0
    assert "Skipped" in done.stderr
    assert "000.png" in done.stdout
    assert train(elman, made, tmp_path / "a", "--steps", 2, "--way", "telepathy").returncode == 2
    done = train(elman, made, tmp_path / "b", "--from", run, "--steps", 2, "--hidden", 32, "--min-count", 2)
    assert done.returncode == 2
    assert "--hidden, --min-count cannot be chosen anew" in done.stderr
    assert not (tmp_path / "b").exists()
    done = train(elman, made, tmp_path / "b", "--steps", 2, "--self-critical")
    assert done.returncode == 2
    assert "--from" in done.stderr
    done = elman("train", "caption", made / "images", made / "captions.csv", "--steps", 2, "--out", tmp_path / "c")
    assert done.returncode == 2
    assert "--weights is missing" in done.stderr


def test_a_second_stage_goes_on_from_a_run(elman: Callable[..., Any], made: Path, tmp_path: Path):
    assert train(elman, made, tmp_path / "one", "--steps", 4).returncode == 0
    for name, flags in (
        ("fine", ("--fine-tune", "--encoder-rate", 0.5)),
        ("scheduled", ("--scheduled-sampling", 0.5)),
        ("critical", ("--self-critical",)),
    ):
        done = train(elman, made, tmp_path / name, "--from", tmp_path / "one", "--steps", 2, *flags)
        assert done.returncode == 0, done.stderr
        again = elman("resume", tmp_path / name, "--steps", 3, "--quiet")
        assert again.returncode == 0, again.stderr
    stored = json.loads((tmp_path / "fine" / "config.json").read_text())
    assert stored["training"]["settings"]["rate_scales"] == {"encoder.": 0.5}
    assert stored["start"]["run"] == str(tmp_path / "one")
