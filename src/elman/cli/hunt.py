"""``elman hunt``: which cells of a trained model know what."""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.cli import examined
from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.insight.hypotheses import Hypothesis
    from elman.insight.ranking import Finding, Hunt
    from elman.insight.recording import Recording

EXAMPLE = """Examples:

elman hunt runs/input

elman hunt runs/input --text other.txt --hypothesis capitalised --regex "thou=\\b[Tt]hou\\b" --json

elman hunt runs/input --probe --figure hunt.png --coloured cells.html

elman hunt --list
"""

# tokens that are read where nothing is said; of a cell's text in a page or picture
TOKENS, SHOWN = 1_000_000, 1200
SHOW = "Show"


def register(app: typer.Typer) -> None:
    """Add ``elman hunt``."""
    app.command("hunt", epilog=EXAMPLE)(hunt)


def hunt(
    run: Annotated[Path | None, typer.Argument(help="The run folder.", show_default=False)] = None,
    hypothesis: Annotated[
        list[str] | None,
        typer.Option(help="Only this one, repeatable; see --list. Default: what suits the text.", show_default=False),
    ] = None,
    regex: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATTERN: inside a match, or its group (?P<label>...); repeatable.", show_default=False),
    ] = None,
    text: examined.Files = None,
    part: examined.Part = None,
    limit: Annotated[int, typer.Option(min=2, help="Read so many tokens of it at most.")] = TOKENS,
    gates: Annotated[bool, typer.Option("--gates", help="Rank the gates too, not only the states.")] = False,
    shifts: Annotated[
        int | None,
        typer.Option(min=20, help="Circular shifts of the null. Default: 1000, more for many.", show_default=False),
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Compare with the network before its training.")] = True,
    probe: Annotated[bool, typer.Option("--probe", help="Fit linear probes: all cells together, and few.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Cells to describe for each hypothesis.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of shifts, intervals, probes and the untrained network.")] = 0,
    as_json: examined.Json = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw the table: .png, .svg or .pdf.", show_default=False, rich_help_panel=SHOW),
    ] = None,
    coloured: Annotated[
        Path | None,
        typer.Option(
            help="Show text on the colours of the cells: .html, .png, .svg or .pdf.",
            show_default=False,
            rich_help_panel=SHOW,
        ),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List the hypotheses that there are.", rich_help_panel=SHOW)
    ] = False,
    device: examined.Device = "auto",
    threads: examined.Threads = None,
) -> None:
    """Rank all cells against hypotheses: chosen on one half of a text, judged on the other, against shifted labels."""
    if list_all:
        _list(as_json)
        return
    if run is None:
        raise MisuseError("Name a run folder, such as runs/input; or give --list to see the hypotheses.")
    _check_outputs(figure, coloured)
    chosen = _chosen(hypothesis or [], regex or [])
    from elman.insight.hypotheses import builtin, suggest
    from elman.insight.ranking import hunt_cached
    from elman.insight.recording import recorded

    loaded = examined.opened(run, device, threads)
    tokens = examined.text_of(loaded, run, text, part, limit)
    read = loaded.vocabulary.decode(tokens.tokens)
    wanted = chosen or [builtin()[name] for name in suggest(read)]
    if not wanted:
        raise MisuseError(
            f"None of the built-in hypotheses has enough of both sides in {tokens.name}; name one with --hypothesis "
            "or --regex, or read a longer text."
        )
    names = "all" if gates else ()
    with examined.watching(as_json) as watch:
        recording = recorded(run, read, gates=names, loaded=loaded, progress=lambda share: watch(share, "recording"))
        untrained = None
        if baseline:
            untrained = recorded(
                run,
                read,
                gates=names,
                untrained_seed=seed,
                progress=lambda share: watch(share, "recording the untrained network"),
            )
        found = hunt_cached(
            recording,
            wanted,
            shifts=shifts,
            seed=seed,
            top=top,
            baseline=untrained,
            probe=probe,
            progress=lambda share: watch(share, "ranking"),
        )
    if figure is not None:
        from elman.insight.figures.hunt import draw

        draw(found, figure, heading=f"{run.name} on {tokens.name}, {found.length:,} tokens")
    if coloured is not None:
        _colour(recording, wanted, found, coloured, f"{run.name} on {tokens.name}")
    if as_json:
        print(json.dumps({"run": str(run), "source": tokens.name, "recording": str(recording.path), **found.to_json()}))
    else:
        _show(found, f"{run} on {tokens.name}")


