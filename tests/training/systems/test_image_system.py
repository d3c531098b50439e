"""``elman train image`` from end to end: learning, resuming, transfer, bad images, evaluation, prediction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elman.cli.predict_image import predict_images
from elman.data.images import SquareImages
from elman.errors import FailureError, MisuseError
from elman.metrics.classification import accuracy
from elman.models.convnets import build
from elman.runs import load
from elman.training.settings import Settings
from elman.training.systems.image import data as image_data
from elman.training.systems.image.choose import (
    ImageWishes,
    Reasons,
    choose_batch,
    choose_rates,
    frozen_names,
    parse_augmentation,
)
from elman.training.systems.image.examples import Judged
from elman.training.systems.image.run import rebuild

Elman = Callable[..., Any]
CLASSES = ("across", "down", "round")
EACH = 24


def pattern(kind: str, seed: int, side: int = 18) -> np.ndarray:
    """Stripes across, stripes down or rings, [side, side, 3], uint8; place, colour and width differ."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] - random.uniform(0, side, 2)[:, None, None]
    phase = {"across": rows, "down": columns, "round": np.hypot(rows, columns)}[kind] * random.uniform(0.9, 1.4)
    wave = 0.5 + 0.4 * np.sin(phase)[:, :, None] * random.uniform(0.5, 1, 3)
    return ((wave + random.normal(size=(side, side, 3)) * 0.05) * 255).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number, kind in enumerate(CLASSES):
        (folder / kind).mkdir()
        for n in range(EACH):
            Image.fromarray(pattern(kind, 1000 * number + n)).save(folder / kind / f"{n:02d}.png")
    return folder


