"""Net, size, preprocessing, augmentation, batch and rate for images, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn

from elman.data.images import Augmentation, ImageSource
from elman.data.images.reading import BadImageError
from elman.errors import MisuseError
from elman.models.convnets import ConvNet, design
from elman.training.optimisers import USUAL_RATES
from elman.training.settings import Settings

# the command line's names of preprocessings; for nets, which read images, whitening is the one that gives images
PREPROCESSINGS = {
    "none": "",
    "channel-mean": "channel_mean",
    "mean-image": "mean_image",
    "normalise": "normalise",
    "pca": "pca",
    "whitening": "zca",
}
PUBLISHED = "published"
LITTLE_SIDE = 64
_LOOKED_AT = 64
# of trained layers beside fresh ones
TRUNK_FACTOR = 0.1


@dataclass(frozen=True)
class ImageWishes:
    """What the user gave; None is left to be chosen.

    Attributes:
        net: a name of the table of ConvNets.
        weights: a file of weights, or the run folder of another image classifier.
        freeze: beginnings of parameters' names that are not trained.
        preprocess: a key of :data:`PREPROCESSINGS`.
        components: directions of "pca".
        augment: words such as ``"padding=4,flip=0.5"``, or "none".
        side: of the square images, pixels.
        dropout: of nets that have some.
        batch, lr, precision, eval_every, warmup: as in the command line.
    """

    net: str | None = None
    weights: str | None = None
    freeze: tuple[str, ...] = ()
    preprocess: str | None = None
    components: int | None = None
    augment: str | None = None
    side: int | None = None
    dropout: float | None = None
    batch: int | None = None
    lr: float | None = None
    precision: str = "auto"
    eval_every: int | None = None
    warmup: int | None = None

    def __post_init__(self) -> None:
        """Refuse words that are none.

        Raises:
            MisuseError: naming the flag and what it takes.
        """
        if self.preprocess is not None and self.preprocess not in PREPROCESSINGS:
            raise MisuseError(f"--preprocess is {self.preprocess!r}; it takes {', '.join(PREPROCESSINGS)}.")
        if self.components is not None and (self.preprocess != "pca" or self.components < 1):
            raise MisuseError(f"--components {self.components} is for --preprocess pca, at least 1.")
        if self.side is not None and self.side < 8:
            raise MisuseError(f"--size is {self.side}; it takes a number of pixels from 8.")


@dataclass
class Reasons:
    """Sentences for what was chosen."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Keep a sentence."""
        self.lines.append(line)


