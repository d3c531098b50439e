"""Several processes that train one model on shares of every batch.

torchrun starts them and tells each its place. Each works on its own rows of the batch; gradients are added up before
the optimiser's step, so all hold the same weights and take the same steps. What is decided by a clock, a signal, a file
or a measurement is decided by process 0 and agreed upon, so that none waits for another that went elsewhere. What is
sent is numbers and JSON; nothing is unpickled.

Gradients are averaged once a step in one flat all-reduce and not by DistributedDataParallel: backpropagation through
time gives all gradients at its very end, so there is no computation left for DDP to hide the sending behind, and its
hooks would send for each group of an accumulation and each call of a line search.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from elman.errors import ElmanError, FailureError, MisuseError
from elman.training.launch import launched, leads, neighbours

Value = TypeVar("Value")

# process 0 may evaluate or read for long while the others wait
PATIENCE = timedelta(hours=2)
# a process that ends with a sentence has told it to the others within so many seconds
TELLING_SECONDS = 2.0
_STOPS = (signal.SIGINT, signal.SIGTERM)

_board: Store | None = None
_trainings = itertools.count()


class Step(NamedTuple):
    """What all processes together did in a step: the mean loss in nats and the predictions that it is a mean over."""

    loss: float | Tensor
    predictions: int


def world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) where it is alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def own_rows(count: int) -> slice:
    """This process's share of a batch.

    Args:
        count: rows of the whole batch.

    Returns:
        Neighbouring rows; shares differ by one row at most and may be empty where there are fewer rows than processes.
    """
    rank, size = world()
    return slice(rank * count // size, (rank + 1) * count // size)


def check_batch(batch: int) -> None:
    """Refuse a batch in which some process would have no row.

    Raises:
        MisuseError: it is smaller than the number of processes.
    """
    _, size = world()
    if batch < size:
        raise MisuseError(
            f"A batch of {batch} cannot be shared by {size} processes; each needs a row. "
            "Give a larger --batch, or start fewer processes."
        )


@contextmanager
def joined() -> Iterator[None]:
    """Within the block this process works with the others that torchrun started; alone it changes nothing.

    Of the GPUs of a machine each process takes the one of its own number there. Processes that end with an error tell
    it to the others, which would wait for them in vain.

    Raises:
        FailureError: the others cannot be reached.
        SystemExit: process 0 has already told the user what this process would say.
    """
    global _board
    if launched() == 1:
        yield
        return
    local, beside = neighbours()
    backend, devices = "gloo", torch.cuda.device_count()
    if devices:
        torch.cuda.set_device(local % devices)
        # nccl refuses processes that share a GPU
        backend = "cpu:gloo,cuda:nccl" if beside <= devices else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        # a verb may train several times, such as once a fold, and each time the processes meet anew
        store = PrefixStore(f"training/{next(_trainings)}", store)
        _board = PrefixStore("told", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError, KeyError) as error:
        raise FailureError(f"The processes of this training did not find each other: {error}") from error
    try:
        yield
    except ElmanError as error:
        _tell(rank, str(error))
        if rank and _told(0, str(error)):
            raise SystemExit(error.exit_code) from error
        raise
    else:
        distributed.destroy_process_group()
    finally:
        _board = None


# ---------------------------------------------------------------- agreeing


def agreed(produce: Callable[[], Value]) -> Value:
    """What process 0 finds, in all processes.

    Args:
        produce: called in process 0 only; gives JSON values, or numbers of numpy and torch.
    """
    rank, size = world()
    if size == 1:
        return produce()
    text = json.dumps(produce(), default=float).encode() if rank == 0 else b""
    length = torch.tensor([len(text)])
    with _together():
        distributed.broadcast(length, 0)
        content = torch.frombuffer(bytearray(text), dtype=torch.uint8) if rank == 0 else _bytes(int(length))
        distributed.broadcast(content, 0)
    found: Value = json.loads(content.numpy().tobytes())
    return found


def clock() -> float:
    """Seconds on the clock of process 0."""
    return time.monotonic() if world()[1] == 1 else total([time.monotonic() if leads() else 0.0])[0]


def pulse(stop: int) -> tuple[float, int]:
    """The clock of process 0, and the signal with which any process was asked to stop.

    Args:
        stop: the signal that this process was sent, 0 for none.
    """
    if world()[1] == 1:
        return time.monotonic(), stop
    now, *sent = total([time.monotonic() if leads() else 0.0, *(float(stop == number) for number in _STOPS)])
    return now, next((int(number) for number, count in zip(_STOPS, sent, strict=True) if count), 0)


def total(values: Sequence[float]) -> list[float]:
    """Sums over all processes."""
    if world()[1] == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    with _together():
        distributed.all_reduce(sums)
    return [float(value) for value in sums]


def same(text: str) -> bool:
    """Whether all processes have the same text."""
    return agreed(lambda: text) == text if world()[1] == 1 else not total([float(agreed(lambda: text) != text)])[0]


# ---------------------------------------------------------------- tensors


def part_randomness() -> None:
    """Let what each process draws differ from the others', once all have built the same model from the same seed."""
    rank, _ = world()
    if rank:
        torch.manual_seed(apart(torch.get_rng_state(), rank))


