"""``elman train classify``: a recurrent classifier of texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.cli import texts
from elman.cli.flags import (
    MODEL,
    REPORT,
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

if TYPE_CHECKING:
    from elman.training.systems.classify.data import Reading
    from elman.training.systems.classify.run import Wishes
    from elman.training.systems.parts import Sources

EXAMPLE = """Examples:

elman train classify reviews.csv

elman train classify train.tsv --valid dev.tsv --test test.tsv --cell gru --pooling attention

elman train classify reviews.txt --encoding latin-1 --folds 10

elman train classify reviews.csv --embeddings glove.6B.100d.txt --freeze-embeddings
"""

TEXTS = "Labelled texts"


def register(train: typer.Typer) -> None:
    """Add ``elman train classify``."""
    train.command("classify", epilog=EXAMPLE)(train_classify)


@expanded
def train_classify(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files with a label for each text: CSV, TSV, JSON lines, or lines that begin with their label.",
            show_default=False,
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    valid: Annotated[
        list[str] | None, typer.Option(help="Validation texts; repeatable.", rich_help_panel=TEXTS, show_default=False)
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Test texts, for `elman eval`; repeatable.", rich_help_panel=TEXTS, show_default=False),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Shares of training, validation, test, drawn at random where there is no --valid.",
            rich_help_panel=TEXTS,
        ),
    ] = "90/10",
    split_seed: Annotated[
        int, typer.Option(min=0, help="Of the draw of --split and --folds.", rich_help_panel=TEXTS)
    ] = 1,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Cross-validate: train so many models, each tested on its part, into RUN/fold-N.",
            rich_help_panel=TEXTS,
        ),
    ] = 0,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="csv, tsv, jsonl or label-first. Default: by the file's ending.",
            rich_help_panel=TEXTS,
            show_default=False,
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Name or number of the text's column.", rich_help_panel=TEXTS, show_default=False)
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Name or number of the label's column.", rich_help_panel=TEXTS, show_default=False),
    ] = None,
    encoding: texts.Encoding = "utf-8",
    errors: texts.Errors = None,
    tokens: Annotated[str, typer.Option(help="words, characters, bytes or subwords.", rich_help_panel=TEXTS)] = "words",
    max_vocabulary: texts.MaxVocabulary = None,
    min_count: texts.MinCount = None,
    keep_case: Annotated[
        bool, typer.Option("--keep-case", help="Words are not lower-cased.", rich_help_panel=TEXTS)
    ] = False,
    at_spaces: Annotated[
        bool,
        typer.Option(
            "--at-spaces", help="Words are what stands between spaces, for texts cut already.", rich_help_panel=TEXTS
        ),
    ] = False,
    longest: Annotated[int, typer.Option(min=1, help="Tokens of a text that are read.", rich_help_panel=TEXTS)] = 1000,
    cell: Cell = "gru",
    layers: Annotated[int, typer.Option(min=1, help="Number of layers.", rich_help_panel=MODEL)] = 1,
    hidden: Annotated[
        int | None,
        typer.Option(min=1, help="Width of a layer. Default: chosen.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    embedding: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the embedding. Default: chosen.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    embeddings: WordVectors = None,
    freeze_embeddings: Annotated[
        bool, typer.Option("--freeze-embeddings", help="Word vectors are not trained.", rich_help_panel=MODEL)
    ] = False,
    bidirectional: Annotated[bool, typer.Option(help="Also read from the end.", rich_help_panel=MODEL)] = True,
    pooling: Annotated[str, typer.Option(help="last, mean, max or attention.", rich_help_panel=MODEL)] = "max",
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Between layers and before the softmax. Default: chosen.", rich_help_panel=MODEL, show_default=False
        ),
    ] = None,
    input_dropout: Annotated[
        float | None,
        typer.Option(help="On the embedding. Default: chosen.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    recurrent_dropout: Annotated[
        float, typer.Option(help="On the state inside the recurrence, one mask a batch.", rich_help_panel=MODEL)
    ] = 0.0,
    word_dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of the tokens read as <unk>. Default: 0.1 for words.", rich_help_panel=MODEL, show_default=False
        ),
    ] = None,
    class_weights: Annotated[
        str, typer.Option(help="none, or balanced: rare classes count more.", rich_help_panel=MODEL)
    ] = "none",
    best_by: Annotated[
        str, typer.Option(help="Keep the weights of the best accuracy, macro-f1 or nats.", rich_help_panel=REPORT)
    ] = "accuracy",
) -> None:
    """Train a classifier; whatever is not given is chosen from the texts, and the reason is printed."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.systems.classify.data import Reading
    from elman.training.systems.classify.run import Wishes, train
    from elman.training.systems.parts import Sources

    if freeze_embeddings and embeddings is None:
        raise MisuseError("--freeze-embeddings needs --embeddings FILE: random vectors that never learn say nothing.")
    settings = settings_of(course, optimiser)
    if freeze_embeddings:
        settings = replace(settings, rate_scales={**settings.rate_scales, "embedding": 0.0})
    wishes = Wishes(
        recurrence_of(cell),
        {
            "hidden": hidden,
            "layers": layers,
            "embedding": embedding,
            "bidirectional": bidirectional,
            "pooling": pooling,
            "dropout": dropout,
            "input_dropout": input_dropout,
            "recurrent_dropout": recurrent_dropout,
        },
        settings,
        given_flags(course, optimiser),
        word_dropout,
        class_weights,
        best_by,
        embeddings,
        report.reports(),
    )
    reading = Reading(
        tokens,
        form,
        text_column,
        label_column,
        encoding,
        errors or "strict",
        split,
        split_seed,
        folds,
        longest=longest,
        vocabulary=_vocabulary(tokens, max_vocabulary, min_count, keep_case, at_spaces),
    )
    where = Sources(tuple(sources), tuple(valid or ()), tuple(test or ()))
    out = report.out or texts.default_run(sources)
    if folds:
        _cross_validate(where, reading, wishes, out)
        return
    outcome, folder, _ = train(where, reading, wishes, out)
    tell(outcome, folder, "classify", quiet=report.quiet, as_json=report.as_json)


