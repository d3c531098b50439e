"""Encoders of other libraries behind our protocol: timm, torchvision, transformers (the extra ``encoders``).

    timm:resnet50.a1_in1k               any model of timm
    torchvision:resnet50                any classification model of torchvision, which has to be installed beside torch
    transformers:facebook/dinov2-small  any image model of transformers, also the folder of a stored one

Names alone mean published weights, which the libraries download and keep in caches of their own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elman.data.images.preprocessing import normalisation
from elman.data.images.resizing import fit_square
from elman.errors import FailureError, MisuseError, require
from elman.models.convnets.statedict import read_state
from elman.models.convnets.table import IMAGENET_MEAN, IMAGENET_STD
from elman.models.fingerprint import add_tensors
from elman.models.shapes import compare_shapes

LIBRARIES = ("timm", "torchvision", "transformers")
PUBLISHED = "published"
UNTRAINED = "untrained"
_EXTRA = "encoders"

# images, normalised -> (vectors [B, D], feature map [B, D', h, w], [B, h, w, D'] or tokens [B, prefix + h w, D'])
Read = Callable[[Tensor], tuple[Tensor, Tensor]]


class PretrainedEncoder(nn.Module):
    """A model of another library as an encoder.

    Transformers without a feature map give tokens; the places among them, which are a square number, become the grid,
    and what stands before them (a class token, registers) is left aside.

    Args:
        model: with its weights. It is used in evaluation mode; what is fine-tuned is the caller's to say.
        read: runs it.
        name: what it is, for the fingerprint.
        side, shorter: of the square that it reads, and of the image that this is cut from, pixels.
        mean, deviation: by channel, for levels from 0 to 1.
        channels_last: whether feature maps come as [B, h, w, D].

    Raises:
        MisuseError: what it gives is no vector and no grid.
    """

    def __init__(
        self,
        model: nn.Module,
        read: Read,
        name: str,
        side: int,
        shorter: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_STD,
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.name, self.side, self.shorter, self.channels_last = name, side, max(side, shorter), channels_last
        self.preprocessing = normalisation(mean, deviation)
        self._read = read
        with torch.inference_mode():
            vectors, grids = self.encode(torch.zeros(1, 3, side, side, dtype=torch.uint8))
        self.pooled_width = vectors.shape[1]
        self.grid_shape = (grids.shape[1], grids.shape[2], grids.shape[3])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of name, sizes, preprocessing and weights."""
        facts = {
            "name": self.name,
            "sizes": [self.side, self.shorter],
            "preprocessing": {key: tensor.tolist() for key, tensor in self.preprocessing.tensors.items()},
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        add_tensors(digest, self.model.state_dict())
        return digest.hexdigest()

    def prepare(self, image: Tensor) -> Tensor:
        """Resize and cut out the middle: [3, H, W] -> [3, side, side]."""
        return fit_square(image, self.side, self.shorter)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and grids.

        Args:
            images: prepared, [B, 3, side, side], uint8 or 0..1.

        Returns:
            [B, pooled_width] and [B, *grid_shape].
        """
        place = next(self.model.parameters()).device
        vectors, features = self._read(self.preprocessing(images.to(place)))
        return vectors.flatten(1), as_grid(features, self.name, channels_last=self.channels_last)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Evaluation mode always: fine-tuning leaves the statistics of batch norm and dropout out."""
        return super().train(False)


def as_grid(features: Tensor, name: str, *, channels_last: bool = False) -> Tensor:
    """Feature maps or tokens as a grid.

    Args:
        features: [B, D, h, w]; with ``channels_last`` [B, h, w, D]; or tokens [B, prefix + n^2, D] with a prefix of at
            most 2 n tokens, so that n is known.
        name: of the model, for the error.
        channels_last: how feature maps lie.

    Returns:
        [B, D, h, w].

    Raises:
        MisuseError: something else.
    """
    if features.ndim == 4:
        return features.movedim(-1, 1) if channels_last else features
    if features.ndim == 3 and features.shape[1]:
        side = math.isqrt(features.shape[1])
        places = features[:, features.shape[1] - side * side :]
        return places.transpose(1, 2).reshape(len(features), -1, side, side)
    raise MisuseError(f"{name} gives {list(features.shape)} for an image, which is no grid of features.")


def pretrained_encoder(
    spec: str, *, weights: str | os.PathLike[str] = PUBLISHED, side: int | None = None
) -> PretrainedEncoder:
    """An encoder by the name of its library and its own.

    Args:
        spec: ``"timm:NAME"``, ``"torchvision:NAME"`` or ``"transformers:NAME"``, where the last may be a folder.
        weights: ``"published"``, ``"untrained"`` (drawn from torch's global generator), or a file of weights with the
            library's names (not for transformers, whose models are folders), read without unpickling.
        side: of the squares it reads, pixels; default the model's own.

    Returns:
        The encoder.

    Raises:
        MisuseError: an unknown library or model, or a library that is not installed.
        FailureError: weights that cannot be had or do not fit.
    """
    library, _, name = spec.partition(":")
    if library not in LIBRARIES or not name:
        raise MisuseError(f"{spec!r} names no encoder: write {', '.join(f'{known}:NAME' for known in LIBRARIES)}.")
    makers = {"timm": _timm, "torchvision": _torchvision, "transformers": _transformers}
    return makers[library](name, weights, side)


def _timm(name: str, weights: str | os.PathLike[str], side: int | None) -> PretrainedEncoder:
    timm = require("timm", _EXTRA)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('.')[0]}*")[:5]
        raise MisuseError(f"timm has no model {name!r}" + (f"; it has {', '.join(near)}." if near else "."))
    with _downloading(f"timm:{name}"):
        model = timm.create_model(name, pretrained=weights == PUBLISHED, num_classes=0)
    _fill(model, weights, f"timm:{name}")
    facts = timm.data.resolve_model_data_config(model)
    own = int(facts["input_size"][-1])

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        features = model.forward_features(x)
        return model.forward_head(features, pre_logits=True), features

    return _fitted(
        model,
        read,
        f"timm:{name}",
        side or own,
        (side or own) / float(facts["crop_pct"]),
        facts["mean"],
        facts["std"],
        channels_last=getattr(model, "output_fmt", None) == "NHWC",
    )


