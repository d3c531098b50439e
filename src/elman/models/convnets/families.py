"""The nets as tables over the blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from elman.models.convnets.blocks import Fire, Inception, Residual, listener, normed
from elman.models.convnets.chain import ConvNet

# channels, kernel, stride, padding of a convolution that a ReLU follows
Convolution = tuple[int, int, int, int]


def lecture_net(classes: int, *, dropout: float) -> ConvNet:
    """Two convolutions of 5x5, three fully connected layers, for images of 32x32; after LeNet-5 (LeCun et al. 1998).

    Args:
        classes: number of scores.
        dropout: behind the two hidden fully connected layers; the lecture has none.
    """
    parts = {
        "conv1": nn.Conv2d(3, 6, 5),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(16 * 5 * 5, 120),
        "relu3": nn.ReLU(),
        "dropout1": nn.Dropout(dropout),
        "fc2": nn.Linear(120, 84),
        "relu4": nn.ReLU(),
        "dropout2": nn.Dropout(dropout),
        "fc3": nn.Linear(84, classes),
    }
    return ConvNet(parts, trunk="pool2", head="fc3")


def small(classes: int, *, batch_norm: bool, dropout: float) -> ConvNet:
    """Seven convolutions of 3x3 in the manner of VGG, for images of about 32x32 and little time to train.

    The pools stand before batch norm and ReLU, which then have a quarter of the numbers to go through.

    Args:
        classes: number of scores.
        batch_norm: whether it follows each convolution (Ioffe & Szegedy 2015); without it convolutions have biases.
        dropout: before the scores.
    """
    features = nn.Sequential()
    channels = 3
    for width, pooled in ((16, False), (32, True), (32, False), (64, True), (64, False), (128, True), (128, False)):
        features.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
        if pooled:
            features.append(nn.MaxPool2d(2))
        if batch_norm:
            features.append(nn.BatchNorm2d(width))
        features.append(nn.ReLU())
        channels = width
    parts = {
        "features": features,
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(dropout),
        "fc": nn.Linear(channels, classes),
    }
    return ConvNet(parts, trunk="features", head="fc")


def alexnet(classes: int, *, dropout: float) -> ConvNet:
    """The narrower one-tower AlexNet of Krizhevsky 2014, "One weird trick", section 5, which torchvision has."""
    layers: list[Convolution | nn.Module] = [
        *((64, 11, 4, 2), nn.MaxPool2d(3, 2), (192, 5, 1, 2), nn.MaxPool2d(3, 2)),
        *((384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), nn.MaxPool2d(3, 2)),
    ]
    return _fully_connected(_plain(layers), (256, 6), classes, dropout, dropout_first=True)


def alexnet_2012(classes: int, *, dropout: float, local_response_norm: bool) -> ConvNet:
    """AlexNet by its table of shapes, in one tower (Krizhevsky et al. 2012, "ImageNet classification with deep CNNs").

    For images of 227x227.
    """
    norm = _response_norm if local_response_norm else tuple
    layers: list[Convolution | nn.Module] = [
        *((96, 11, 4, 0), nn.MaxPool2d(3, 2), *norm(), (256, 5, 1, 2), nn.MaxPool2d(3, 2), *norm()),
        *((384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1), nn.MaxPool2d(3, 2)),
    ]
    return _fully_connected(_plain(layers), (256, 6), classes, dropout, dropout_first=True)


def zfnet(classes: int, *, dropout: float, local_response_norm: bool) -> ConvNet:
    """Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", figure 3."""
    norm = _response_norm if local_response_norm else tuple
    layers: list[Convolution | nn.Module] = [
        *((96, 7, 2, 1), nn.MaxPool2d(3, 2, 1), *norm(), (256, 5, 2, 0), nn.MaxPool2d(3, 2, 1), *norm()),
        *((384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1), nn.MaxPool2d(3, 2)),
    ]
    return _fully_connected(_plain(layers), (256, 6), classes, dropout, dropout_first=True)


def vgg(classes: int, *, depths: Sequence[int], batch_norm: bool, dropout: float) -> ConvNet:
    """Simonyan & Zisserman 2015, "Very deep convolutional networks", table 1.

    Args:
        classes: number of scores.
        depths: 3x3 convolutions in each of the five groups.
        batch_norm: whether it follows each convolution (Ioffe & Szegedy 2015).
        dropout: in the classifier.
    """
    layers: list[Convolution | nn.Module] = []
    for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
        layers += [(width, 3, 1, 1)] * depth
        layers.append(nn.MaxPool2d(2))
    return _fully_connected(_plain(layers, batch_norm), (512, 7), classes, dropout, dropout_first=False)


