"""What the operations of a graph are in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from elman.equations import Node

Function = Callable[..., Tensor]

_nn = torch._C._nn  # the pointwise functions that take `out=` live here


def _mean(a: Tensor, *, out: Tensor | None = None) -> Tensor:
    return torch.mean(a, -1, keepdim=True) if out is None else torch.mean(a, -1, keepdim=True, out=out)


def _relu(a: Tensor, *, out: Tensor | None = None) -> Tensor:
    return torch.relu(a) if out is None else torch.clamp_min(a, 0, out=out)


def _leaky_relu(a: Tensor, *, out: Tensor | None = None) -> Tensor:
    return functional.leaky_relu(a, 0.01) if out is None else _nn.leaky_relu(a, 0.01, out=out)


def _hard_sigmoid(a: Tensor, *, out: Tensor | None = None) -> Tensor:
    # the derivative of torch's own function is exact to float32 only
    return functional.relu6(a + 3) / 6 if out is None else _nn.hardsigmoid(a, out=out)


def _greater(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    return torch.gt(a, b).to(a.dtype if a.dim() else b.dtype) if out is None else torch.gt(a, b, out=out)


def copy(a: Tensor, *, out: Tensor) -> Tensor:
    """``out``, now with the values of a, which may have to be repeated."""
    return out.copy_(a)


def sigmoid_backward(gradient: Tensor, value: Tensor, *, out: Tensor | None = None) -> Tensor:
    """gradient * value * (1 - value)."""
    if out is None:
        return torch.ops.aten.sigmoid_backward(gradient, value)
    return torch.ops.aten.sigmoid_backward.grad_input(gradient, value, grad_input=out)


def tanh_backward(gradient: Tensor, value: Tensor, *, out: Tensor | None = None) -> Tensor:
    """gradient * (1 - value * value)."""
    if out is None:
        return torch.ops.aten.tanh_backward(gradient, value)
    return torch.ops.aten.tanh_backward.grad_input(gradient, value, grad_input=out)


#: Pointwise operations by the graph's name; each takes ``out=`` too. "power" and leaves are not here.
POINTWISE: dict[str, Function] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "neg": torch.neg,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _nn.elu,
    "softplus": _nn.softplus,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "hard_sigmoid": _hard_sigmoid,
    "mean": _mean,
    "sign": torch.sign,
    "greater": _greater,
}


def pointwise(node: Node) -> Function:
    """The torch function of a node that is neither a leaf nor a product."""
    if node.op == "power":
        exponent = int(node.value)

        def power(a: Tensor, *, out: Tensor | None = None) -> Tensor:
            return torch.pow(a, exponent) if out is None else torch.pow(a, exponent, out=out)

        return power
    return POINTWISE[node.op]


def number(value: float, like: Tensor) -> Tensor:
    """A number as a tensor without dimensions, which stands anywhere a tensor does."""
    return torch.tensor(value, dtype=like.dtype)


def evaluate(
    nodes: Sequence[Node],
    wanted: Sequence[int],
    values: dict[int, Tensor],
    matrices: Mapping[str, Tensor],
    product: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Compute nodes one by one, with autograd's own functions.

    Args:
        nodes: all nodes of a graph.
        wanted: ids to compute, arguments before users; those that ``values`` has are left alone.
        values: by node id; the computed ones are added.
        matrices: by name.
        product: (argument [..., width], matrix [hidden, width]) to [..., hidden].
    """
    for index in wanted:
        if index in values:
            continue
        node = nodes[index]
        operands = [values[argument] for argument in node.args]
        if node.op == "product":
            values[index] = product(operands[0], matrices[node.name])
        else:
            values[index] = pointwise(node)(*operands)
