"""The part of a recurrence that no state enters: computed for all time steps at once, by autograd's own functions.

All products with the same argument become one product over the T * B rows, their biases included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile.operations import evaluate
from elman.equations import Graph, Node


@dataclass(frozen=True, slots=True)
class Bundle:
    """Products with one argument, computed as one.

    Attributes:
        argument: node id of the vector.
        matrices: names, in the order of the result's parts.
        biases: for each part the vectors (node ids) that are added to it; may be empty.
        results: for each part the node that it is the value of.
        segments: how many parts each piece of the result holds; the parts of a piece stay together.
    """

    argument: int
    matrices: tuple[str, ...]
    biases: tuple[tuple[int, ...], ...]
    results: tuple[int, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hoisted:
    """What to compute before the time loop, and in which order.

    Attributes:
        once: node ids that depend on neither x nor a state.
        sequence: node ids that depend on x, except those that bundles give.
        bundles: by the node id before which they must have been computed.
    """

    once: tuple[int, ...]
    sequence: tuple[int, ...]
    bundles: dict[int, Bundle]


def _is_vector(nodes: Sequence[Node], index: int) -> bool:
    """Whether a node is [hidden], the same for every row of the batch."""
    if nodes[index].phase != "once" or nodes[index].width != "hidden":
        return False
    pending = [index]
    while pending:
        node = nodes[pending.pop()]
        if node.op == "input":
            return False
        pending.extend(node.args)
    return True


def hoist(graph: Graph, together: Sequence[tuple[int, ...]]) -> Hoisted:
    """Plan the computation before the time loop.

    Args:
        graph: one time step.
        together: tuples of node ids whose values are wanted side by side in one tensor.
    """
    nodes, reader = graph.nodes, graph.sole_readers()

    absorbed: set[int] = set()
    parts: dict[int, tuple[int, tuple[int, ...]]] = {}  # result node: its product, its biases
    for index, node in enumerate(nodes):
        if node.op != "product" or node.phase != "sequence":
            continue
        result, biases = index, []
        while result in reader:
            user = nodes[reader[result]]
            if user.op != "add" or user.phase != "sequence":
                break
            other = user.args[1] if user.args[0] == result else user.args[0]
            if other == result or not _is_vector(nodes, other):
                break
            absorbed.add(result)
            biases.append(other)
            result = reader[result]
        parts[result] = (index, tuple(biases))

    by_argument: dict[int, list[int]] = {}
    for result, (product, _) in parts.items():
        by_argument.setdefault(nodes[product].args[0], []).append(result)
    bundles: dict[int, Bundle] = {}
    for argument, results in by_argument.items():
        pieces = [group for group in together if set(group) <= set(results)]
        grouped = {result for group in pieces for result in group}
        pieces += [(result,) for result in results if result not in grouped]
        ordered = [result for piece in pieces for result in piece]
        first = min(parts[result][0] for result in ordered)
        bundles[first] = Bundle(
            argument,
            tuple(nodes[parts[result][0]].name for result in ordered),
            tuple(parts[result][1] for result in ordered),
            tuple(ordered),
            tuple(len(piece) for piece in pieces),
        )
    given = absorbed | set(parts)
    pending = [index for index, node in enumerate(nodes) if node.op not in ("input", "vector", "const", "state")]
    return Hoisted(
        tuple(index for index in pending if nodes[index].phase == "once"),
        tuple(
            index for index in pending if nodes[index].phase == "sequence" and (index not in given or index in bundles)
        ),
        bundles,
    )


def compute(
    hoisted: Hoisted,
    nodes: Sequence[Node],
    values: dict[int, Tensor],
    matrices: dict[str, Tensor],
    product: Callable[..., Tensor],
) -> dict[tuple[int, ...], Tensor]:
    """Carry the plan out.

    Args:
        hoisted: the plan.
        nodes: the graph's nodes.
        values: the leaves by node id; every computed node is added: once [hidden] or [B, hidden], sequence
            [T, B, hidden].
        matrices: by name.
        product: (argument, matrix, bias or None) to the product.

    Returns:
        By the tuples of nodes that were wanted together (and stand in one bundle), their common tensor.
    """
    evaluate(nodes, hoisted.once, values, matrices, product)
    pieces: dict[tuple[int, ...], Tensor] = {}
    for index in hoisted.sequence:
        bundle = hoisted.bundles.get(index)
        if bundle is None:
            evaluate(nodes, (index,), values, matrices, product)
        else:
            pieces.update(_compute_bundle(bundle, values, matrices, product))
    return pieces


def _compute_bundle(
    bundle: Bundle, values: dict[int, Tensor], matrices: dict[str, Tensor], product: Callable[..., Tensor]
) -> dict[tuple[int, ...], Tensor]:
    weights = [matrices[name] for name in bundle.matrices]
    hidden = weights[0].shape[0]
    bias = None
    if any(bundle.biases):
        zero = weights[0].new_zeros(hidden)
        rows = [_sum([values[index] for index in part]) if part else zero for part in bundle.biases]
        bias = rows[0] if len(rows) == 1 else torch.cat(rows)
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    result = product(values[bundle.argument], weight, bias)
    split = (
        torch.split(result, [count * hidden for count in bundle.segments], -1)
        if len(bundle.segments) > 1
        else (result,)
    )
    pieces: dict[tuple[int, ...], Tensor] = {}
    start = 0
    for count, piece in zip(bundle.segments, split, strict=True):
        names = bundle.results[start : start + count]
        start += count
        if count == 1:
            values[names[0]] = piece
        pieces[names] = piece
    return pieces


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def linear(argument: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product in the autocast type, if there is one, and the result in the matrix's own type."""
    return functional.linear(argument, matrix, bias).to(matrix.dtype)
