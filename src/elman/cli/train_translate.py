"""``elman train translate``: an encoder-decoder of pairs of sentences."""

from __future__ import annotations

from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import (
    MODEL,
    REPORT,
    Cell,
    CourseFlags,
    OptimiserFlags,
    ReportFlags,
    expanded,
    given_flags,
    settings_of,
)

EXAMPLE = """Examples:

elman train translate train.de train.en --valid valid.de valid.en --minutes 10

elman train translate pairs.tsv --tokens words --cell gru --attention additive

elman train translate train.de train.en --attention none --no-bidirectional --reverse-source

elman train translate made:addition,digits=4,count=50000 --minutes 4
"""

PAIRS = "Pairs"


def register(train: typer.Typer) -> None:
    """Add ``elman train translate``."""
    train.command("translate", epilog=EXAMPLE)(train_translate)


@expanded
def train_translate(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Two files, sources and targets line by line; or one with a tab between them; or a made task: "
            "made:addition, made:sorting, made:reversal. Files may be .gz.",
            show_default=False,
        ),
    ],
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    valid: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two files of validation pairs.", rich_help_panel=PAIRS, show_default=False),
    ] = None,
    test: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two files of test pairs, for `elman eval`.", rich_help_panel=PAIRS, show_default=False),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Shares of training, validation, test where there is no --valid.", rich_help_panel=PAIRS)
    ] = "95/5",
    tokens: Annotated[
        str | None,
        typer.Option(
            help="subwords, words, characters or bytes. Default: subwords; of made tasks characters.",
            rich_help_panel=PAIRS,
            show_default=False,
        ),
    ] = None,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most symbols. Default: 4,096 subwords, 20,000 words.",
            rich_help_panel=PAIRS,
            show_default=False,
        ),
    ] = None,
    min_count: texts.MinCount = None,
    joint: Annotated[
        bool | None,
        typer.Option(
            "--joint/--separate",
            help="One vocabulary of both sides. Default: for subwords and bytes.",
            rich_help_panel=PAIRS,
            show_default=False,
        ),
    ] = None,
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Lower-case both sides.", rich_help_panel=PAIRS)
    ] = False,
    longest: Annotated[
        int, typer.Option(min=1, help="Leave out training pairs with a side of more symbols.", rich_help_panel=PAIRS)
    ] = 100,
    encoding: texts.Encoding = "utf-8",
    errors: texts.Errors = None,
    cell: Cell = "lstm",
    decoder: Annotated[
        str | None,
        typer.Option(help="The decoder's, if another. Default: --cell.", rich_help_panel=MODEL, show_default=False),
    ] = None,
    layers: Annotated[int, typer.Option(min=1, help="Of encoder and decoder.", rich_help_panel=MODEL)] = 1,
    hidden: Annotated[int, typer.Option(min=1, help="Width of a layer and direction.", rich_help_panel=MODEL)] = 256,
    embedding: Annotated[
        int | None,
        typer.Option(
            min=1, help="Width of the embeddings. Default: hidden.", rich_help_panel=MODEL, show_default=False
        ),
    ] = None,
    bidirectional: Annotated[
        bool, typer.Option(help="The encoder also reads from the end.", rich_help_panel=MODEL)
    ] = True,
    attention: Annotated[
        str, typer.Option(help="general, dot, scaled-dot, additive or none.", rich_help_panel=MODEL)
    ] = "general",
    input_feeding: Annotated[
        bool,
        typer.Option("--input-feeding", help="Feed the attention's vector back (slower).", rich_help_panel=MODEL),
    ] = False,
    reverse_source: Annotated[
        bool, typer.Option("--reverse-source", help="Read the source from its end.", rich_help_panel=MODEL)
    ] = False,
    tied: Annotated[
        str | None,
        typer.Option(
            help="The softmax uses the target's embedding (target), the source's is the same too (all), or none. "
            "Default: all for a joint vocabulary, else target.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="On embeddings, between layers, before the softmax.", rich_help_panel=MODEL)
    ] = 0.2,
    best_by: Annotated[
        str | None,
        typer.Option(
            help="Keep the weights of the best nats, bleu or exact. Default: nats; of made tasks exact.",
            rich_help_panel=REPORT,
            show_default=False,
        ),
    ] = None,
    scored: Annotated[
        int,
        typer.Option(min=0, help="Validation pairs to translate at every evaluation.", rich_help_panel=REPORT),
    ] = 200,
) -> None:
    """Train an encoder-decoder that turns one sequence into another."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.systems.translate.run import PairOptions, Sources, Wishes, train

    options = PairOptions(tokens, vocabulary, min_count, joint, lowercase, longest, split, encoding, errors or "strict")
    shape = {
        "hidden": hidden,
        "layers": layers,
        "embedding": embedding,
        "bidirectional": bidirectional,
        "attention": attention,
        "input_feeding": input_feeding,
        "reverse_source": reverse_source,
        "dropout": dropout,
    }
    wishes = Wishes(
        recurrence_of(cell),
        recurrence_of(decoder or cell),
        shape if tied is None else shape | {"tied": tied},
        settings_of(course, optimiser, batch=64, lr=2e-3),
        best_by,
        scored,
        given=given_flags(course, optimiser),
        reports=report.reports(),
    )
    outcome, folder, _ = train(
        Sources(tuple(sources), valid or (), test or ()), options, wishes, report.out or texts.default_run(sources)
    )
    tell(outcome, folder, "translate", quiet=report.quiet, as_json=report.as_json)
