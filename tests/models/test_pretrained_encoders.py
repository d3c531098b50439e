"""Encoders of other libraries; those with the libraries themselves run where they are installed."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from elman.errors import FailureError, MisuseError
from elman.models.convnets import build
from elman.models.encoders import ConvNetEncoder
from elman.models.pretrained import UNTRAINED, PretrainedEncoder, _tapped, as_grid, pretrained_encoder


def usable(library: str) -> bool:
    """Whether a library is there and fits the installed torch."""
    if importlib.util.find_spec(library) is None:
        return False
    try:
        importlib.import_module(library)
    except (ImportError, RuntimeError):
        return False
    return True


def needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not usable(library), reason=f"{library} is not installed, or does not fit torch")


def test_tokens_become_the_grid_that_they_were_cut_from() -> None:
    """A token of place (i, j) holds i and j; two tokens stand before the places."""
    side = 5
    places = torch.tensor([[i, j] for i in range(side) for j in range(side)], dtype=torch.float32)
    tokens = torch.cat([torch.full((2, 2), -1.0), places])[None]
    grid = as_grid(tokens, "made")
    assert grid.shape == (1, 2, side, side)
    assert grid[0, 0, 3, 1] == 3
    assert grid[0, 1, 3, 1] == 1


def test_feature_maps_with_the_channels_last_are_turned() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert torch.equal(as_grid(x, "made", channels_last=True)[0, 1], x[0, :, :, 1])
    assert as_grid(x, "made") is x
    with pytest.raises(MisuseError, match="no grid"):
        as_grid(torch.zeros(3, 7), "made")


def test_what_is_tapped_is_what_our_encoder_gives() -> None:
    """Of our own ResNet, without its names: the vector before ``fc`` and the map behind ``layer4``."""
    net = build("resnet18", 10, generator=torch.Generator().manual_seed(0))
    ours = ConvNetEncoder(net, side=64)
    foreign = PretrainedEncoder(net, _tapped(net, "made", 64), "made", 64, 64)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for mine, theirs in zip(ours.encode(images), foreign.encode(images), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert (foreign.pooled_width, foreign.grid_shape) == (ours.pooled_width, ours.grid_shape)


def test_the_fingerprint_changes_with_weights_and_sizes() -> None:
    def encoder(seed: int, side: int) -> PretrainedEncoder:
        net = build("small_bn", 10, generator=torch.Generator().manual_seed(seed))
        return PretrainedEncoder(net, _tapped(net, "made", side), "made", side, side)

    prints = {encoder(seed, side).fingerprint for seed, side in ((0, 32), (1, 32), (0, 40))}
    assert len(prints) == 3
    assert encoder(0, 32).fingerprint in prints


def test_a_fine_tuned_encoder_keeps_its_statistics() -> None:
    net = build("small_bn", 10, generator=torch.Generator().manual_seed(0))
    encoder = PretrainedEncoder(net, _tapped(net, "made", 32), "made", 32, 32).train()
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("spec", ["resnet50", "keras:resnet50", "timm:"])
def test_a_name_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(MisuseError, match="timm:NAME"):
        pretrained_encoder(spec)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MisuseError, match=r"elman\[encoders\]"):
        pretrained_encoder("timm:resnet18")


def test_a_model_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(MisuseError, match="no linear layer"):
        _tapped(nn.Sequential(nn.Conv2d(3, 4, 3)), "made", 16)


@needs("timm")
def test_a_resnet_of_timm_gives_what_ours_gives_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = pretrained_encoder("timm:resnet18", weights=UNTRAINED, side=64)
    net = build("resnet18", 10)
    state = {**net.state_dict(), **encoder.model.state_dict()}
    net.load_state_dict(state)
    mean = encoder.preprocessing
    ours = ConvNetEncoder(net, side=64, preprocessing=mean)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        for mine, theirs in zip(ours.encode(images), encoder.encode(images), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert encoder.shorter == math.floor(64 / 0.95)
    # its weights from a file, which may hold a head that the encoder does without
    save_file({**encoder.model.state_dict(), "fc.weight": torch.zeros(2, 512)}, tmp_path / "w.safetensors")
    again = pretrained_encoder("timm:resnet18", weights=tmp_path / "w.safetensors", side=64)
    assert again.fingerprint == encoder.fingerprint
    with pytest.raises(FailureError, match=r"lacks the tensor|does not know|has shape"):
        pretrained_encoder("timm:resnet34", weights=tmp_path / "w.safetensors", side=64)


@needs("timm")
@pytest.mark.parametrize(
    ("name", "grid"), [("vit_tiny_patch16_224", (192, 14, 14)), ("swin_tiny_patch4_window7_224", (768, 7, 7))]
)
def test_transformers_of_timm_have_a_grid(name: str, grid: tuple[int, int, int]) -> None:
    encoder = pretrained_encoder(f"timm:{name}", weights=UNTRAINED)
    assert encoder.grid_shape == grid
    assert encoder.pooled_width == grid[0]
    with pytest.raises(MisuseError, match="cannot read images of 100"):
        pretrained_encoder(f"timm:{name}", weights=UNTRAINED, side=100)


@needs("timm")
def test_an_unknown_model_of_timm_is_refused() -> None:
    with pytest.raises(MisuseError, match="timm has no model 'resnet1800'"):
        pretrained_encoder("timm:resnet1800")


@needs("torchvision")
@pytest.mark.parametrize(("name", "width", "grid"), [("resnet18", 512, (512, 7, 7)), ("vit_b_16", 768, (768, 14, 14))])
def test_models_of_torchvision_are_tapped(name: str, width: int, grid: tuple[int, int, int]) -> None:
    encoder = pretrained_encoder(f"torchvision:{name}", weights=UNTRAINED)
    assert (encoder.pooled_width, encoder.grid_shape, encoder.shorter) == (width, grid, 256)


@needs("transformers")
def test_a_model_of_transformers_is_read_from_its_folder(tmp_path: Path) -> None:
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = transformers.AutoModel.from_config(transformers.ViTConfig(image_size=64, patch_size=16, **small)).eval()
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    encoder = pretrained_encoder(f"transformers:{tmp_path}")
    assert (encoder.side, encoder.pooled_width, encoder.grid_shape) == (64, 32, (32, 4, 4))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        vectors, grids = encoder.encode(images)
        # its own processor's numbers: mean and deviation 0.5
        given = model(pixel_values=images.float() / 127.5 - 1)
    torch.testing.assert_close(vectors, given.pooler_output, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(grids[:, :, 1, 2], given.last_hidden_state[:, 1 + 1 * 4 + 2], atol=1e-5, rtol=1e-4)
    with pytest.raises(FailureError, match="cannot be had"):
        pretrained_encoder(f"transformers:{tmp_path / 'nothing'}")
