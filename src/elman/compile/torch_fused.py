"""torch's own fused kernels, for the recurrences that have one.

They are the tanh and the relu RNN, the LSTM and the GRU with the reset after the product. A recurrence is recognised by
its structure: names, the order of operands and the number of biases do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import _VF, Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.compile import reference
from elman.compile.twice import twice_differentiable
from elman.equations import Graph, Recurrence

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """W @ x + U @ h + biases: the matrices, the vectors beside the first product and those beside the second."""

    matrix: str
    recurrent: str
    biases: Names
    recurrent_biases: Names = ()


@dataclass(frozen=True, slots=True)
class Fused:
    """A recurrence that torch has a kernel for.

    Attributes:
        kernel: "rnn_tanh", "rnn_relu", "lstm" or "gru".
        gates: in torch's order (LSTM: input, forget, cell, output; GRU: reset, update, new).
        states: the kernel's states by this recurrence's names, the output first.
    """

    kernel: str
    gates: tuple[Gate, ...]
    states: Names


class _Matcher:
    """Looks at a graph from its states' new values downwards."""

    def __init__(self, graph: Graph):
        self.graph, self.nodes = graph, graph.nodes

    def argument(self, index: int, op: str) -> int | None:
        node = self.nodes[index]
        return node.args[0] if node.op == op else None

    def pairs(self, index: int, op: str) -> list[tuple[int, int]]:
        node = self.nodes[index]
        if node.op != op:
            return []
        return [node.args, node.args[::-1]]  # type: ignore[list-item]

    def terms(self, index: int) -> list[int]:
        node = self.nodes[index]
        return [term for each in node.args for term in self.terms(each)] if node.op == "add" else [index]

    def is_state(self, index: int, name: str) -> bool:
        return self.nodes[index].op == "state" and self.nodes[index].name == name

    def linear(self, index: int, argument: Callable[[int], bool]) -> tuple[str, Names] | None:
        """The matrix and the biases of W @ v + biases, where v is what `argument` accepts."""
        matrices, biases = [], []
        for term in self.terms(index):
            node = self.nodes[term]
            if node.op == "product" and argument(node.args[0]):
                matrices.append(node.name)
            elif node.op == "vector":
                biases.append(node.name)
            else:
                return None
        return (matrices[0], tuple(biases)) if len(matrices) == 1 else None

    def is_x(self, index: int) -> bool:
        return self.nodes[index].op == "input" and self.nodes[index].name == "x"

    def gate(self, index: int, state: str) -> Gate | None:
        """W @ x + U @ state + biases."""
        matrix, recurrent, biases = [], [], []
        for term in self.terms(index):
            node = self.nodes[term]
            if node.op == "vector":
                biases.append(node.name)
            elif node.op == "product" and self.is_x(node.args[0]):
                matrix.append(node.name)
            elif node.op == "product" and self.is_state(node.args[0], state):
                recurrent.append(node.name)
            else:
                return None
        return Gate(matrix[0], recurrent[0], tuple(biases)) if len(matrix) == len(recurrent) == 1 else None

    def activated(self, index: int, function: str, state: str) -> Gate | None:
        inner = self.argument(index, function)
        return None if inner is None else self.gate(inner, state)

    def one_minus(self, index: int) -> int | None:
        node = self.nodes[index]
        if node.op != "sub" or self.nodes[node.args[0]].op != "const" or self.nodes[node.args[0]].value != 1.0:
            return None
        return node.args[1]


def _match_rnn(graph: Graph) -> Fused | None:
    # h = tanh(W x + U h + b), or relu
    if len(graph.states) != 1:
        return None
    for function in ("tanh", "relu"):
        gate = _Matcher(graph).activated(graph.states[graph.output], function, graph.output)
        if gate is not None:
            return Fused(f"rnn_{function}", (gate,), (graph.output,))
    return None


def _match_lstm(graph: Graph) -> Fused | None:
    # c = f * c + i * g;  h = o * tanh(c)
    if len(graph.states) != 2:
        return None
    match, h = _Matcher(graph), graph.output
    (c,) = (name for name in graph.states if name != h)
    for o_node, squashed in match.pairs(graph.states[h], "mul"):
        o = match.activated(o_node, "sigmoid", h)
        if o is None or match.argument(squashed, "tanh") != graph.states[c]:
            continue
        for forgotten, written in match.pairs(graph.states[c], "add"):
            f = next(
                (match.activated(a, "sigmoid", h) for a, b in match.pairs(forgotten, "mul") if match.is_state(b, c)),
                None,
            )
            for i_node, g_node in match.pairs(written, "mul"):
                i, g = match.activated(i_node, "sigmoid", h), match.activated(g_node, "tanh", h)
                if f is not None and i is not None and g is not None:
                    return Fused("lstm", (i, f, g, o), (h, c))
    return None


def _match_gru(graph: Graph) -> Fused | None:
    # n = tanh(W x + b + r * (U h + b'));  h = (1 - z) * n + z * h
    if len(graph.states) != 1:
        return None
    match, h = _Matcher(graph), graph.output
    for new, old in match.pairs(graph.states[h], "add"):
        for z_node, state in match.pairs(old, "mul"):
            z = match.activated(z_node, "sigmoid", h)
            if z is None or not match.is_state(state, h):
                continue
            for complement, n_node in match.pairs(new, "mul"):
                inner = match.argument(n_node, "tanh")
                if match.one_minus(complement) != z_node or inner is None:
                    continue
                found = _match_new_gate(match, inner, h)
                if found is not None:
                    r, n = found
                    return Fused("gru", (r, z, n), (h,))
    return None