def apart(state: Tensor, rank: int) -> int:
    """A seed that follows from the state of a generator and the number of a process."""
    digest = hashlib.sha256(state.numpy().tobytes() + rank.to_bytes(4, "little")).digest()
    return int.from_bytes(digest[:4], "little")


@torch.no_grad()
def share_weights(model: nn.Module) -> None:
    """Give all processes the parameters and buffers of process 0."""
    if world()[1] == 1:
        return
    for tensor in (*model.parameters(), *model.buffers()):
        whole = tensor.detach().contiguous()
        _broadcast(whole)
        tensor.copy_(whole)


@torch.no_grad()
def combine(model: nn.Module, parameters: Sequence[Tensor], loss: Tensor, predictions: int, step: int) -> Step:
    """Make every gradient that of the whole batch, and tell the loss over the whole batch.

    With n_r predictions in process r, whose gradient g_r is of the mean over them: g = sum_r n_r g_r / sum_r n_r.

    Running statistics of batch normalisation become the mean over the processes.

    Args:
        model: whose statistics are averaged.
        parameters: whose gradients are averaged; one that has none in any process keeps none.
        loss: this process's mean loss, a scalar.
        predictions: that it is a mean over.
        step: optimiser steps taken, the same in all processes.

    Raises:
        FailureError: another process ended, or is elsewhere.
    """
    _, size = world()
    if size == 1:
        return Step(loss, predictions)
    # a process without predictions says nothing, not even that its empty mean is no number
    own = float(loss) * predictions if predictions else 0.0
    found = [float(parameter.grad is not None) for parameter in parameters]
    nats, count, steps, *present = total([own, predictions, step, *found])
    if steps != step * size:
        raise FailureError("The processes of this training are not at the same step; resume from the last checkpoint.")
    weight = predictions / max(1.0, count)
    used = [parameter for parameter, having in zip(parameters, present, strict=True) if having]
    statistics = _running_statistics(model)
    for kind in {(tensor.dtype, tensor.device) for tensor in (*used, *statistics)}:
        members = [parameter for parameter in used if (parameter.dtype, parameter.device) == kind]
        averaged = [tensor for tensor in statistics if (tensor.dtype, tensor.device) == kind]
        gradients = [torch.zeros_like(p) if p.grad is None or not predictions else p.grad for p in members]
        flat = torch.cat([*(g.reshape(-1) * weight for g in gradients), *(s.reshape(-1) / size for s in averaged)])
        with _together():
            distributed.all_reduce(flat)
        places = flat.split([tensor.numel() for tensor in (*members, *averaged)])
        for parameter, place in zip(members, places, strict=False):
            parameter.grad = place.view_as(parameter)
        for tensor, place in zip(averaged, places[len(members) :], strict=True):
            tensor.copy_(place.view_as(tensor))
    return Step(nats / count if count else math.nan, int(count))


