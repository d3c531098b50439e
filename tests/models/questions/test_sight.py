"""What a model of questions sees of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.images import open_images
from elman.errors import FailureError, MisuseError
from elman.models.convnets import build
from elman.models.questions.sight import PIXELS, Sight, encoder_sight, fitting_size, sight_of

Image = pytest.importorskip("PIL.Image")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        pixels = generator.integers(0, 256, (40 + number, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def saved(tmp_path: Path, seed: int, name: str = "w.safetensors") -> Path:
    path = tmp_path / name
    net = build("squeezenet1_1", generator=torch.Generator().manual_seed(seed))
    safetensors.save_file(net.state_dict(), path)
    return path


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 400), (3000, 20), (480, 640)])
def test_a_fitting_size_keeps_proportions_and_is_small(height: int, width: int) -> None:
    rows, columns = fitting_size(height, width)
    assert rows * columns <= PIXELS * 1.2
    assert min(rows, columns) >= 8
    if height * width <= PIXELS:
        assert (rows, columns) == (height, width)
    elif min(rows, columns) > 20:
        assert columns / rows == pytest.approx(width / height, rel=0.05)


def test_images_are_scaled_as_pillow_scales_them(pictures: Path) -> None:
    source = open_images(pictures)
    seen, rows = Sight((20, 30)).see_all(source, [2, 0])
    assert rows == {2: 0, 0: 1}
    assert seen.shape == (2, 3, 20, 30)
    assert seen.dtype == torch.uint8
    for index, row in rows.items():
        expected = np.asarray(Image.open(pictures / f"{index}.png").resize((30, 20), Image.Resampling.BILINEAR))
        assert np.abs(seen[row].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
        assert torch.equal(seen[row], Sight((20, 30)).see([source.image(index)])[0])


def test_a_bad_image_leaves_no_row(pictures: Path) -> None:
    (pictures / "1.png").write_bytes(b"nothing")
    notices: list[str] = []
    seen, rows = Sight((8, 8)).see_all(open_images(pictures), [0, 1, 2, 3], bad="skip", notices=notices)
    assert rows == {0: 0, 2: 1, 3: 2}
    assert len(seen) == 3
    assert len(notices) == 1
    assert "1.png" in notices[0]


def test_more_images_than_memory_should_hold_are_refused(pictures: Path) -> None:
    with pytest.raises(MisuseError, match="choose a smaller --size"):
        Sight((40_000, 40_000)).see_all(open_images(pictures), [0, 1, 2, 3])


def test_features_are_the_encoders_grid(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_CACHE_DIR", str(tmp_path / "cache"))
    sight = encoder_sight("squeezenet1_1", saved(tmp_path, 0))
    source = open_images(pictures)
    seen, rows = sight.see_all(source, [3, 1])
    assert seen.shape == (2, *sight.shape)
    for index, row in rows.items():
        one = sight.see([source.image(index)])[0]
        assert torch.allclose(seen[row].float(), one.float(), rtol=1e-2, atol=1e-2)
    again = sight_of(sight.to_json())
    assert again.shape == sight.shape
    assert again.to_json() == sight.to_json()


def test_other_weights_than_those_of_the_training_are_refused(tmp_path: Path) -> None:
    stored = encoder_sight("squeezenet1_1", saved(tmp_path, 0)).to_json()
    with pytest.raises(FailureError, match="holds other weights"):
        sight_of(stored, weights=str(saved(tmp_path, 1, "other.safetensors")))
    moved = tmp_path / "w.safetensors"
    assert sight_of(stored, weights=str(moved.rename(tmp_path / "moved.safetensors"))).shape == (512, 13, 13)
    with pytest.raises(FailureError, match="damaged"):
        sight_of({"encoder": {"name": "squeezenet1_1"}})
