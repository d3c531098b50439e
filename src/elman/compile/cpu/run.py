"""The compiled backend on a CPU: what torch computes beforehand, and the passes as one differentiable function."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elman.compile.check import check_operands
from elman.compile.cpu import backward_pass, operator, passes
from elman.compile.cpu.calls import repeated
from elman.compile.cpu.extents import Extent, even_extent, ragged_extent
from elman.compile.cpu.memory import Memory, Piece
from elman.compile.cpu.plain import plain_passes
from elman.compile.cpu.shares import LATE, crowded
from elman.compile.cpu.target import host_target, unsupported
from elman.compile.hoist import linear
from elman.compile.operations import evaluate, number
from elman.compile.rows import put_rows, take_rows
from elman.compile.twice import gradients_of
from elman.equations import Recurrence
from elman.errors import MisuseError


def refusal(x: Tensor, state: Tensor | None = None) -> str | None:
    """Why the compiled backend cannot run something, or None if it can.

    Args:
        x: the input; its device and type count.
        state: a state, whose type is that of the parameters; None for x's own.
    """
    if x.device.type != "cpu":
        return f"the compiled CPU backend does not run on the device {x.device.type}"
    if reason := unsupported():
        return reason
    autocast = torch.is_autocast_enabled("cpu")
    if autocast and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return "the compiled CPU backend knows autocast to bfloat16 only"
    if autocast and not host_target().bf16:
        return "this CPU has no dot products of bfloat16, which the compiled backend needs under autocast"
    if state is not None and state.dtype != torch.float32:
        return f"the compiled CPU backend computes in float32, not in {state.dtype}"
    if x.dtype not in ((torch.float32, torch.bfloat16) if autocast else (torch.float32,)):
        return f"the compiled CPU backend computes in float32, not in {x.dtype}"
    return None


def run(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    *,
    every_state: bool = False,
    lengths: Tensor | None = None,
    index: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a whole sequence; arguments and results as of :func:`elman.compile.engine.run`, which checks them.

    Under autocast products read bfloat16 and add up in float32, states are carried in float32, and sequences are
    bfloat16.
    """
    recording = lengths is None and operator.is_recording()
    if lengths is not None and torch.compiler.is_compiling():
        return _unrecorded(
            recurrence, parameters, x, state, constants, every_state=every_state, lengths=lengths, index=index
        )
    steps, batch = x.shape[:2] if index is None else index.shape
    hidden = next(iter(state.values())).shape[-1]
    wanted = recurrence.states if every_state else (recurrence.output,)
    kind = passes.Kind(recurrence, host_target(), torch.is_autocast_enabled("cpu"), hidden, wanted)
    inputs, vectors, rows = operator.leaves_of(recurrence) if recording else passes.inputs_of(recurrence)
    values = beforehand(recurrence, parameters, x, constants, [*inputs, *vectors, *rows])
    ragged = None if lengths is None or int(lengths.min()) == steps else _Ragged(lengths, steps)
    by_row = dict(state)
    constant = {node: values[node].expand(batch, hidden) for node in rows}
    given = {node: values[node].flatten(0, 1) if index is None else values[node] for node in inputs}
    index = None if index is None else index.flatten().contiguous()
    if ragged is not None:
        by_row = {name: tensor[ragged.order] for name, tensor in by_row.items()}
        constant = {node: tensor[ragged.order] for node, tensor in constant.items()}
        if index is None:
            given = {node: take_rows(tensor, ragged.places) for node, tensor in given.items()}
        else:
            index = index[ragged.places]
    tensors = (
        *(parameters[name] for name in recurrence.matrices),
        *(by_row[name] for name in recurrence.states),
        *(given[node] for node in inputs),
        *(values[node].expand(hidden) for node in vectors),
        *(constant[node] for node in rows),
    )
    if recording:
        results = tuple(operator.run_passes(kind, steps, index, tensors))
    else:
        results = _results(kind, None if ragged is None else ragged.extent, steps, batch, index, tensors)
    sequences, final = list(results[: len(wanted)]), list(results[len(wanted) :])
    if ragged is not None:
        sequences = [put_rows(each, ragged.places, steps * batch) for each in sequences]
        final = [each[ragged.back] for each in final]
    by_time = [each.view(steps, batch, hidden) for each in sequences]
    return dict(zip(wanted, by_time, strict=True)), dict(zip(recurrence.states, final, strict=True))