def all_rows(own: Tensor, count: int, dim: int) -> Tensor:
    """Rows of all processes side by side, from each process's own.

    Args:
        own: those of :func:`own_rows` along ``dim``.
        count: rows of all together.
        dim: along which they lie.
    """
    if world()[1] == 1:
        return own
    shape = list(own.shape)
    shape[dim] = count
    rows = own_rows(count)
    whole = torch.zeros(shape, dtype=own.dtype, device=own.device)
    whole.narrow(dim, rows.start, rows.stop - rows.start).copy_(own)
    with _together():
        distributed.all_reduce(whole)
    return whole


def from_all(tensor: Tensor) -> list[Tensor]:
    """A tensor of every process, of the same shape in each and on the CPU."""
    _, size = world()
    if size == 1:
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(size)]
    with _together():
        distributed.all_gather(parts, tensor)
    return parts


def shared_tensors(produce: Callable[[], tuple[dict[str, Tensor], Any]]) -> tuple[dict[str, Tensor], Any]:
    """Tensors by name and JSON values that process 0 reads, in all processes.

    Args:
        produce: called in process 0 only; its tensors are on the CPU.
    """
    rank, size = world()
    if size == 1:
        return produce()
    tensors: dict[str, Tensor] = {}
    values: Any = None
    if rank == 0:
        tensors, values = produce()
    header = [[name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()]
    header, values = agreed(lambda: [header, values])
    found: dict[str, Tensor] = {}
    for name, kind, shape in header:
        found[name] = tensors[name].contiguous() if rank == 0 else torch.empty(shape, dtype=getattr(torch, kind))
        _broadcast(found[name])
    return found, values


def _broadcast(whole: Tensor) -> None:
    """Overwrite a contiguous tensor by that of process 0."""
    if whole.numel():
        with _together():
            # as bytes: gloo does not send every type
            distributed.broadcast(whole.reshape(-1).view(torch.uint8), 0)


def _running_statistics(model: nn.Module) -> list[Tensor]:
    return [
        statistic
        for module in model.modules()
        for name in ("running_mean", "running_var")
        if isinstance(statistic := getattr(module, name, None), Tensor)
    ]


def _bytes(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.uint8)


# ---------------------------------------------------------------- when one ends


@contextmanager
def _together() -> Iterator[None]:
    """Turn the failure of a collective operation into what became of the others."""
    try:
        yield
    except RuntimeError as error:
        # torchrun ends all that are left; this one is ending anyhow, and says why first
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        rank, size = world()
        others = [number for number in range(size) if number != rank]
        until = time.monotonic() + TELLING_SECONDS
        while time.monotonic() < until:
            for number in others:
                if sentence := _read(number):
                    if number == 0:
                        raise SystemExit(1) from error
                    raise FailureError(f"Process {number} of this training ended: {sentence}") from error
            time.sleep(0.05)
        raise FailureError(
            "Another process of this training ended or cannot be reached any more. "
            "Go on from the last checkpoint with: torchrun --nproc-per-node N -m elman resume RUN"
        ) from error


def _tell(rank: int, sentence: str) -> None:
    if _board is not None:
        # without a store to tell it to, the others still notice that this process is gone
        try:
            _board.set(f"ended/{rank}", sentence)
        except RuntimeError:
            return


def _told(rank: int, sentence: str) -> bool:
    """Whether a process has ended with this sentence, or soon does."""
    until = time.monotonic() + TELLING_SECONDS
    while time.monotonic() < until:
        if _read(rank) == sentence:
            return True
        time.sleep(0.05)
    return False


def _read(rank: int) -> str:
    if _board is None:
        return ""
    try:
        return _board.get(f"ended/{rank}").decode() if _board.check([f"ended/{rank}"]) else ""
    except RuntimeError:
        return ""
