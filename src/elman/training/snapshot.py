"""A training as tensors and JSON values, and back, so that it can go on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elman.errors import FailureError
from elman.training.averaging import WeightAverage
from elman.training.distributed import apart, from_all, world
from elman.training.task import Task


def capture(
    task: Task, optimiser: torch.optim.Optimizer, average: WeightAverage | None, device: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything on which the next step depends but the loop's own numbers.

    Returns:
        Tensors by name, and JSON values.
    """
    optimiser_tensors, optimiser_facts = optimiser_state(optimiser)
    task_tensors, task_facts = task.state()
    tensors = {
        **model_tensors(task.model),
        **optimiser_tensors,
        **average_tensors(average),
        **random_states(device),
        **{f"task.{name}": value for name, value in task_tensors.items()},
    }
    updates = average.updates if average else 0
    return tensors, {"optimiser": optimiser_facts, "task": task_facts, "average_updates": updates}


def give_back(
    task: Task,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
) -> None:
    """Put back what :func:`capture` took.

    Raises:
        FailureError, KeyError: it does not fit.
    """
    restore_model(task.model, tensors)
    restore_optimiser(optimiser, tensors, facts["optimiser"])
    restore_average(average, tensors, facts["average_updates"])
    own = {name.removeprefix("task."): value for name, value in tensors.items() if name.startswith("task.")}
    task.restore(own, facts["task"])
    restore_random(tensors)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights under ``model.``."""
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the weights back.

    Raises:
        FailureError: names or shapes do not fit.
    """
    stored = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(stored)
    except RuntimeError as error:
        raise FailureError(f"The checkpoint does not fit the model: {error}") from error


def average_tensors(average: WeightAverage | None) -> dict[str, Tensor]:
    """The averaged weights under ``average.``."""
    return {f"average.{name}": tensor for name, tensor in average.average.items()} if average else {}


def restore_average(average: WeightAverage | None, tensors: Mapping[str, Tensor], updates: int) -> None:
    """Put the averaged weights back."""
    if average:
        for name, tensor in average.average.items():
            tensor.copy_(tensors[f"average.{name}"])
        average.updates = updates


def optimiser_state(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state, its tensors under ``optimiser.PARAMETER.NAME``.

    Lists of tensors (LBFGS keeps them) become ``NAME.INDEX``; the facts say how to put everything together again.
    """
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        kept: dict[str, Any] = {}
        for name, value in entries.items():
            key = f"optimiser.{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
                kept[name] = "tensor"
            elif isinstance(value, list):
                for place, part in enumerate(value):
                    if isinstance(part, Tensor):
                        tensors[f"{key}.{place}"] = part
                kept[name] = {"list": ["tensor" if isinstance(part, Tensor) else {"value": part} for part in value]}
            else:
                kept[name] = {"value": value}
        facts[str(index)] = kept
    return tensors, facts


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Put an optimiser's state back; its groups keep the settings they were built with.

    Raises:
        FailureError: the state does not fit the optimiser.
    """
    state: dict[int, dict[str, Any]] = {}
    try:
        for index, kept in facts.items():
            entries: dict[str, Any] = {}
            for name, form in kept.items():
                key = f"optimiser.{index}.{name}"
                if form == "tensor":
                    entries[name] = tensors[key]
                elif "list" in form:
                    entries[name] = [
                        tensors[f"{key}.{place}"] if part == "tensor" else part["value"]
                        for place, part in enumerate(form["list"])
                    ]
                else:
                    entries[name] = form["value"]
            state[int(index)] = entries
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(f"The checkpoint's optimiser state does not fit ({error!r}).") from error


def random_states(device: str) -> dict[str, Tensor]:
    """The state of torch's generators under ``random.``, of further processes with their number at the end."""
    states = {"cpu": torch.get_rng_state()}
    if device == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return {_random_name(kind, rank): state for kind, own in states.items() for rank, state in enumerate(from_all(own))}


def restore_random(tensors: Mapping[str, Tensor]) -> None:
    """Put the generators back; a GPU's state is left out where there is no GPU.

    A process that had no generators then begins with some that follow from those of process 0.
    """
    rank, _ = world()
    first = tensors[_random_name("cpu", 0)].to(torch.uint8).cpu()
    if (own := tensors.get(_random_name("cpu", rank))) is None:
        torch.manual_seed(apart(first, rank))
        return
    torch.set_rng_state(own.to(torch.uint8).cpu())
    if torch.cuda.is_available() and (of_gpu := tensors.get(_random_name("cuda", rank))) is not None:
        torch.cuda.set_rng_state(of_gpu.to(torch.uint8).cpu())


def _random_name(kind: str, rank: int) -> str:
    return f"random.{kind}.{rank}" if rank else f"random.{kind}"
