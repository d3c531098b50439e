"""The blocks of which the nets are built; parameters are named as in torchvision.

Every ReLU is a module of its own that leaves its input alone, so that hooks see what goes in and out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

POINTWISE = (nn.ReLU, nn.BatchNorm2d, nn.Dropout, nn.LocalResponseNorm, nn.Identity)


class Branching(nn.Module):
    """A block in which several paths read the same feature map."""

    def paths(self) -> list[list[nn.Module]]:
        """The modules of each path, in running order, from the block's input to where the paths join."""
        raise NotImplementedError


class Residual(Branching):
    """y = relu(F(x) + shortcut(x)), He et al. 2016, "Deep residual learning for image recognition".

    Args:
        incoming: channels of x.
        convolutions: (kernel size, channels, stride) of each convolution of F; batch norm follows each.
    """

    def __init__(self, incoming: int, convolutions: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        channels, stride = incoming, 1
        for number, (kernel, width, step) in enumerate(convolutions, 1):
            convolution = nn.Conv2d(channels, width, kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width))
            self.add_module(f"relu{number}", nn.ReLU())
            channels, stride = width, stride * step
        self.depth = len(convolutions)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != incoming:
            self.downsample = nn.Sequential(
                nn.Conv2d(incoming, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def paths(self) -> list[list[nn.Module]]:
        """F up to the sum, and the shortcut."""
        names = [f"{kind}{number}" for number in range(1, self.depth + 1) for kind in ("conv", "bn", "relu")]
        return [[self.get_submodule(name) for name in names[:-1]], [self.downsample] if self.downsample else []]

    def forward(self, x: Tensor) -> Tensor:
        """[B, incoming, H, W] -> [B, width, H / stride, W / stride]."""
        y, shortcut = (_through(x, path) for path in self.paths())
        result: Tensor = self.get_submodule(f"relu{self.depth}")(y + shortcut)
        return result


class Inception(Branching):
    """Four paths side by side, Szegedy et al. 2015, "Going deeper with convolutions", figure 2b.

    As in torchvision, whose weights this is to hold, batch norm follows each convolution and the path that the paper
    calls 5x5 has a kernel of 3x3.

    Args:
        incoming: channels of the input.
        widths: "#1x1", "#3x3 reduce", "#3x3", "#5x5 reduce", "#5x5", "pool proj" of the paper's table 1.
    """

    def __init__(self, incoming: int, widths: Sequence[int]) -> None:
        super().__init__()
        single, reduce3, width3, reduce5, width5, pooled = widths
        self.branch1 = normed(incoming, single, 1)
        self.branch2 = nn.Sequential(normed(incoming, reduce3, 1), normed(reduce3, width3, 3))
        self.branch3 = nn.Sequential(normed(incoming, reduce5, 1), normed(reduce5, width5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), normed(incoming, pooled, 1))

    def paths(self) -> list[list[nn.Module]]:
        """The four branches."""
        return [[self.branch1], [self.branch2], [self.branch3], [self.branch4]]

    def forward(self, x: Tensor) -> Tensor:
        """[B, incoming, H, W] -> [B, sum of the four widths, H, W]."""
        return torch.cat([_through(x, path) for path in self.paths()], 1)


class Fire(Branching):
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side: Iandola et al. 2016, "SqueezeNet", section 3.2.

    Args:
        incoming: channels of the input.
        squeezed: channels between the two layers.
        expanded: channels of each of the two expansions.
    """

    def __init__(self, incoming: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(incoming, squeezed, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def paths(self) -> list[list[nn.Module]]:
        """Squeeze and 1x1; squeeze and 3x3."""
        squeeze = [self.squeeze, self.squeeze_activation]
        return [
            [*squeeze, self.expand1x1, self.expand1x1_activation],
            [*squeeze, self.expand3x3, self.expand3x3_activation],
        ]

    def forward(self, x: Tensor) -> Tensor:
        """[B, incoming, H, W] -> [B, 2 expanded, H, W]."""
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat([_through(x, path[2:]) for path in self.paths()], 1)


def normed(incoming: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU, as ``conv`` and ``bn``; "same" padding."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(incoming, width, kernel, stride, padding=kernel // 2, bias=False),
            bn=nn.BatchNorm2d(width, eps=1e-3),
            relu=nn.ReLU(),
        )
    )


def listener(incoming: int, classes: int, dropout: float) -> nn.Sequential:
    """An auxiliary classifier of GoogLeNet: 4x4 means, 128 channels, 1024 units, scores [B, classes]."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(4),
            conv=normed(incoming, 128, 1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(128 * 4 * 4, 1024),
            relu=nn.ReLU(),
            dropout=nn.Dropout(dropout),
            fc2=nn.Linear(1024, classes),
        )
    )


def _through(x: Tensor, path: Sequence[nn.Module]) -> Tensor:
    for module in path:
        x = module(x)
    return x
