"""One place that runs a recurrence: checks what it is given and chooses what runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.compile import reference, torch_fused
from elman.compile.check import check_index, check_lengths, check_operands
from elman.compile.cpu import run as compiled
from elman.compile.rows import repeat_last
from elman.equations import Recurrence
from elman.errors import MisuseError


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gives.

    Attributes:
        outputs: by state its values [T, B, hidden]; the output state always, all states if they were asked for.
        final: by state its last value [B, hidden].
        backend: what ran, and why not something faster.
    """

    outputs: dict[str, Tensor]
    final: dict[str, Tensor]
    backend: str


Outcome = tuple[dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run a recurrence.

    Attributes:
        name: as users give it.
        title: as users read it.
        refusal: (recurrence, x, a state, every_state) to why it cannot run this, or None if it can.
        slower: (recurrence, x, whether rows have lengths of their own) to why "auto" had better pass it over, or None.
        run: as :func:`elman.compile.reference.run`.
        looks_up: its run takes x as a table and an ``index`` [T, B] of its rows.
        reads_padding: it computes beyond the rows' own ends too.
    """

    name: str
    title: str
    refusal: Callable[[Recurrence, Tensor, Tensor, bool], str | None]
    slower: Callable[[Recurrence, Tensor, bool], str | None]
    run: Callable[..., Outcome]
    looks_up: bool = False
    reads_padding: bool = False


def _torch_refusal(recurrence: Recurrence, x: Tensor, state: Tensor, every_state: bool) -> str | None:
    fused = torch_fused.recognise(recurrence)
    if fused is None:
        return (
            "torch has a fused kernel only for the tanh and relu RNN, the LSTM and the GRU with reset after the product"
        )
    if every_state and len(fused.states) > 1:
        return f"torch's kernel does not give the sequence of {fused.states[1]}, which return_states asks for"
    if x.device.type not in ("cpu", "cuda"):
        return f"torch's kernels are not used on the device {x.device.type}"
    if x.device.type == "cpu" and _is_autocast(x) and torch.get_autocast_dtype("cpu") == torch.float16:
        return "torch's kernels do not compute in float16 on a CPU"
    if x.device.type == "cpu" and x.dtype not in (torch.float32, torch.float64) and not _is_autocast(x):
        return f"torch's kernels are not used for {x.dtype} on a CPU"
    return None


def _torch_slower(recurrence: Recurrence, x: Tensor, ragged: bool) -> str | None:
    if x.device.type != "cpu":
        return None
    packed_each_time = not torch.is_grad_enabled() and not torch_fused.weights_are_frozen()
    if x.shape[0] == 1 and packed_each_time:
        return "for a single step torch's kernel spends more time on packing weights than on computing"
    if ragged and len(recurrence.states) > 1 and torch.is_grad_enabled():
        return "for the gradients of rows with lengths of their own torch's kernel is no faster on a CPU"
    return None


def _compiled_refusal(recurrence: Recurrence, x: Tensor, state: Tensor, every_state: bool) -> str | None:
    return compiled.refusal(x, state)


def _compiled_slower(recurrence: Recurrence, x: Tensor, ragged: bool) -> str | None:
    if x.shape[0] == 1 and not torch.is_grad_enabled():
        return "for a single step packing the weights takes longer than computing"
    return None


def _is_autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _never(*_: object) -> None:
    return None


#: From the fastest to the slowest; "auto" takes the first that does not refuse. The last refuses nothing.
BACKENDS: tuple[Backend, ...] = (
    Backend("cpu", "cpu (compiled for this machine)", _compiled_refusal, _compiled_slower, compiled.run, True),
    Backend("torch", "torch (its fused kernel)", _torch_refusal, _torch_slower, torch_fused.run, reads_padding=True),
    Backend("reference", "reference (eager torch)", _never, _never, reference.run, reads_padding=True),
)

#: Names that users may give for what this version does not have.
ABSENT = {
    "gpu": "the compiled GPU backend is not part of this version",
}

CHOICES = ("auto", *(backend.name for backend in reversed(BACKENDS)), *ABSENT)


def check_backend(name: str) -> None:
    """Refuse a name that is no backend.

    Raises:
        MisuseError: with the names that there are.
    """
    if name not in CHOICES:
        raise MisuseError(f"There is no backend {name!r}; choose one of: {', '.join(CHOICES)}.")


def choose(
    recurrence: Recurrence,
    x: Tensor,
    state: Tensor,
    *,
    backend: str = "auto",
    every_state: bool = False,
    ragged: bool = False,
) -> tuple[Backend, str]:
    """What will run a recurrence, and the sentence that says so.

    Args:
        recurrence: what is to run.
        x: the input; its device, type and length count.
        state: an initial state, whose type is the parameters'.
        backend: "auto" or a forced one.
        every_state: whether the sequences of all states are wanted.
        ragged: whether rows have lengths of their own.

    Raises:
        MisuseError: the forced backend cannot run this; the text says why and what would.
    """
    check_backend(backend)
    if backend in ABSENT:
        raise MisuseError(f"backend={backend!r} cannot run: {ABSENT[backend]}. Use 'auto', 'torch' or 'reference'.")
    reasons = [ABSENT["gpu"]] if x.device.type == "cuda" else []
    for candidate in BACKENDS:
        if backend not in ("auto", candidate.name):
            continue
        reason = candidate.refusal(recurrence, x, state, every_state)
        if reason is None and backend == "auto":
            reason = candidate.slower(recurrence, x, ragged)
        if reason is None:
            why = "forced" if backend != "auto" else "; ".join(reasons)
            return candidate, f"{candidate.title}: {why}" if why else candidate.title
        if backend != "auto":
            raise MisuseError(f"backend={backend!r} cannot run this: {reason}. Use 'auto' or 'reference'.")
        reasons.append(reason)
    raise AssertionError("the reference refuses nothing")


def run(
    recurrence: Recurrence,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    constants: Mapping[str, Tensor] | None = None,
    *,
    backend: str = "auto",
    every_state: bool = False,
    lengths: Tensor | None = None,
    index: Tensor | None = None,
) -> Result:
    """Run a recurrence over a whole sequence, differentiably.

    Args:
        recurrence: one time step.
        parameters: by name, matrices [hidden, width] and vectors [hidden].
        x: the input [T, B, input].
        state: the initial states by name, each [B, hidden].
        constants: the constant inputs by name, each [B, width].
        backend: "auto", or the one that has to run it.
        every_state: give the sequence of every state, not only of the output.
        lengths: the rows' own lengths [B], whole numbers from 1 to T on the device of x; default T. The last values
            are then those at each row's own end. What x holds beyond it is not read, and what the sequences hold there
            means nothing.
        index: [T, B] whole numbers; x is then a table [V, input] and its rows of these numbers are what is read.

    Returns:
        Sequences, last values and what ran.

    Raises:
        MisuseError: shapes or types that do not fit, an empty sequence or batch, or a forced backend that cannot run.
    """
    constants = constants or {}
    if index is not None:
        index = check_index(x, index)
    read = x if index is None else x.detach()[:1].expand(*index.shape, -1)
    check_operands(recurrence, parameters, read, state, constants)
    if lengths is not None:
        check_lengths(lengths, *read.shape[:2])
    chosen, sentence = choose(
        recurrence,
        read,
        state[recurrence.output],
        backend=backend,
        every_state=every_state,
        ragged=lengths is not None,
    )
    more = {}
    if index is not None:
        # a table that is larger than what is read of it had better be read first
        if chosen.looks_up and 2 * len(x) <= index.numel():
            more["index"] = index
        else:
            x = functional.embedding(index, x)
    if lengths is not None and chosen.reads_padding:
        x = repeat_last(x, lengths)
    outputs, final = chosen.run(
        recurrence, parameters, x, state, constants, every_state=every_state, lengths=lengths, **more
    )
    return Result(outputs, final, sentence)