def _match_new_gate(match: _Matcher, index: int, h: str) -> tuple[Gate, Gate] | None:
    gated = [term for term in match.terms(index) if match.nodes[term].op == "mul"]
    if len(gated) != 1:
        return None
    matrix, biases = [], []
    for term in match.terms(index):
        node = match.nodes[term]
        if node.op == "vector":
            biases.append(node.name)
        elif node.op == "product" and match.is_x(node.args[0]):
            matrix.append(node.name)
        elif term != gated[0]:
            return None
    for r_node, recurrent in match.pairs(gated[0], "mul"):
        r = match.activated(r_node, "sigmoid", h)
        inner = match.linear(recurrent, lambda argument: match.is_state(argument, h))
        if r is not None and inner is not None and len(matrix) == 1:
            return r, Gate(matrix[0], inner[0], tuple(biases), inner[1])
    return None


@lru_cache(maxsize=256)
def recognise(recurrence: Recurrence) -> Fused | None:
    """The kernel of torch that computes a recurrence, if there is one."""
    if recurrence.inputs:
        return None
    graph = recurrence.graph
    return _match_rnn(graph) or _match_lstm(graph) or _match_gru(graph)


def run(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    *,
    every_state: bool = False,
    lengths: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a whole sequence on torch's kernel; arguments and results as of :func:`elman.compile.engine.run`."""
    fused = recognise(recurrence)
    assert fused is not None  # the engine asks first
    names = (*recurrence.matrices, *recurrence.vectors)
    keys = [*(("parameter", name) for name in names), ("x", ""), *(("state", name) for name in fused.states)]
    tensors = [*(parameters[name] for name in names), x, *(state[name] for name in fused.states)]

    def unpack(given: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        table = dict(zip(keys, given, strict=True))
        return (
            {name: table["parameter", name] for name in names},
            table["x", ""],
            {name: table["state", name] for name in fused.states},
        )

    def kernel(*given: Tensor) -> tuple[Tensor, ...]:
        return _call(fused, *unpack(given), lengths)

    def plain(*given: Tensor) -> tuple[Tensor, ...]:
        outputs, final = reference.run(recurrence, *unpack(given), {}, lengths=lengths)
        return (outputs[recurrence.output], *(final[name] for name in fused.states))

    results = twice_differentiable(kernel, plain, tensors)
    final = dict(zip(fused.states, results[1:], strict=True))
    return {recurrence.output: results[0]}, {name: final[name] for name in recurrence.states}


def _call(
    fused: Fused, parameters: Mapping[str, Tensor], x: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None
) -> tuple[Tensor, ...]:
    """The kernel's outputs [T, B, hidden] and its last states, each [B, hidden]."""
    like = state[fused.states[0]]
    weights = _side_by_side(fused, parameters, like)
    biased = len(weights) == 4
    initial = tuple(state[name].unsqueeze(0).contiguous() for name in fused.states)
    function: Any = getattr(_VF, fused.kernel)
    options = (weights, biased, 1, 0.0, torch.is_grad_enabled(), False)
    if fused.kernel != "lstm":
        y, last = function(x, initial[0], *options, False)
        final = [last if lengths is None else reference.at_ends(y, lengths).unsqueeze(0)]
    elif lengths is None:
        y, *final = function(x, initial, *options, False)
    else:
        # c leaves the kernel at its end only, so the kernel has to know the rows' ends: it takes them packed, from the
        # longest to the shortest
        order = lengths.argsort(descending=True)
        back = order.argsort()
        packed = pack_padded_sequence(x.index_select(1, order), lengths[order].cpu())
        initial = tuple(value.index_select(1, order) for value in initial)
        data, *final = function(packed.data, packed.batch_sizes, initial, *options)
        y, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes), total_length=len(x))
        y, *final = (value.index_select(1, back) for value in (y, *final))
    return tuple(tensor.to(like.dtype) for tensor in (y, *(value.squeeze(0) for value in final)))


def _side_by_side(fused: Fused, parameters: Mapping[str, Tensor], like: Tensor) -> list[Tensor]:
    """The gates' parameters as the kernel wants them: W, U and, where there are biases, those of W and of U."""
    kept = _FROZEN.get()
    key = tuple(id(tensor) for tensor in parameters.values())
    if kept is not None and key in kept:
        return kept[key][1]
    weights = [
        torch.cat([parameters[gate.matrix] for gate in fused.gates]),
        torch.cat([parameters[gate.recurrent] for gate in fused.gates]),
    ]
    if any(gate.biases or gate.recurrent_biases for gate in fused.gates):
        zero = like.new_zeros(like.shape[-1])
        for pick in ("biases", "recurrent_biases"):
            sums = [sum((parameters[name] for name in getattr(gate, pick)), zero) for gate in fused.gates]
            weights.append(torch.cat(sums))
    # tensors that are made anew for every call, as by pruning, would only pile up
    if kept is not None and all(isinstance(tensor, nn.Parameter) for tensor in parameters.values()):
        # the parameters are held too, so that their identities cannot pass to others
        kept[key] = (tuple(parameters.values()), weights)
    return weights


# parameters and what was made of them, by the parameters' identities; None outside frozen_weights()
_FROZEN: ContextVar[dict[tuple[int, ...], tuple[tuple[Tensor, ...], list[Tensor]]] | None] = ContextVar(
    "frozen", default=None
)


@contextmanager
def frozen_weights() -> Iterator[None]:
    """A promise that no parameter changes within the block: what is made of the weights is made once.

    A step of a single token would otherwise spend more time on putting the gates' matrices side by side than on the
    products. Gradients are not recorded within the block.
    """
    token = _FROZEN.set({})
    try:
        with torch.no_grad():
            yield
    finally:
        _FROZEN.reset(token)


def weights_are_frozen() -> bool:
    """Whether the present block is one of :func:`frozen_weights`."""
    return _FROZEN.get() is not None
