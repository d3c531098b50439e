"""Any optimiser of torch.optim by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from elman.errors import MisuseError
from elman.training.settings import Settings

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


def optimiser_of(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser that the settings describe; see :func:`build_optimiser`."""
    return build_optimiser(
        model,
        settings.optimizer,
        settings.lr,
        settings.weight_decay,
        settings.optimizer_options,
        settings.rate_scales,
    )


def build_optimiser(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
    rate_scales: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """An optimiser over a model's parameters; weight decay is applied to matrices, not to biases and gains.

    Args:
        model: what to train.
        name: in torch.optim, in any case.
        lr: learning rate.
        weight_decay: its strength.
        options: further arguments of that optimiser, such as ``{"betas": (0.9, 0.99)}``.
        rate_scales: factor on the rate by beginning of the parameter's name, the longest that fits; parameters with 0
            are frozen (``requires_grad`` is taken from them). Every group of the optimiser has its factor under
            ``"rate_scale"``.

    Raises:
        MisuseError: an unknown name, arguments that this optimiser does not take, a beginning that no name has, or
            nothing left to train.
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
    groups = _groups(model, weight_decay, rate_scales or {}, "weight_decay" in known)
    if "fused" in known and kind.__name__ in ("Adam", "AdamW", "SGD", "Adagrad") and "foreach" not in options:
        options.setdefault("fused", True)
    try:
        if kind is torch.optim.LBFGS and len(groups) > 1:
            raise ValueError("it takes one rate for all parameters")
        made = kind(groups, lr=lr, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MisuseError(f"{kind.__name__} cannot be used here: {error}") from error
    for group in made.param_groups:
        group["lr"] = lr * group["rate_scale"]
    return made


def _groups(
    model: nn.Module, weight_decay: float, rate_scales: Mapping[str, float], decays: bool
) -> list[dict[str, Any]]:
    """Parameters by factor on the rate and by whether they decay; those with the factor 0 are frozen."""
    unused = set(rate_scales)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        prefix = max((p for p in rate_scales if name.startswith(p)), key=len, default=None)
        unused.discard(prefix or "")
        scale = 1.0 if prefix is None else rate_scales[prefix]
        if scale == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        matrix = parameter.dim() >= 2
        group = groups.setdefault((scale, matrix or not decays), {"params": [], "rate_scale": scale})
        if decays:
            # named even when zero: AdamW's own default is not
            group["weight_decay"] = weight_decay if matrix else 0.0
        group["params"].append(parameter)
    if unused:
        known = sorted({name.rpartition(".")[0] or name for name, _ in model.named_parameters()})
        raise MisuseError(
            f"No parameter's name begins with {sorted(unused)[0]!r}; the model has {', '.join(known[:12])}"
            + (", ..." if len(known) > 12 else ".")
        )
    if not groups:
        raise MisuseError("Every parameter is frozen: there is nothing to train.")
    # matrices first, the usual rate first: the order of a checkpoint's optimiser state
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0] != 1.0, key[0], not key[1]))]