def resnet(classes: int, *, depths: Sequence[int], bottleneck: bool) -> ConvNet:
    """He et al. 2016, "Deep residual learning for image recognition", table 1.

    Args:
        classes: number of scores.
        depths: blocks in each of the four layers.
        bottleneck: blocks of 1x1, 3x3, 1x1 with four times the width at the end, the stride in the 3x3 as in
            torchvision (the paper has it in the first 1x1); else of two 3x3.
    """
    parts: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
        "bn1": nn.BatchNorm2d(64),
        "relu": nn.ReLU(),
        "maxpool": nn.MaxPool2d(3, 2, padding=1),
    }
    channels = 64
    for number, depth in enumerate(depths):
        width = 64 * 2**number
        layer = nn.Sequential()
        for block in range(depth):
            stride = 2 if number and not block else 1
            if bottleneck:
                convolutions = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
            else:
                convolutions = [(3, width, stride), (3, width, 1)]
            layer.append(Residual(channels, convolutions))
            channels = convolutions[-1][1]
        parts[f"layer{number + 1}"] = layer
    parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, classes)}
    return ConvNet(parts, trunk="layer4", head="fc")


# table 1 of Szegedy et al. 2015: a pool before some blocks, then the widths of the four branches
_INCEPTIONS: dict[str, tuple[int, ...]] = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "maxpool3": (3,),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "maxpool4": (2,),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(classes: int, *, auxiliary: bool, dropout: float, auxiliary_dropout: float) -> ConvNet:
    """Szegedy et al. 2015, "Going deeper with convolutions", table 1, with batch norm as torchvision has it.

    Args:
        classes: number of scores.
        auxiliary: whether there are the two auxiliary classifiers, which help in training and are dropped after it.
        dropout, auxiliary_dropout: before the last layer of the classifier, and of an auxiliary one.
    """
    parts: dict[str, nn.Module] = {
        "conv1": normed(3, 64, 7, 2),
        "maxpool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2": normed(64, 64, 1),
        "conv3": normed(64, 192, 3),
        "maxpool2": nn.MaxPool2d(3, 2, ceil_mode=True),
    }
    channels, listeners = 192, {}
    for name, widths in _INCEPTIONS.items():
        if len(widths) == 1:
            parts[name] = nn.MaxPool2d(widths[0], 2, ceil_mode=True)
            continue
        parts[name] = Inception(channels, widths)
        channels = widths[0] + widths[2] + widths[4] + widths[5]
        if auxiliary and name in ("inception4a", "inception4d"):
            listeners[name] = channels
    names = {}
    for number, (name, width) in enumerate(listeners.items(), 1):
        names[name] = f"aux{number}"
        parts[f"aux{number}"] = listener(width, classes, auxiliary_dropout)
    parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(dropout)}
    parts["fc"] = nn.Linear(channels, classes)
    return ConvNet(parts, trunk="inception5b", head="fc", auxiliary=names)


def squeezenet(classes: int, *, stem: tuple[int, int], pools: Sequence[int], dropout: float) -> ConvNet:
    """Iandola et al. 2016, "SqueezeNet", table 1; version 1.1 pools earlier and costs 2.4 times less.

    Args:
        classes: number of scores.
        stem: channels and kernel size of the first convolution.
        pools: the numbers of the fire modules (from 2) before which there is a max pool.
        dropout: before the last convolution.
    """
    width, kernel = stem
    features = nn.Sequential(nn.Conv2d(3, width, kernel, 2), nn.ReLU())
    for number, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        if number in pools:
            features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        features.append(Fire(width, squeezed, 4 * squeezed))
        width = 8 * squeezed
    classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(width, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    parts = {"features": features, "classifier": classifier, "flatten": nn.Flatten()}
    return ConvNet(parts, trunk="features", head="classifier.1")


def _plain(layers: Iterable[Convolution | nn.Module], batch_norm: bool = False) -> nn.Sequential:
    """A trunk without branches, from an image of three channels."""
    features = nn.Sequential()
    channels = 3
    for layer in layers:
        if isinstance(layer, nn.Module):
            features.append(layer)
            continue
        width, kernel, stride, padding = layer
        features.append(nn.Conv2d(channels, width, kernel, stride, padding))
        if batch_norm:
            features.append(nn.BatchNorm2d(width))
        features.append(nn.ReLU())
        channels = width
    return features


def _fully_connected(
    features: nn.Sequential, grid: tuple[int, int], classes: int, dropout: float, *, dropout_first: bool
) -> ConvNet:
    """Two layers of 4096 behind a trunk; a feature map of another size than ``grid`` (channels, side) is averaged."""
    channels, side = grid
    classifier = nn.Sequential()
    width = channels * side * side
    for _ in range(2):
        hidden = [nn.Linear(width, 4096), nn.ReLU()]
        classifier.extend([nn.Dropout(dropout), *hidden] if dropout_first else [*hidden, nn.Dropout(dropout)])
        width = 4096
    classifier.append(nn.Linear(width, classes))
    parts = {
        "features": features,
        "avgpool": nn.AdaptiveAvgPool2d(side),
        "flatten": nn.Flatten(),
        "classifier": classifier,
    }
    return ConvNet(parts, trunk="features", head="classifier.6")


def _response_norm() -> tuple[nn.Module]:
    # the paper's n 5, alpha 1e-4, beta 0.75, k 2; torch divides alpha by n, which the paper does not
    return (nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),)
