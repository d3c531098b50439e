"""Preprocessing against its definition in numpy, fitted on the training part alone, and its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests_support import flip_byte

from elman.data.images import Preprocessing, fit, normalisation, open_images, preprocessing
from elman.errors import FailureError, MisuseError

KINDS = ("mean_image", "channel_mean", "normalise", "pca", "whiten", "zca")


def correlated(count: int = 700, side: int = 4, seed: int = 0) -> torch.Tensor:
    """Images [N, 3, side, side], uint8, whose numbers hang together; more of them than fit into a block."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(3 * side * side, 3 * side * side)) / 12
    numbers = 0.5 + 0.3 * np.tanh(generator.normal(size=(count, 3 * side * side)) @ mixing)
    return torch.from_numpy((numbers * 255).round().astype(np.uint8)).view(count, 3, side, side)


def expected(kind: str, training: np.ndarray, x: np.ndarray, epsilon: float) -> np.ndarray:
    """The lecture's formulas on [N, 3, H, W] of numbers 0..1."""
    if kind == "mean_image":
        return x - training.mean(0)
    if kind in ("channel_mean", "normalise"):
        centred = x - training.mean((0, 2, 3))[:, None, None]
        return centred / training.std((0, 2, 3))[:, None, None] if kind == "normalise" else centred
    rows, centred = (a.reshape(len(a), -1) - training.reshape(len(training), -1).mean(0) for a in (training, x))
    directions, variances, _ = np.linalg.svd(rows.T @ rows / len(rows))
    if kind == "zca":
        whitening = directions @ np.diag((variances + epsilon) ** -0.5) @ directions.T
        return (centred @ whitening).reshape(x.shape)
    return centred @ directions / (np.sqrt(variances + epsilon) if kind == "whiten" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_it_is_called(kind: str) -> None:
    training, others = correlated(), correlated(20, seed=1)
    found = fit(kind, training, epsilon=0.003)(others).double().numpy()
    target = expected(kind, training.numpy() / 255, others.numpy() / 255, 0.003)
    if kind in ("pca", "whiten"):
        # a direction's sign is free
        found, target = np.abs(found), np.abs(target)
    np.testing.assert_allclose(found, target, atol=2e-4)


def test_whitened_training_images_are_white() -> None:
    training = correlated()
    white = fit("zca", training, epsilon=0)(training).flatten(1).double()
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(48, dtype=torch.float64), atol=1e-3, rtol=0)
    codes = fit("pca", training)(training).double()
    covariance = codes.T @ codes / len(codes)
    assert float((covariance - covariance.diag().diag()).abs().max()) < 1e-5
    assert torch.equal(covariance.diag(), covariance.diag().sort(descending=True).values)


def test_few_components_keep_the_most_variance() -> None:
    training = correlated()
    few, all_of_them = (fit("pca", training, components=count)(training) for count in (5, None))
    assert few.shape == (700, 5)
    torch.testing.assert_close(few, all_of_them[:, :5])


def test_only_the_training_part_is_looked_at() -> None:
    training, others = correlated(), correlated(20, seed=1)
    fitted = fit("normalise", training)
    before = {name: tensor.clone() for name, tensor in fitted.tensors.items()}
    fitted(others)
    assert all(torch.equal(before[name], tensor) for name, tensor in fitted.tensors.items())
    assert (fitted.images, fitted.shape) == (700, (3, 4, 4))
    assert fitted.fingerprint == fit("zca", training).fingerprint
    assert fitted.fingerprint != fit("normalise", training[1:]).fingerprint


def test_channels_take_images_of_any_size_and_never_divide_by_zero() -> None:
    sizes = [torch.full((3, 2, 3), 51, dtype=torch.uint8), torch.full((3, 5, 1), 51, dtype=torch.uint8)]
    fitted = fit("normalise", sizes)
    assert fitted(torch.full((1, 3, 9, 9), 51, dtype=torch.uint8)).abs().max() < 1e-6
    with pytest.raises(MisuseError, match="All images must be of one size here; one is 5x1, the first was 2x3"):
        fit("mean_image", sizes)


def test_published_numbers() -> None:
    x = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalisation(mean, deviation)(x)
    for channel in range(3):
        torch.testing.assert_close(found[:, channel], (x[:, channel] - mean[channel]) / deviation[channel])


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_its_file(kind: str, tmp_path: Path) -> None:
    fitted = fit(kind, correlated(50), epsilon=0.02)
    fitted.save(tmp_path / "p.safetensors")
    again = Preprocessing.load(tmp_path / "p.safetensors")
    assert again.facts() == fitted.facts() == json.loads(json.dumps(fitted.facts()))
    x = correlated(3, seed=2)
    assert torch.equal(again(x), fitted(x))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    fit("pca", correlated(50)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(FailureError, match="cannot be read as a stored preprocessing"):
        Preprocessing.load(path)
    path.write_bytes(content)
    flip_byte(path, 12)
    with pytest.raises(FailureError):
        Preprocessing.load(path)
    save_file({"mean": torch.zeros(3)}, path)
    with pytest.raises(FailureError, match="cannot be read as a stored preprocessing"):
        Preprocessing.load(path)


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({"kind": "no"}, {}),
        ({"shape": [3, 4]}, {}),
        ({"shape": [1, 4, 4]}, {}),
        ({"epsilon": -1}, {}),
        ({"images": "many"}, {}),
        ({}, {"mean": torch.zeros(4)}),
        ({}, {"deviation": torch.tensor([1.0, torch.nan, 1.0])}),
        ({}, {"more": torch.zeros(1)}),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], tensors: dict[str, torch.Tensor]) -> None:
    fitted = fit("normalise", correlated(5))
    with pytest.raises(FailureError, match="does not fit together"):
        Preprocessing.from_parts(fitted.facts() | changes, dict(fitted.tensors) | tensors)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit("blur", correlated(2)), "no preprocessing 'blur'; there are mean_image"),
        (lambda: fit("zca", []), "zca needs at least one training image"),
        (lambda: fit("zca", correlated(2), components=3), "components is 3; it is for pca and whiten"),
        (lambda: fit("pca", correlated(2), epsilon=-1), "epsilon is -1"),
        (lambda: fit("pca", [torch.zeros(3, 90, 90)]), r"Images of 90x90 have 24,300 numbers.*Resize them to 52x52"),
        (lambda: fit("mean_image", correlated(2))(torch.zeros(1, 3, 5, 5)), "fitted on images of 4x4, these are 5x5"),
    ],
)
def test_a_mistake_is_named(call: object, words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        call()  # type: ignore[operator]


def test_cifar_has_the_published_channel_means(shared_data: Path) -> None:
    """0.4914, 0.4822, 0.4465 of the training part; a fifth of the test part comes near."""
    pytest.importorskip("PIL.Image")
    source = open_images(shared_data / "images" / "cifar10_test.tar.gz")
    fitted = fit("channel_mean", (image for _, image in source.images(range(0, len(source), 5))))
    assert fitted.images == 2000
    np.testing.assert_allclose(fitted.tensors["mean"], (0.4914, 0.4822, 0.4465), atol=0.015)


def test_every_kind_is_tested() -> None:
    assert KINDS == preprocessing.KINDS