def run_packed(
    recurrence: Recurrence, parameters: Mapping[str, Tensor], x: Tensor, counts: Tensor, state: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run rows that stand as in torch's PackedSequence: the living rows of each step, the longest sequence first.

    Args:
        recurrence: one step, without constant inputs.
        parameters: by name.
        x: [rows, input].
        counts: [T] living rows of each step, on the CPU.
        state: the initial states by name, each [B, hidden].

    Returns:
        The output's sequence [rows, hidden], and by state the values [B, hidden] at each row's own end.

    Raises:
        MisuseError: counts that do not fit, or as of :func:`elman.compile.engine.run`.
    """
    if counts.dtype != torch.int64 or counts.dim() != 1 or not len(counts) or bool((counts.diff() > 0).any()):
        raise MisuseError("The living rows of each step must be whole numbers (int64), never more than before.")
    if x.dim() != 2 or int(counts[-1]) < 1 or int(counts.sum()) != len(x):
        raise MisuseError(f"The steps have {int(counts.sum())} rows together, x is {list(x.shape)}.")
    check_operands(recurrence, parameters, x[: int(counts[0])].unsqueeze(0), state, {})
    counts = counts.contiguous()
    hidden = state[recurrence.output].shape[-1]
    kind = passes.Kind(recurrence, host_target(), torch.is_autocast_enabled("cpu"), hidden, (recurrence.output,))
    inputs, vectors, _ = passes.inputs_of(recurrence)
    values = beforehand(recurrence, parameters, x, {}, [*inputs, *vectors])
    tensors = (
        *(parameters[name] for name in recurrence.matrices),
        *(state[name] for name in recurrence.states),
        *(values[node] for node in inputs),
        *(values[node].expand(hidden) for node in vectors),
    )
    sequence, *final = _results(kind, ragged_extent(counts), len(counts), int(counts[0]), None, tensors)
    return sequence, dict(zip(recurrence.states, final, strict=True))


def _results(
    kind: passes.Kind, extent: Extent | None, steps: int, batch: int, index: Tensor | None, tensors: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    if torch._C._are_functorch_transforms_active():
        # torch.func transforms torch's own functions only, and wraps every tensor that is made: none may be cached
        extent = extent or even_extent.__wrapped__(steps, batch)
        return plain_passes(kind, passes.operands_of(kind.recurrence, tensors, index), extent)
    extent = extent or even_extent(steps, batch)
    train = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if train or forward_ad._current_level >= 0:  # autograd refuses tangents, which else were lost
        return _Passes.apply(kind, extent, index, *tensors)
    sequences, final, _, _ = _forward(kind, extent, False, index, tensors)
    return (*sequences, *final)


@torch._disable_dynamo  # type: ignore[attr-defined]  # torch.compiler.disable without loading the compiler
def _unrecorded(*arguments: Any, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What no operator does yet: torch.compile leaves it out of its graph."""
    if torch.compiler.is_compiling():
        raise MisuseError(
            "The compiled CPU backend cannot be exported with lengths: use backend='reference' or 'torch'."
        )
    return run(*arguments, **options)


class _Ragged:
    """Where the rows of a padded batch stand among the living rows alone, the longest sequence first."""

    def __init__(self, lengths: Tensor, steps: int):
        self.order = torch.argsort(lengths, descending=True, stable=True)
        self.back = torch.argsort(self.order)
        alive = torch.arange(steps, device="cpu").unsqueeze(1) < lengths[self.order]
        time, row = alive.nonzero(as_tuple=True)
        self.places = time * len(lengths) + self.order[row]
        self.extent = ragged_extent(alive[: int(lengths.max())].sum(1))


def beforehand(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    constants: Mapping[str, Tensor],
    wanted: list[int],
) -> dict[int, Tensor]:
    """The values of nodes that do not depend on a state, by torch.

    Args:
        recurrence: one step.
        parameters: by name.
        x: of all steps, or a table.
        constants: by name.
        wanted: ids of nodes.
    """
    nodes = recurrence.graph.nodes
    needed = set(wanted)
    for index in range(max(wanted, default=-1), -1, -1):
        if index in needed:
            needed.update(nodes[index].args)
    values: dict[int, Tensor] = {}
    for index in sorted(needed):
        node = nodes[index]
        if node.op == "input":
            values[index] = x if node.name == "x" else constants[node.name]
        elif node.op == "vector":
            values[index] = parameters[node.name]
        elif node.op == "const":
            values[index] = number(node.value, next(iter(parameters.values()), x))
    evaluate(nodes, sorted(needed), values, parameters, linear)
    return values


def _forward(
    kind: passes.Kind, extent: Extent, train: bool, index: Tensor | None, tensors: Sequence[Tensor]
) -> tuple[list[Tensor], Sequence[Tensor], dict[str, Tensor], Mapping[str, Piece]]:
    """The wanted states' sequences, the last values of all states, and the memory that is kept, with its pieces."""

    def compute() -> tuple[tuple[Tensor, ...], Any]:
        kept, final = passes.forward(kind, passes.operands_of(kind.recurrence, tensors, index), extent, train)
        own = kept.memory.tensors
        return (*own.values(), *(final[name] for name in kind.recurrence.states)), (tuple(own), kept.memory.pieces)

    read = tensors if index is None else (*tensors, index)
    key = _key(kind, extent, read, "forward", train, index is None)
    results, (names, pieces) = compute() if key is None else repeated(key, read, (*extent.tables, LATE), compute)
    memory, final = dict(zip(names, results, strict=False)), results[len(names) :]
    return [_sequence(kind, memory, extent, name) for name in kind.wanted], final, memory, pieces


class _Passes(torch.autograd.Function):
    """All steps as one function of matrices, initial states, inputs, vectors and rows."""

    @staticmethod
    def forward(
        ctx: Any, kind: passes.Kind, extent: Extent, index: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        sequences, final, memory, pieces = _forward(kind, extent, True, index, tensors)
        ctx.kind, ctx.extent, ctx.pieces, ctx.names = kind, extent, pieces, tuple(memory)
        # the sequences lie in memory that the backward pass reads: autograd notices if somebody changes them;
        # what is saved is let go as soon as the backward pass is over
        ctx.save_for_backward(*tensors, index, *sequences, *memory.values())
        return (*sequences, *final)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        kind, needed = ctx.kind, ctx.needs_input_grad[3:]
        saved = ctx.saved_tensors
        tensors, index, memory = saved[: len(needed)], saved[len(needed)], saved[len(saved) - len(ctx.names) :]
        if torch.is_grad_enabled():
            again = [tensor.view_as(tensor) for tensor in tensors]
            outputs = plain_passes(kind, passes.operands_of(kind.recurrence, again, index), ctx.extent)
            return (None, None, None, *gradients_of(outputs, gradients, again, needed, create_graph=True))
        keys = passes.operand_keys(kind.recurrence)
        # that of a sum is one number seen many times, which has no place of its own in recorded calls
        gradients = tuple(
            [each.contiguous() if each is not None and 0 in each.stride() else each for each in gradients]
        )

        def compute() -> tuple[tuple[Tensor, ...], Any]:
            operands = passes.operands_of(kind.recurrence, tensors, index)
            kept = passes.Kept(Memory(dict(zip(ctx.names, memory, strict=True)), ctx.pieces), ctx.extent)
            count = len(kind.wanted)
            sequences = _present(kind.wanted, gradients[:count])
            final = _present(kind.recurrence.states, gradients[count:])
            wanted = [key for key, need in zip(keys, needed, strict=True) if need]
            found = backward_pass.backward(kind, operands, kept, sequences, final, wanted)
            found = {key: gradient for key, gradient in found.items() if key in wanted}
            return tuple(found.values()), tuple(found)

        present = [gradient for gradient in gradients if gradient is not None]
        which = tuple([gradient is not None for gradient in gradients])
        read = (*tensors, *memory, *present) if index is None else (*tensors, index, *memory, *present)
        key = _key(kind, ctx.extent, read, "backward", needed, which, index is None)
        results, found = compute() if key is None else repeated(key, read, (*ctx.extent.tables, LATE), compute)
        by_key = dict(zip(found, results, strict=True))
        return (None, None, None, *(by_key.get(key) for key in keys))


def _key(kind: passes.Kind, extent: Extent, tensors: Sequence[Tensor], *more: object) -> Hashable | None:
    """What decides about the calls that a pass makes; None where torch computes between them."""
    if kind.half or not extent.even:
        return None
    shapes = tuple([(each.shape, each.stride(), each.dtype, each.is_neg()) for each in tensors])
    return kind, extent.steps, extent.batch, torch.get_num_threads(), crowded(extent.batch), shapes, *more


def _present(names: tuple[str, ...], gradients: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    return {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def _sequence(kind: passes.Kind, tensors: Mapping[str, Tensor], extent: Extent, name: str) -> Tensor:
    """A state's values of all steps, [rows, hidden], as a tensor of its own over the memory that the passes keep."""
    memory = tensors[kind.sequence(name)]
    batch, rows = extent.batch, extent.rows
    if not kind.exact:
        return memory[batch:, : kind.hidden].clone(memory_format=torch.contiguous_format)
    # no view, so that what the caller does to it in place is allowed, and noticed
    return memory.new_empty(0).set_(
        memory.untyped_storage(), batch * kind.padded, (rows, kind.padded), (kind.padded, 1)
    )
