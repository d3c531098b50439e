"""``elman eval``: the loss of a trained model on a text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.cli.flags import parse_options
from elman.errors import ElmanError, MisuseError

if TYPE_CHECKING:
    from elman.runs import LoadedRun
    from elman.training.compare import MixtureResult
    from elman.training.compare import Text as Judged
    from elman.training.evaluate import Evaluation

EXAMPLE = """Examples:

elman eval runs/input

elman eval runs/input other.txt --json

elman eval runs/input --part test --mix runs/input-ngram
"""


def register(app: typer.Typer) -> None:
    """Add ``elman eval``."""
    app.command("eval", epilog=EXAMPLE)(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Texts; default a part of the run's own.", show_default=False)
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="Of the run's own text: valid (default), test or train.", show_default=False)
    ] = None,
    ngrams: Annotated[bool, typer.Option(help="Put Kneser-Ney models of the training part beside it.")] = True,
    mix: Annotated[
        list[Path] | None,
        typer.Option(help="Mix with these runs, weights tuned on validation.", show_default=False),
    ] = None,
    streams: Annotated[int, typer.Option(min=1, help="1 carries the state over the whole text; more are faster.")] = 1,
    unknown: Annotated[
        str | None, typer.Option(help="Symbols never seen: skip, unk, error, replace:C.", show_default=False)
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the texts, if not the run's.", show_default=False)] = None,
    errors: Annotated[str | None, typer.Option(help="strict, replace or ignore.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.")] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Of systems that are no language models, NAME=VALUE, such as beam=5; repeatable.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model on data that it was not trained on.

    A language model: nats, bits and perplexity a token of a whole text, the state carried from first to last. Other
    systems: the scores that are usual for them.
    """
    from rich.console import Console
    from rich.progress import Progress

    from elman.runs import load
    from elman.runs.model import LANGUAGE_MODELS
    from elman.training import compare, machine

    if sources and part:
        raise MisuseError(f"--part {part} is of the run's own text; leave it out, or the files.")
    if not sources and (encoding or errors):
        raise MisuseError("--encoding and --errors are for files; the run's own text is read as it was in training.")
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, backend=backend, unknown=unknown, systems=None)
    if loaded.config["system"] not in LANGUAGE_MODELS:
        if mix or streams != 1 or unknown or encoding or errors:
            raise MisuseError("--mix, --streams, --unknown, --encoding and --errors are for language models.")
        _other_system(loaded, run, sources, part, parse_options(option or [], "--option"), as_json)
        return
    if option:
        raise MisuseError("--option is for systems that are no language models.")
    train = None
    if sources:
        text = compare.other_text(loaded, sources, encoding=encoding, errors=errors)
    else:
        text, train = compare.part_of_run(loaded, run, part or "valid")
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("reading", total=1.0)
        result = compare.loss(
            loaded.model,
            loaded.vocabulary,
            text,
            streams,
            lambda share: bar.update(task, completed=share),
        )
    rows: dict[int, float] = {}
    remark = ""
    if ngrams:
        try:
            if train is None:
                compare.require_local(loaded)
                _, train = compare.part_of_run(loaded, run, "train")
            rows = compare.ngram_rows(train, loaded.vocabulary, text)
        except ElmanError as error:
            # the training text is often on another machine; the model's own figures do not depend on it
            remark = f"No n-gram rows: {error}"
    models = [load(path, device=device, backend=backend) for path in mix or []]
    mixed = (
        _mixture(loaded, run, dict(zip(mix or [], models, strict=True)), text, part or "valid", bool(sources))
        if mix
        else None
    )
    if as_json:
        print(json.dumps(_as_json(result, text, rows, remark, mixed)))
    else:
        _print(result, text, rows, remark, mixed, mix or [], loaded)


