"""Options that many verbs share, as dataclasses whose fields are options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.training.settings import Settings
    from elman.training.start import Reports

MODEL, COURSE, RATE, REPORT = "Model", "Course", "Optimiser", "Run and reports"

Cell = Annotated[str, typer.Option(help="Zoo name, file of equations, or the equations.", rich_help_panel=MODEL)]
WordVectors = Annotated[
    str | None,
    typer.Option(
        help="Word vectors to begin with: a word2vec or GloVe text file, or safetensors.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters of dataclass type are taken apart into one option a field.

    Args:
        function: a verb; a parameter annotated with a dataclass, whose fields are annotated as typer wants options,
            receives an instance.

    Returns:
        The same verb as typer reads it.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(annotation=kind))
            continue
        inner = get_type_hints(kind, include_extras=True)
        groups[parameter.name] = (kind, [entry.name for entry in fields(kind)])
        for entry in fields(kind):
            default = inspect.Parameter.empty if entry.default is MISSING else entry.default
            parameters.append(
                inspect.Parameter(
                    entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=inner[entry.name]
                )
            )

    @wraps(function)
    def verb(**values: Any) -> None:
        for name, (kind, entries) in groups.items():
            values[name] = kind(**{entry: values.pop(entry) for entry in entries})
        function(**values)

    # python lets only keyword parameters without a default follow those with one
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    verb.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    del verb.__wrapped__
    return verb


@dataclass(frozen=True)
class CourseFlags:
    """How long and on what a model is trained."""

    minutes: Annotated[
        float | None,
        typer.Option(help="Time limit. Default 5 if no limit is given.", rich_help_panel=COURSE, show_default=False),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Limit in optimiser steps.", rich_help_panel=COURSE, show_default=False)
    ] = None
    epochs: Annotated[
        float | None,
        typer.Option(help="Limit in passes over the training data.", rich_help_panel=COURSE, show_default=False),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Examples a step; of a language model parallel streams. Default: chosen.",
            rich_help_panel=COURSE,
            show_default=False,
        ),
    ] = None
    accumulate: Annotated[
        int,
        typer.Option(min=1, help="Work through the batch in so many groups (less memory).", rich_help_panel=COURSE),
    ] = 1
    patience: Annotated[
        int,
        typer.Option(help="Stop after so many evaluations without gain; 0 never.", rich_help_panel=COURSE),
    ] = 0
    eval_every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps between evaluations. Default: chosen.", rich_help_panel=COURSE, show_default=False
        ),
    ] = None
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between checkpoints; 0 for every 30 seconds.", rich_help_panel=COURSE)
    ] = 0
    seed: Annotated[int, typer.Option(help="Of weights, dropout, order and samples.", rich_help_panel=COURSE)] = 1
    precision: Annotated[str, typer.Option(help="fp32, bf16 or auto.", rich_help_panel=COURSE)] = "auto"
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", rich_help_panel=COURSE, show_default=False)
    ] = None
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.", rich_help_panel=COURSE)] = "auto"
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.", rich_help_panel=COURSE)] = "auto"


@dataclass(frozen=True)
class OptimiserFlags:
    """How the weights are changed."""

    optimizer: Annotated[str, typer.Option(help="Any of torch.optim.", rich_help_panel=RATE)] = "AdamW"
    optimizer_option: Annotated[
        list[str] | None,
        typer.Option(
            help="Further arguments, such as betas=0.9,0.99; repeatable.", rich_help_panel=RATE, show_default=False
        ),
    ] = None
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate. Default: chosen.", rich_help_panel=RATE, show_default=False),
    ] = None
    rate_scale: Annotated[
        list[str] | None,
        typer.Option(
            help="Factor on the rate of the parameters whose names begin so, such as embedding=0.1; 0 freezes them; "
            "repeatable.",
            rich_help_panel=RATE,
            show_default=False,
        ),
    ] = None
    schedule: Annotated[str, typer.Option(help="constant, cosine, step or plateau.", rich_help_panel=RATE)] = "cosine"
    warmup: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of linear warm-up. Default: chosen.", rich_help_panel=RATE, show_default=False),
    ] = None
    lr_floor: Annotated[float, typer.Option(help="End of the cosine, as a share of --lr.", rich_help_panel=RATE)] = 0.0
    decay: Annotated[
        float | None,
        typer.Option(
            help="Factor of step (an epoch; default 0.95) and plateau (default 0.5).",
            rich_help_panel=RATE,
            show_default=False,
        ),
    ] = None
    decay_after: Annotated[
        float, typer.Option(help="Epochs before the step schedule begins.", rich_help_panel=RATE)
    ] = 10.0
    clip: Annotated[float, typer.Option(help="Bound on the gradient; 0 for none.", rich_help_panel=RATE)] = 1.0
    clip_by: Annotated[
        str, typer.Option(help="norm (of all together) or value (each number).", rich_help_panel=RATE)
    ] = "norm"
    weight_decay: Annotated[float, typer.Option(help="On matrices.", rich_help_panel=RATE)] = 0.0
    averaging: Annotated[
        float,
        typer.Option(
            help="Evaluate and save a moving average of the weights with this decay; 0 off.", rich_help_panel=RATE
        ),
    ] = 0.0


@dataclass(frozen=True)
class ReportFlags:
    """Where a run goes and who is told."""

    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/NAME.", rich_help_panel=REPORT, show_default=False)
    ] = None
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write TensorBoard files into the run.", rich_help_panel=REPORT),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings.", rich_help_panel=REPORT)] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.", rich_help_panel=REPORT)] = False

    def reports(self) -> Reports:
        """Who is told, for :func:`elman.training.start.start`."""
        from elman.training.start import Reports

        return Reports(self.quiet, self.as_json, self.tensorboard)


def settings_of(course: CourseFlags, optimiser: OptimiserFlags, **others: Any) -> Settings:
    """The settings of a training.

    Args:
        course, optimiser: the flags.
        others: entries of :class:`elman.training.settings.Settings` that these flags do not have, or that the system
            chose where the user did not: batch, lr, eval_every, warmup, decay, precision. A flag that was given stands.

    Raises:
        MisuseError: a value that no training can have.
    """
    from elman.training.optimisers import optimiser_name
    from elman.training.settings import Settings

    if course.precision not in ("auto", "fp32", "bf16"):
        raise MisuseError(f"--precision is {course.precision!r}; it takes fp32, bf16 or auto.")
    given = {
        "batch": course.batch,
        "eval_every": course.eval_every,
        "precision": None if course.precision == "auto" else course.precision,
        "lr": optimiser.lr,
        "warmup": optimiser.warmup,
        "decay": optimiser.decay,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return Settings(
        **{
            "seed": course.seed,
            "accumulate": course.accumulate,
            "steps": course.steps,
            "epochs": course.epochs,
            "minutes": course.minutes,
            "checkpoint_every": course.checkpoint_every,
            "patience": course.patience,
            "threads": course.threads,
            "device": course.device,
            "backend": course.backend,
            "optimizer": optimiser_name(optimiser.optimizer),
            "optimizer_options": parse_options(optimiser.optimizer_option or [], "--optimizer-option"),
            "rate_scales": _factors(optimiser.rate_scale or []),
            "schedule": optimiser.schedule,
            "lr_floor": optimiser.lr_floor,
            "decay_after": optimiser.decay_after,
            "clip": optimiser.clip,
            "clip_by": optimiser.clip_by,
            "weight_decay": optimiser.weight_decay,
            "averaging": optimiser.averaging,
            "decay": 0.95 if optimiser.schedule == "step" else 0.5,
            **others,
            **chosen,
        }
    )


def given_flags(course: CourseFlags, optimiser: OptimiserFlags) -> frozenset[str]:
    """Names of the settings that the user gave and no system may choose.

    Returns:
        Some of batch, lr, warmup, eval_every, precision, and limit.
    """
    values = {
        "batch": course.batch,
        "lr": optimiser.lr,
        "warmup": optimiser.warmup,
        "eval_every": course.eval_every,
        "precision": None if course.precision == "auto" else course.precision,
        "limit": course.minutes or course.steps or course.epochs,
    }
    return frozenset(name for name, value in values.items() if value is not None)


def typed(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Those of some options that the user gave, as they are typed: ``--min-count``.

    Args:
        context: of the command.
        names: of parameters.
    """
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return [f"--{name.replace('_', '-')}" for name in given]


def parse_options(options: list[str], flag: str) -> dict[str, Any]:
    """``name=value`` pairs; values are numbers, true or false, words, or several of them with commas.

    Args:
        options: as given.
        flag: its name, for errors.

    Raises:
        MisuseError: a pair that is none.
    """
    parsed: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not (sign and name and value):
            raise MisuseError(f"{flag} {option!r} is no NAME=VALUE, such as betas=0.9,0.99.")
        parsed[name] = _value(value) if "," not in value else tuple(_value(part) for part in value.split(","))
    return parsed


def _factors(given: list[str]) -> dict[str, float]:
    factors = parse_options(given, "--rate-scale")
    for name, value in factors.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MisuseError(f"--rate-scale {name}={value} is no PREFIX=FACTOR, such as embedding=0.1.")
    return {name: float(value) for name, value in factors.items()}


def _value(text: str) -> float | int | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
