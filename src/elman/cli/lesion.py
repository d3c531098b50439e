"""``elman lesion``: what cells are for, by what is lost without them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from elman.cli import examined
from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.insight.hypotheses import Hypothesis
    from elman.insight.lesions import Beside, CellStatistics, LesionEffect
    from elman.insight.lesions.intervention import Mode, Scale

EXAMPLE = """Examples:

elman lesion runs/input --cell 0:c:17 --hypothesis capitalised --text other.txt

elman lesion runs/input --cell 0:c:17 --hypothesis capitalised --figure lesion.png --json

elman lesion runs/input --cell 0:h:3 --mode set --value 1 --sample 300 --prompt "ROMEO:" --seed 1
"""

# tokens that are read where nothing is said: some seconds of work for a small network
TOKENS = 50_000
MEASURE, DRAW = "Measure", "Draw"


def register(app: typer.Typer) -> None:
    """Add ``elman lesion``."""
    app.command("lesion", epilog=EXAMPLE)(lesion)


def lesion(
    run: examined.Run,
    cell: Annotated[
        list[str],
        typer.Option(help="A cell as LAYER:NAME:UNIT, such as 0:c:17; may be repeated.", show_default=False),
    ],
    mode: Annotated[
        str,
        typer.Option(
            help="zero; mean: its mean over the text; off, on: where the label is off, on; set: --value; "
            "resample: of other places."
        ),
    ] = "zero",
    value: Annotated[float | None, typer.Option(help="Of --mode set.", show_default=False)] = None,
    tanh: Annotated[
        bool, typer.Option("--tanh", help="The value is of tanh(cell), as recordings show unbounded cells.")
    ] = False,
    strength: Annotated[float, typer.Option(help="0 leaves the cell alone, 1 puts it at the value at every step.")] = 1,
    hypothesis: Annotated[
        str | None,
        typer.Option(help="Measure where this label is on and off.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(help="Measure inside and outside its matches.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    above: Annotated[int, typer.Option(help="The label is on where it is larger.", rich_help_panel=MEASURE)] = 0,
    text: examined.Files = None,
    part: examined.Part = None,
    length: Annotated[int, typer.Option(min=2, help="Read so many tokens of it at most.")] = TOKENS,
    random: Annotated[
        int, typer.Option(min=0, help="Matched random cells to compare with.", rich_help_panel=MEASURE)
    ] = 20,
    figure: examined.Figure = None,
    symbols: Annotated[
        int, typer.Option("--sample", min=0, help="Draw so many symbols, with and without.", rich_help_panel=DRAW)
    ] = 0,
    prompt: Annotated[str, typer.Option(help="Text to continue.", show_default=False, rich_help_panel=DRAW)] = "",
    span: Annotated[
        str | None,
        typer.Option(
            help="FIRST:END of the drawn symbols where the lesion holds. Default: all, and the prompt.",
            show_default=False,
            rich_help_panel=DRAW,
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of the drawing.", rich_help_panel=DRAW)] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random cells, the intervals and the texts.")] = 0,
    as_json: examined.Json = False,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
) -> None:
    """Hold cells at a value while a model runs: what that costs where a label is on and off, what it then writes."""
    from elman.insight.figures.sheet import check_picture
    from elman.insight.lesions import cell_of, cell_statistics, interventions_on, lesion_effect, sample_beside
    from elman.insight.lesions.intervention import check_interventions
    from elman.insight.recording import network_of

    label = _label(hypothesis, regex)
    if label is None and not symbols:
        raise MisuseError("Say what to do: --hypothesis NAME (or --regex) measures, --sample N draws texts.")
    if figure is not None and label is None:
        raise MisuseError("--figure shows a measurement; name a --hypothesis.")
    check_picture(figure)
    between = _span(span)
    loaded = examined.opened(run, device, threads)
    model, vocabulary = network_of(loaded.model), loaded.vocabulary
    scale: Scale = "tanh" if tanh else "own"
    interventions = interventions_on([cell_of(each) for each in cell], cast("Mode", mode), value, scale, strength)
    check_interventions(model, interventions)
    statistics: CellStatistics | None = None
    effect: LesionEffect | None = None
    result: dict[str, Any] = {"run": str(run)}
    with examined.watching(as_json) as watch:
        if label is not None or mode not in ("zero", "set"):
            tokens = examined.text_of(loaded, run, text, part, length)
            read = vocabulary.decode(tokens.tokens)
            keys = [(each.layer, each.name) for each in interventions]
            labels = None if label is None else label.label(read)
            statistics = cell_statistics(model, vocabulary, read, cells=keys, labels=labels, above=above, seed=seed)
            result["text"] = tokens.name
        if label is not None and labels is not None:
            effect = lesion_effect(
                model,
                vocabulary,
                read,
                labels,
                interventions,
                hypothesis=label.name,
                above=above,
                random_cells=random,
                statistics=statistics,
                seed=seed,
                progress=lambda share: watch(share, "lesioning"),
            )
            result["effect"] = effect.to_json()
    if effect is not None and figure is not None:
        from elman.insight.figures.lesion import lesion_figure

        lesion_figure(effect, figure)
    beside: Beside | None = None
    if symbols:
        beside = sample_beside(
            model,
            vocabulary,
            interventions,
            prompt=prompt,
            length=symbols,
            seed=seed,
            span=between,
            statistics=statistics,
            temperature=temperature,
        )
        result["sample"] = _told(beside, prompt)
    if as_json:
        print(json.dumps(result))
        return
    if effect is not None:
        _show_effect(effect, f"{run} on {result['text']}")
    if beside is not None:
        _show_texts(beside, prompt)


def _label(hypothesis: str | None, regex: str | None) -> Hypothesis | None:
    from elman.insight import hypotheses

    if hypothesis and regex:
        raise MisuseError("--hypothesis and --regex both name a label; give one of them.")
    if regex:
        return hypotheses.regex("regex", regex)
    if not hypothesis:
        return None
    known = hypotheses.builtin()
    if hypothesis not in known:
        raise MisuseError(f"There is no hypothesis {hypothesis!r}; there are: {', '.join(known)}.")
    return known[hypothesis]


def _span(span: str | None) -> tuple[int, int | None] | None:
    if span is None:
        return None
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})?", span, re.ASCII)
    if found is None:
        raise MisuseError(f"--span is {span!r}; it takes FIRST:END, such as 100:200, or 100: for all from there on.")
    return int(found[1]), int(found[2]) if found[2] else None


def _told(beside: Beside, prompt: str) -> dict[str, Any]:
    texts = {which: getattr(beside, which) for which in ("plain", "lesioned")}
    written = {which: {"text": text.text, "logprob": text.logprob} for which, text in texts.items()}
    return {"prompt": prompt, "seed": beside.seed, "parted": beside.parted, **written}


def _show_effect(effect: LesionEffect, name: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print("; ".join(each.describe() for each in effect.interventions), markup=False)
    where = f"{name}: {effect.tokens:,} places, {effect.hypothesis} on at {effect.on_tokens:,}"
    console.print(where, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("nats a symbol", "label on", "label off"):
        table.add_column(heading, justify="left" if heading == "nats a symbol" else "right")
    table.add_row("as it is", f"{effect.plain_on:.4f}", f"{effect.plain_off:.4f}")
    table.add_row("cost of the lesion", f"{effect.on.value:+.4f}", f"{effect.off.value:+.4f}")
    for dose in effect.doses:
        table.add_row(f"  at strength {dose.strength:g}", f"{dose.on.value:+.4f}", f"{dose.off.value:+.4f}")
    if effect.controls:
        count = len(effect.controls)
        means = [sum(getattr(each, part) for each in effect.controls) / count for part in ("on", "off")]
        table.add_row(f"mean of {count} random cells", f"{means[0]:+.4f}", f"{means[1]:+.4f}")
    console.print(table)
    console.print(f"{effect.verdict}: {effect.sentence}", markup=False, soft_wrap=True)


def _show_texts(beside: Beside, prompt: str) -> None:
    from elman.generate import visible

    for which, text in (("as it is", beside.plain), ("lesioned", beside.lesioned)):
        print(f"--- {which}, seed {beside.seed}")
        print(visible(prompt + text.text))
