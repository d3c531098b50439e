"""What a net is made of: layers, shapes, parameters, multiply-adds, receptive fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elman.errors import MisuseError
from elman.models.convnets.blocks import POINTWISE, Branching
from elman.models.convnets.chain import ConvNet
from elman.models.convnets.table import design


@dataclass(frozen=True)
class Field:
    """What of the image the units of a feature map see, in pixels of one axis (square kernels: both axes).

    Unit i sees the pixels from ``start + i * stride`` to ``start + i * stride + size - 1``; those outside the image
    are padding. Where paths of different width join, the widest counts (Araujo et al. 2019, "Computing receptive
    fields of convolutional neural networks").
    """

    size: int = 1
    stride: int = 1
    start: int = 0


@dataclass(frozen=True)
class Layer:
    """One step of a net.

    Attributes:
        name: as :meth:`ConvNet.after` takes it.
        kind: the module's class.
        shape: of the output for one image: (channels, height, width), or (width,) in the classifier.
        parameters: trained numbers in it.
        multiply_adds: of one image; convolutions and matrix products alone are counted. A multiply-add is two FLOPs.
        field: receptive field of a unit; None once every unit sees the whole image.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    field: Field | None


@dataclass(frozen=True)
class Description:
    """A net's layers and their sums.

    Attributes:
        name: of the net.
        image: height and width, pixels, for which shapes and costs hold.
        layers: in running order; auxiliary classifiers are not among them.
        parameters: of the whole net, auxiliary classifiers too.
        multiply_adds: of one image, without auxiliary classifiers.
        field: receptive field of a unit of the last feature map.
    """

    name: str
    image: tuple[int, int]
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int
    field: Field | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def describe(net: ConvNet, image: tuple[int, int] | None = None) -> Description:
    """Describe a net without running it on numbers or taking memory for them.

    Args:
        net: on any device; it is not changed.
        image: height and width in pixels; default the size that the net was published for.

    Returns:
        Its layers, parameters, cost and receptive fields.

    Raises:
        MisuseError: the net cannot take images of that size.
    """
    height, width = image or (design(net.name).image,) * 2
    counted: list[int] = []

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        # each output number is a product with one row of the weight
        counted.append(output.numel() * weight.shape[1:].numel())

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = {module: module.training for module in net.modules()}
    layers = []
    field: Field | None = Field()
    try:
        net.eval()
        x = torch.empty(1, 3, height, width, device="meta", dtype=next(net.parameters()).dtype)
        runner = _Runner(net)
        for at, step in enumerate(net.steps):
            counted.clear()
            module = net.get_submodule(step)
            x = torch.func.functional_call(runner, runner.weights, (x, at))
            field = field and _seen(field, module)
            parameters = sum(p.numel() for p in module.parameters())
            layers.append(Layer(step, type(module).__name__, tuple(x.shape[1:]), parameters, sum(counted), field))
    except RuntimeError as error:
        raise MisuseError(f"{net.name} cannot take images of {height}x{width}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, was in training.items():
            module.training = was
    trunk = layers[net.position(net.trunk) - 1].field
    total = sum(p.numel() for p in net.parameters())
    return Description(net.name, (height, width), tuple(layers), total, sum(n.multiply_adds for n in layers), trunk)


class _Runner(nn.Module):
    """Runs one step of a net with tensors that have shapes but no memory in the place of its weights."""

    def __init__(self, net: ConvNet) -> None:
        super().__init__()
        self.net = net
        self.weights = {f"net.{name}": tensor.to("meta") for name, tensor in net.state_dict().items()}

    def forward(self, x: Tensor, at: int) -> Tensor:
        return self.net.run(x, at, at + 1)


def _seen(field: Field, module: nn.Module) -> Field | None:
    """The receptive field behind a module, from that before it; None where every unit sees all."""
    if isinstance(module, POINTWISE):
        return field
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        kernel, stride, padding, dilation = (
            _one(number) for number in (module.kernel_size, module.stride, module.padding, module.dilation)
        )
        # r' = r + (k - 1) d j;  j' = s j;  first' = first - p j
        size = field.size + (kernel - 1) * dilation * field.stride
        return Field(size, field.stride * stride, field.start - padding * field.stride)
    if isinstance(module, nn.Sequential):
        return _along(field, module)
    if isinstance(module, Branching):
        ends = [end for end in (_along(field, path) for path in module.paths()) if end]
        start = min(end.start for end in ends)
        last = max(end.start + end.size for end in ends)
        return Field(last - start, ends[0].stride, start)
    return None


def _along(field: Field | None, modules: Iterable[nn.Module]) -> Field | None:
    for module in modules:
        field = field and _seen(field, module)
    return field


def _one(number: Any) -> int:
    return int(number[0] if isinstance(number, tuple) else number)
