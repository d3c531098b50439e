"""The passes in eager torch, for derivatives of derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.compile.cpu.extents import Extent
from elman.compile.cpu.passes import Kind, Operands
from elman.compile.hoist import linear
from elman.compile.operations import evaluate, number


def plain_passes(kind: Kind, operands: Operands, extent: Extent) -> tuple[Tensor, ...]:
    """All steps, node by node, in float32.

    Args:
        kind, operands, extent: as of :func:`elman.compile.cpu.passes.forward`.

    Returns:
        The wanted states' sequences [rows, hidden], then every state's last values [B, hidden].
    """
    graph = kind.recurrence.graph
    states = dict(operands.states)
    like = next(iter(states.values()))
    given = {**operands.inputs, **operands.vectors, **operands.rows}
    needed, pending = set[int](), list(graph.states.values())
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending.extend(() if index in given else graph.nodes[index].args)
    order = sorted(needed)
    sequences: dict[str, list[Tensor]] = {name: [] for name in kind.wanted}
    with torch.autocast("cpu", enabled=False):
        for t, count in enumerate(extent.counts.tolist()):
            start = int(extent.current[t])
            values: dict[int, Tensor] = {}
            for index in order:
                node = graph.nodes[index]
                if index in operands.inputs:
                    table = operands.inputs[index].to(like.dtype)
                    rows = slice(start, start + count)
                    values[index] = table[rows] if operands.index is None else table[operands.index[rows]]
                elif index in operands.rows:
                    values[index] = operands.rows[index][:count]
                elif index in operands.vectors:
                    values[index] = operands.vectors[index]
                elif node.op == "const":
                    values[index] = number(node.value, like)
                elif node.op == "state":
                    values[index] = states[node.name][:count]
            evaluate(graph.nodes, order, values, operands.matrices, linear)
            for name, old in states.items():
                new = values[graph.states[name]].expand(count, kind.hidden)
                states[name] = new if count == extent.batch else torch.cat((new, old[count:]))
                if name in sequences:
                    sequences[name].append(new)
    return (*(torch.cat(sequences[name]) for name in kind.wanted), *states.values())
