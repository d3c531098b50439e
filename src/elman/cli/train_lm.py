"""``elman train lm``: a recurrent language model of a text."""

from __future__ import annotations

from typing import Annotated

import typer

from elman.cli import texts
from elman.cli.flags import COURSE, MODEL, REPORT, Cell, CourseFlags, OptimiserFlags, ReportFlags, expanded, settings_of
from elman.errors import MisuseError

EXAMPLE = """Examples:

elman train lm input.txt --minutes 3

elman train lm input.txt --cell mut1 --layers 2 --hidden 256 --minutes 5

elman train lm book/ --tokens words --max-vocabulary 20000 --split 80/10/10

elman train lm input.txt --cell "h = tanh(Wx @ x + Wh @ h + b)" --steps 2000
"""


def register(train: typer.Typer) -> None:
    """Add ``elman train lm``."""
    train.command("lm", epilog=EXAMPLE)(train_lm)


@expanded
def train_lm(
    sources: texts.Sources,
    course: CourseFlags,
    optimiser: OptimiserFlags,
    report: ReportFlags,
    cell: Cell = "lstm",
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
    unroll: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of truncated BPTT. Default: chosen.",
            rich_help_panel=COURSE,
            show_default=False,
        ),
    ] = None,
    eval_tokens: Annotated[
        int,
        typer.Option(help="Tokens an evaluation reads; 0 for the whole validation part.", rich_help_panel=COURSE),
    ] = 300_000,
    snapshots: Annotated[
        int,
        typer.Option(
            min=0,
            help="Keep the weights so many times on the way, at steps that grow by one factor, in RUN/snapshots.",
            rich_help_panel=REPORT,
        ),
    ] = 0,
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
) -> None:
    """Train a language model; whatever is not given is chosen from the text and the time, and the reason is printed."""
    from elman.cli.outcome import tell
    from elman.equations import recurrence_of
    from elman.training.choose import Request
    from elman.training.systems.language.run import Wishes, train_language_model

    for name, rate in (
        ("dropout", dropout),
        ("input-dropout", input_dropout),
        ("recurrent-dropout", recurrent_dropout),
    ):
        if rate is not None and not 0 <= rate < 1:
            raise MisuseError(f"--{name} is {rate}; it takes a share from 0 to below 1.")
    settings = settings_of(course, optimiser, eval_tokens=eval_tokens, snapshots=snapshots, sample_length=sample_length)
    request = Request(
        hidden,
        layers,
        embedding,
        dropout,
        course.batch,
        unroll,
        optimiser.lr,
        course.precision,
        course.eval_every,
        optimiser.warmup,
        optimiser.decay,
        settings,
    )
    text = texts.text_options(
        tokens, split, unknown, encoding, errors, bom, newlines, max_vocabulary, min_count, lowercase
    )
    wishes = Wishes(request, input_dropout, recurrent_dropout, tied, report.reports())
    outcome, folder, _ = train_language_model(
        sources, recurrence_of(cell), text, wishes, report.out or texts.default_run(sources)
    )
    tell(outcome, folder, quiet=report.quiet, as_json=report.as_json)
