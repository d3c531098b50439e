"""The image classifier: preprocessing inside, frozen statistics, configuration from anybody."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from elman.data.images import fit
from elman.errors import ElmanError, MisuseError
from elman.models.convnets import build
from elman.models.image_classifier import ImageClassifier

CLASSES = ("cat", "dog", "horse")


def images(count: int = 20, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def classifier(kind: str | None = "normalise", side: int = 16) -> ImageClassifier:
    net = build("small_bn", 3, generator=torch.Generator().manual_seed(0))
    return ImageClassifier(net, CLASSES, side, preprocessing=fit(kind, images(side=side)) if kind else None)


@pytest.mark.parametrize("kind", [None, "channel_mean", "mean_image", "normalise", "pca", "zca"])
def test_it_preprocesses_and_is_rebuilt_with_its_preprocessing(kind: str | None) -> None:
    model = classifier(kind).eval()
    x = images(4, seed=1)
    expected = model.net(fit(kind, images()).as_images(x) if kind else x.float() / 255)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
    again = ImageClassifier.from_configuration(json.loads(json.dumps(model.configuration()))).eval()
    with torch.device("meta"):
        shapes = ImageClassifier.from_configuration(model.configuration()).state_dict()
    assert {name: t.shape for name, t in shapes.items()} == {name: t.shape for name, t in model.state_dict().items()}
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    assert again.preprocessing is None or again.preprocessing.facts() == fit(str(kind), images()).facts()


def test_whitening_is_computed_in_full_precision_under_autocast() -> None:
    model = classifier("zca").eval()
    seen = []
    hook = model.net.features[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.autocast("cpu", torch.bfloat16):
        model(images(2))
    hook.remove()
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], fit("zca", images())(images(2)), atol=1e-5, rtol=1e-5)


def test_frozen_batch_norms_keep_their_statistics() -> None:
    model = classifier()
    names = [name for name, _ in model.net.named_parameters()]
    frozen = [name for name in names if name.startswith(("features.0.", "features.1.", "features.3."))]
    model.freeze(frozen)
    for _ in range(2):
        model.train()
        norms = {name: m for name, m in model.net.named_modules() if isinstance(m, nn.BatchNorm2d)}
        assert not norms["features.1"].training
        # its own parameters are trained, so it goes on
        assert norms["features.5"].training
        model.eval()
    model.train()
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    model(images()).square().mean().backward()
    after = model.net.state_dict()
    assert torch.equal(after["features.1.running_mean"], before["features.1.running_mean"])
    assert not torch.equal(after["features.5.running_mean"], before["features.5.running_mean"])
    assert all((p.grad is None) == (name in frozen) for name, p in model.net.named_parameters())


def test_images_of_any_size_have_probabilities() -> None:
    model = classifier().eval()
    others = [images(1, side=24)[0], images(1, side=16)[0, :, :, :12], images(1, side=40)[0, :, 5:]]
    shares = model.probabilities(others)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    for image, row in zip(others, shares, strict=True):
        torch.testing.assert_close(model(model.prepare(image)[None]).softmax(1)[0], row)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["cat", "dog"]},
        {"classes": ["cat", "dog", "dog"]},
        {"classes": "cat"},
        {"side": 0},
        {"side": 10**9},
        {"shorter": 4},
        {"net": {"name": "small_bn", "classes": 10**12, "dropout": 0.0}},
        {"net": {"name": "nothing", "classes": 3}},
        {"net": []},
        {"preprocessing": {"kind": "zca", "shape": [3, 10**6, 10**6], "directions": 3}},
        {"preprocessing": {"kind": "mean_image", "shape": [3, 10**6, 10**6]}},
        {"preprocessing": {"kind": "exec", "shape": [3, 4, 4], "directions": 0}},
    ],
)
def test_a_configuration_from_anybody_is_refused_in_a_sentence(change: dict) -> None:
    configuration = {**classifier().configuration(), **change}
    with pytest.raises(ElmanError):
        ImageClassifier.from_configuration(configuration)


def test_scores_and_names_must_agree() -> None:
    with pytest.raises(MisuseError, match="3 scores; these are 2 names"):
        ImageClassifier(build("small_bn", 3), ("a", "b"), 16)
