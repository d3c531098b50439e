"""Encoders and their features on disk."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import flip_byte

from elman.data.images import BadImageError, ImageSource, open_images, resize_shorter
from elman.errors import MisuseError
from elman.models.convnets import ConvNet, build, load_weights
from elman.models.encoders import ConvNetEncoder, Features, encode_images
from elman.models.features import FeatureCache

Image = pytest.importorskip("PIL.Image")

COUNT = 9


def net(name: str = "squeezenet1_1", seed: int = 0) -> ConvNet:
    return build(name, 12, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def source(tmp_path: Path) -> ImageSource:
    """Pictures of several sizes, the third of which is cut short."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for at in range(COUNT):
        pixels = generator.integers(0, 256, (40 + at, 70 - at, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        (folder / f"{at}.png").write_bytes(stream.getvalue()[: 3000 if at == 2 else None])
    return open_images(folder)


@pytest.fixture
def encoder() -> ConvNetEncoder:
    return ConvNetEncoder(net(), side=64)


def encode(encoder: ConvNetEncoder, source: ImageSource, folder: Path, **options: object) -> Features:
    return encode_images(encoder, source, bad="skip", folder=folder / "features", batch=4, **options)  # type: ignore[arg-type]


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "features").glob("*/*.safetensors"))


def test_features_are_those_of_the_net(source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path) -> None:
    """Against the net called directly: resized, cut, normalised by ImageNet's numbers, one image at a time."""
    features = encode(encoder, source, tmp_path)
    assert features.indices == (0, 1, 3, 4, 5, 6, 7, 8)
    assert features.pooled is not None
    assert features.grid is not None
    assert (encoder.pooled_width, encoder.grid_shape) == (512, (512, 3, 3))
    mean, deviation = (torch.tensor(n)[:, None, None] for n in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for row, index in enumerate(features.indices):
        image = resize_shorter(source.image(index), 64)
        left = round((image.shape[2] - 64) / 2)
        x = (image[:, :64, left : left + 64] / 255 - mean) / deviation
        with torch.inference_mode():
            grid = net().eval().after(x[None], "features")[0]
        torch.testing.assert_close(features.grid[row].float(), grid, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(features.pooled[row].float(), grid.mean((1, 2)), atol=2e-3, rtol=2e-3)


def test_stored_features_are_the_computed_ones(source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path) -> None:
    first = encode(encoder, source, tmp_path)
    again = encode(encoder, source, tmp_path)
    without = encode(encoder, source, tmp_path, cache=False)
    assert (first.computed, again.computed, without.computed) == (8, 0, 8)
    for other in (again, without):
        assert other.indices == first.indices
        assert torch.equal(other.pooled, first.pooled)  # type: ignore[arg-type]
        assert torch.equal(other.grid, first.grid)  # type: ignore[arg-type]
    some = encode(encoder, source, tmp_path, indices=[7, 0])
    assert (some.indices, some.computed) == ((7, 0), 0)
    assert torch.equal(some.grid, first.grid[[6, 0]])  # type: ignore[index, arg-type]


def test_only_what_is_missing_is_computed(source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path) -> None:
    assert encode(encoder, source, tmp_path, indices=[0, 1]).computed == 2
    assert encode(encoder, source, tmp_path, indices=[0, 5, 1, 6]).computed == 2
    assert encode(encoder, source, tmp_path, indices=[0, 5, 1, 6]).computed == 0


def test_another_encoder_or_image_has_features_of_its_own(source: ImageSource, tmp_path: Path) -> None:
    base = ConvNetEncoder(net(), side=64)
    changed = net()
    with torch.no_grad():
        changed.get_parameter("features.0.bias")[0] += 1e-3
    others = [
        ConvNetEncoder(net(seed=1), side=64),
        ConvNetEncoder(changed, side=64),
        ConvNetEncoder(net(), side=64, shorter=70),
        ConvNetEncoder(net(), side=72),
        ConvNetEncoder(net(), side=64, grid="features.9"),
        ConvNetEncoder(net(), side=64, pooled="flatten"),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    assert base.fingerprint == ConvNetEncoder(net(), side=64).fingerprint
    encode(base, source, tmp_path)
    assert encode(others[1], source, tmp_path).computed == 8
    path = source.path / "0.png"
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
    assert encode(base, source, tmp_path).computed == 1


@pytest.mark.parametrize("place", [3, 40, -5])
def test_damaged_features_are_thrown_away(
    source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path, place: int
) -> None:
    first = encode(encoder, source, tmp_path)
    (path,) = shards(tmp_path)
    flip_byte(path, place)
    again = encode(encoder, source, tmp_path)
    assert again.computed == 8
    assert torch.equal(again.grid, first.grid)  # type: ignore[arg-type]
    assert encode(encoder, source, tmp_path).computed == 0


def test_features_take_no_more_than_their_share(tmp_path: Path) -> None:
    shapes = {"pooled": (1000,)}
    cache = FeatureCache("ab" * 32, shapes, tmp_path, limit_bytes=7000)
    for number in range(5):
        cache.write([f"image {number}"], {"pooled": torch.full((1, 1000), float(number), dtype=torch.float16)})
    files = list(tmp_path.glob("*/*.safetensors"))
    assert len(files) == 3
    rows = {"pooled": torch.zeros(2, 1000, dtype=torch.float16)}
    assert FeatureCache("ab" * 32, shapes, tmp_path).read(["image 0", "image 4"], rows) == [0]
    assert rows["pooled"][1].unique().tolist() == [4]


def test_a_hostile_entry_is_not_believed(tmp_path: Path) -> None:
    shapes = {"pooled": (4,)}
    cache = FeatureCache("cd" * 32, shapes, tmp_path)
    cache.write(["a"], {"pooled": torch.ones(1, 5, dtype=torch.float16)})
    (cache.folder / "b.safetensors").write_bytes(b"\xff" * 50)
    fresh = FeatureCache("cd" * 32, shapes, tmp_path)
    assert fresh.places == {}
    assert list(cache.folder.iterdir()) == []


def test_bad_images_are_refused_or_named(source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"^2\.png: damaged"):
        encode_images(encoder, source, folder=tmp_path / "f")
    notices: list[str] = []
    shares: list[float] = []
    encode(encoder, source, tmp_path, notices=notices, progress=shares.append)
    assert [notice.split(":")[0] for notice in notices] == ["Skipped 2.png"]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_parts_are_what_was_asked_for(source: ImageSource, encoder: ConvNetEncoder, tmp_path: Path) -> None:
    features = encode(encoder, source, tmp_path, parts=["pooled"])
    assert features.grid is None
    assert features.pooled is not None
    nothing = encode(encoder, source, tmp_path, indices=[])
    assert nothing.grid is not None
    assert nothing.grid.shape == (0, 512, 3, 3)


def test_a_later_layer_as_the_vector() -> None:
    """NeuralTalk's code: the second fully connected layer after its ReLU."""
    made = ConvNetEncoder(build("alexnet", 10, generator=torch.Generator().manual_seed(0)), pooled="classifier.5")
    assert (made.pooled_width, made.grid_shape) == (4096, (256, 6, 6))
    x = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        vector, _ = made.encode(x)
        torch.testing.assert_close(made.net.classifier[6](vector), made.net(made.preprocessing(x)))  # type: ignore[operator, index]


def test_gradients_reach_the_net_for_fine_tuning(encoder: ConvNetEncoder) -> None:
    vector, grid = encoder.encode(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    (vector.sum() + grid.sum()).backward()
    gradient = encoder.net.get_parameter("features.0.weight").grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": "layer9"}, "squeezenet1_1 has no layer 'layer9'"),
        ({"pooled": "features.3"}, "comes before the grid's layer"),
        ({"grid": "flatten"}, "must be a feature map"),
        ({"pooled": "classifier.1"}, "must be a feature map and the vector a layer behind the pooling"),
        ({"side": 64, "shorter": 50}, "A square of 64 pixels cannot be cut out"),
    ],
)
def test_a_mistake_is_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(MisuseError, match=words):
        ConvNetEncoder(net(), **options)  # type: ignore[arg-type]


def test_published_weights_see_the_dogs_of_flickr(shared_data: Path, tmp_path: Path) -> None:
    """Of images whose captions speak of a dog, most have a breed (ImageNet's classes 151 to 268) among the best five;
    of those whose captions do not, few. All 1000 images: 86 % of 243 against 11 % of 743."""
    folder = shared_data / "captions" / "flickr8k-1000"
    captions = defaultdict(list)
    with (folder / "captions.txt").open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            captions[row[0]].append(",".join(row[1:]).lower())
    weights = shared_data / "models" / "squeezenet1_0.safetensors"
    encoder = ConvNetEncoder(load_weights(build("squeezenet1_0"), weights), pooled="flatten")
    source = open_images(folder / "images.tar")
    spoken = [
        sum(bool(re.search(r"\b(dogs?|pupp(y|ies))\b", text)) for text in captions[item.name]) for item in source.items
    ]
    dogs = [index for index, count in enumerate(spoken) if count >= 4][:50]
    others = [index for index, count in enumerate(spoken) if count == 0][:50]
    shares = []
    for indices in (dogs, others):
        scores = encode_images(encoder, source, indices, parts=["pooled"], folder=tmp_path).pooled
        assert scores is not None
        best = scores.float().topk(5).indices
        shares.append(float(((best >= 151) & (best <= 268)).any(1).float().mean()))
    assert shares[0] >= 0.75
    assert shares[1] <= 0.25