def usual_side(source: ImageSource) -> int:
    """The median of the shorter sides of some images of a source, pixels.

    Raises:
        MisuseError: none of those looked at can be read.
    """
    places = sorted({at * len(source) // _LOOKED_AT for at in range(_LOOKED_AT)})
    sides = []
    for place in places:
        try:
            sides.append(min(source.image(place).shape[-2:]))
        except BadImageError:
            continue
    if not sides:
        raise MisuseError(f"None of {len(places)} images of {source.path} that were looked at can be read.")
    return int(sorted(sides)[len(sides) // 2])


def choose_side(wishes: ImageWishes, net: str, source: ImageSource, reasons: Reasons) -> int:
    """Side of the squares, pixels; errors as for :func:`usual_side`."""
    if wishes.side is not None:
        return wishes.side
    published = design(net).image
    if wishes.weights or net == "net":
        reasons.add(f"size {published}: what {net} was made for")
        return published
    usual = usual_side(source)
    side = max(8, min(LITTLE_SIDE if design(net).image <= LITTLE_SIDE else published, usual))
    reasons.add(f"size {side}: the images' shorter sides are about {usual} pixels; larger ones take longer")
    return side


def parse_augmentation(words: str) -> Augmentation:
    """``"none"``, or pairs such as ``"padding=4,flip=0.5"``.

    Raises:
        MisuseError: a name or value that augmentation has not.
    """
    nothing = Augmentation(flip=0.0)
    if words == "none":
        return nothing
    kinds = {entry.name: int if entry.name == "padding" else float for entry in fields(Augmentation)}
    values: dict[str, Any] = {}
    for pair in words.split(","):
        name, _, value = pair.partition("=")
        try:
            values[name.strip()] = kinds[name.strip()](value)
        except (KeyError, ValueError):
            raise MisuseError(
                f"--augment {pair.strip()!r} is no NAME=VALUE with a name of {', '.join(kinds)}, such as "
                "padding=4,flip=0.5; none leaves the images as they are."
            ) from None
    return replace(nothing, **values)


def choose_augmentation(wishes: ImageWishes, side: int, reasons: Reasons) -> Augmentation:
    """What is done to training images."""
    if wishes.augment is not None:
        return parse_augmentation(wishes.augment)
    padding = max(1, side // 8)
    reasons.add(
        f"augment padding={padding},flip=0.5: shifted and mirrored; take --augment none where left and right differ"
    )
    return Augmentation(padding=padding, flip=0.5)


def choose_preprocessing(wishes: ImageWishes, reasons: Reasons) -> str:
    """A kind of preprocessing, :data:`PUBLISHED` for that of the weights, "" for none."""
    if wishes.preprocess is not None:
        return PREPROCESSINGS[wishes.preprocess]
    if wishes.weights:
        reasons.add("preprocess as the weights were trained with")
        return PUBLISHED
    reasons.add("preprocess normalise: mean and deviation of each channel over the training part")
    return "normalise"


def choose_batch(wishes: ImageWishes, net: ConvNet, examples: int, side: int, reasons: Reasons) -> int:
    """Images a step.

    Raises:
        MisuseError: a batch on which batch norm cannot be computed.
    """
    normed = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    batch = wishes.batch
    if batch is None:
        batch = 128 if side <= LITTLE_SIDE else 32
        # at least thirty steps an epoch
        while batch > 8 and examples < 30 * batch:
            batch //= 2
        reasons.add(f"batch {batch}: for {examples:,} images of {side} x {side}")
    if not normed:
        return batch
    if batch == 1 or examples == 1:
        raise MisuseError("Batch norm needs more than one image a step; take a larger --batch, or a net without it.")
    if examples % batch == 1:
        asked = batch
        while examples % batch == 1 or batch == 1:
            batch += 1
        reasons.add(f"batch {batch}: with {asked} the last of an epoch would be one image, too few for batch norm")
    return batch


def choose_rates(wishes: ImageWishes, settings: Settings, net: ConvNet, reasons: Reasons) -> Settings:
    """Rate, and factors for layers that come trained."""
    adaptive = USUAL_RATES.get(settings.optimizer.lower(), 1e-3) <= 1e-2
    if wishes.lr is None:
        if wishes.weights:
            lr, why = (1e-3, "for fresh layers beside trained ones") if adaptive else (0.01, "beside trained layers")
        elif net.name in ("small", "small_bn"):
            lr, why = (4e-3, "measured on CIFAR-10") if adaptive else (0.1, "usual with momentum")
        elif net.name != "net" and not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()):
            # at the rates of nets with batch norm, a deep net's units end below 0 and a ReLU lets no gradient through
            lr, why = (3e-4, "no batch norm") if adaptive else (0.01, "no batch norm")
        else:
            lr, why = (1e-3, "usual") if adaptive else (0.05, "usual with momentum")
        settings = replace(settings, lr=lr)
        reasons.add(f"lr {lr:g}: {why}")
    scales = {f"net.{name}": factor for name, factor in settings.rate_scales.items()}
    scales |= {f"net.{name}": 0.0 for name in wishes.freeze}
    if wishes.weights and not scales:
        scales = {"net.": TRUNK_FACTOR, **{f"net.{head}": 1.0 for head in net.heads}}
        reasons.add(f"rate-scale {TRUNK_FACTOR} for all but {', '.join(net.heads)}: they are trained already")
    return replace(settings, rate_scales=scales)


def frozen_names(net: ConvNet, scales: Mapping[str, float]) -> set[str]:
    """Parameters whose longest matching beginning has the factor 0.

    Args:
        net: whose parameters.
        scales: of the settings, by beginnings of names in the model, where the net is ``net``.

    Raises:
        MisuseError: a beginning that no parameter has.
    """
    frozen, unused = set(), set(scales)
    names = [name for name, _ in net.named_parameters()]
    for beginning in scales:
        if any(f"net.{name}".startswith(beginning) for name in names):
            unused.discard(beginning)
    if unused:
        wrong = sorted(unused)[0].removeprefix("net.")
        parts = sorted({name.split(".")[0] for name in names})
        raise MisuseError(f"No parameter of {net.name} begins with {wrong!r}; its parts are {', '.join(parts)}.")
    for name in names:
        longest = max((b for b in scales if f"net.{name}".startswith(b)), key=len, default=None)
        if longest is not None and scales[longest] == 0:
            frozen.add(name)
    if len(frozen) == len(names):
        raise MisuseError("Every parameter is frozen: there is nothing to train.")
    return frozen


def choose_precision(wishes: ImageWishes, device: str, reasons: Reasons) -> str:
    """fp32 or bf16."""
    if wishes.precision != "auto":
        return wishes.precision
    if device == "cuda":
        pays = torch.cuda.is_bf16_supported()
    else:
        pays = bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
    reasons.add(f"precision {'bf16: convolutions are faster' if pays else 'fp32: bfloat16 brings nothing'} here")
    return "bf16" if pays else "fp32"
