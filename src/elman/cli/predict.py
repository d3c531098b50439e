"""``elman predict``: what a classifier or a tagger says of new texts, a classifier of images of new images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    from elman.runs import LoadedRun

EXAMPLE = """Examples:

elman predict runs/reviews --text "a moving film , and funny" --explain

elman predict runs/reviews --file new.csv --json

elman predict runs/reviews --file new.txt --html words.html

elman predict runs/names --text "Ada Lovelace lived in London ."

elman predict runs/pets cat.jpg holiday/ --best 3
"""


def register(app: typer.Typer) -> None:
    """Add ``elman predict``."""
    app.command("predict", epilog=EXAMPLE)(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of a classifier or a tagger.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Images, folders or tar archives, for a classifier of images.", show_default=False),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text; repeatable. Default: lines of the input.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="Texts, a line each (.txt) or as in training; for a tagger sentences, or columns of words (.conll).",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Colour the words that mattered (classifier).")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the words that mattered (classifier).", show_default=False)
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the same as a PNG, SVG or PDF (classifier; few texts).", show_default=False),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Of a table of texts, if not the run's.", show_default=False)
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the files, if not the run's.", show_default=False)] = None,
    best: Annotated[int, typer.Option(min=1, help="How many classes are named of an image.")] = 5,
    bad: Annotated[str, typer.Option(help="refuse or skip images that cannot be used.")] = "refuse",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a text.")] = False,
) -> None:
    """Classify texts or images, or label words, with probabilities."""
    from elman.runs import load
    from elman.training import machine

    if text and file:
        raise MisuseError("Give --text or --file, not both.")
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, systems=("classify", "tag", "image"))
    if loaded.config["system"] == "image":
        if text or file or explain or html or text_column or encoding:
            raise MisuseError("This is a classifier of images: name images, folders or archives behind the run.")
        from elman.cli.predict_image import predict_images

        predict_images(loaded.model, images or [], best=best, bad=bad, as_json=as_json)
        return
    if images:
        raise MisuseError("Images are for a classifier of images; give texts with --text or --file.")
    if loaded.config["system"] == "tag":
        if explain or html or picture or text_column:
            raise MisuseError("--explain, --html, --picture and --text-column are for classifiers; this is a tagger.")
        _tag(loaded, run, text, file, encoding, as_json)
    else:
        _classify(loaded, run, text, file, text_column, encoding, explain, html, picture, as_json)


def _classify(
    loaded: LoadedRun,
    run: Path,
    text: Sequence[str] | None,
    file: Sequence[str] | None,
    text_column: str | None,
    encoding: str | None,
    explain: bool,
    html: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from elman.files import write_whole
    from elman.insight import word_weights
    from elman.insight.predictions import classify_texts
    from elman.training.systems.classify.data import Reading
    from elman.training.systems.parts import options_of

    if file:
        reading = options_of(Reading, loaded.config, run)
        given_flags = (("text_column", text_column), ("encoding", encoding))
        changes: dict[str, Any] = {name: value for name, value in given_flags if value}
        plain = all(name.lower().endswith(".txt") for name in file) and reading.form in (None, "label-first")
        changes["form"] = "label-first" if plain else reading.form
        given = list(replace(reading, **changes).read(file, labels_needed=False).texts)
    else:
        given = list(_texts(text))
    predicted = classify_texts(loaded, run, given, explained=bool(explain or html or picture))
    found = [each.explained for each in predicted if each.explained is not None]
    if html:
        write_whole(html, word_weights.page_of(loaded.vocabulary, found, f"{run.name}: the words that mattered"))
    if picture:
        word_weights.picture_of(loaded.vocabulary, found, picture, "the words that mattered")
    for place, each in enumerate(predicted):
        best, *others = [(each.classes[number], each.probabilities[number]) for number in each.order]
        if as_json:
            told = each.entries() if explain else replace(each, explained=None).entries()
            print(json.dumps(told, ensure_ascii=False))
        elif explain:
            from rich.console import Console

            Console(soft_wrap=True).print(word_weights.coloured(loaded.vocabulary, found[place]))
            strongest = ", ".join(f"{name} {nats:+.2f}" for name, nats in word_weights.heaviest(found[place]))
            print(f"    {_shown(strongest)}")
        else:
            rest = "  ".join(f"{name} {chance:.2f}" for name, chance in others[:3])
            print(f"{best[0]} {best[1]:.2f}  ({_shown(rest)})  {_shown(each.text)}")
    if html and not as_json:
        print(f"The page is {html}.")


def _tag(
    loaded: LoadedRun,
    run: Path,
    text: Sequence[str] | None,
    file: Sequence[str] | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from elman.data.conll import words_of
    from elman.insight.predictions import label_words
    from elman.training.systems.tag.run import Decoder

    decoder = Decoder.of(loaded.config, run)
    if file and all(not name.lower().endswith(".txt") for name in file):
        reading = replace(decoder.reading, encoding=encoding or decoder.reading.encoding)
        sentences: list[Sequence[str]] = list(reading.read(file, tags_needed=False).sentences)
    elif file:
        from elman.data.reading import read_text
        from elman.data.sources import resolve

        whole = "".join(read_text(resolve(file), encoding or decoder.reading.encoding, newlines="unix"))
        sentences = [found for line in whole.split("\n") if (found := words_of(line))]
    else:
        sentences = [found for one in _texts(text) if (found := words_of(one))]
    if not sentences:
        raise MisuseError("There are no words to label.")
    for each in label_words(loaded, decoder, sentences):
        if as_json:
            print(json.dumps(each.entries(), ensure_ascii=False))
        elif each.in_scheme:
            print(_shown(_bracketed(each.words, each.labels)))
        else:
            print(_shown(" ".join(f"{word}/{label}" for word, label in zip(each.words, each.labels, strict=True))))


def _bracketed(words: Sequence[str], labels: Sequence[str]) -> str:
    """Entities in brackets behind their kind: ``[PER Ada Lovelace] lived in [LOC London] .``"""
    from elman.metrics.entities import entities

    written = list(words)
    for each in entities(labels):
        written[each.begin] = f"[{each.kind} {written[each.begin]}" if each.kind else f"[{written[each.begin]}"
        written[each.end - 1] += "]"
    return " ".join(written)


def _texts(given: Sequence[str] | None) -> Iterator[str]:
    """The texts of the command line, else the lines of the input that hold something."""
    if given:
        for text in given:
            if not text.strip():
                raise MisuseError("--text is empty; give at least one word.")
            yield text
        return
    if sys.stdin.isatty():
        raise MisuseError("Give --text or --file, or texts on the input, a line each.")
    empty = True
    for line in sys.stdin:
        if line.strip():
            empty = False
            yield line.rstrip("\n")
    if empty:
        raise MisuseError("There is no text: give --text or --file, or texts on the input, a line each.")


def _shown(text: str) -> str:
    from elman.generate.stream import visible

    return visible(text).replace("\n", " ")