def _vocabulary(
    tokens: str, max_vocabulary: int | None, min_count: int | None, keep_case: bool, at_spaces: bool
) -> dict[str, Any]:
    if tokens != "words" and (keep_case or at_spaces):
        raise MisuseError(f"--keep-case and --at-spaces are for words; --tokens is {tokens}.")
    options: dict[str, Any] = {}
    if max_vocabulary is not None:
        options["size" if tokens == "subwords" else "max_size"] = max_vocabulary
    if min_count is not None:
        options["min_count"] = min_count
    if tokens == "words":
        options |= {"lower": not keep_case, "whitespace": at_spaces}
    return options


def _cross_validate(sources: Sources, reading: Reading, wishes: Wishes, out: Path) -> None:
    from elman.training.journal import finite
    from elman.training.systems.classify.run import cross_validated

    reports = wishes.reports
    silent = reports.quiet or reports.as_json
    summary = cross_validated(sources, reading, wishes, out, (lambda line: None) if silent else print)
    if not summary.complete:
        if not silent:
            print(f"Interrupted. Repeat the command to go on; {out} holds what is done.")
        raise typer.Exit(1)
    means = {name: {"mean": summary.mean(name), "deviation": summary.deviation(name)} for name in summary.scores}
    if reports.as_json:
        print(json.dumps({"run": str(out), "folds": reading.folds, **finite(means)}))
    elif not reports.quiet:
        for name in means:
            spread = f"{summary.deviation(name):.4f} between folds"
            print(f"{name.replace('_', ' ')}: mean {summary.mean(name):.4f}, standard deviation {spread}")
        print(f"The runs are in {out}.")
