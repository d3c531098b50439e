"""A small ConvNet that is trained along with what reads its grid of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.data.images.resizing import to_float
from elman.models.configuration import check_sizes

LARGEST_SIDE = 4096
MOST_HALVINGS = 8


class GridNet(nn.Module):
    """Images become grids of vectors, each of which knows where it is.

        x_0     = [image; column; row]                          coordinates from -1 to 1
        x_{k+1} = relu(norm(conv3x3 of stride 2 (x_k)))         as often as the sides are halved
        grid    = [relu(norm(conv3x3 (x_n))); column; row]

    The coordinates are those of Liu et al. 2018 (arXiv:1807.03247); without them a convolution cannot tell left from
    right.

    Args:
        height, width: of the images, pixels.
        channels: of the first convolution; the others have twice as many.
        halvings: convolutions of stride 2.

    Raises:
        MisuseError: sizes that cannot be.
    """

    def __init__(self, height: int, width: int, channels: int = 32, halvings: int = 3) -> None:
        super().__init__()
        check_sizes(
            {
                "height": (height, LARGEST_SIDE),
                "width": (width, LARGEST_SIDE),
                "channels": (channels, LARGEST_SIDE),
                "halvings": (halvings, MOST_HALVINGS),
            }
        )
        self.size = (height, width)
        layers: list[nn.Module] = []
        incoming, sides = 5, (height, width)
        for layer in range(halvings + 1):
            outgoing, stride = channels * (2 if layer else 1), 2 if layer < halvings else 1
            # batch norm has a shift of its own
            layers += [nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False), nn.BatchNorm2d(outgoing), nn.ReLU()]
            incoming, sides = outgoing, (-(-sides[0] // stride), -(-sides[1] // stride))
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.grid_shape = (incoming + 2, *sides)
        self.register_buffer("before", _coordinates(height, width), persistent=False)
        self.register_buffer("after", _coordinates(*sides), persistent=False)
        self.before: Tensor
        self.after: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Grids of features.

        Args:
            images: [B, 3, height, width], uint8 or 0..1.

        Returns:
            [B, *grid_shape].
        """
        x = torch.cat((to_float(images) * 2 - 1, self.before.expand(len(images), -1, -1, -1)), 1)
        x = self.layers(x.contiguous(memory_format=torch.channels_last))
        return torch.cat((x, self.after.to(x).expand(len(images), -1, -1, -1)), 1)


def _coordinates(height: int, width: int) -> Tensor:
    rows = torch.linspace(-1, 1, height).view(1, height, 1).expand(1, height, width)
    columns = torch.linspace(-1, 1, width).view(1, 1, width).expand(1, height, width)
    return torch.cat((columns, rows))