def _torchvision(name: str, weights: str | os.PathLike[str], side: int | None) -> PretrainedEncoder:
    try:
        models = require("torchvision", _EXTRA).models
    except RuntimeError as error:
        raise FailureError(
            f"The installed torchvision does not fit the installed torch ({error}). Install the two together from "
            "https://download.pytorch.org/whl."
        ) from error
    if name not in models.list_models():
        raise MisuseError(f"torchvision has no model {name!r}.")
    published = models.get_model_weights(name).DEFAULT if weights == PUBLISHED else None
    with _downloading(f"torchvision:{name}"):
        model = models.get_model(name, weights=published)
    _fill(model, weights, f"torchvision:{name}")
    # the sizes of torchvision's own preprocessing, published or not
    facts = models.get_model_weights(name).DEFAULT.transforms()
    own = int(facts.crop_size[0])
    shorter = (side or own) * int(facts.resize_size[0]) / own
    read = _tapped(model, f"torchvision:{name}", side or own)
    return _fitted(model, read, f"torchvision:{name}", side or own, shorter, facts.mean, facts.std)


def _transformers(name: str, weights: str | os.PathLike[str], side: int | None) -> PretrainedEncoder:
    transformers = require("transformers", _EXTRA)
    if weights not in (PUBLISHED, UNTRAINED):
        raise MisuseError(f"Models of transformers are folders: write transformers:FOLDER in the place of {weights}.")
    with _downloading(f"transformers:{name}"):
        # neither code of the model's author nor pickled weights are run
        facts = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        if weights == PUBLISHED:
            model = transformers.AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        else:
            model = transformers.AutoModel.from_config(facts)
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    # of models that also read text, the part that sees
    model = getattr(model, "vision_model", model)
    sizes = dict(getattr(processor, "crop_size", None) or processor.size)
    own = int(sizes.get("height") or sizes.get("shortest_edge") or 224)
    shorter = int(dict(processor.size).get("shortest_edge") or own) * (side or own) / own

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        given = model(pixel_values=x)
        grid = given.last_hidden_state
        pooled = getattr(given, "pooler_output", None)
        if pooled is None:
            pooled = as_grid(grid, name).flatten(2).mean(2)
        return pooled, grid

    return _fitted(model, read, f"transformers:{name}", side or own, shorter, processor.image_mean, processor.image_std)


def _fitted(
    model: nn.Module, read: Read, name: str, side: int, shorter: float, *rest: Any, **options: Any
) -> PretrainedEncoder:
    try:
        return PretrainedEncoder(model, read, name, side, math.floor(shorter), *rest, **options)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise MisuseError(f"{name} cannot read images of {side} x {side}: {error}") from error


def _tapped(model: nn.Module, name: str, side: int) -> Read:
    """A reader of a model without a way to ask for features.

    The vector is what the last linear layer reads, the grid the last feature map of more than one place, or the last
    tokens, that any layer gives; both are found by running the model once.
    """
    last_linear: list[nn.Module] = []
    last_places: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.Linear) and isinstance(output, Tensor) and output.ndim == 2:
            last_linear[:] = [module]
        elif isinstance(output, Tensor) and (
            (output.ndim == 4 and output.shape[-1] > 1) or (output.ndim == 3 and output.shape[1] > 1)
        ):
            last_places[:] = [module]

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise MisuseError(f"{name} cannot read images of {side} x {side}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not (last_linear and last_places):
        raise MisuseError(f"{name} has no linear layer behind a feature map, so that it gives no vector and no grid.")
    linear, places = last_linear[0], last_places[0]

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        kept: dict[str, Tensor] = {}
        taps = [
            linear.register_forward_pre_hook(lambda _, given: kept.__setitem__("vector", given[0])),
            places.register_forward_hook(lambda _, given, output: kept.__setitem__("grid", output)),
        ]
        try:
            model(x)
        finally:
            for tap in taps:
                tap.remove()
        return kept["vector"], kept["grid"]

    return read


def _fill(model: nn.Module, weights: str | os.PathLike[str], name: str) -> None:
    """Take the weights of a file."""
    if weights in (PUBLISHED, UNTRAINED):
        return
    path = Path(weights)
    state = read_state(path)
    own = model.state_dict()
    # a head that this encoder does without may be in the file
    state = {key: tensor for key, tensor in state.items() if key in own or not key.startswith(("fc.", "head."))}
    compare_shapes(
        path, {k: tuple(t.shape) for k, t in state.items()}, {k: tuple(t.shape) for k, t in own.items()}, name
    )
    model.load_state_dict(state)


@contextmanager
def _downloading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FailureError(
            f"{name} cannot be had: {reason}. Published weights are downloaded when they are asked for first; without "
            "a network name a file or folder."
        ) from error
