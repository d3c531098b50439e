"""Taking published or stored weights into a net."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from elman.errors import FailureError
from elman.models.convnets.chain import ConvNet
from elman.models.convnets.statedict import read_state
from elman.models.convnets.table import NETS, build
from elman.models.shapes import compare_shapes

# a count of training batches, which files from before torch 0.4.1 lack
_COUNTER = "num_batches_tracked"


def load_weights(net: ConvNet, path: str | os.PathLike[str], *, keep_head: bool = False) -> ConvNet:
    """Fill a net with the weights of a file, checked by name and shape before any is taken.

    What the file has of GoogLeNet's auxiliary classifiers is left aside where the net has none.

    Args:
        net: changed in place; its device and number type stay.
        path: safetensors or a state_dict with torchvision's names, see :func:`read_state`.
        keep_head: leave the layers that give the class scores as they are, whatever the file has for them; for a
            net that shall learn other classes.

    Returns:
        The same net.

    Raises:
        FailureError: the file cannot be read, or the first tensor that is missing, unknown, of another shape or not
            of finite numbers.
    """
    path = Path(path)
    state = read_state(path)
    own = net.state_dict()
    if keep_head:
        kept = {name for name in own if name.rpartition(".")[0] in net.heads}
        state = {name: tensor for name, tensor in state.items() if name not in kept} | {
            name: own[name] for name in kept
        }
    if not net.auxiliary:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(("aux1.", "aux2."))}
    for name, tensor in own.items():
        if name.endswith(_COUNTER):
            state.setdefault(name, torch.zeros_like(tensor))
    _check(net, path, state, own)
    net.load_state_dict(state)
    return net


def _check(net: ConvNet, path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    stored, expected = _shapes(state), _shapes(own)
    try:
        compare_shapes(path, stored, expected, net.name)
    except FailureError as error:
        raise FailureError(f"{error}{_advice(net, stored, expected)}") from error
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise FailureError(f"{path}: {name} holds numbers that are not finite.")


def _advice(net: ConvNet, stored: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    """What would work, where that can be told."""
    wrong = {name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name)}
    if all(name.rpartition(".")[0] in net.heads for name in wrong):
        return " Only the layer of the class scores differs: build the net for as many classes, or keep its own head."
    if name := _fitting(stored):
        return f" These are the tensors of {name}."
    return ""


def net_of(path: str | os.PathLike[str]) -> str:
    """The net of the table whose weights a file holds, for however many classes.

    Args:
        path: as for :func:`load_weights`.

    Returns:
        Its name.

    Raises:
        FailureError: the file cannot be read, or its tensors are of no net of the table.
    """
    if name := _fitting(_shapes(read_state(Path(path)))):
        return name
    raise FailureError(f"{path} holds the weights of none of {', '.join(NETS)}.")


def _fitting(stored: Mapping[str, tuple[int, ...]]) -> str:
    """The net that has these tensors, apart from the layers of the class scores; empty if none has."""
    names = {key for key in stored if not key.endswith(_COUNTER)}
    for name in NETS:
        net = build(name, device="meta")
        heads = tuple(f"{head}." for head in net.heads)
        own = {key for key in net.state_dict() if not key.endswith(_COUNTER)}
        if names == own and all(
            stored[k] == tuple(p.shape) for k, p in net.named_parameters() if not k.startswith(heads)
        ):
            return name
    return ""


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
