"""``elman train lm``: a recurrent language model of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elman.cli import texts
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train lm input.txt --minutes 3

elman train lm input.txt --cell mut1 --layers 2 --hidden 256 --minutes 5

elman train lm book/ --tokens words --max-vocabulary 20000 --split 80/10/10

elman train lm input.txt --cell "h = tanh(Wx @ x + Wh @ h + b)" --steps 2000
"""

MODEL, COURSE, RATE, REPORT = "Model", "Course", "Optimiser", "Run and reports"


def register(train: typer.Typer) -> None:
    """Add ``elman train lm``."""
    train.command("lm", epilog=EXAMPLE)(train_lm)


def train_lm(
    sources: texts.Sources,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/NAME.", rich_help_panel=REPORT, show_default=False),
    ] = None,
    cell: Annotated[
        str, typer.Option(help="Zoo name, file of equations, or the equations.", rich_help_panel=MODEL)
    ] = "lstm",
    layers: Annotated[
        int | None, typer.Option(min=1, help="Default: chosen.", rich_help_panel=MODEL, show_default=False)
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(min=1, help="Width of a layer. Default: chosen.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    embedding: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the embedding. Default: hidden.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Between layers and before the softmax. Default: chosen.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    input_dropout: Annotated[float, typer.Option(help="On the embedding.", rich_help_panel=MODEL)] = 0.0,
    recurrent_dropout: Annotated[
        float,
        typer.Option(help="On the state inside the recurrence, one mask a batch.", rich_help_panel=MODEL),
    ] = 0.0,
    tied: Annotated[
        bool, typer.Option("--tied", help="Softmax and embedding share their matrix.", rich_help_panel=MODEL)
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time limit. Default 5 if no limit is given.", rich_help_panel=COURSE, show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Limit in optimiser steps.", rich_help_panel=COURSE, show_default=False)
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Limit in passes over the text.", rich_help_panel=COURSE, show_default=False),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Parallel streams. Default: chosen.", rich_help_panel=COURSE, show_default=False),
    ] = None,
    unroll: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of truncated BPTT. Default: chosen.",
            rich_help_panel=COURSE,
            show_default=False,
        ),
    ] = None,
    accumulate: Annotated[
        int,
        typer.Option(min=1, help="Work through the batch in so many groups (less memory).", rich_help_panel=COURSE),
    ] = 1,
    patience: Annotated[
        int,
        typer.Option(help="Stop after so many evaluations without gain; 0 never.", rich_help_panel=COURSE),
    ] = 0,
    eval_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps between evaluations. Default: chosen.",
            rich_help_panel=COURSE,
            show_default=False,
        ),
    ] = None,
    eval_tokens: Annotated[
        int,
        typer.Option(help="Tokens an evaluation reads; 0 for the whole validation part.", rich_help_panel=COURSE),
    ] = 300_000,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between checkpoints; 0 for every 30 seconds.", rich_help_panel=COURSE)
    ] = 0,
    snapshots: Annotated[
        int,
        typer.Option(
            min=0,
            help="Keep the weights so many times on the way, at steps that grow by one factor, in RUN/snapshots.",
            rich_help_panel=REPORT,
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of weights, dropout and samples.", rich_help_panel=COURSE)] = 1,
    optimizer: Annotated[str, typer.Option(help="Any of torch.optim.", rich_help_panel=RATE)] = "AdamW",
    optimizer_option: Annotated[
        list[str] | None,
        typer.Option(
            help="Further arguments, such as betas=0.9,0.99; repeatable.",
            rich_help_panel=RATE,
            show_default=False,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate. Default: chosen.", rich_help_panel=RATE, show_default=False),
    ] = None,
    schedule: Annotated[str, typer.Option(help="constant, cosine, step or plateau.", rich_help_panel=RATE)] = "cosine",
    warmup: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of linear warm-up. Default: chosen.", rich_help_panel=RATE, show_default=False),
    ] = None,
    lr_floor: Annotated[float, typer.Option(help="End of the cosine, as a share of --lr.", rich_help_panel=RATE)] = 0.0,
    decay: Annotated[
        float | None,
        typer.Option(
            help="Factor of step (an epoch; default 0.95) and plateau (default 0.5).",
            rich_help_panel=RATE,
            show_default=False,
        ),
    ] = None,
    decay_after: Annotated[
        float, typer.Option(help="Epochs before the step schedule begins.", rich_help_panel=RATE)
    ] = 10.0,
    clip: Annotated[float, typer.Option(help="Bound on the gradient; 0 for none.", rich_help_panel=RATE)] = 1.0,
    clip_by: Annotated[
        str, typer.Option(help="norm (of all together) or value (each number).", rich_help_panel=RATE)
    ] = "norm",
    weight_decay: Annotated[float, typer.Option(help="On matrices.", rich_help_panel=RATE)] = 0.0,
    averaging: Annotated[
        float,
        typer.Option(
            help="Evaluate and save a moving average of the weights with this decay; 0 off.",
            rich_help_panel=RATE,
        ),
    ] = 0.0,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or auto.", rich_help_panel=COURSE)] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", rich_help_panel=COURSE, show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.", rich_help_panel=COURSE)] = "auto",
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.", rich_help_panel=COURSE)] = "auto",
    tokens: texts.Kind = "characters",
    split: texts.Split = "90/10",
    unknown: texts.Unknown = None,
    encoding: texts.Encoding = "utf-8",
    errors: texts.Errors = None,
    bom: texts.Bom = "keep",
    newlines: texts.Newlines = "keep",
    max_vocabulary: texts.MaxVocabulary = None,
    min_count: texts.MinCount = None,
    lowercase: texts.Lowercase = False,
    sample_length: Annotated[
        int,
        typer.Option(min=0, help="Symbols of the samples drawn as it learns; 0 for none.", rich_help_panel=REPORT),
    ] = 200,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write TensorBoard files into the run.", rich_help_panel=REPORT),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings.", rich_help_panel=REPORT)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.", rich_help_panel=REPORT)] = False,
) -> None:
    """Train a language model; whatever is not given is chosen from the text and the time, and the reason is printed."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.choose import Request
    from elman.training.language_run import Wishes, train_language_model
    from elman.training.settings import Settings
    from elman.training.start import Reports

    if precision not in ("auto", "fp32", "bf16"):
        raise MisuseError(f"--precision is {precision!r}; it takes fp32, bf16 or auto.")
    for name, rate in (
        ("dropout", dropout),
        ("input-dropout", input_dropout),
        ("recurrent-dropout", recurrent_dropout),
    ):
        if rate is not None and not 0 <= rate < 1:
            raise MisuseError(f"--{name} is {rate}; it takes a share from 0 to below 1.")
    settings = Settings(
        seed=seed,
        optimizer=optimizer,
        optimizer_options=parse_options(optimizer_option or []),
        schedule=schedule,
        lr_floor=lr_floor,
        decay_after=decay_after,
        clip=clip,
        clip_by=clip_by,
        weight_decay=weight_decay,
        averaging=averaging,
        accumulate=accumulate,
        steps=steps,
        epochs=epochs,
        minutes=minutes,
        eval_tokens=eval_tokens,
        checkpoint_every=checkpoint_every,
        snapshots=snapshots,
        patience=patience,
        sample_length=sample_length,
        threads=threads,
        device=device,
        backend=backend,
    )
    request = Request(
        hidden, layers, embedding, dropout, batch, unroll, lr, precision, eval_every, warmup, decay, settings
    )
    text = texts.text_options(
        tokens, split, unknown, encoding, errors, bom, newlines, max_vocabulary, min_count, lowercase
    )
    wishes = Wishes(request, input_dropout, recurrent_dropout, tied, Reports(quiet, as_json, tensorboard))
    outcome, folder, _ = train_language_model(
        sources, recurrence_of(cell), text, wishes, out or texts.default_run(sources)
    )
    tell(outcome, folder, quiet=quiet, as_json=as_json)


def parse_options(options: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; values are numbers, true or false, words, or several of them with commas.

    Raises:
        MisuseError: a pair that is none.
    """
    parsed: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not (sign and name and value):
            raise MisuseError(f"--optimizer-option {option!r} is no NAME=VALUE, such as betas=0.9,0.99.")
        parsed[name] = _value(value) if "," not in value else tuple(_value(part) for part in value.split(","))
    return parsed


def _value(text: str) -> float | int | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
