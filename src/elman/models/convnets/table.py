"""The nets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from elman.errors import MisuseError
from elman.models.convnets import families
from elman.models.convnets.chain import ConvNet

Channels = tuple[float, float, float]

# of the pixels of ImageNet's training images, divided by 255; published with torchvision's weights
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
HALF: Channels = (0.5, 0.5, 0.5)

MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Design:
    """A net of the table.

    Attributes:
        make: makes the net from the number of classes and the options.
        source: the paper.
        image: side of the square images that it was published for, pixels.
        resize: shorter side to which an image is resized before the centre is cut out, pixels.
        mean, std: by channel, for pixels from 0 to 1, as the published weights expect them.
        options: keyword arguments of ``make`` that :func:`build` takes, with their defaults.
    """

    make: Callable[..., ConvNet]
    source: str
    image: int = 224
    resize: int = 256
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    options: Mapping[str, Any] = field(default_factory=dict)


_DROPOUT = {"dropout": 0.5}
_NORMED = {"dropout": 0.5, "local_response_norm": True}
_VGG = "Simonyan & Zisserman 2015, arXiv:1409.1556"
_RESNET = "He et al. 2016, arXiv:1512.03385"
_SQUEEZENET = "Iandola et al. 2016, arXiv:1602.07360"
_VGG_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_RESNET_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}

NETS: dict[str, Design] = {
    "net": Design(families.lecture_net, "after LeCun et al. 1998", 32, 32, HALF, HALF, {"dropout": 0.0}),
    **{
        f"small{suffix}": Design(
            partial(families.small, batch_norm=bool(suffix)), _VGG, 32, 32, HALF, HALF, {"dropout": 0.0}
        )
        for suffix in ("", "_bn")
    },
    "alexnet": Design(families.alexnet, "Krizhevsky 2014, arXiv:1404.5997", options=_DROPOUT),
    "alexnet_2012": Design(families.alexnet_2012, "Krizhevsky, Sutskever & Hinton 2012", 227, options=_NORMED),
    "zfnet": Design(families.zfnet, "Zeiler & Fergus 2014, arXiv:1311.2901", options=_NORMED),
    **{
        f"vgg{depth}{suffix}": Design(
            partial(families.vgg, depths=depths, batch_norm=bool(suffix)), _VGG, options=_DROPOUT
        )
        for depth, depths in _VGG_DEPTHS.items()
        for suffix in ("", "_bn")
    },
    "googlenet": Design(
        families.googlenet,
        "Szegedy et al. 2015, arXiv:1409.4842",
        mean=HALF,
        std=HALF,
        options={"auxiliary": False, "dropout": 0.2, "auxiliary_dropout": 0.7},
    ),
    **{
        f"resnet{depth}": Design(partial(families.resnet, depths=depths, bottleneck=bottleneck), _RESNET)
        for depth, (depths, bottleneck) in _RESNET_DEPTHS.items()
    },
    "squeezenet1_0": Design(partial(families.squeezenet, stem=(96, 7), pools=(2, 5, 9)), _SQUEEZENET, options=_DROPOUT),
    "squeezenet1_1": Design(partial(families.squeezenet, stem=(64, 3), pools=(2, 4, 6)), _SQUEEZENET, options=_DROPOUT),
}


def design(name: str) -> Design:
    """The entry of the table.

    Raises:
        MisuseError: there is no net of that name; the text lists them.
    """
    try:
        return NETS[name]
    except KeyError:
        raise MisuseError(f"There is no ConvNet {name!r}; there are {', '.join(NETS)}.") from None


def build(
    name: str,
    classes: int = 1000,
    *,
    generator: torch.Generator | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> ConvNet:
    """Make a net with fresh weights.

    Args:
        name: a key of :data:`NETS`.
        classes: number of scores.
        generator: draws the weights; default is torch's global one of the CPU.
        device: where it shall live; default is torch's default device. On ``"meta"`` it takes no memory.
        options: what the net's :class:`Design` lists: ``dropout``, ``local_response_norm``, ``auxiliary``.

    Returns:
        The net, in training mode.

    Raises:
        MisuseError: an unknown name or option, or an impossible number of classes.
    """
    entry = design(name)
    if not isinstance(classes, int) or not 1 <= classes <= MOST_CLASSES:
        raise MisuseError(f"classes is {classes}; it must be a whole number from 1 to {MOST_CLASSES:,}.")
    if unknown := sorted(options.keys() - entry.options.keys()):
        known = ", ".join(entry.options) or "none"
        raise MisuseError(f"{name} has no option {unknown[0]!r}; its options: {known}.")
    for option, value in options.items():
        if option.endswith("dropout") and not 0 <= value < 1:
            raise MisuseError(f"{option} is {value}; it must be a share from 0 to below 1.")
    chosen = {**entry.options, **options}
    place = torch.get_default_device() if device is None else torch.device(device)
    with torch.device("meta"):
        net = entry.make(classes, **chosen)
    net.name, net.options = name, chosen
    if place.type == "meta":
        return net
    # drawn on the CPU, so that a seed means the same weights wherever the net goes
    return initialise(net.to_empty(device="cpu"), generator).to(place)


def initialise(net: ConvNet, generator: torch.Generator | None = None) -> ConvNet:
    """Draw a net's weights anew.

    Each layer before a ReLU is drawn from N(0, 2 / fan-in) (He et al. 2015, "Delving deep into rectifiers",
    equation 10), the layers that give the scores from N(0, 1e-4), so that training starts near equal probabilities;
    biases are zero, batch norms the identity.

    Args:
        net: not on the meta device.
        generator: default is torch's global one.

    Returns:
        The same net.
    """
    heads = {id(net.get_submodule(name)) for name in net.heads}
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if id(module) in heads:
                nn.init.normal_(module.weight, std=0.01, generator=generator)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return net


def replace_head(net: ConvNet, classes: int, generator: torch.Generator | None = None) -> ConvNet:
    """Give a net fresh last layers for another number of classes, and leave the rest as it is.

    Args:
        net: changed in place.
        classes: number of scores from now on.
        generator: draws the weights; default is torch's global one.

    Returns:
        The same net.

    Raises:
        MisuseError: an impossible number of classes.
    """
    if not isinstance(classes, int) or not 1 <= classes <= MOST_CLASSES:
        raise MisuseError(f"classes is {classes}; it must be a whole number from 1 to {MOST_CLASSES:,}.")
    for name in net.heads:
        layer = net.get_submodule(name)
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        weight = torch.empty((classes, *layer.weight.shape[1:]), dtype=layer.weight.dtype, device="cpu")
        layer.weight = nn.Parameter(weight.normal_(std=0.01, generator=generator).to(layer.weight.device))
        layer.bias = nn.Parameter(layer.weight.new_zeros(classes))
        if isinstance(layer, nn.Linear):
            layer.out_features = classes
        else:
            layer.out_channels = classes
    return net