def trained(elman: Elman, out: Path, *arguments: object) -> dict[str, Any]:
    done = elman("train", "image", *arguments, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads((out / "config.json").read_text())


def scores(elman: Elman, *arguments: object) -> dict[str, Any]:
    done = elman("eval", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def test_it_learns_and_says_so_class_by_class(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--split", "70/15/15", "--batch", "16", "--steps", "50", "--eval-every", "25", "--samples")
    config = trained(elman, run, pictures, *options)
    assert config["data"]["images"] == {"train": 50, "valid": 11, "test": 11}
    assert config["model"]["classes"] == list(CLASSES)
    found = scores(elman, run, "--part", "train")
    assert found["accuracy"] > 0.85
    assert found["accuracy"] == pytest.approx(accuracy(np.array(found["confusion"])))
    assert found["classes"]["round"]["images"] == np.array(found["confusion"])[2].sum()
    assert found["images"] == 50
    assert scores(elman, run, pictures)["images"] == 3 * EACH
    printed = elman("eval", run, "--part", "test").stdout
    assert "true \\ called" in printed
    sample = (run / "samples" / "step-000000050.txt").read_text().splitlines()
    assert all(line.split(": ")[1].split()[0] in CLASSES for line in sample)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["valid_accuracy"] for line in lines if "valid_accuracy" in line]


def test_resumed_and_uninterrupted_trainings_end_alike(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    """Augmentation, dropout, order, whitening, batch norm and a frozen layer: bit for bit."""
    options = (pictures, "--preprocess", "whitening", "--size", "16", "--batch", "10", "--dropout", "0.3")
    options += ("--schedule", "constant", "--warmup", "0", "--eval-every", "4", "--freeze", "features.0")
    options += ("--rate-scale", "features.3=0.1", "--augment", "padding=2,flip=0.5,brightness=0.2,colours=0.1")
    trained(elman, tmp_path / "whole", *options, "--steps", "12")
    trained(elman, tmp_path / "halves", *options, "--steps", "8")
    assert elman("resume", tmp_path / "halves", "--steps", "12", "--quiet").returncode == 0
    ends = []
    for name in ("whole", "halves"):
        newest = max((tmp_path / name / "resume").glob("step-*/*.safetensors"))
        ends.append(load_file(newest))
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        ends[-1]["nats"] = torch.tensor([line["valid_nats"] for line in lines if "valid_nats" in line][-1])
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_images_that_are_not_kept_give_the_same_training(
    elman: Elman, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (pictures, "--batch", "16", "--steps", "6", "--accumulate", "2")
    trained(elman, tmp_path / "kept", *options)
    monkeypatch.setattr(image_data, "SquareImages", partial(SquareImages, most_bytes=0))
    trained(elman, tmp_path / "streamed", *options)
    kept, streamed = weights(tmp_path / "kept"), weights(tmp_path / "streamed")
    assert all(torch.equal(kept[name], streamed[name]) for name in kept)


def test_frozen_layers_stay_and_others_move_by_their_rate(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build("small_bn", 10)
    save_file(source.state_dict(), tmp_path / "ten.safetensors")
    options = (pictures, "--weights", tmp_path / "ten.safetensors", "--steps", "5", "--batch", "16", "--size", "16")
    config = trained(elman, tmp_path / "frozen", *options, "--freeze", "features")
    assert config["model"]["net"]["name"] == "small_bn"
    found = weights(tmp_path / "frozen")
    before = source.state_dict()
    assert all(torch.equal(found[f"net.{name}"], before[name]) for name in before if name.startswith("features"))
    assert found["net.fc.weight"].shape == (3, 128)
    # not frozen: trained layers move a tenth as far as fresh ones (Adam's first steps are as long as the rate)
    config = trained(elman, tmp_path / "tuned", *options, "--warmup", "0")
    assert config["training"]["settings"]["rate_scales"] == {"net.": 0.1, "net.fc": 1.0}
    moved = {name: (tensor - before[name]) for name, tensor in source.state_dict().items()}
    tuned = weights(tmp_path / "tuned")
    moved = {name: float((tuned[f"net.{name}"] - before[name]).abs().max()) for name in ("features.0.weight",)}
    assert 0 < moved["features.0.weight"] < 5 * 1e-4 * 1.01


def test_a_run_is_where_another_begins(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    trained(elman, tmp_path / "first", pictures, "--steps", "4", "--batch", "16", "--size", "16")
    options = ("--freeze", "features", "--steps", "2", "--size", "16")
    config = trained(elman, tmp_path / "second", pictures, "--weights", tmp_path / "first", *options)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert torch.equal(first["net.features.0.weight"], second["net.features.0.weight"])
    assert torch.equal(first["_fitted.mean"], second["_fitted.mean"])
    assert config["model"]["preprocessing"]["kind"] == "normalise"


def test_bad_images_are_named_and_refused_or_skipped(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "some"
    shutil.copytree(pictures, folder)
    square = Image.fromarray(pattern("down", 5))
    # unusual, and read
    square.convert("CMYK").save(folder / "down" / "print.jpg")
    square.convert("P").save(folder / "down" / "palette.gif")
    Image.fromarray(pattern("round", 6)[:, :, 0].astype(np.uint16) * 257).save(folder / "round" / "deep.png")
    # unusable: cut short, a dot, more pixels than there is memory for, no image, nothing
    whole = (folder / "down" / "03.png").read_bytes()
    (folder / "down" / "cut.png").write_bytes(whole[:150])
    Image.new("RGB", (1, 1)).save(folder / "down" / "dot.png")
    # the header of a PNG says its size; the rest is as before
    (folder / "round" / "bomb.png").write_bytes(whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:])
    (folder / "round" / "note.jpg").write_text("no image")
    (folder / "round" / "nothing.png").write_bytes(b"")
    done = elman("train", "image", folder, "--out", tmp_path / "run", "--steps", "2")
    assert done.returncode == 2
    assert "down/cut.png: damaged or cut short" in done.stderr
    assert "--bad skip" in done.stderr
    done = elman("train", "image", folder, "--out", tmp_path / "run", "--steps", "2", "--bad", "skip", "--quiet")
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        f"Skipped {name}"
        for name in ("down/cut.png", "down/dot.png", "round/bomb.png", "round/note.jpg", "round/nothing.png")
    ]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert sum(config["data"]["images"].values()) == 3 * EACH + 3
    # a resume leaves the same ones out
    assert elman("resume", tmp_path / "run", "--steps", "3", "--quiet").returncode == 0


def test_changed_images_are_refused_and_moved_ones_found(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "here"
    shutil.copytree(pictures, folder)
    config = trained(elman, tmp_path / "run", folder, "--steps", "2")
    settings = Settings.from_json(config["training"]["settings"])
    folder = folder.rename(tmp_path / "there")
    with pytest.raises(MisuseError, match="cannot be opened"):
        rebuild(config, settings, tmp_path / "run", None)
    assert len(rebuild(config, settings, tmp_path / "run", [str(folder)]).examples) == 64
    Image.fromarray(pattern("down", 77)).save(folder / "down" / "00.png")
    with pytest.raises(FailureError, match="not those that"):
        rebuild(config, settings, tmp_path / "run", [str(folder)])


def test_parts_with_sources_of_their_own(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for kind in ("round", "down"):
        (other / kind).mkdir(parents=True)
        shutil.copy(pictures / kind / "00.png", other / kind)
    config = trained(elman, tmp_path / "run", pictures, "--valid", other, "--steps", "2", "--batch", "16")
    assert config["data"]["images"] == {"train": 72, "valid": 2, "test": 0}
    done = elman("train", "image", pictures, "--valid", other, "--out", tmp_path / "two", "--steps", "1")
    # of the one source and of the other at once
    assert "2 of the valid part's 2 images are in the training part too" in done.stderr + done.stdout
    done = elman("train", "image", pictures, "--valid", other, "--split", "80/20", "--out", tmp_path / "x")
    assert done.returncode == 2
    assert "take one of them" in done.stderr
    (other / "unheard").mkdir()
    shutil.copy(pictures / "round" / "01.png", other / "unheard")
    done = elman("train", "image", pictures, "--test", other, "--out", tmp_path / "x")
    assert done.returncode == 2
    assert "the class 'unheard', which the training images lack" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--net", "resnet19"), "no ConvNet 'resnet19'"),
        (("--net", "alexnet", "--size", "20"), "alexnet cannot read images of 20 x 20"),
        (("--freeze", "layer9"), "No parameter of small_bn begins with 'layer9'; its parts are fc, features."),
        (("--freeze", "fc", "--freeze", "features"), "Every parameter is frozen"),
        (("--preprocess", "sharpen"), "--preprocess is 'sharpen'"),
        (("--components", "3"), "--components 3 is for --preprocess pca"),
        (("--augment", "padding=4,twist=2"), "--augment 'twist=2' is no NAME=VALUE"),
        (("--bad", "ignore"), "bad is 'ignore'"),
        (("--net", "resnet18", "--dropout", "0.5"), "resnet18 has no option 'dropout'"),
        (("--weights", "nothing.safetensors"), "nothing.safetensors"),
        (("--batch", "1"), "Batch norm needs more than one image"),
        (("--size", "2"), "--size is 2"),
    ],
)
def test_a_mistake_is_a_sentence(
    elman: Elman, pictures: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = elman("train", "image", pictures, *arguments, "--out", tmp_path / "run", "--steps", "1")
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert not (tmp_path / "run" / "config.json").exists()


def test_images_without_class_folders_are_refused(elman: Elman, pictures: Path, tmp_path: Path) -> None:
    done = elman("train", "image", pictures / "round", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "no class folders: a classifier needs at least two" in done.stderr
    done = elman("train", "image", pictures, "--out", pictures / "run")
    assert "lies inside" in done.stderr


def test_single_images_have_classes_with_probabilities(
    elman: Elman, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    trained(elman, run, pictures, "--batch", "16", "--steps", "40")
    model = load(run, systems=("image",)).model
    predict_images(model, [str(pictures / "round" / "03.png"), str(pictures / "across")], best=2, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + EACH
    assert sum(line["class"] == "across" for line in lines[1:]) > 0.7 * EACH
    for line in lines:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert line["probability"] == max(line["probabilities"].values()) == line["best"][0]["probability"]
        assert len(line["best"]) == 2
    # the verb says the same
    done = elman("predict", run, pictures / "round" / "03.png", pictures / "across", "--json", "--best", "2")
    assert [json.loads(line) for line in done.stdout.splitlines()] == lines
    assert elman("predict", run, "--text", "a word").returncode == 2
    assert elman("predict", run).returncode == 2
    (tmp_path / "broken.png").write_text("no")
    predict_images(model, [str(tmp_path / "broken.png"), str(pictures / "down" / "01.png")], bad="skip")
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert "Skipped" in printed.err
    with pytest.raises(MisuseError, match=r"broken\.png"):
        predict_images(model, [str(tmp_path / "broken.png")])


def test_published_squeezenet_learns_new_classes(
    shared_data: Path, elman: Elman, pictures: Path, tmp_path: Path
) -> None:
    path = shared_data / "models" / "squeezenet1_0.safetensors"
    config = trained(elman, tmp_path / "run", pictures, "--weights", path, "--freeze", "features", "--size", "64",
                     "--batch", "16", "--steps", "30", "--lr", "1e-2")  # fmt: skip
    assert config["model"]["net"]["name"] == "squeezenet1_0"
    assert config["model"]["preprocessing"]["images"] == 0
    assert scores(elman, tmp_path / "run", "--part", "train")["accuracy"] > 0.8


def test_ties_count_against_the_model() -> None:
    judged = Judged(torch.zeros(4, 6), torch.tensor([0, 1, 2, 3]), 0.0)
    assert judged.top(1) == 0
    assert judged.top(5) == 0
    assert judged.top(6) == 1
    ordered = Judged(torch.eye(6)[:4] + torch.arange(6) / 10, torch.tensor([0, 1, 2, 5]), 0.0)
    assert ordered.top(1) == 0.75
    assert ordered.top(2) == 1


def test_the_longest_beginning_decides_what_is_frozen() -> None:
    net = build("small_bn", 3, device="meta")
    frozen = frozen_names(net, {"net.features": 0.0, "net.features.1": 0.5})
    assert "features.0.weight" in frozen
    # the beginning also fits features.11 and so on
    assert not any(name.startswith("features.1") for name in frozen)
    assert "fc.weight" not in frozen


def test_deep_nets_without_batch_norm_are_started_slowly() -> None:
    def rate(name: str, optimiser: str = "AdamW", **wishes: Any) -> float:
        net = build(name, 3, device="meta")
        return choose_rates(ImageWishes(**wishes), Settings(optimizer=optimiser), net, Reasons()).lr

    assert rate("squeezenet1_0") == rate("vgg16") == rate("alexnet") == 3e-4
    assert rate("resnet18") == rate("vgg16_bn") == rate("net") == 1e-3
    assert rate("small") == rate("small_bn") == 4e-3
    assert rate("vgg16", "SGD") < rate("vgg16_bn", "SGD")
    assert rate("vgg16", weights="vgg16.safetensors") == 1e-3


def test_batches_leave_batch_norm_more_than_one_image() -> None:
    normed, plain = build("small_bn", 3, device="meta"), build("small", 3, device="meta")
    for examples in (65, 33, 129, 2):
        batch = choose_batch(ImageWishes(batch=32), normed, examples, 32, Reasons())
        assert examples % batch != 1
    assert choose_batch(ImageWishes(batch=32), plain, 33, 32, Reasons()) == 32
    assert choose_batch(ImageWishes(), normed, 45_000, 32, Reasons()) == 128


def test_augmentation_is_read_from_words() -> None:
    assert parse_augmentation("none").to_json() == {**parse_augmentation("none").to_json(), "flip": 0.0, "padding": 0}
    change = parse_augmentation("padding=4, flip=0.5,crop=0.3")
    assert (change.padding, change.flip, change.crop, change.brightness) == (4, 0.5, 0.3, 0.0)
    for words in ("padding=x", "flip", "crop=0", "flip=2"):
        with pytest.raises(MisuseError):
            parse_augmentation(words)