def _other_system(
    loaded: LoadedRun, run: Path, sources: list[str] | None, part: str | None, options: dict[str, Any], as_json: bool
) -> None:
    from elman.training.display import score_text
    from elman.training.journal import finite
    from elman.training.systems import module

    scores = module(loaded.config["system"]).evaluate_run(loaded, run, sources, part, options)
    if as_json:
        print(json.dumps({"run": str(run), **finite(scores.rows), **finite(scores.details)}))
        return
    width = max(len(name) for name in scores.rows)
    for name, value in scores.rows.items():
        shown = score_text(value) if isinstance(value, float) else "-" if value is None else f"{value}"
        print(f"{name.replace('_', ' '):<{width}}  {shown}")
    if scores.text:
        print(f"\n{scores.text}")


def _mixture(
    loaded: LoadedRun, run: Path, mix: dict[Path, LoadedRun], text: Judged, part: str, other: bool
) -> MixtureResult:
    from elman.training import compare

    known = loaded.config["vocabulary"]
    for path, further in mix.items():
        if further.config["vocabulary"] != known:
            raise MisuseError(f"{path} has another vocabulary than {run}; train both on the same text and split.")
    tuning = compare.part_of_run(loaded, run, "valid")[0] if other or part != "valid" else None
    models = [loaded.model, *(further.model for further in mix.values())]
    return compare.mixture(models, loaded.vocabulary, text, tuning)


def _as_json(
    result: Evaluation, text: Judged, rows: dict[int, float], remark: str, mixed: MixtureResult | None
) -> dict[str, Any]:
    from elman.training.journal import finite

    values: dict[str, Any] = {
        "text": text.name,
        "nats": result.nats,
        "bits": result.bits,
        "perplexity": result.perplexity,
        "tokens": result.tokens,
        "unknown": sum(text.unknown.values()),
        "impossible": result.impossible,
        "seconds": round(result.seconds, 3),
        "streams": result.streams,
        "burn_in": result.burn_in,
        "ngrams": finite({str(order): nats for order, nats in rows.items()}),
    }
    if remark:
        values["remark"] = remark
    if mixed:
        alone = [None if math.isinf(nats) else nats for nats in mixed.alone]
        values["mixture"] = finite(asdict(mixed)) | {"alone": alone}
    return finite(values)


def _print(
    result: Evaluation,
    text: Judged,
    rows: dict[int, float],
    remark: str,
    mixed: MixtureResult | None,
    mix: list[Path],
    loaded: LoadedRun,
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from elman.training.corpus import unit_of

    unit = unit_of(loaded.vocabulary)
    title = Text(f"{text.name}: {result.tokens:,} {unit}s, {result.carried}")
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for column in (f"nats/{unit}", f"bits/{unit}", "perplexity"):
        table.add_column(column, justify="right")

    def row(name: str, nats: float) -> None:
        perplexity = math.exp(nats) if nats < 700 else math.inf
        table.add_row(Text(name), f"{nats:.4f}", f"{nats / math.log(2):.4f}", f"{perplexity:.3f}")

    config = loaded.config["model"]
    if loaded.config["system"] == "ngram":
        row(f"{config['order']}-gram, {config['estimator']}", result.nats)
    else:
        name = config["recurrence"]["name"] or "own recurrence"
        row(f"{name} {config['layers']} x {config['hidden']}", result.nats)
    for order, nats in rows.items():
        row(f"{order}-gram, Kneser-Ney", nats)
    if mixed:
        weights = ", ".join(f"{weight:.2f}" for weight in mixed.weights)
        row(f"mixture with {', '.join(path.name for path in mix)} (weights {weights})", mixed.nats)
    Console().print(table)
    if mixed:
        alone = ", ".join(f"{nats:.4f}" for nats in mixed.alone)
        print(f"The mixture's figure is of {mixed.tokens:,} {unit}s, on which its models alone have {alone} nats;")
        print(f"its weights were tuned on {mixed.tuned_on}.")
    if text.unknown:
        count = sum(text.unknown.values())
        print(f"{count:,} {unit}s are not in the vocabulary; policy: {loaded.vocabulary.unknown}.")
    if result.impossible:
        print(f"{result.impossible:,} {unit}s have probability 0 under this model.")
    if remark:
        print(remark)
