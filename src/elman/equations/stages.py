"""Which products of a step can run together, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elman.equations.graph import Node

_PRODUCTS = ("product", "product_transposed")


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of a step: products that do not wait for each other, then pointwise work.

    Attributes:
        index: 0 is what needs no product of the step; its `products` are empty.
        products: node ids of the products of this round.
        pointwise: node ids of what can be computed after these products and not before, arguments first.
    """

    index: int
    products: tuple[int, ...]
    pointwise: tuple[int, ...]


def stages_of(nodes: Sequence[Node]) -> tuple[Stage, ...]:
    """Group the nodes of the phase "step" into as few rounds as their dependencies allow.

    Args:
        nodes: of a graph or of a derivative, arguments before their users.

    Returns:
        Stage 0 always, then one stage for each round of products: an LSTM has stages 0 and 1, Cho's GRU 0, 1
        and 2, a cell without state products stage 0 only.
    """
    level = [0] * len(nodes)
    for index, node in enumerate(nodes):
        if node.phase == "step":
            level[index] = max((level[a] for a in node.args), default=0) + (node.op in _PRODUCTS)
    inner = [index for index, node in enumerate(nodes) if node.phase == "step" and node.args]
    return tuple(
        Stage(
            number,
            tuple(i for i in inner if level[i] == number and nodes[i].op in _PRODUCTS),
            tuple(i for i in inner if level[i] == number and nodes[i].op not in _PRODUCTS),
        )
        for number in range(max(level, default=0) + 1)
    )
