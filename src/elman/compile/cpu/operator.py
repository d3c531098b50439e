"""The compiled passes as operators of torch's, for torch.compile and torch.export to record.

What records a program sees tensors, numbers and texts only: a recurrence travels as its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from elman.compile.cpu import backward_pass, passes
from elman.compile.cpu.extents import even_extent
from elman.compile.cpu.memory import Memory
from elman.compile.cpu.plain import plain_passes
from elman.compile.cpu.programs import forward_program
from elman.compile.cpu.target import host_target, unsupported
from elman.compile.twice import gradients_of
from elman.equations import Recurrence
from elman.errors import FailureError, MisuseError


def _constant(function: Callable[..., Any]) -> None:
    """What torch.compiler.assume_constant_result does, which loads the whole compiler, for seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_recording() -> bool:
    """Whether a call becomes part of a program that is run later, so that an operator has to stand for it.

    A dispatch mode (make_fx, fake tensors, counters of operations) sees operators only, too.
    """
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def described(
    equations: str, output: str, inputs: tuple[str, ...], nodes: int
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """A recurrence as texts, for the operators, and the node ids of the operands that are no matrix and no state.

    Args:
        equations: the recurrence's canonical text.
        output: its output.
        inputs: its constant inputs, masks among them.
        nodes: how many nodes its graph has, which tells inputs from masks.

    Returns:
        The texts; the node ids of inputs, vectors and rows.
    """
    recurrence = next(each for each in _candidates(equations, output, inputs) if len(each.graph.nodes) == nodes)
    return (equations, output, _digest(recurrence), *inputs), passes.inputs_of(recurrence)


# torch.compile calls these while it records, instead of looking into them: their arguments are constants.
for _function in (described, host_target, unsupported):
    _constant(_function)


def leaves_of(recurrence: Recurrence) -> tuple[tuple[int, ...], ...]:
    """As :func:`elman.compile.cpu.passes.inputs_of`, while a program is recorded."""
    return _described(recurrence)[1]


def run_passes(kind: passes.Kind, steps: int, index: Tensor | None, operands: Sequence[Tensor]) -> list[Tensor]:
    """All steps of rows of one length as one operator; differentiable.

    Args:
        kind: which code.
        steps: T.
        index: [T * B] for each row its place in the inputs; None if they stand in this order.
        operands: matrices [hidden, K], states [B, hidden], inputs [T * B or more, width], vectors [hidden], rows
            [B, hidden].

    Returns:
        The sequences [T * B, hidden], then every state's last value [B, hidden].

    Raises:
        FailureError: a program from elsewhere was recorded by another version of Elman.
    """
    text, (inputs, _, _) = _described(kind.recurrence)
    tensors = list(operands)
    if index is not None:
        first = len(kind.recurrence.matrices) + len(kind.recurrence.states)
        for place in range(first, first + len(inputs)):
            tensors[place] = tensors[place].index_select(0, index)
    return torch.ops.elman.passes(list(text), list(kind.wanted), kind.half, steps, tensors)


def _described(recurrence: Recurrence) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    return described(recurrence.canonical, recurrence.output, recurrence.inputs, len(recurrence.graph.nodes))


def _candidates(equations: str, output: str, inputs: Sequence[str]) -> Iterator[Recurrence]:
    """What a text can mean: the last inputs may be masks, which no text shows."""
    for own in range(len(inputs), -1, -1):
        with suppress(MisuseError):
            recurrence = Recurrence(equations, output, tuple(inputs[:own]))
            for mask in inputs[own:]:
                recurrence = recurrence.with_recurrent_mask(mask)
            yield recurrence


def _digest(recurrence: Recurrence) -> str:
    """A digest of the graph and of which of its nodes are operands."""
    graph = recurrence.graph
    content = f"{graph.nodes} {sorted(graph.states.items())} {passes.inputs_of(recurrence)}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _recurrence(text: tuple[str, ...]) -> Recurrence:
    equations, output, digest, *inputs = text
    for recurrence in _candidates(equations, output, inputs):
        if _digest(recurrence) == digest:
            return recurrence
    raise FailureError("This program was recorded by another version of Elman; record (export) it again.")


def _kind(text: Sequence[str], wanted: Sequence[str], half: bool, operands: Sequence[Tensor]) -> passes.Kind:
    recurrence = _recurrence(tuple(text))
    hidden = operands[len(recurrence.matrices)].shape[1]
    return passes.Kind(recurrence, host_target(), half, hidden, tuple(wanted))


def _batch(kind: passes.Kind, tensors: Sequence[Tensor]) -> int:
    return tensors[len(kind.recurrence.matrices)].shape[0]


def _plan(kind: passes.Kind, steps: int, batch: int, operands: Sequence[Tensor]) -> passes.Plan:
    """The memory of a forward pass with gradients."""
    recurrence = kind.recurrence
    exact = bool(kind.exact)  # of a width that is a symbol it is no bool yet
    program = forward_program(recurrence, kind.target, kind.half, exact, False, True, kind.wanted)
    widths = tuple(each.shape[1] for each in operands[: len(recurrence.matrices)])
    whole = passes.kept_states(kind, True)
    # sizes that are symbols are no keys of a cache
    arguments = (program, kind.hidden, kind.wanted, whole, batch, steps * batch, widths)
    known = all(isinstance(each, int) for each in (kind.hidden, batch, steps, *widths))
    return passes.forward_plan(*arguments) if known else passes.forward_plan.__wrapped__(*arguments)


def _kept_shapes(plan: passes.Plan) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """By name the tensors that a backward pass reads, operands apart: shape and type."""
    return {name: shape for name, shape in plan.layout.shapes.items() if name != "scratch"}


def _sequences(kind: passes.Kind, tensors: Mapping[str, Tensor], batch: int) -> list[Tensor]:
    """The wanted states' values of all steps [rows, hidden], views of memory."""
    return [tensors[kind.sequence(name)][batch:, : kind.hidden] for name in kind.wanted]


_LIBRARY = torch.library.Library("elman", "DEF")
_COMMON = "str[] text, str[] wanted, bool half, SymInt steps, Tensor[] operands"
_LIBRARY.define(f"passes({_COMMON}) -> Tensor[]")
_LIBRARY.define(f"passes_kept({_COMMON}) -> Tensor[]")
_LIBRARY.define(f"passes_backward({_COMMON}, Tensor[] kept, Tensor?[] gradients, bool[] needed) -> Tensor[]")


def _passes(text: list[str], wanted: list[str], half: bool, steps: int, operands: list[Tensor]) -> list[Tensor]:
    kind = _kind(text, wanted, half, operands)
    batch = _batch(kind, operands)
    kept, final = passes.forward(kind, passes.operands_of(kind.recurrence, operands), even_extent(steps, batch), False)
    sequences = _sequences(kind, kept.memory.tensors, batch)
    return [tensor.contiguous() for tensor in (*sequences, *(final[name] for name in kind.recurrence.states))]


def _passes_fake(text: list[str], wanted: list[str], half: bool, steps: int, operands: list[Tensor]) -> list[Tensor]:
    kind = _kind(text, wanted, half, operands)
    batch, like = _batch(kind, operands), operands[0]
    sequences = [like.new_empty((steps * batch, kind.hidden), dtype=kind.dtype) for _ in wanted]
    return sequences + _final_fake(kind, batch, like)


def _final_fake(kind: passes.Kind, batch: int, like: Tensor) -> list[Tensor]:
    return [like.new_empty((batch, kind.hidden), dtype=torch.float32) for _ in kind.recurrence.states]


# passes_kept: every state's last value, then the memory that passes_backward reads, in the order of _kept_shapes.


def _passes_kept(text: list[str], wanted: list[str], half: bool, steps: int, operands: list[Tensor]) -> list[Tensor]:
    kind = _kind(text, wanted, half, operands)
    batch = _batch(kind, operands)
    kept, final = passes.forward(kind, passes.operands_of(kind.recurrence, operands), even_extent(steps, batch), True)
    last = [final[name].contiguous() for name in kind.recurrence.states]
    return [*last, *(kept.memory.tensors[name] for name in _kept_shapes(_plan(kind, steps, batch, operands)))]


def _passes_kept_fake(
    text: list[str], wanted: list[str], half: bool, steps: int, operands: list[Tensor]
) -> list[Tensor]:
    kind = _kind(text, wanted, half, operands)
    batch, like = _batch(kind, operands), operands[0]
    shapes = _kept_shapes(_plan(kind, steps, batch, operands)).values()
    memory = [like.new_empty(shape, dtype=dtype) for shape, dtype in shapes]
    return _final_fake(kind, batch, like) + memory


# passes_backward: the gradients of the operands that are needed, zero where nothing arrives.


def _passes_backward(
    text: list[str],
    wanted: list[str],
    half: bool,
    steps: int,
    operands: list[Tensor],
    kept: list[Tensor],
    gradients: list[Tensor | None],
    needed: list[bool],
) -> list[Tensor]:
    kind = _kind(text, wanted, half, operands)
    recurrence, batch, table = kind.recurrence, _batch(kind, operands), passes.operands_of(kind.recurrence, operands)
    plan = _plan(kind, steps, batch, operands)
    memory = Memory(dict(zip(_kept_shapes(plan), kept, strict=True)), plan.layout.pieces)
    arriving = list(zip((*kind.wanted, *recurrence.states), gradients, strict=True))
    count = len(kind.wanted)
    asked = [key for key, need in zip(passes.operand_keys(recurrence), needed, strict=True) if need]
    found = backward_pass.backward(
        kind,
        table,
        passes.Kept(memory, even_extent(steps, batch)),
        {name: tensor for name, tensor in arriving[:count] if tensor is not None},
        {name: tensor for name, tensor in arriving[count:] if tensor is not None},
        asked,
    )
    like = [tensor for tensor, need in zip(operands, needed, strict=True) if need]
    return [_own(found.get(key), tensor) for key, tensor in zip(asked, like, strict=True)]


def _own(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient of its operand's type in memory of its own, as torch demands of an operator's results."""
    if gradient is None:
        return torch.zeros_like(like, memory_format=torch.contiguous_format)
    gradient = gradient.to(like.dtype).contiguous()
    shared = gradient.untyped_storage().nbytes() != gradient.numel() * gradient.element_size()
    return gradient.clone() if shared else gradient


def _passes_backward_fake(
    text: list[str],
    wanted: list[str],
    half: bool,
    steps: int,
    operands: list[Tensor],
    kept: list[Tensor],
    gradients: list[Tensor | None],
    needed: list[bool],
) -> list[Tensor]:
    needing = [tensor for tensor, need in zip(operands, needed, strict=True) if need]
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in needing]


class _Recorded(torch.autograd.Function):
    """passes, made of the two others."""

    @staticmethod
    def forward(ctx: Any, arguments: tuple[Any, ...], *operands: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        text, wanted, half, steps = ctx.arguments = arguments
        kind = _kind(text, wanted, half, operands)
        batch, states = _batch(kind, operands), len(kind.recurrence.states)
        results = torch.ops.elman.passes_kept(text, wanted, half, steps, list(operands))
        final, kept = results[:states], results[states:]
        ctx.save_for_backward(*operands, *kept)
        memory = dict(zip(_kept_shapes(_plan(kind, steps, batch, operands)), kept, strict=True))
        # copies, which a compiler leaves out, so that nobody changes what the backward pass reads
        sequences = [view.clone(memory_format=torch.contiguous_format) for view in _sequences(kind, memory, batch)]
        return (*sequences, *final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        text, wanted, half, steps = ctx.arguments
        needed = list(ctx.needs_input_grad[1:])
        operands, kept = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        if torch.is_grad_enabled():
            kind = _kind(text, wanted, half, operands)
            again = [tensor.view_as(tensor) for tensor in operands]
            extent = even_extent(steps, _batch(kind, operands))
            outputs = plain_passes(kind, passes.operands_of(kind.recurrence, again), extent)
            return (None, *gradients_of(outputs, gradients, again, needed, create_graph=True))
        found = iter(
            torch.ops.elman.passes_backward(
                text, wanted, half, steps, list(operands), list(kept), list(gradients), needed
            )
        )
        return (None, *(next(found) if need else None for need in needed))


def _passes_autograd(
    keys: torch._C.DispatchKeySet,
    text: list[str],
    wanted: list[str],
    half: bool,
    steps: int,
    operands: list[Tensor],
) -> list[Tensor]:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands):
        return list(_Recorded.apply((text, wanted, half, steps), *operands))
    with torch._C._AutoDispatchBelowAutograd():
        below = keys & torch._C._after_autograd_keyset
        return torch.ops.elman.passes.default.redispatch(below, text, wanted, half, steps, operands)


_LIBRARY.impl("passes", _passes, "CPU")
_LIBRARY.impl("passes_kept", _passes_kept, "CPU")
_LIBRARY.impl("passes_backward", _passes_backward, "CPU")
_LIBRARY.impl("passes", _passes_autograd, "Autograd", with_keyset=True)
torch.library.register_fake("elman::passes", _passes_fake, lib=_LIBRARY)
torch.library.register_fake("elman::passes_kept", _passes_kept_fake, lib=_LIBRARY)
torch.library.register_fake("elman::passes_backward", _passes_backward_fake, lib=_LIBRARY)