def _list(as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from elman.insight.hypotheses import builtin

    known = builtin().values()
    if as_json:
        fields = ("name", "title", "kind", "language", "description")
        print(json.dumps([{field: getattr(each, field) for field in fields} for each in known]))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("hypothesis", "kind", "texts", "what is labelled"):
        table.add_column(heading, no_wrap=heading != "what is labelled")
    for each in known:
        table.add_row(each.name, each.kind, each.language, each.description)
    Console(highlight=False).print(table)


def _check_outputs(figure: Path | None, coloured: Path | None) -> None:
    from elman.insight.figures.sheet import check_picture

    check_picture(figure)
    if coloured is not None and coloured.suffix.lower() != ".html":
        try:
            check_picture(coloured)
        except MisuseError as error:
            raise MisuseError(str(error).replace("--figure", "--coloured").replace(".png,", ".html, .png,")) from error


def _chosen(names: list[str], patterns: list[str]) -> list[Hypothesis]:
    from elman.insight import hypotheses

    known = hypotheses.builtin()
    chosen = []
    for name in dict.fromkeys(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "elman hunt --list shows them."
            raise MisuseError(f"There is no hypothesis {name!r}. {hint}")
        chosen.append(known[name])
    for given in patterns:
        name, equals, pattern = given.partition("=")
        if not equals:
            raise MisuseError(f"--regex takes NAME=PATTERN, such as vowels=[aeiou]+; {given!r} has no '='.")
        chosen.append(hypotheses.regex(name, pattern))
    return chosen


def _colour(recording: Recording, wanted: list[Hypothesis], found: Hunt, path: Path, title: str) -> None:
    """A typical passage of the best cell of each hypothesis, where there is one that is stronger than chance."""
    from elman.files import write_whole
    from elman.insight.figures import coloured_text
    from elman.insight.figures.passages import passage, typical_window

    labels = {each.name: each.label(recording.text) for each in wanted}
    passages = []
    for finding in found.findings.values():
        if finding.verdict == "none":
            continue
        best = finding.cells[0]
        binary = finding.kind == "binary"
        says = recording.cell(best.cell).astype(int) * best.sign >= best.sign * best.threshold if binary else None
        of_tokens = labels[finding.hypothesis][recording.offsets]
        begin, end = typical_window(recording, best.cell, of_tokens, says, finding.confirm, SHOWN)
        underlined = labels[finding.hypothesis] if binary else None
        heading = f"{finding.title}: {best.described}"
        passages.append(
            passage(recording, best.cell, begin, end, title=heading, labels=underlined, caption=finding.sentence)
        )
    notes = [
        "Each character stands on the colour of the cell's value once it has been read. Where a hypothesis holds the "
        "text is underlined. Passages are of the half where the cell was not chosen, of median agreement."
    ]
    if not passages:
        notes.append("No cell was found that is stronger than chance.")
    if path.suffix.lower() == ".html":
        write_whole(path, coloured_text.page(passages, title, notes))
    elif not passages:
        raise MisuseError("No cell was found that is stronger than chance, so there is no text to be coloured.")
    else:
        coloured_text.draw(passages, path, heading=title)


def _show(found: Hunt, name: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    probed = any(finding.probe for finding in found.findings.values())
    title = f"{name}: {found.cells:,} cells, {found.length:,} tokens, figures of the second half"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    headings = ["hypothesis", "on", "cell", "F1", "ρ", "95 %", "AUC", "alike", "yes", "untrained", "p", "verdict"]
    if probed:
        headings[10:10] = ["few", "cells", "all"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("hypothesis", "cell", "verdict") else "right")
    order = {"found": 0, "weak": 1, "none": 2}
    findings = sorted(found.findings.values(), key=lambda finding: order[finding.verdict])
    colours = {"found": "green", "weak": "yellow", "none": "dim"}
    for finding in findings:
        row = [Text(finding.hypothesis), f"{finding.base_rate:.1%}", *_figures(finding)]
        if probed:
            probe = finding.probe
            row[10:10] = [_two(probe.f1), str(probe.cells), _two(probe.dense_f1)] if probe else ["", "", ""]
        table.add_row(*row, Text(finding.verdict, colours[finding.verdict]))
    console.print(table)
    notes = ["alike: AUC among equal characters. yes: F1 of saying yes everywhere. p: corrected for cells, hypotheses."]
    if probed:
        notes.append("few, cells: F1 of a linear probe of so few cells. all: of a probe of all cells.")
    for note in notes:
        console.print(note, style="dim", soft_wrap=True)
    for finding in findings:
        if finding.verdict != "found":
            console.print(f"{finding.hypothesis}: {finding.sentence}", markup=False, soft_wrap=True)


def _figures(finding: Finding) -> list[Any]:
    """cell, F1, rho, interval, AUC, within, constant, untrained, p."""
    if not finding.cells:
        return ["-", *[""] * 7, ""]
    best, graded = finding.cells[0], finding.kind == "graded"
    low, high = best.spearman_interval if graded else best.f1_interval
    baseline = math.nan
    if finding.baseline is not None:
        baseline = finding.baseline.spearman if graded else finding.baseline.f1
    return [
        best.described,
        _two(best.f1),
        _two(best.spearman),
        f"{_two(low)} {_two(high)}",
        _two(best.auc),
        _two(best.stratified_auc),
        _two(finding.constant_f1),
        _two(baseline),
        f"{finding.p_holm:.2g}",
    ]


def _two(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
