"""Any optimiser of torch.optim by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from elman.errors import MisuseError

# rates that are a sound start where the user gives none, for a hidden width of about 256
USUAL_RATES = {
    "adamw": 4e-3,
    "adam": 4e-3,
    "nadam": 4e-3,
    "radam": 4e-3,
    "adamax": 4e-3,
    "rmsprop": 2e-3,
    "adagrad": 2e-2,
    "adadelta": 1.0,
    "sgd": 1.0,
    "asgd": 1.0,
    "lbfgs": 0.5,
    "rprop": 1e-3,
}

# these adapt to the gradient's own size, so wider layers want smaller steps
ADAPTIVE = {"adamw", "adam", "nadam", "radam", "adamax", "rmsprop"}


# they take only sparse gradients, or only matrices
UNSUITED = {"sparseadam": "takes only sparse gradients", "muon": "takes only matrices, and a model has biases"}


def available() -> dict[str, str]:
    """Names of torch.optim's optimisers by their lower-case form, without those that cannot train a whole model."""
    kinds = {
        name: value
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    return {name.lower(): name for name in kinds if name.lower() not in UNSUITED}


def optimiser_name(name: str) -> str:
    """The exact name of an optimiser given in any case.

    Raises:
        MisuseError: torch has none of that name.
    """
    known = available()
    if name.lower() in UNSUITED:
        raise MisuseError(f"{name} {UNSUITED[name.lower()]}; torch also has {', '.join(sorted(known.values()))}.")
    if name.lower() not in known:
        raise MisuseError(f"There is no optimiser {name!r}; torch has {', '.join(sorted(known.values()))}.")
    return known[name.lower()]


def build_optimiser(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """An optimiser over a model's parameters; weight decay is applied to matrices, not to biases and gains.

    Args:
        model: what to train.
        name: in torch.optim, in any case.
        lr: learning rate.
        weight_decay: its strength.
        options: further arguments of that optimiser, such as ``{"betas": (0.9, 0.99)}``.

    Raises:
        MisuseError: an unknown name, or arguments that this optimiser does not take.
    """
    kind = getattr(torch.optim, optimiser_name(name))
    known = inspect.signature(kind).parameters
    options = dict(options or {})
    for option in options:
        if option not in known or option in ("params", "lr", "weight_decay"):
            takes = ", ".join(key for key in known if key not in ("params", "lr", "weight_decay", "foreach", "fused"))
            raise MisuseError(f"{kind.__name__} takes no option {option!r}; it takes {takes}.")
    if weight_decay and "weight_decay" not in known:
        raise MisuseError(f"{kind.__name__} has no weight decay; leave --weight-decay out.")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] | list[nn.Parameter] = parameters
    if "weight_decay" in known:
        # named even when zero: AdamW's own default is not
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    if "fused" in known and kind.__name__ in ("Adam", "AdamW", "SGD", "Adagrad") and "foreach" not in options:
        options.setdefault("fused", True)
    try:
        return kind(groups, lr=lr, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MisuseError(f"{kind.__name__} cannot be used here: {error}") from error
