"""``elman translate``: sequences turned into others by a trained encoder-decoder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.generate.translating import Translation, Translators

EXAMPLE = """Examples:

elman translate runs/de-en

elman translate runs/de-en --text "Ein Hund läuft." --n-best 5 --alignment looks.png

elman translate runs/de-en --file test.de --beam 12 --normalisation 1 > test.en

elman translate runs/de-en --ensemble runs/de-en-2 --file test.de --json
"""

# lines of a file that are read at a time
BLOCK = 1024
PANELS = 4


def register(app: typer.Typer) -> None:
    """Add ``elman translate``."""
    app.command("translate", epilog=EXAMPLE)(translate)


def translate(
    run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    text: Annotated[list[str] | None, typer.Option(help="A sentence; may be repeated.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option(help="A UTF-8 file, one sentence a line (.gz too).", show_default=False)
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Width of the search; 1 is greedy. Default: 5.", show_default=False)
    ] = None,
    normalisation: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Of the search: 0 ranks by probability, towards 1 favours longer ones. Default: 0.6.",
            show_default=False,
        ),
    ] = None,
    n_best: Annotated[int, typer.Option(min=1, help="Give so many for each sentence, with log-probabilities.")] = 1,
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another run that translates with it, by the mean of probabilities; repeatable.", show_default=False
        ),
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw instead of searching for the likeliest.")] = False,
    temperature: Annotated[float, typer.Option(help="Of --draw: below 1 safer, above 1 wilder.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of --draw.")] = 1,
    alignment: Annotated[
        Path | None,
        typer.Option(
            help=f"Draw where the model looked (.png, .svg, .pdf; the first {PANELS} sentences).", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a sentence.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.")] = "auto",
) -> None:
    """Translate sentences; without --text and --file those that are typed, line by line."""
    from elman.generate.translating import from_runs
    from elman.insight.figures.sheet import check_picture
    from elman.runs import load
    from elman.training import machine

    if text and file is not None:
        raise MisuseError("--text and --file both name sentences; give one of them.")
    if draw and (beam is not None or normalisation is not None):
        raise MisuseError("--draw draws and --beam searches; give one of them, and --normalisation only to the search.")
    if not draw and (temperature != 1.0 or seed != 1):
        raise MisuseError("--temperature and --seed are for --draw.")
    width = max(n_best, 5) if beam is None else beam
    check_picture(alignment)
    device, _ = machine.prepare(device, threads)
    opened = [load(path, device=device, backend=backend, systems=("translate",)) for path in (run, *(ensemble or []))]
    translators = from_runs(opened)
    if alignment is not None and all(model.look is None for model in translators.models):
        raise MisuseError(f"{run} has no attention, so there is nothing to draw for --alignment.")
    pictured: list[tuple[str, Translation]] = []
    number = 0
    for block in _blocks(text, file):
        asked = [sentence for sentence in block if sentence.strip()]
        if draw:
            found = _drawn(translators, asked, n_best, temperature, seed + number)
        else:
            found = _searched(translators, asked, width, n_best, 0.6 if normalisation is None else normalisation)
        answers = iter(found)
        for sentence in block:
            _print(sentence, next(answers) if sentence.strip() else [], n_best, as_json)
        pictured += [(sentence, own[0]) for sentence, own in zip(asked, found, strict=True)][: PANELS - len(pictured)]
        number += len(block)
    if alignment is not None and pictured:
        _picture(translators, pictured, alignment)


def _blocks(text: list[str] | None, file: Path | None) -> Iterator[list[str]]:
    if text:
        yield [sentence.replace("\n", " ").strip() for sentence in text]
    elif file is not None:
        from elman.data.reading import read_text
        from elman.data.sources import resolve

        whole = "".join(read_text(resolve([str(file)]), bom="strip", newlines="unix"))
        lines = (line.strip() for line in whole.removesuffix("\n").split("\n"))
        while block := list(islice(lines, BLOCK)):
            yield block
    else:
        # a person waits for the answer to each line
        interactive = sys.stdin.isatty()
        while True:
            if interactive:
                print("> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                return
            yield [line.strip()]


def _searched(
    translators: Translators, texts: list[str], width: int, n_best: int, normalisation: float
) -> list[list[Translation]]:
    from elman.generate.translating import translate

    return translate(translators, texts, width=width, best=n_best, normalisation=normalisation)


def _drawn(
    translators: Translators, texts: list[str], samples: int, temperature: float, seed: int
) -> list[list[Translation]]:
    from elman.generate import Filters
    from elman.generate.translating import draw_translations

    return draw_translations(translators, texts, filters=Filters(temperature), samples=samples, seed=seed)


def _print(sentence: str, found: list[Translation], n_best: int, as_json: bool) -> None:
    from elman.generate import visible

    if as_json:
        translations: list[dict[str, Any]] = [
            {
                "text": each.text,
                "logprob": each.logprob,
                "logprob_a_token": each.per_token,
                "tokens": len(each.ids),
                "stopped": each.stopped,
            }
            for each in found
        ]
        print(json.dumps({"source": sentence, "translations": translations}, ensure_ascii=False), flush=True)
    elif not found:
        print(flush=True)
    else:
        show = visible if sys.stdout.isatty() else str
        for each in found:
            figures = f"{each.logprob:.2f}\t{each.per_token:.3f}\t" if n_best > 1 else ""
            print(f"{figures}{show(each.text)}", flush=True)


def _picture(translators: Translators, pairs: list[tuple[str, Translation]], picture: Path) -> None:
    from elman.data.parallel import encode_sentences
    from elman.generate.translating import judge
    from elman.insight.figures.alignment import Alignment, alignment_figure

    sources = [source.lower() if translators.lower else source for source, _ in pairs]
    judged = judge(translators, sources, [each.ids for _, each in pairs])
    alignments = []
    for ids, (_, each), own in zip(encode_sentences(translators.source, sources), pairs, judged, strict=True):
        assert own.weights is not None
        alignments.append(
            Alignment(
                [translators.source.symbol(int(place)) for place in ids],
                [translators.target.symbol(place) for place in each.ids],
                own.weights,
            )
        )
    alignment_figure(alignments, picture)
