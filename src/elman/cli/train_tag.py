"""``elman train tag``: a recurrent tagger of words."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import (
    MODEL,
    Cell,
    CourseFlags,
    OptimiserFlags,
    ReportFlags,
    WordVectors,
    expanded,
    given_flags,
    settings_of,
)
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train tag names.conll

elman train tag train.txt --valid dev.txt --test test.txt --constrain --scheme iobes

elman train tag treebank.conllu --tag-column UPOS --softmax
"""

WORDS = "Labelled words"


def register(train: typer.Typer) -> None:
    """Add ``elman train tag``."""
    train.command("tag", epilog=EXAMPLE)(train_tag)


@expanded
def train_tag(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files of columns: a word a line, an empty line after each sentence (CoNLL).", show_default=False
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    valid: Annotated[
        list[str] | None,
        typer.Option(help="Validation sentences; repeatable.", rich_help_panel=WORDS, show_default=False),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Test sentences, for `elman eval`; repeatable.", rich_help_panel=WORDS, show_default=False),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Shares of training, validation, test, sentences drawn at random where there is no --valid.",
            rich_help_panel=WORDS,
        ),
    ] = "90/10",
    split_seed: Annotated[int, typer.Option(min=0, help="Of the draw of --split.", rich_help_panel=WORDS)] = 1,
    word_column: Annotated[
        str | None,
        typer.Option(
            help="Number from 1, or name where the file names its columns. Default: the first.",
            rich_help_panel=WORDS,
            show_default=False,
        ),
    ] = None,
    tag_column: Annotated[
        str | None,
        typer.Option(help="Likewise, -1 is the last. Default: the last.", rich_help_panel=WORDS, show_default=False),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="Rewrite labels of entities as iob1, iob2 or iobes. Default: as they are.",
            rich_help_panel=WORDS,
            show_default=False,
        ),
    ] = None,
    encoding: texts.Encoding = "utf-8",
    errors: texts.Errors = None,
    max_vocabulary: texts.MaxVocabulary = None,
    min_count: texts.MinCount = None,
    keep_case: Annotated[
        bool,
        typer.Option("--keep-case", help="Words are looked up as they are written.", rich_help_panel=WORDS),
    ] = False,
    cell: Cell = "lstm",
    layers: Annotated[int, typer.Option(min=1, help="Number of layers.", rich_help_panel=MODEL)] = 1,
    hidden: Annotated[int, typer.Option(min=1, help="Width of a layer.", rich_help_panel=MODEL)] = 100,
    embedding: Annotated[int, typer.Option(min=1, help="Width of the words' embedding.", rich_help_panel=MODEL)] = 100,
    embeddings: WordVectors = None,
    freeze_embeddings: Annotated[
        bool, typer.Option("--freeze-embeddings", help="Word vectors are not trained.", rich_help_panel=MODEL)
    ] = False,
    bidirectional: Annotated[bool, typer.Option(help="Also read from the end.", rich_help_panel=MODEL)] = True,
    characters: Annotated[bool, typer.Option(help="Read words by their characters too.", rich_help_panel=MODEL)] = True,
    character_hidden: Annotated[
        int, typer.Option(min=1, help="Width of the characters' recurrence.", rich_help_panel=MODEL)
    ] = 25,
    crf: Annotated[
        bool, typer.Option("--crf/--softmax", help="Labels know their neighbours, or not.", rich_help_panel=MODEL)
    ] = True,
    constrain: Annotated[
        bool, typer.Option("--constrain", help="Never give labels that their scheme forbids.", rich_help_panel=MODEL)
    ] = False,
    dropout: Annotated[float, typer.Option(help="Between layers and before the scores.", rich_help_panel=MODEL)] = 0.3,
    input_dropout: Annotated[float, typer.Option(help="On words and characters.", rich_help_panel=MODEL)] = 0.3,
    word_dropout: Annotated[
        float, typer.Option(help="Share of the words looked up as <unk>.", rich_help_panel=MODEL)
    ] = 0.1,
) -> None:
    """Train a tagger: a label for each word, such as names of persons and places, or parts of speech."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.systems.parts import Sources
    from elman.training.systems.tag.data import Reading
    from elman.training.systems.tag.examples import Learning
    from elman.training.systems.tag.run import Wishes, train

    if freeze_embeddings and embeddings is None:
        raise MisuseError("--freeze-embeddings needs --embeddings FILE: random vectors that never learn say nothing.")
    settings = settings_of(course, optimiser, batch=16, lr=3e-3)
    if freeze_embeddings:
        settings = replace(settings, rate_scales={**settings.rate_scales, "embedding": 0.0})
    shape = {
        "hidden": hidden,
        "layers": layers,
        "embedding": embedding,
        "bidirectional": bidirectional,
        "characters": characters,
        "character_hidden": character_hidden,
        "crf": crf,
        "dropout": dropout,
        "input_dropout": input_dropout,
    }
    vocabulary = {
        name: value for name, value in (("max_size", max_vocabulary), ("min_count", min_count)) if value is not None
    }
    reading = Reading(
        word_column, tag_column, encoding, errors or "strict", split, split_seed, scheme, not keep_case, vocabulary
    )
    wishes = Wishes(
        recurrence_of(cell),
        shape,
        settings,
        Learning(word_dropout, constrain),
        given_flags(course, optimiser),
        embeddings,
        report.reports(),
    )
    where = Sources(tuple(sources), tuple(valid or ()), tuple(test or ()))
    outcome, folder, _ = train(where, reading, wishes, report.out or texts.default_run(sources))
    tell(outcome, folder, "tag", quiet=report.quiet, as_json=report.as_json)
